"""Whole answers of Messages, exactly Anthropic's object, and what streams share with them.

Rules:
1. A block of thinking has its signature: a client sends it back, and Anthropic refuses one without. Reasoning of other
   providers, which nothing signs, is left out.
2. `input_tokens` leaves cached tokens out, whichever provider answers.
3. The header field `request-id` is the gateway's own id, as Anthropic's SDKs show it.

Source: Messages API reference, "Handling stop reasons", and the types of the `anthropic` package 2.14, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import orjson

from pg_trio.domain.call import WholeAnswer
from pg_trio.domain.chat import ChatRequest, FinishReason, Reasoning, Reply, Usage
from pg_trio.domain.events import text_of
from pg_trio.domain.json_value import Json
from pg_trio.domain.limits import LimitState
from pg_trio.domain.native_fields import NativeStop
from pg_trio.surfaces.http_answer import HttpAnswer, make_answer, more_lines
from pg_trio.surfaces.limit_headers import render_limits
from pg_trio.surfaces.v1.model_limits import render_anthropic_limits

_STOP_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "error": "end_turn",
}
# Which neutral reason each of Anthropic's finer words belongs to.
_FINER: Final[Mapping[str, FinishReason]] = {
    "stop_sequence": "stop",
    "pause_turn": "length",
    "model_context_window_exceeded": "length",
}


def render_message(answer: WholeAnswer, limits: Sequence[LimitState] = ()) -> HttpAnswer:
    """The answer's object, and Anthropic's header fields."""
    reply = answer.reply
    body = {
        **message_object(reply.id, reply.model, answer.usage),
        "content": _content_of(reply),
        **stop_object(reply.finish_reason, reply.stop, answer.request),
    }
    return make_answer(answer, str(answer.request_id), more_lines(_lines_of(answer, limits)), orjson.dumps(body))


def render_count(answer: WholeAnswer, limits: Sequence[LimitState] = ()) -> HttpAnswer:
    """The number of tokens that a provider would be sent."""
    request_id = str(answer.request_id).encode("ascii")
    fields = b"content-type: application/json\r\nx-request-id: %b\r\n" % request_id + _lines_of(answer, limits)
    return HttpAnswer(200, fields, orjson.dumps({"input_tokens": answer.usage.prompt_tokens}))


def _lines_of(answer: WholeAnswer, limits: Sequence[LimitState]) -> bytes:
    """The header lines that are Anthropic's own, and the limits."""
    line = id_field(answer.request_id)
    return line + render_limits(limits) + render_anthropic_limits(limits, answer.at) if limits else line


def id_field(request_id: UUID) -> bytes:
    """The header line `request-id`."""
    return b"request-id: %b\r\n" % str(request_id).encode("ascii")


def message_object(reply_id: str, model: str, usage: Usage) -> dict[str, Json]:
    """A message without content, as a stream begins."""
    return {
        "id": reply_id if reply_id.startswith("msg_") else f"msg_{reply_id.removeprefix('chatcmpl-')}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_object(usage),
    }


def usage_object(usage: Usage) -> dict[str, Json]:
    """Anthropic's `usage` (rule 2)."""
    fresh = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    counts: dict[str, Json] = {
        "input_tokens": max(0, fresh),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return counts


def stop_object(finish_reason: FinishReason, stop: NativeStop | None, request: ChatRequest) -> dict[str, Json]:
    """`stop_reason` and `stop_sequence`. A provider that only says that a sequence matched means the only one."""
    reason, sequence = _STOP_REASONS[finish_reason], None
    if stop is not None and stop.reason is not None and _FINER.get(stop.reason) == finish_reason:
        reason = stop.reason
        if reason == "stop_sequence":
            asked = request.options.stop
            sequence = stop.sequence or (asked[0] if len(asked) == 1 else None)
    return {"stop_reason": reason, "stop_sequence": sequence}


def thinking_object(block: Reasoning) -> dict[str, Json]:
    """A block of thinking, signed or encrypted."""
    if block.data is not None:
        return {"type": "redacted_thinking", "data": block.data}
    return {"type": "thinking", "thinking": block.text, "signature": block.signature}


def read_input(arguments: str) -> Json:
    """A call's input: the object that its arguments are, or an object with the text that a model wrote in its place."""
    try:
        given = orjson.loads(arguments) if arguments.strip() else {}
        # orjson reads 1,024 levels and writes 254.
        orjson.dumps(given)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        given = arguments
    return given if isinstance(given, dict) else {"input": given}


def _content_of(reply: Reply) -> list[dict[str, Json]]:
    if reply.native_content and text_of(reply.native_content) == (reply.content or ""):
        return [dict(block) for block in reply.native_content]
    content = [thinking_object(block) for block in reply.reasoning_blocks if block.signature or block.data]
    if reply.content:
        content.append({"type": "text", "text": reply.content})
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": read_input(call.arguments)}
        for call in reply.tool_calls
    ]
    return content + calls
