"""Cohere's wire: one response, or typed events. A call's plan and a block of thinking come before the answer.

Source: Cohere API reference, "Chat" and "Chat with streaming" (v2), "Errors", 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pg_trio.domain.json_value import Json
from pg_trio.simulator.chat_call import RefusedCall
from pg_trio.simulator.chat_completion import Completion
from pg_trio.simulator.wires.event_frames import THOUGHT, named_event

FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "ERROR_TOXIC"}
)


class CohereWire:
    """See `wires.Wire`."""

    done = b"data: [DONE]\n\n"

    def error_object(self, refusal: RefusedCall) -> dict[str, Json]:
        """Cohere's error shape."""
        return {"id": "simulated", "message": refusal.message}

    def error_event(self, refusal: RefusedCall) -> bytes:
        """A `message-end` with an error."""
        return named_event({"type": "message-end", "delta": {"error": refusal.message, "finish_reason": "ERROR"}})

    def plain_object(self, completion: Completion) -> dict[str, Json]:
        """The answer as one response."""
        message: dict[str, Json] = {"role": "assistant"}
        blocks: list[Json] = []
        if completion.reasoning:
            blocks.append({"type": "thinking", "thinking": THOUGHT * completion.reasoning})
        if completion.tool:
            message["tool_calls"] = [_tool_call(completion, completion.text)]
        elif completion.pieces:
            blocks.append({"type": "text", "text": completion.text})
        if blocks:
            message["content"] = blocks
        finish = FINISH_REASONS[completion.finish]
        return {"id": completion.number, "finish_reason": finish, "message": message, **_usage_field(completion)}

    def hollow_object(self, completion: Completion) -> dict[str, Json]:
        """A response without its message."""
        data = self.plain_object(completion)
        del data["message"]
        return data

    def hollow_event(self, completion: Completion) -> bytes:
        """The end of a block that never began."""
        return named_event({"type": "content-end", "index": 0})

    def opening_event(self, completion: Completion) -> bytes:
        """`message-start`."""
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        return named_event({"type": "message-start", "id": completion.number, "delta": {"message": message}})

    def reasoning_events(self, completion: Completion) -> Iterator[bytes]:
        """A block of thinking: its start with the first delta, its end with the last."""
        for number in range(completion.reasoning):
            data = _content("content-start", 0, {"type": "thinking", "thinking": ""}) if number == 0 else b""
            data += _content("content-delta", 0, {"thinking": THOUGHT})
            if number == completion.reasoning - 1:
                data += named_event({"type": "content-end", "index": 0})
            yield data

    def token_events(self, completion: Completion) -> Iterator[bytes]:
        """One delta for each token. The first also has the block's start."""
        start, index = _start_of_answer(completion), _index_of_answer(completion)
        for piece in completion.pieces:
            if completion.tool:
                delta = _calls("tool-call-delta", 0, {"function": {"arguments": piece}})
            else:
                delta = _content("content-delta", index, {"text": piece})
            yield start + delta
            start = b""

    def closing_events(self, completion: Completion, *, include_usage: bool) -> bytes:
        """The block's end, and `message-end` with the finish reason and the usage."""
        closing = b""
        if completion.tool:
            closing = b"" if completion.pieces else _start_of_answer(completion)
            closing += named_event({"type": "tool-call-end", "index": 0})
        elif completion.pieces:
            closing = named_event({"type": "content-end", "index": _index_of_answer(completion)})
        delta = {"finish_reason": FINISH_REASONS[completion.finish], **_usage_field(completion)}
        return closing + named_event({"type": "message-end", "delta": delta})


def _tool_call(completion: Completion, arguments: str) -> dict[str, Json]:
    assert completion.tool is not None
    name = completion.tool.name
    function = {"name": name, "arguments": arguments}
    # Cohere's ids have the tool's name in them.
    return {"id": f"{name}_{completion.number[:12]}", "type": "function", "function": function}


def _usage_field(completion: Completion) -> dict[str, Json]:
    usage = completion.usage
    if usage is None:
        return {}
    counts = {"input_tokens": float(usage.prompt_tokens), "output_tokens": float(usage.completion_tokens)}
    return {"usage": {"billed_units": counts, "tokens": counts}}


def _index_of_answer(completion: Completion) -> int:
    return 1 if completion.reasoning else 0


def _start_of_answer(completion: Completion) -> bytes:
    if completion.tool:
        return _calls("tool-call-start", 0, _tool_call(completion, ""))
    return _content("content-start", _index_of_answer(completion), {"type": "text", "text": ""})


def _content(kind: str, index: int, content: dict[str, Json]) -> bytes:
    return named_event({"type": kind, "index": index, "delta": {"message": {"content": content}}})


def _calls(kind: str, index: int, call: dict[str, Json]) -> bytes:
    return named_event({"type": kind, "index": index, "delta": {"message": {"tool_calls": call}}})
