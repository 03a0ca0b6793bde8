"""Google's wire: one GenerateContentResponse, or several of them. Calls are complete and signed, and have no id.

Source: Gemini API reference, GenerateContentResponse; google.rpc.Status, 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pg_trio.domain.json_value import Json
from pg_trio.simulator.chat_call import RefusedCall
from pg_trio.simulator.chat_completion import Completion
from pg_trio.simulator.wires.event_frames import THOUGHT, event, read_arguments

FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
)
STATUSES: Mapping[int, str] = MappingProxyType(
    {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
)
SIGNATURE = "c2ltdWxhdGVkIHRob3VnaHQ="


class GoogleWire:
    """See `wires.Wire`."""

    # The stream ends with its body.
    done = b""

    def error_object(self, refusal: RefusedCall) -> dict[str, Json]:
        """Google's error shape. For a bad key, its details have a reason."""
        status = STATUSES.get(refusal.status, "UNKNOWN")
        error: dict[str, Json] = {"code": refusal.status, "message": refusal.message, "status": status}
        if refusal.code == "API_KEY_INVALID":
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": refusal.code, "domain": "googleapis.com"}]
        return {"error": error}

    def error_event(self, refusal: RefusedCall) -> bytes:
        """The same object, as a chunk."""
        return event(self.error_object(refusal))

    def plain_object(self, completion: Completion) -> dict[str, Json]:
        """The answer as one response."""
        parts: list[Json] = []
        if completion.reasoning:
            parts.append({"text": THOUGHT * completion.reasoning, "thought": True})
        if completion.tool:
            parts.append(_call_part(completion))
        elif completion.pieces:
            parts.append({"text": completion.text})
        return _response(completion, parts, is_last=True)

    def hollow_object(self, completion: Completion) -> dict[str, Json]:
        """A response without candidates."""
        data = self.plain_object(completion)
        del data["candidates"]
        return data

    def hollow_event(self, completion: Completion) -> bytes:
        """A chunk without candidates."""
        return event(self.hollow_object(completion))

    def opening_event(self, completion: Completion) -> bytes:
        """Nothing: the first chunk has text already."""
        return b""

    def reasoning_events(self, completion: Completion) -> Iterator[bytes]:
        """Chunks with a part that is marked as a thought."""
        for _ in range(completion.reasoning):
            yield event(_response(completion, [{"text": THOUGHT, "thought": True}]))

    def token_events(self, completion: Completion) -> Iterator[bytes]:
        """One chunk for each token. A call is one chunk."""
        if completion.tool:
            yield event(_response(completion, [_call_part(completion)]))
            return
        for piece in completion.pieces:
            yield event(_response(completion, [{"text": piece}]))

    def closing_events(self, completion: Completion, *, include_usage: bool) -> bytes:
        """A chunk with the finish reason and the usage."""
        return event(_response(completion, [{"text": ""}], is_last=True))


def _call_part(completion: Completion) -> dict[str, Json]:
    assert completion.tool is not None
    call = {"name": completion.tool.name, "args": read_arguments(completion.text)}
    return {"functionCall": call, "thoughtSignature": SIGNATURE}


def _response(completion: Completion, parts: list[Json], *, is_last: bool = False) -> dict[str, Json]:
    candidate: dict[str, Json] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    response: dict[str, Json] = {"candidates": [candidate]}
    if is_last:
        candidate["finishReason"] = FINISH_REASONS[completion.finish]
        usage = completion.usage
        if usage is not None:
            response["usageMetadata"] = {
                "promptTokenCount": usage.prompt_tokens,
                "candidatesTokenCount": usage.completion_tokens,
                "totalTokenCount": usage.prompt_tokens + usage.completion_tokens,
            }
    return response | {"modelVersion": completion.model, "responseId": completion.number}
