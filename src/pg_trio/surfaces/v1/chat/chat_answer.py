"""Whole answers of Chat Completions, exactly OpenAI's object.

Source: OpenAI, API reference, "The chat completion object", read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence

from orjson import dumps

from pg_trio.domain.call import WholeAnswer
from pg_trio.domain.chat import Reply
from pg_trio.domain.limits import NO_LIMITS, LimitState
from pg_trio.surfaces.http_answer import HttpAnswer, make_answer
from pg_trio.surfaces.openai_shapes import call_objects, completion_id, plain_usage_object, reasoning_object
from pg_trio.surfaces.v1.model_limits import openai_lines

# The usual object, as orjson writes it: `render_any` writes all others.
_TEXT = (
    b'{"id":%b,"object":"chat.completion","created":%d,"model":%b,"choices":[{"index":0,"message":'
    b'{"role":"assistant","content":%b,"refusal":null},"logprobs":null,"finish_reason":"%b"}],'
    b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}'
)


def render_answer(answer: WholeAnswer, limits: Sequence[LimitState] = NO_LIMITS) -> HttpAnswer:
    """The answer's object, and OpenAI's header fields. Request id and session are header fields alone."""
    reply, usage = answer.reply, answer.usage
    if (
        reply.reasoning
        or reply.reasoning_blocks
        or reply.tool_calls
        or reply.logprobs is not None
        or usage.cached_tokens
        or usage.reasoning_tokens
    ):
        body = render_any(answer)
    else:
        prompt_tokens, completion_tokens = usage.prompt_tokens, usage.completion_tokens
        body = _TEXT % (
            dumps(completion_id(reply.id)),
            answer.at,
            dumps(reply.model),
            dumps(reply.content),
            reply.finish_reason.encode("ascii"),
            prompt_tokens,
            completion_tokens,
            prompt_tokens + completion_tokens,
        )
    return make_answer(answer, str(answer.request_id), openai_lines(answer.times, limits), body)


def render_any(answer: WholeAnswer) -> bytes:
    """The object of any answer."""
    reply = answer.reply
    message: dict[str, object] = {"role": "assistant", "content": reply.content, "refusal": None}
    if reply.reasoning or reply.tool_calls or reply.reasoning_blocks:
        _add_rare_fields(reply, message)
    body = {
        "id": completion_id(reply.id),
        "object": "chat.completion",
        "created": int(answer.at),
        "model": reply.model,
        "choices": [{"index": 0, "message": message, "logprobs": reply.logprobs, "finish_reason": reply.finish_reason}],
        "usage": plain_usage_object(answer.usage),
    }
    return dumps(body)


def _add_rare_fields(reply: Reply, message: dict[str, object]) -> None:
    if reply.reasoning:
        # Front ends read the one or the other.
        message["reasoning_content"] = message["reasoning"] = reply.reasoning
    if reply.reasoning_blocks:
        message["reasoning_details"] = [reasoning_object(block) for block in reply.reasoning_blocks]
    if reply.tool_calls:
        message["tool_calls"] = call_objects(reply)
