"""Answers of Google's wire, whole and streamed: each chunk of a stream has the shape of a whole answer.

Rules:
1. Only the candidate with index 0 is read. Parts marked `thought` are reasoning; calls come whole, never in pieces.
2. The answer is whole when its finish reason has come and the body has ended: there is no other end of the stream.
3. A prompt that was blocked has no candidate, and is an answer with `content_filter`: it would be blocked again.
4. A call without an id gets one of ours: the client needs it for the result.

Source: Gemini API reference, GenerateContentResponse, read 2026-11; types of the `google-genai` package 3.6.
"""

from __future__ import annotations

import secrets

from pg_trio.domain.chat import FinishReason, Usage
from pg_trio.domain.events import Event, ToolCallDelta
from pg_trio.domain.json_value import Json
from pg_trio.domain.project import Candidate
from pg_trio.domain.tools import ToolCall
from pg_trio.providers.event_reader import EventReader
from pg_trio.providers.openai_fields import MAX_TOKEN_COUNT, dump_arguments, refuse

FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
}
_UNSPECIFIED = frozenset({"", "FINISH_REASON_UNSPECIFIED"})


class GoogleStreamReader(EventReader):
    """Reads one stream; see `providers.StreamReader`."""

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        self._reason: FinishReason | None = None

    def finish_reason(self) -> FinishReason | None:
        """See EventReader."""
        return "tool_calls" if self._reason == "stop" and self.calls_count else self._reason

    def read_event(self, kind: str, event: dict[str, Json], events: list[Event]) -> None:
        """See EventReader. A chunk has no type."""
        self.usage = read_usage(event.get("usageMetadata")) or self.usage
        chosen = first_candidate(event)
        if chosen is None:
            if is_blocked(event):
                self.open(event.get("responseId"), event.get("modelVersion"), events)
                self._reason = "content_filter"
            return
        self.open(event.get("responseId"), event.get("modelVersion"), events)
        for part in parts_of(chosen):
            self._add_part(part, events)
        self._reason = find_finish_reason(chosen.get("finishReason")) or self._reason

    def _add_part(self, part: dict[str, Json], events: list[Event]) -> None:
        if part.get("functionCall") is not None:
            call = read_call(part)
            self.begin_call(call.id, call.name, call.arguments, events)
            if call.signature is not None:
                begun = events[-1]
                assert isinstance(begun, ToolCallDelta)
                events[-1] = ToolCallDelta(begun.index, call.id, call.name, call.arguments, call.signature)
        elif part.get("thought") is True:
            self.add_reasoning(part.get("text"), events)
        else:
            self.add_text(part.get("text"), events)


def first_candidate(answer: dict[str, Json]) -> dict[str, Json] | None:
    """The candidate with index 0; None where there is none."""
    candidates = answer.get("candidates")
    if not candidates:
        return None
    if type(candidates) is not list:
        refuse("candidates", candidates, "a list")
    known = [each for each in candidates if type(each) is dict]
    return next((each for each in known if each.get("index", 0) in (0, None)), None)


def parts_of(chosen: dict[str, Json]) -> list[dict[str, Json]]:
    """The parts of a candidate's content."""
    content = chosen.get("content")
    parts = content.get("parts") if type(content) is dict else None
    return [part for part in parts if type(part) is dict] if type(parts) is list else []


def is_blocked(answer: dict[str, Json]) -> bool:
    """Whether the prompt itself was blocked."""
    feedback = answer.get("promptFeedback")
    return type(feedback) is dict and bool(feedback.get("blockReason"))


def find_finish_reason(given: Json) -> FinishReason | None:
    """The contract's word for a finish reason; None where the answer goes on. What is no end of an answer (a malformed
    call, a word that came after this was written) is `error`."""
    if given is None or given in _UNSPECIFIED:
        return None
    return FINISH_REASONS.get(given, "error") if type(given) is str else "error"


def read_call(part: dict[str, Json]) -> ToolCall:
    """The call that a part is."""
    function = part["functionCall"]
    if type(function) is not dict:
        refuse("functionCall", function, "an object")
    name, given, call_id = function.get("name"), function.get("args"), function.get("id")
    if type(name) is not str or not name:
        refuse("functionCall.name", name, "a string")
    signature = part.get("thoughtSignature")
    return ToolCall(
        call_id if type(call_id) is str and call_id else f"call_{secrets.token_hex(12)}",
        name,
        dump_arguments(given, "functionCall.args") if type(given) is dict else "{}",
        signature if type(signature) is str and signature else None,
    )


def read_usage(usage: Json) -> Usage | None:
    """Token counts, or None where the provider sent none.

    Shape:  {"promptTokenCount": int, "toolUsePromptTokenCount": int, "cachedContentTokenCount": int,
            "candidatesTokenCount": int, "thoughtsTokenCount": int}; what is zero is left out.
    """
    if type(usage) is not dict or _count(usage.get("promptTokenCount")) is None:
        return None
    prompt, tools, cached, answered, thought = [
        _count(usage.get(name)) or 0
        for name in (
            "promptTokenCount",
            "toolUsePromptTokenCount",
            "cachedContentTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
        )
    ]
    return Usage(prompt + tools, answered + thought, cached_tokens=cached, reasoning_tokens=thought)


def _count(given: Json) -> int | None:
    # `type(…) is`: a bool is an int to isinstance.
    return given if type(given) is int and 0 <= given <= MAX_TOKEN_COUNT else None
