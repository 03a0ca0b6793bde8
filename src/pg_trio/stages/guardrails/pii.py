"""The guardrail `pii_filter`: personal data in the client's messages is masked, or the request is refused.

Rules:
1. Types are looked for in the contract's order, then the custom patterns; what an earlier one took, no later one sees.
2. Each piece of text is scanned by itself: a match never spans two messages.
3. Masked text that is scanned again for a type gives nothing more of that type.
"""

from __future__ import annotations

import attrs
import orjson
from attrs import frozen

from pg_trio.domain.chat import ChatRequest, Json, JsonObject, Message, ToolCall
from pg_trio.domain.guardrails import PII_LABELS, CustomPattern, PiiFilter
from pg_trio.errors import PiiBlocked
from pg_trio.stages.guardrails.detectors import DETECTORS, Detector, custom_detector
from pg_trio.stages.guardrails.linear import PatternSet

# Between types, a masked place is 0xFF and two bytes that say which label. 0xFF is in no UTF-8 text, matches no
# pattern, and is a word boundary like the brackets that come in its place at the end.
_PLACEHOLDER = 0xFF
# 64 × 64: what two continuation bytes can number.
MAX_LABELS = 4096


@frozen(slots=True, eq=False)
class PiiScanner:
    """A `pii_filter` rule, compiled."""

    _blocks: bool
    _detectors: tuple[Detector, ...]
    _prefilter: PatternSet
    _masks: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def compile(cls, rule: PiiFilter) -> PiiScanner:
        """Ready to scan. Raises: ValueError for a custom pattern or a type that cannot be used, saying which."""
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
        )

    def apply(self, request: ChatRequest) -> ChatRequest:
        """The request with every match masked; the same object if there was none. Raises: PiiBlocked in mode block."""
        if not self._detectors:
            return request
        if self._blocks:
            self._block(request)
            return request
        messages = tuple([self._mask_message(message) for message in request.messages])
        if all(new is old for new, old in zip(messages, request.messages, strict=True)):
            return request
        return attrs.evolve(request, messages=messages)

    def mask(self, text: str) -> str:
        """The text with every match as `[<label> REDACTED]`; the same object if there was none."""
        buffer = text.encode()
        first = self._prefilter.find_first(buffer)
        if first is None:
            return text
        masked = buffer
        # Types before the first one that matches cannot match now: nothing has been masked yet.
        for detector in self._detectors[first:]:
            masked = detector.replace_all(masked)
        if masked is buffer:
            return text
        for place, mask in self._masks:
            masked = masked.replace(place, mask)
        # "replace": a custom pattern with \C may have cut a character in two.
        return masked.decode("utf-8", "replace")

    def _block(self, request: ChatRequest) -> None:
        buffers = [text.encode() for message in request.messages for text in _scanned_texts(message)]
        suspects = [buffer for buffer in buffers if self._prefilter.find_first(buffer) is not None]
        if not suspects:
            return
        for detector in self._detectors:
            if any(detector.find(buffer, 0) for buffer in suspects):
                raise PiiBlocked(detector.label)

    def _mask_message(self, message: Message) -> Message:
        content = message.content
        if isinstance(content, str):
            masked: str | tuple[JsonObject, ...] | None = self.mask(content)
        elif content is None:
            masked = None
        else:
            masked = self._mask_parts(content)
        tool_calls = self._mask_tool_calls(message.tool_calls) if message.tool_calls else message.tool_calls
        if masked is content and tool_calls is message.tool_calls:
            return message
        return attrs.evolve(message, content=masked, tool_calls=tool_calls)

    def _mask_parts(self, parts: tuple[JsonObject, ...]) -> tuple[JsonObject, ...]:
        masked = tuple([self._mask_part(part) for part in parts])
        return parts if all(new is old for new, old in zip(masked, parts, strict=True)) else masked

    def _mask_part(self, part: JsonObject) -> JsonObject:
        if part["type"] != "text":
            return part
        text = self.mask(part["text"])
        return part if text is part["text"] else {**part, "text": text}

    def _mask_tool_calls(self, calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
        masked = tuple([self._mask_tool_call(call) for call in calls])
        return calls if all(new is old for new, old in zip(masked, calls, strict=True)) else masked

    def _mask_tool_call(self, call: ToolCall) -> ToolCall:
        arguments = self._mask_arguments(call.arguments)
        return call if arguments is call.arguments else attrs.evolve(call, arguments=arguments)

    def _mask_arguments(self, arguments: str) -> str:
        """Masked inside its JSON strings, so that it stays JSON; as plain text where it is none."""
        try:
            value = orjson.loads(arguments)
            masked = self._mask_json(value)
            return arguments if masked is value else orjson.dumps(masked).decode()
        except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
            # Not JSON, or nested past what orjson writes (254 levels) or Python follows (some 480).
            return self.mask(arguments)

    def _mask_json(self, value: Json) -> Json:
        """The same object if nothing in it matched. Numbers are scanned as they are written: a card may be one."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict):
            masked_items = {self.mask(key): self._mask_json(item) for key, item in value.items()}
            same = all(masked_items.get(key, self) is item for key, item in value.items())
            return value if same else masked_items
        if isinstance(value, list):
            masked_list = [self._mask_json(item) for item in value]
            return value if all(new is old for new, old in zip(masked_list, value, strict=True)) else masked_list
        if isinstance(value, int) and not isinstance(value, bool):
            written = str(value)
            masked = self.mask(written)
            return value if masked is written else masked
        return value


def _scanned_texts(message: Message) -> list[str]:
    texts = message.texts()
    for call in message.tool_calls:
        try:
            texts.extend(_json_texts(orjson.loads(call.arguments)))
        except orjson.JSONDecodeError:
            continue
    return texts


def _json_texts(value: Json) -> list[str]:
    texts: list[str] = []
    level = [value]
    while level:
        node = level.pop()
        if isinstance(node, dict):
            texts.extend(node)
            level.extend(node.values())
        elif isinstance(node, list):
            level.extend(node)
        elif isinstance(node, str):
            texts.append(node)
    return texts


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
