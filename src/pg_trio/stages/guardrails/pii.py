"""The guardrail `pii_filter`: masks personal data in a client's text, or refuses the request.

Rules:
1. Types are searched in the contract's order, then the custom patterns. Later ones do not see text that an earlier one
   matched.
2. Each piece of text is scanned by itself: a match never spans two of them.
3. Scanning masked text again for the same type finds nothing more.
4. A name, an id or an object's key must not change, so a match in one is refused in mode mask too. Two masked keys
   would become one, and a value would be lost.

All pieces are scanned together, with a byte between them that no pattern matches, and each distinct piece once. So a
scan's fixed cost is paid once a request, not for each of a hundred thousand pieces.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from attrs import frozen

from pg_trio.domain.chat import Json, json_texts
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.content import Text
from pg_trio.domain.guardrails import MAX_LABELS, PII_LABELS, CustomPattern, PiiFilter
from pg_trio.errors import PiiBlocked
from pg_trio.stages.guardrails.detectors import DETECTORS, Detector, custom_detector
from pg_trio.stages.guardrails.linear import PatternSet
from pg_trio.stages.guardrails.pii_masks import Guarded, Masks, UnmaskableError, mask_request, parse_arguments

# Between the scans for two types, a masked place is 0xFF and two bytes for the label. 0xFF is in no UTF-8 text, matches
# no pattern, and is a word boundary, as are the brackets that replace it at the end.
_PLACEHOLDER = 0xFF

# Between pieces: in no UTF-8 text either, and a word boundary.
_SEPARATOR = b"\xfe"
# Parts of a custom pattern that could match at a piece's start or end, or match the separator.
_ANCHORS = ("^", "$", r"\A", r"\z", r"\C")


@frozen(slots=True, eq=False)
class PiiScanner:
    """A `pii_filter` rule, compiled."""

    _blocks: bool
    _detectors: tuple[Detector, ...]
    _prefilter: PatternSet
    _masks: tuple[tuple[bytes, bytes], ...]
    _has_custom: bool
    _scans_at_once: bool

    @classmethod
    def compile(cls, rule: PiiFilter) -> PiiScanner:
        """Compile the rule. Raises: ValueError for a custom pattern or a type that cannot be used, with its name."""
        detectors = (*_built_in(rule.types), *_custom(rule.custom_patterns))
        labels = list(dict.fromkeys(detector.label for detector in detectors))
        if len(labels) > MAX_LABELS:
            raise ValueError(f"custom_patterns: more than {MAX_LABELS} labels")
        places = {label: _placeholder(index) for index, label in enumerate(labels)}
        return cls(
            blocks=rule.mode == "block",
            detectors=tuple(attrs.evolve(detector, placeholder=places[detector.label]) for detector in detectors),
            prefilter=PatternSet([detector.source for detector in detectors]),
            masks=tuple((place, f"[{label} REDACTED]".encode()) for label, place in places.items()),
            has_custom=bool(rule.custom_patterns),
            scans_at_once=not any(anchor in custom.pattern for custom in rule.custom_patterns for anchor in _ANCHORS),
        )

    def apply(self, request: Guarded) -> Guarded:
        """The request with every match masked; the same object if there was none.

        Raises: PiiBlocked in mode block, and for a name, an id or an object's key that matches.
        """
        if not self._detectors:
            return request
        plain = request.plain_text
        # The common case: one piece without a match.
        if plain is not None and self._prefilter.find_first(plain.encode()) is None:
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
        pieces = list(pieces)
        encoded = [piece.encode() for piece in pieces]
        masked = self._scan_at_once(encoded) if self._scans_at_once else [self._scan(buffer) for buffer in encoded]
        if masked is encoded:
            return {}
        # "replace": a custom pattern with \C may have split a character.
        return {
            piece: new.decode("utf-8", "replace")
            for piece, old, new in zip(pieces, encoded, masked, strict=True)
            if new != old
        }

    def _scan_at_once(self, encoded: list[bytes]) -> list[bytes]:
        buffer = _SEPARATOR.join(encoded)
        masked = self._scan(buffer)
        return encoded if masked is buffer else masked.split(_SEPARATOR)

    def _scan(self, buffer: bytes) -> bytes:
        first = self._prefilter.find_first(buffer)
        if first is None:
            return buffer
        masked = buffer
        # Types before the first matching one need no scan, because nothing has been masked yet.
        for detector in self._detectors[first:]:
            masked = detector.replace_all(masked)
        if masked is not buffer:
            for place, mask in self._masks:
                masked = masked.replace(place, mask)
        return masked

    def _block(self, pieces: Iterable[str]) -> None:
        """Raises: PiiBlocked with the first type that is in any of the pieces."""
        buffers = [piece.encode() for piece in pieces]
        if self._scans_at_once:
            buffers = [_SEPARATOR.join(buffers)]
        suspects = [buffer for buffer in buffers if self._prefilter.find_first(buffer) is not None]
        for detector in self._detectors:
            if any(detector.find(buffer) is not None for buffer in suspects):
                raise PiiBlocked(detector.label)


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


# ── compiling ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _built_in(types: tuple[str, ...] | None) -> list[Detector]:
    for name in types or ():
        if name not in PII_LABELS:
            raise ValueError(f"types: unknown type {name!r}")
    return [DETECTORS[name] for name in PII_LABELS if types is None or name in types]


def _custom(patterns: tuple[CustomPattern, ...]) -> list[Detector]:
    detectors = []
    for index, custom in enumerate(patterns):
        try:
            detectors.append(custom_detector(custom.label, custom.pattern))
        except ValueError as error:
            raise ValueError(f"custom_patterns[{index}].pattern: {error}") from None
    return detectors


def _placeholder(index: int) -> bytes:
    return bytes((_PLACEHOLDER, 0x80 + index // 64, 0x80 + index % 64))
