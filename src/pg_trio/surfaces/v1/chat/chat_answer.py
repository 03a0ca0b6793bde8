"""Whole answers of Chat Completions, exactly OpenAI's object.

Source: OpenAI, API reference, "The chat completion object", read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from pg_trio.domain.call import WholeAnswer
from pg_trio.domain.chat import Reply
from pg_trio.domain.limits import LimitState
from pg_trio.domain.stage_times import StageTimes
from pg_trio.surfaces.http_answer import HttpAnswer, make_answer
from pg_trio.surfaces.openai_shapes import call_objects, completion_id, plain_usage_object, reasoning_object
from pg_trio.surfaces.v1.model_limits import render_all_limits


def render_answer(answer: WholeAnswer, limits: Sequence[LimitState] = ()) -> HttpAnswer:
    """The answer's object, and OpenAI's header fields. Request id and session are header fields alone."""
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
    return make_answer(answer, str(answer.request_id), answer_lines(answer.times, limits), orjson.dumps(body))


def answer_lines(times: StageTimes, limits: Sequence[LimitState]) -> bytes:
    """The header lines of a whole answer that are OpenAI's own, and its limits."""
    line = b"openai-processing-ms: %d\r\n" % sum(times.durations_ms)
    return line + render_all_limits(limits) if limits else line


def processing_ms(times: StageTimes) -> bytes:
    """The header line `openai-processing-ms`: the time from the request's head to its answer's."""
    return b"openai-processing-ms: %d\r\n" % sum(times.durations_ms)


def _add_rare_fields(reply: Reply, message: dict[str, object]) -> None:
    if reply.reasoning:
        # Front ends read the one or the other.
        message["reasoning_content"] = message["reasoning"] = reply.reasoning
    if reply.reasoning_blocks:
        message["reasoning_details"] = [reasoning_object(block) for block in reply.reasoning_blocks]
    if reply.tool_calls:
        message["tool_calls"] = call_objects(reply)
