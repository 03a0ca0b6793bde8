"""Anthropic's wire: one message, or its named events. Thoughts come as a signed block before the answer.

Source: Messages API reference, "Streaming messages", "Errors", 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pg_trio.domain.json_value import Json
from pg_trio.simulator.chat_call import RefusedCall
from pg_trio.simulator.chat_completion import Completion
from pg_trio.simulator.wires.event_frames import THOUGHT, named_event, read_arguments

STOP_REASONS: Mapping[str, str] = MappingProxyType(
    {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
)
ERROR_TYPES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
SIGNATURE = "c2ltdWxhdGVkIHNpZ25hdHVyZQ=="


class AnthropicWire:
    """See `wires.Wire`."""

    done = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def error_object(self, refusal: RefusedCall) -> dict[str, Json]:
        """Anthropic's error shape."""
        kind = ERROR_TYPES.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": None}

    def error_event(self, refusal: RefusedCall) -> bytes:
        """The same object, as an `error` event."""
        return named_event(self.error_object(refusal))

    def plain_object(self, completion: Completion) -> dict[str, Json]:
        """The answer as a message."""
        blocks: list[Json] = []
        if completion.reasoning:
            blocks.append({"type": "thinking", "thinking": THOUGHT * completion.reasoning, "signature": SIGNATURE})
        if completion.tool:
            blocks.append(_tool_block(completion) | {"input": read_arguments(completion.text)})
        elif completion.pieces:
            blocks.append({"type": "text", "text": completion.text})
        return _message(completion) | {"content": blocks, "stop_reason": STOP_REASONS[completion.finish]}

    def hollow_object(self, completion: Completion) -> dict[str, Json]:
        """A message without content."""
        data = self.plain_object(completion)
        del data["content"]
        return data

    def hollow_event(self, completion: Completion) -> bytes:
        """A ping."""
        return named_event({"type": "ping"})

    def opening_event(self, completion: Completion) -> bytes:
        """`message_start`, with the usage of the prompt."""
        return named_event({"type": "message_start", "message": _message(completion)})

    def reasoning_events(self, completion: Completion) -> Iterator[bytes]:
        """A block of thinking: its start with the first delta, its signature and end with the last."""
        for number in range(completion.reasoning):
            data = b""
            if number == 0:
                data = _start(0, {"type": "thinking", "thinking": "", "signature": ""})
            data += _delta(0, {"type": "thinking_delta", "thinking": THOUGHT})
            if number == completion.reasoning - 1:
                data += _delta(0, {"type": "signature_delta", "signature": SIGNATURE})
                data += named_event({"type": "content_block_stop", "index": 0})
            yield data

    def token_events(self, completion: Completion) -> Iterator[bytes]:
        """One delta for each token. The first also has the block's start."""
        start = _start_of_answer(completion)
        for piece in completion.pieces:
            kind, field = ("input_json_delta", "partial_json") if completion.tool else ("text_delta", "text")
            yield start + _delta(_index_of_answer(completion), {"type": kind, field: piece})
            start = b""

    def closing_events(self, completion: Completion, *, include_usage: bool) -> bytes:
        """The block's end, and `message_delta` with the stop reason and the usage."""
        closing = b""
        if completion.tool and not completion.pieces:
            closing = _start_of_answer(completion)
        if completion.tool or completion.pieces:
            closing += named_event({"type": "content_block_stop", "index": _index_of_answer(completion)})
        delta = {"stop_reason": STOP_REASONS[completion.finish], "stop_sequence": None}
        usage = {} if completion.usage is None else {"usage": {"output_tokens": completion.usage.completion_tokens}}
        return closing + named_event({"type": "message_delta", "delta": delta, **usage})


def _message(completion: Completion) -> dict[str, Json]:
    usage = completion.usage
    counts = {} if usage is None else {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
    return {
        "id": f"msg_{completion.number}",
        "type": "message",
        "role": "assistant",
        "model": completion.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        **({"usage": counts} if counts else {}),
    }


def _tool_block(completion: Completion) -> dict[str, Json]:
    assert completion.tool is not None
    return {"type": "tool_use", "id": f"toolu_{completion.number}", "name": completion.tool.name, "input": {}}


def _index_of_answer(completion: Completion) -> int:
    return 1 if completion.reasoning else 0


def _start_of_answer(completion: Completion) -> bytes:
    block = _tool_block(completion) if completion.tool else {"type": "text", "text": ""}
    return _start(_index_of_answer(completion), block)


def _start(index: int, block: dict[str, Json]) -> bytes:
    return named_event({"type": "content_block_start", "index": index, "content_block": block})


def _delta(index: int, delta: dict[str, Json]) -> bytes:
    return named_event({"type": "content_block_delta", "index": index, "delta": delta})
