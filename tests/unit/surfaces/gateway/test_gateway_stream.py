"""Streamed answers of the Gateway API, byte for byte."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from pg_trio.domain.call import RequestHead
from pg_trio.domain.chat import Usage
from pg_trio.domain.events import ContentDelta, Event, Joined, Opened
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.domain.stage_times import StageTimes
from pg_trio.errors import DeadlineExceeded, ProviderCallFailed
from pg_trio.surfaces import StreamSummary
from pg_trio.surfaces.gateway.stream_writer import GatewayStream

OPENED = Opened("chatcmpl-1", "gpt-4o-mini")
SESSION = UUID("6f1c0000-0000-4000-8000-000000000001")
HEAD = RequestHead(UUID(int=1), "p", "ask", [], None, [], 0.0, 1763800000.7)
ENDPOINT = Endpoint(UUID(int=2), "ask", "Ask", (Candidate(Credential("main", "openai", "http://127.0.0.1"), "gpt"),))


def summary(model: str = "gpt-4o-mini", session_id: UUID | None = None) -> StreamSummary:
    times = StageTimes(("auth", "provider"), (0.5, 12.5))
    return StreamSummary(HEAD.request_id, "openai", model, 1, 231.4, times, session_id)


def open_stream(*events: Event) -> GatewayStream:
    stream = GatewayStream(HEAD, ENDPOINT)
    stream.render([OPENED, *events])
    return stream


def last_chunk(end: bytes) -> Any:
    _, chunk, done, nothing = end.split(b"\n\n")
    assert (b"data: [DONE]", b"") == (done, nothing)
    return orjson.loads(chunk.removeprefix(b"data: "))


def test_bytes_of_the_contract() -> None:
    stream = open_stream()

    rendered = stream.render([ContentDelta("Hi"), ContentDelta("!")]) + stream.finish("stop", Usage(1, 2), summary())

    assert (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763800000,"model":"gpt-4o-mini",'
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}\n\n'
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763800000,"model":"gpt-4o-mini",'
        b'"choices":[{"index":0,"delta":{"content":"!"},"finish_reason":null}]}\n\n'
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763800000,"model":"gpt-4o-mini",'
        b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763800000,"model":"gpt-4o-mini",'
        b'"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},'
        b'"meta":{"request_id":"00000000-0000-0000-0000-000000000001","provider":"openai","model":"gpt-4o-mini",'
        b'"attempts":1,"first_token_ms":231.4,"overhead_ms":0.5,"timings_ms":{"auth":0.500,"provider":12.500}}}\n\n'
        b"data: [DONE]\n\n"
    ) == rendered


def test_last_chunk_tells_usage_and_meta() -> None:
    joined = Joined("restart", 7, "groq", "llama", "it broke")

    end = open_stream(joined).finish("stop", Usage(5, 7, estimated=True), summary("gpt\u2028x", SESSION))

    assert b"\\u2028" in end
    last = last_chunk(end)
    assert {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "estimated": True} == last["usage"]
    assert ("gpt\u2028x", str(SESSION)) == (last["meta"]["model"], last["meta"]["session_id"])
    assert [{"mode": "restart", "characters": 7, "provider": "groq", "model": "llama", "why": "it broke"}] == last[
        "meta"
    ]["joins"]


def test_failure_is_no_end() -> None:
    failed = open_stream(ContentDelta("Hi")).fail(ProviderCallFailed("it said \u2028\n no"))

    chunk, error, done, nothing = failed.decode("utf-8").split("\n\n")
    assert [{"index": 0, "delta": {}, "finish_reason": "error"}] == orjson.loads(chunk[6:])["choices"]
    name, data = error.splitlines()
    assert "event: error" == name
    body = {"ok": False, "error": "Provider call failed: it said \u2028\n no"}
    assert body == orjson.loads(data.removeprefix("data: "))
    assert ("data: [DONE]", "") == (done, nothing)


def test_failure_has_the_contracts_text() -> None:
    failed = open_stream(ContentDelta("Hi")).fail(DeadlineExceeded(800))

    assert b'\n\nevent: error\ndata: {"ok":false,"error":"Deadline exceeded: no answer within 800 ms."}\n\n' in failed
