"""Whole answers and failures of the Gateway API."""

from __future__ import annotations

from uuid import UUID

import orjson
import pytest

from pg_trio.domain.call import WholeAnswer
from pg_trio.domain.chat import Reasoning, Reply, ToolCall, Usage
from pg_trio.domain.events import ContentDelta, Opened
from pg_trio.domain.log_row import AttemptRow
from pg_trio.domain.stage_times import NO_TIMES, StageTimes
from pg_trio.errors import DeadlineExceeded, RateLimited
from pg_trio.surfaces import Tries
from pg_trio.surfaces.gateway.answers import render_answer, render_error
from pg_trio.surfaces.openai_chunks import ChunkWriter
from tests.support.requests import REQUEST

ANSWER = WholeAnswer(
    reply=Reply("chatcmpl-1", "gpt-4o-mini", "Hi", "stop"),
    usage=Usage(38, 87),
    request_id=UUID(int=1),
    provider="openai",
    attempts=[],
    times=StageTimes(("auth", "provider"), (0.1, 12.5)),
    request=REQUEST,
)


def test_success_body_is_the_contracts() -> None:
    rendered = render_answer(ANSWER)

    expected = {
        "ok": True,
        "id": "chatcmpl-1",
        "model": "gpt-4o-mini",
        "content": "Hi",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 38, "completion_tokens": 87, "total_tokens": 125},
        "meta": {"request_id": str(UUID(int=1))},
    }
    assert expected == orjson.loads(rendered.body)
    assert list(expected) == list(orjson.loads(rendered.body))
    assert b"auth;dur=0.100, provider;dur=12.500, overhead;dur=0.100" == dict(rendered.headers())[b"server-timing"]


def test_tool_calls_come_back() -> None:
    reply = Reply("chatcmpl-1", "m", None, "tool_calls", tool_calls=(ToolCall("c1", "add", '{"a":1}'),))
    answer = WholeAnswer(reply, Usage(1, 1, estimated=True), UUID(int=1), "openai", [], NO_TIMES, REQUEST)

    body = orjson.loads(render_answer(answer).body)

    assert [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}] == body["tool_calls"]
    assert (None, True) == (body["content"], body["usage"]["estimated"])


def test_reasoning_stands_beside_the_content() -> None:
    reply = Reply("chatcmpl-1", "m", "4", "stop", reasoning="2 and 2")
    answer = WholeAnswer(reply, Usage(1, 1), UUID(int=1), "openai", [], NO_TIMES, REQUEST)

    body = orjson.loads(render_answer(answer).body)

    assert ("4", "2 and 2") == (body["content"], body["reasoning_content"])


def test_error_has_its_headers() -> None:
    rendered = render_error(RateLimited("minute", 7), UUID(int=1))

    assert (429, b"7") == (rendered.status, dict(rendered.headers())[b"retry-after"])
    assert b'{"ok":false,"error":"Rate limit exceeded.","scope":"minute","retry_after":7}' == rendered.body


def test_failure_says_what_was_tried_not_what_was_said() -> None:
    rows = [AttemptRow("groq", "llama", "main", 1.5, 9.25, "failed: quota of acme-corp used up")]
    tries = Tries(rows, StageTimes(("auth", "provider"), (0.5, 9.0)))

    rendered = render_error(DeadlineExceeded(800), UUID(int=1), (), tries)

    assert [
        {"provider": "groq", "model": "llama", "outcome": "failed", "start_ms": 1.5, "end_ms": 9.25}
    ] == orjson.loads(rendered.body)["attempts"]
    assert (b"groq", b"llama", b"1", b"auth;dur=0.500, provider;dur=9.000, overhead;dur=0.500") == tuple(
        dict(rendered.headers())[name] for name in (b"x-pg-provider", b"x-pg-model", b"x-pg-attempts", b"server-timing")
    )
    assert b"acme" not in rendered.body


def test_usage_tells_its_parts_where_they_are_known() -> None:
    usage = Usage(38, 87, cached_tokens=20, reasoning_tokens=7)
    answer = WholeAnswer(Reply("chatcmpl-1", "m", "Hi", "stop"), usage, UUID(int=1), "openai", [], NO_TIMES, REQUEST)

    body = orjson.loads(render_answer(answer).body)

    assert {
        "prompt_tokens": 38,
        "completion_tokens": 87,
        "total_tokens": 125,
        "prompt_tokens_details": {"cached_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 7},
    } == body["usage"]


def test_signed_reasoning_has_openrouters_shape() -> None:
    blocks = (Reasoning("2 and 2", "c2ln"), Reasoning("", data="ZGF0YQ=="))
    calls = (ToolCall("c1", "add", "{}", "dGhvdWdodA=="),)
    reply = Reply("chatcmpl-1", "m", None, "tool_calls", None, calls, "2 and 2", blocks)
    answer = WholeAnswer(reply, Usage(1, 1), UUID(int=1), "anthropic", [], NO_TIMES, REQUEST)

    body = orjson.loads(render_answer(answer).body)

    assert [
        {"type": "reasoning.text", "text": "2 and 2", "signature": "c2ln"},
        {"type": "reasoning.encrypted", "data": "ZGF0YQ=="},
    ] == body["reasoning_details"]
    assert {"google": {"thought_signature": "dGhvdWdodA=="}} == body["tool_calls"][0]["extra_content"]
    keys = ["ok", "id", "model", "content", "reasoning_content", "reasoning_details", "tool_calls", "finish_reason"]
    assert keys == list(body)[:8]


@pytest.mark.parametrize(("theirs", "ours"), [("chatcmpl-1", "chatcmpl-1"), ("msg_1", "chatcmpl-msg_1")])
def test_ids_are_of_one_shape(theirs: str, ours: str) -> None:
    answer = WholeAnswer(Reply(theirs, "m", "Hi", "stop"), Usage(1, 1), UUID(int=1), "anthropic", [], NO_TIMES, REQUEST)
    chunks = ChunkWriter(1763800000)

    chunks.render(Opened(theirs, "m"))

    assert ours == orjson.loads(render_answer(answer).body)["id"]
    assert f'data: {{"id":"{ours}",'.encode() in chunks.render(ContentDelta("Hi"))
