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

from collections.abc import Iterable, Mapping

import attrs
import orjson
from attrs import frozen

from pg_trio.domain.chat import TOOL_WORDS, ChatRequest, Json, Message, ToolCall, json_texts
from pg_trio.domain.content import Part
from pg_trio.domain.guardrails import MAX_LABELS, PII_LABELS, CustomPattern, PiiFilter
from pg_trio.domain.options import NO_OPTIONS, Options, ResponseFormat
from pg_trio.domain.tools import ForeignTool, ForeignToolChoice, Tool, ToolChoice
from pg_trio.errors import PiiBlocked
from pg_trio.stages.guardrails.detectors import DETECTORS, Detector, custom_detector
from pg_trio.stages.guardrails.linear import PatternSet

# Between the scans for two types, a masked place is 0xFF and two bytes for the label. 0xFF is in no UTF-8 text, matches
# no pattern, and is a word boundary, as are the brackets that replace it at the end.
_PLACEHOLDER = 0xFF

# Between pieces: in no UTF-8 text either, and a word boundary.
_SEPARATOR = b"\xfe"
# Parts of a custom pattern that could match at a piece's start or end, or match the separator.
_ANCHORS = ("^", "$", r"\A", r"\z", r"\C")

# The objects of `tools`, `tool_choice` and `response_format` whose name is used by calls and answers.
_NAMED_OBJECTS = ("function", "json_schema")


class _UnmaskableError(Exception):
    """A key or a name that matches."""

    def __init__(self, text: str) -> None:
        self.text = text


# The masked text of each piece. Pieces without a match (nearly all) are not in it.
Masks = Mapping[str, str]


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

    def apply(self, request: ChatRequest) -> ChatRequest:
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
            return _mask_request(request, masks) if _may_hide(request) else request
        self._block(name for name in _identifiers(request) if name in masks)
        try:
            return _mask_request(request, masks)
        except _UnmaskableError as found:
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


def _pieces(request: ChatRequest, keys_alone: bool) -> Iterable[str]:
    plain = request.plain_text
    if plain is not None:
        return (plain,)
    pieces = request.texts()
    for message in request.messages:
        pieces += message.ids()
        for call in message.tool_calls:
            # Both the written and the decoded form, because a provider may see either.
            pieces += _argument_texts(_parse(call.arguments), keys_alone)
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


def _identifiers(request: ChatRequest) -> list[str]:
    names = [name for message in request.messages for name in (message.name, *message.ids()) if name is not None]
    return names + [call.name for message in request.messages for call in message.tool_calls]


def _may_hide(request: ChatRequest) -> bool:
    r"""Whether a string in arguments may be unread: of two equal keys JSON keeps the last, and \u hides the first."""
    return any("\\u" in call.arguments for message in request.messages for call in message.tool_calls)


def _parse(arguments: str) -> Json:
    """The JSON value of the arguments; None if they are not JSON."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None


# ── the request, masked ──────────────────────────────────────────────────────────────────────────────────────────────


def _mask_request(request: ChatRequest, masks: Masks) -> ChatRequest:
    return attrs.evolve(
        request,
        messages=tuple([_mask_message(message, masks) for message in request.messages]),
        tools=tuple([_mask_tool(tool, masks) for tool in request.tools]),
        tool_choice=None if request.tool_choice is None else _mask_choice(request.tool_choice, masks),
        options=_mask_options(request.options, masks),
        unknown=_mask_json(request.unknown, masks),
    )


def _mask_message(message: Message, masks: Masks) -> Message:
    content = message.content
    if isinstance(content, str):
        masked: str | tuple[Part, ...] | None = masks.get(content, content)
    elif content is None:
        masked = None
    else:
        parts = tuple([_mask_part(part, masks) for part in content])
        masked = content if all(new is old for new, old in zip(parts, content, strict=True)) else parts
    calls = tuple([_mask_tool_call(call, masks) for call in message.tool_calls])
    # A signature holds for the text as it was: masked reasoning is left out.
    reasoning = tuple([block for block in message.reasoning if block.text not in masks])
    if masked is content and calls == message.tool_calls and reasoning == message.reasoning:
        return message
    return attrs.evolve(message, content=masked, tool_calls=calls, reasoning=reasoning)


def _mask_part(part: Part, masks: Masks) -> Part:
    masked = None if part.free_text is None else masks.get(part.free_text)
    return part if masked is None else part.with_free_text(masked)


def _mask_tool(tool: Tool | ForeignTool, masks: Masks) -> Tool | ForeignTool:
    if isinstance(tool, ForeignTool):
        return ForeignTool(_mask_json(tool.raw, masks, TOOL_WORDS))
    _refuse_name(tool.name, masks)
    return attrs.evolve(
        tool,
        description=_mask_json(tool.description, masks, TOOL_WORDS),
        parameters=_mask_json(tool.parameters, masks, TOOL_WORDS),
        more=_mask_json(tool.more, masks, TOOL_WORDS),
    )


def _mask_choice(choice: ToolChoice | ForeignToolChoice, masks: Masks) -> ToolChoice | ForeignToolChoice:
    if isinstance(choice, ForeignToolChoice):
        return ForeignToolChoice(_mask_json(choice.raw, masks, TOOL_WORDS))
    _refuse_name(choice.name, masks)
    return choice


def _mask_options(options: Options, masks: Masks) -> Options:
    if options is NO_OPTIONS or not options.holds_text:
        return options
    wanted = options.response_format
    if wanted is not None:
        masked = _mask_json(wanted.raw, masks, TOOL_WORDS)
        wanted = wanted if masked is wanted.raw else ResponseFormat.of(masked)
    return attrs.evolve(
        options,
        response_format=wanted,
        stop=tuple([masks.get(text, text) for text in options.stop]),
        user=None if options.user is None else masks.get(options.user, options.user),
        more=_mask_json(options.more, masks),
    )


def _mask_tool_call(call: ToolCall, masks: Masks) -> ToolCall:
    """The call with masked arguments: inside their JSON strings, so that they stay JSON; as plain text if they are not
    JSON.

    The arguments are written anew if a part was masked or may be hidden. This drops the first of two equal keys, as
    parsers do.
    """
    arguments = call.arguments
    try:
        value = orjson.loads(arguments)
        masked = _mask_json(value, masks)
        if masked is value and arguments in masks:
            masked = _read_masked(masks[arguments], value)
        elif masked is value and "\\u" not in arguments:
            return call
        return attrs.evolve(call, arguments=orjson.dumps(masked).decode())
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        # Not JSON, or nested deeper than orjson writes (254 levels) or Python recurses (some 900).
        return attrs.evolve(call, arguments=masks.get(arguments, arguments))


def _read_masked(text: str, original: Json) -> Json:
    """For arguments that match only in their written form (a word in one value, a number in the next). The original if
    the masked text is not JSON with the same keys."""
    masked = _parse(text)
    return masked if _keys_of(masked) == _keys_of(original) else original


def _keys_of(value: Json) -> list[str]:
    keys: list[str] = []
    rest = [value]
    while rest:
        node = rest.pop()
        if isinstance(node, dict):
            keys += node
            rest.extend(node.values())
        elif isinstance(node, list):
            rest.extend(node)
    return keys


def _refuse_name(name: Json, masks: Masks) -> None:
    if isinstance(name, str) and name in masks:
        raise _UnmaskableError(name)


def _mask_pair(key: str, item: Json, masks: Masks) -> str | None:
    """The value, masked because of its key ("phone": "2125552368"); None if nothing in it was masked."""
    if isinstance(item, dict | list):
        return None
    before = f"{key}: "
    masked = masks.get(f"{before}{item}")
    return None if masked is None or not masked.startswith(before) else masked.removeprefix(before)


def _mask_json(value: Json, masks: Masks, kept: frozenset[str] = frozenset()) -> Json:
    """The masked value; the same object if nothing matched. Numbers are checked as they are written, because a card may
    be a number.

    `kept`: the words of a format, which are not masked. Raises: _UnmaskableError for a key or a name that matches.
    """
    # Loops, because in Python 3.11 comprehensions take a second frame for each level.
    if isinstance(value, str):
        return value if value in kept else masks.get(value, value)
    if isinstance(value, dict):
        changed, masked_items = False, {}
        for key, item in value.items():
            if key in masks and key not in kept:
                raise _UnmaskableError(key)
            if kept and key in _NAMED_OBJECTS and isinstance(item, dict):
                _refuse_name(item.get("name"), masks)
            masked_item = _mask_pair(key, item, masks) or _mask_json(item, masks, kept)
            changed = changed or masked_item is not item
            masked_items[key] = masked_item
        return masked_items if changed else value
    if isinstance(value, list):
        changed, masked_list = False, []
        for item in value:
            masked_item = _mask_json(item, masks, kept)
            changed = changed or masked_item is not item
            masked_list.append(masked_item)
        return masked_list if changed else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return masks.get(str(value), value)
    return value


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
