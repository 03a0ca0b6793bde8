"""A rule that finds places in a request's texts, and masks them or refuses the request.

Rules:
1. Each piece of text is scanned by itself: a match never spans two of them.
2. A name, an id or an object's key must not change, so a match in one is refused in mode mask too. Two masked keys
   would become one, and a value would be lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from attrs import frozen

from pg_trio.domain.chat import Json, json_texts
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.content import Text
from pg_trio.domain.guardrails import GuardAction, GuardrailVerdict
from pg_trio.errors import GuardrailBlocked
from pg_trio.stages.guardrails.detection import Finder, Match, mask_matches
from pg_trio.stages.guardrails.pii_masks import Guarded, UnmaskableError, mask_request, parse_arguments

# The error that refuses a text because of this match.
Refuse: TypeAlias = Callable[[Match], GuardrailBlocked]
# The text with something else in the place of each match.
Write: TypeAlias = Callable[[str, Sequence[Match]], str]
Verdicts: TypeAlias = tuple[GuardrailVerdict, ...]


@frozen(slots=True, eq=False)
class RequestGuard:
    """One rule for requests. `reads_bare_values`: values in a call's arguments are also read without their keys."""

    guardrail: str
    blocks: bool
    finder: Finder
    refuse: Refuse
    reads_bare_values: bool = False
    action: GuardAction = "mask"

    def apply(self, request: Guarded, write: Write = mask_matches) -> tuple[Guarded, Verdicts]:
        """The request with every match masked, the same object if there was none; and what was masked.

        `write` makes the text that takes the place of one with matches.

        Raises: GuardrailBlocked in mode block, and for a name, an id or an object's key that matches.
        """
        pieces = pieces_of(request, keys_alone=not self.reads_bare_values)
        if self.blocks:
            self._block(pieces)
            return request, ()
        found = self.finder.find_each(pieces)
        if not found:
            # Nothing was found, but arguments may hide a piece that the provider would read.
            return (mask_request(request, {}) if _may_hide(request) else request), ()
        self._block(name for name in _identifiers(request) if name in found)
        masks = {piece: write(piece, matches) for piece, matches in found.items()}
        try:
            return mask_request(request, masks), self.count(found.values())
        except UnmaskableError as key:
            self._block([key.text])
            raise AssertionError("a key is masked for a match") from key

    def count(self, found: Iterable[Sequence[Match]]) -> Verdicts:
        """The verdicts about masked matches, one a rule. A text that is in two pieces (a call's arguments, and a string
        in them) is counted once for each."""
        counts = Counter(match.rule for matches in found for match in matches)
        return tuple([GuardrailVerdict(self.guardrail, rule, "input", self.action, n) for rule, n in counts.items()])

    def _block(self, pieces: Iterable[str]) -> None:
        match = self.finder.find_first(pieces)
        if match is not None:
            raise self.refuse(match)


# ── what is scanned ──────────────────────────────────────────────────────────────────────────────────────────────────


def pieces_of(request: ClientRequest, *, keys_alone: bool = False) -> Iterable[str]:
    """Every text of the request that a provider would be sent, as masks name it (pii_masks.py)."""
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
            pieces += _argument_texts(parse_arguments(call.arguments), keys_alone=keys_alone)
    return pieces


def _argument_texts(arguments: Json, *, keys_alone: bool) -> list[str]:
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
