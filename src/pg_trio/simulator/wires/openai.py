"""OpenAI's wire: one `chat.completion`, or its chunks.

Source: OpenAI's API reference, "The chat completion object", "The chat completion chunk object", "Error codes",
2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pg_trio.domain.json_value import Json
from pg_trio.simulator.behaviour import FinishReason
from pg_trio.simulator.chat_call import RefusedCall
from pg_trio.simulator.chat_completion import Completion
from pg_trio.simulator.wires.event_frames import THOUGHT, event

_ERROR_TYPES: Mapping[int, str] = MappingProxyType({429: "rate_limit_error", 401: "authentication_error"})


class OpenAIWire:
    """See `wires.Wire`."""

    done = b"data: [DONE]\n\n"

    def error_object(self, refusal: RefusedCall) -> dict[str, Json]:
        """OpenAI's error shape."""
        usual = "server_error" if refusal.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": refusal.message,
                "type": _ERROR_TYPES.get(refusal.status, usual),
                "param": refusal.param,
                "code": refusal.code,
            }
        }

    def error_event(self, refusal: RefusedCall) -> bytes:
        """The same object, as a chunk."""
        return event(self.error_object(refusal))

    def plain_object(self, completion: Completion) -> dict[str, Json]:
        """The answer as a `chat.completion` object."""
        has_text = completion.tool is None and not completion.is_empty
        message: dict[str, Json] = {"role": "assistant", "content": completion.text if has_text else None}
        if completion.reasoning:
            message["reasoning_content"] = THOUGHT * completion.reasoning
        if completion.tool:
            message["tool_calls"] = [_tool_call(completion, completion.text)]
        return {
            "id": completion.id,
            "object": "chat.completion",
            "created": completion.created,
            "model": completion.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": completion.finish}],
            **_usage_field(completion),
        }

    def hollow_object(self, completion: Completion) -> dict[str, Json]:
        """An answer without choices."""
        data = self.plain_object(completion)
        del data["choices"]
        return data

    def hollow_event(self, completion: Completion) -> bytes:
        """A chunk without a choice or usage."""
        return event(_chunk_without_choices(completion))

    def opening_event(self, completion: Completion) -> bytes:
        """The role, and the name of the called tool."""
        delta: dict[str, Json] = {"role": "assistant", "content": None if completion.tool else ""}
        if completion.tool:
            delta["tool_calls"] = [{"index": 0} | _tool_call(completion, "")]
        return event(_chunk(completion, delta))

    def reasoning_events(self, completion: Completion) -> Iterator[bytes]:
        """Deltas of reasoning (`reasoning_content`, as DeepSeek and vLLM send it)."""
        for _ in range(completion.reasoning):
            yield event(_chunk(completion, {"reasoning_content": THOUGHT}))

    def token_events(self, completion: Completion) -> Iterator[bytes]:
        """One chunk for each token."""
        for piece in completion.pieces:
            if completion.tool:
                delta: dict[str, Json] = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
            else:
                delta = {"content": piece}
            yield event(_chunk(completion, delta))

    def closing_events(self, completion: Completion, *, include_usage: bool) -> bytes:
        """The finish reason and, if requested, the usage."""
        closing = event(_chunk(completion, {}, completion.finish))
        if include_usage and completion.usage is not None:
            closing += event(_chunk_without_choices(completion) | _usage_field(completion))
        return closing


def _tool_call(completion: Completion, arguments: str) -> dict[str, Json]:
    assert completion.tool is not None
    function = {"name": completion.tool.name, "arguments": arguments}
    return {"id": f"call_{completion.number}", "type": "function", "function": function}


def _usage_field(completion: Completion) -> dict[str, Json]:
    usage = completion.usage
    if usage is None:
        return {}
    return {
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
    }


def _chunk(completion: Completion, delta: dict[str, Json], finish: FinishReason | None = None) -> dict[str, Json]:
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return _chunk_without_choices(completion) | {"choices": choices}


def _chunk_without_choices(completion: Completion) -> dict[str, Json]:
    return {
        "id": completion.id,
        "object": "chat.completion.chunk",
        "created": completion.created,
        "model": completion.model,
        "choices": [],
    }
