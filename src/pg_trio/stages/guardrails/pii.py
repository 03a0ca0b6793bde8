"""The guardrail `pii_filter`: masks personal data in a client's text, or refuses the request.

Rules:
1. Types are searched in the contract's order, then the custom patterns. Later ones do not see text that an earlier one
   matched.
2. Each piece of text is scanned by itself: a match never spans two of them.
3. Scanning masked text again for the same type finds nothing more.
4. A name, an id or an object's key must not change, so a match in one is refused in mode mask too. Two masked keys
   would become one, and a value would be lost.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from pg_trio.domain.chat import Json, json_texts
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.content import Text
from pg_trio.domain.guardrails import PiiFilter
from pg_trio.errors import PiiBlocked
from pg_trio.stages.guardrails.byte_finder import ByteFinder
from pg_trio.stages.guardrails.detection import mask_matches
from pg_trio.stages.guardrails.detectors import pii_finder
from pg_trio.stages.guardrails.pii_masks import Guarded, Masks, UnmaskableError, mask_request, parse_arguments


@frozen(slots=True, eq=False)
class PiiScanner:
    """A `pii_filter` rule, compiled."""

    _blocks: bool
    _finder: ByteFinder
    _has_custom: bool

    @classmethod
    def compile(cls, rule: PiiFilter) -> PiiScanner:
        """Compile the rule. Raises: ValueError for a custom pattern or a type that cannot be used, with its name."""
        finder = pii_finder(rule.types, rule.custom_patterns)
        return cls(blocks=rule.mode == "block", finder=finder, has_custom=bool(rule.custom_patterns))

    def apply(self, request: Guarded) -> Guarded:
        """The request with every match masked; the same object if there was none.

        Raises: PiiBlocked in mode block, and for a name, an id or an object's key that matches.
        """
        if not self._finder.detectors:
            return request
        plain = request.plain_text
        # The common case: one piece without a match.
        if plain is not None and self._finder.is_clean(plain):
            return request
        pieces = dict.fromkeys(_pieces(request, not self._has_custom))
        if self._blocks:
            self._block(pieces)
            return request
        masks = self._find_masks(pieces)
        if not masks:
            # Nothing was found, but arguments may hide a piece that the provider would read.
            return mask_request(request, masks) if _may_hide(request) else request
        self._block(name for name in _identifiers(request) if name in masks)
        try:
            return mask_request(request, masks)
        except UnmaskableError as found:
            self._block([found.text])
            raise AssertionError("a key is masked for a match") from found

    def mask(self, text: str) -> str:
        """The text with every match as `[<label> REDACTED]`; the same object if there was none."""
        return self._find_masks([text]).get(text, text)

    def _find_masks(self, pieces: Iterable[str]) -> Masks:
        found = self._finder.find_each(pieces)
        return {piece: mask_matches(piece, matches) for piece, matches in found.items()}

    def _block(self, pieces: Iterable[str]) -> None:
        """Raises: PiiBlocked with the first type that is in any of the pieces."""
        found = self._finder.find_first(pieces)
        if found is not None:
            raise PiiBlocked(found.label)


# ── what is scanned ──────────────────────────────────────────────────────────────────────────────────────────────────


def _pieces(request: ClientRequest, keys_alone: bool) -> Iterable[str]:
    plain = request.plain_text
    if plain is not None:
        return (plain,)
    pieces = request.texts()
    for message in request.messages:
        pieces += message.ids()
        if isinstance(message.content, tuple):
            # `texts` has adjacent texts as one piece.
            pieces += [part.text for part in message.content if isinstance(part, Text)]
        for call in message.tool_calls:
            # Both the written and the decoded form, because a provider may see either.
            pieces += _argument_texts(parse_arguments(call.arguments), keys_alone)
    return pieces


def _argument_texts(arguments: Json, keys_alone: bool) -> list[str]:
    """Every string, key and number in arguments; a value comes after its key, which tells its meaning ("id: 4111…").

    `keys_alone` False: also the values without their keys, for custom patterns that match a whole value.
    """
    texts = [] if keys_alone else json_texts(arguments)
    rest = [arguments]
    while rest:
        node = rest.pop()
        if isinstance(node, dict):
            texts += node
            texts += [f"{key}: {item}" for key, item in node.items() if isinstance(item, str | int | float)]
            rest.extend(item for item in node.values() if isinstance(item, dict | list))
        elif isinstance(node, list):
            rest.extend(node)
        elif node is not None:
            texts.append(str(node))
    return texts


def _identifiers(request: ClientRequest) -> list[str]:
    names = [name for message in request.messages for name in (message.name, *message.ids()) if name is not None]
    return names + [call.name for message in request.messages for call in message.tool_calls]


def _may_hide(request: ClientRequest) -> bool:
    r"""Whether a string in arguments may be unread: of two equal keys JSON keeps the last, and \u hides the first."""
    return any("\\u" in call.arguments for message in request.messages for call in message.tool_calls)
