"""Read answers of Google's wire, complete or streamed. Each chunk of a stream has the shape of a complete answer.

Rules:
1. Only the candidate with index 0 is read. Parts marked `thought` are reasoning. Calls arrive complete, not in pieces.
   Parts that are neither text nor calls (code that the model ran, images that it made) are ignored.
2. A streamed answer is complete when its finish reason has arrived and the body has ended. There is no end marker.
3. A blocked prompt has no candidate. It is an answer with `content_filter`, because a retry would be blocked, too.
4. A call without an id gets one from the gateway, because the client needs it for the result. It keeps its signature.

Source: Gemini API reference, GenerateContentResponse, read 2026-11; types of the `google-genai` package 3.6.
"""

from __future__ import annotations

from pg_trio.domain.chat import Usage
from pg_trio.domain.events import Event
from pg_trio.domain.json_value import Json
from pg_trio.providers.event_reader import EventReader, is_opaque
from pg_trio.providers.openai_fields import dump_arguments, refuse
from pg_trio.providers.openai_tools import read_index
from pg_trio.providers.openai_usage import MAX_TOKEN_COUNT

# Values of FinishReason whose meaning cannot be read from the word, and a clear word for each.
_MEANT = {"CONTINUATION": "MAX_TOKENS", "ESCALATION": "SAFETY", "PUP_LIMITED_DISABLED": "SAFETY", "NO_IMAGE": "STOP"}

_FIELDS = frozenset({"candidates", "promptFeedback", "usageMetadata", "response"})
# The counts of what the model wrote.
_OUTPUT = ("candidatesTokenCount", "thoughtsTokenCount")


class GoogleStreamReader(EventReader):
    """Reads one answer; see `domain.adapter.StreamReader`."""

    __slots__ = ()

    def is_own(self, answer: dict[str, Json]) -> bool:
        """See EventReader."""
        return not _FIELDS.isdisjoint(answer)

    def read_event(self, kind: str, event: dict[str, Json], events: list[Event]) -> None:
        """See EventReader. A chunk has no type."""
        self.read_answer(event, events)

    def read_answer(self, answer: dict[str, Json], events: list[Event]) -> None:
        """See EventReader."""
        # Some proxies wrap each chunk (`{"response": {…}}`, as Code Assist's own server does).
        inner = answer.get("response")
        if type(inner) is dict and "candidates" not in answer:
            answer = inner
            self.raise_error(answer)
        if type(answer.get("usageMetadata")) is dict:
            self.usage = read_usage(answer["usageMetadata"])
        chosen = _first_candidate(answer)
        if chosen is None:
            if _is_blocked(answer):
                self.open(answer.get("responseId"), answer.get("modelVersion"), events)
                self.note_finish("PROHIBITED_CONTENT")
            return
        self.open(answer.get("responseId"), answer.get("modelVersion"), events)
        for part in _parts_of(chosen):
            self._add_part(part, events)
        reason = chosen.get("finishReason")
        if reason is not None:
            reason = _MEANT.get(reason, reason) if type(reason) is str else reason
            self.note_finish(reason, chosen.get("finishMessage"))

    def _add_part(self, part: dict[str, Json], events: list[Event]) -> None:
        function = part.get("functionCall")
        if function:
            self._add_call(function, part.get("thoughtSignature"), events)
        elif part.get("thought") is True:
            self.add_reasoning(part.get("text"), events)
        else:
            self.add_text(part.get("text"), events)

    def _add_call(self, function: Json, signature: Json, events: list[Event]) -> None:
        if type(function) is not dict:
            refuse("functionCall", function, "an object")
        given = function.get("args")
        if type(given) is str:
            arguments = given
        else:
            arguments = dump_arguments(given, "functionCall.args") if type(given) is dict else "{}"
        signed = signature if is_opaque(signature) else None
        self.begin_call(function.get("id"), function.get("name"), arguments, events, signed)


def _first_candidate(answer: dict[str, Json]) -> dict[str, Json] | None:
    """The candidate with index 0; None if there is none."""
    candidates = answer.get("candidates")
    if not candidates:
        return None
    if type(candidates) is dict:
        return candidates
    if type(candidates) is not list:
        refuse("candidates", candidates, "a list")
    for each in candidates:
        if type(each) is dict and not read_index(each.get("index")):
            return each
    return None


def _parts_of(chosen: dict[str, Json]) -> list[dict[str, Json]]:
    content = chosen.get("content")
    parts = content.get("parts") if type(content) is dict else content
    if type(parts) is not list:
        parts = [parts]
    # Other servers send one part, or texts, in place of the list of parts.
    return [{"text": part} if type(part) is str else part for part in parts if type(part) in (dict, str)]


def _is_blocked(answer: dict[str, Json]) -> bool:
    """Whether the prompt itself was blocked."""
    feedback = answer.get("promptFeedback")
    return type(feedback) is dict and bool(feedback.get("blockReason"))


def read_usage(usage: Json) -> Usage | None:
    """Token counts, or None if the provider sent none, or a wrong one.

    Shape:  {"promptTokenCount": int, "toolUsePromptTokenCount": int, "cachedContentTokenCount": int,
            "candidatesTokenCount": int, "thoughtsTokenCount": int, "totalTokenCount": int}; what is zero is left out.
            Without `candidatesTokenCount` the total tells the output.
    """
    if type(usage) is not dict or not _is_count(usage.get("promptTokenCount")):
        return None
    if not all(_is_count(usage[name]) for name in _OUTPUT if usage.get(name) is not None):
        return None
    prompt = usage["promptTokenCount"] + _count(usage.get("toolUsePromptTokenCount"))
    thought = _count(usage.get("thoughtsTokenCount"))
    answered = usage.get("candidatesTokenCount")
    if answered is None:
        answered = max(0, _count(usage.get("totalTokenCount")) - prompt - thought)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=answered + thought,
        cached_tokens=min(_count(usage.get("cachedContentTokenCount")), prompt),
        reasoning_tokens=thought,
    )


def _is_count(given: Json) -> bool:
    # `type(…) is`: a bool is an int to isinstance.
    return type(given) is int and 0 <= given <= MAX_TOKEN_COUNT


def _count(given: Json) -> int:
    return given if _is_count(given) else 0
