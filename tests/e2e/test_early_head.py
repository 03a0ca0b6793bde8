"""Streams whose model thinks for long, over sockets: the head before a token, comments, reasoning, and every end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.stages.relay import clock
from tests.e2e.test_streaming import assert_cut_honestly, chunks_of, events_of, roles_of, stream, text_of
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post

EARLY: dict[str, Any] = {"streaming_enabled": True, "stream_head_after_ms": 100}
FAILOVER = [{"credential": "sim", "model": "second"}]
CONFIGURATION = "\n".join(
    [
        "[gateway]",
        "hedge_budget_percent = 100",
        project(),
        # Without retries: each would wait for the provider again.
        endpoint("early", **EARLY, max_attempts=1),
        # Its token is always the quicker one, also on a busy machine.
        endpoint("quick", **{**EARLY, "stream_head_after_ms": 60_000}),
        endpoint("usual", streaming_enabled=True, max_attempts=1),
        endpoint("token-only", streaming_enabled=True, stream_head_after_ms=0, max_attempts=1),
        endpoint("hidden", streaming_enabled=True, stream_reasoning=False, log_bodies="full"),
        endpoint("logged", streaming_enabled=True, log_bodies="full", sessions_enabled=True),
        endpoint("two", "first", **EARLY, failover=FAILOVER, first_token_timeout_ms=400),
        endpoint("hedged", "first", **EARLY, failover=FAILOVER, hedge_after_ms=500),
        endpoint("short", **EARLY, stream_deadline_ms=400),
        endpoint("restarted", "first", streaming_enabled=True, failover=FAILOVER, on_stream_failure="restart"),
        endpoint("poor", **EARLY, monthly_budget_usd="10", estimated_cost_per_1k_tokens_usd="1"),
        endpoint("talk", **EARLY, sessions_enabled=True),
    ]
)


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)


@asynccontextmanager
async def listening(gateway: Gateway, slug: str) -> AsyncIterator[trio.SocketStream]:
    """A client whose request for a stream is with the gateway."""
    client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    async with client:
        with trio.fail_after(10):
            await client.send_all(
                post(f"/api/{PROJECT}/{slug}", {"message": "Think", "stream": True}, bearer(gateway.token))
            )
            yield client


async def read_until(client: trio.SocketStream, what: bytes) -> bytes:
    """What comes up to and with these bytes."""
    data = b""
    while what not in data:
        received = await client.receive_some()
        assert received, data
        data += received
    return data


def reasoning_of(response: HttpResponse) -> str:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(response) if chunk["choices"]]
    return "".join(delta.get("reasoning_content") or "" for delta in deltas)


# ── the head ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_head_comes_while_the_provider_is_silent(gateway: Gateway) -> None:
    gateway.simulator.behave("early", "latency=60s")

    async with listening(gateway, "early") as client:
        head = await read_until(client, b": keep-alive\n\n")
        (asked,) = gateway.simulator.requests

    assert b"HTTP/1.1 200" == head[:12]
    assert b"content-type: text/event-stream; charset=utf-8\r\n" in head.lower()
    assert b"\r\nx-request-id: " in head.lower()
    assert b"\r\nx-pg-" not in head.lower()
    assert asked.answered_at is None


async def test_comments_go_on_before_the_first_token(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "KEEP_ALIVE_S", 0.05)
    gateway.simulator.behave("early", "latency=500ms")

    response = await stream(gateway, "early")

    first, *_ = response.body.partition(b"data: ")
    assert first.count(b": keep-alive\n\n") >= 3
    assert "stop" == chunks_of(response)[-2]["choices"][0]["finish_reason"]


async def test_last_chunk_says_what_the_head_could_not(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "latency=60s")
    gateway.simulator.behave("second", content="in time")

    response = await stream(gateway, "two")

    assert (200, "in time") == (response.status, text_of(response))
    assert response.body.startswith(b": keep-alive\n\n")
    meta = chunks_of(response)[-1]["meta"]
    assert ("openai", "second", 2) == (meta["provider"], meta["model"], meta["attempts"])
    assert response.headers["x-request-id"] == meta["request_id"]


async def test_quick_stream_has_its_head_with_the_token(gateway: Gateway) -> None:
    response = await stream(gateway, "quick")

    headers = response.headers
    assert ("openai", "quick", "1") == (headers["x-pg-provider"], headers["x-pg-model"], headers["x-pg-attempts"])
    assert response.body.startswith(b"data: ")


@pytest.mark.parametrize("slug", ["usual", "token-only"])
async def test_failure_before_the_head_is_plain_json(gateway: Gateway, slug: str) -> None:
    gateway.simulator.behave(slug, "latency=300ms&fault=reset")

    response = await stream(gateway, slug)

    assert (502, "application/json") == (response.status, response.headers["content-type"])


async def test_failure_after_the_head_is_told_in_the_stream(gateway: Gateway) -> None:
    gateway.simulator.behave("early", "latency=300ms&fault=reset")

    response = await stream(gateway, "early")
    await gateway.stop()

    assert 200 == response.status
    error = json.loads(events_of(response)[-2][1])["error"]
    assert error.startswith("Provider call failed: ")
    assert_cut_honestly(response, error)
    assert ["assistant"] == roles_of(chunks_of(response))
    (row,) = gateway.log_rows()
    assert (502, "ProviderCallFailed", error) == (row["status"], row["error_code"], row["error"])


async def test_deadline_after_the_head_is_told_in_the_stream(gateway: Gateway) -> None:
    gateway.simulator.behave("short", "latency=60s")

    response = await stream(gateway, "short")
    with trio.fail_after(10):
        received = await gateway.simulator.wait_closed()
    await gateway.stop()

    assert_cut_honestly(response, "Deadline exceeded: no answer within 400 ms.")
    assert received.closed_early
    (row,) = gateway.log_rows()
    assert (504, ["cancelled: deadline"]) == (row["status"], [attempt[5] for attempt in json.loads(row["attempts"])])


async def test_deadline_before_the_head_is_plain_json(gateway: Gateway) -> None:
    gateway.simulator.behave("usual", "latency=60s")

    response = await gateway.call("usual", {"message": "Hi", "stream": True}, ("X-PG-Timeout-Ms", "300"))

    assert (504, "application/json") == (response.status, response.headers["content-type"])


async def test_lost_try_behind_a_head_is_paid(gateway: Gateway) -> None:
    gateway.simulator.behave("poor", "latency=60s")

    await gateway.call("poor", {"message": "Hi there", "stream": True}, ("X-PG-Timeout-Ms", "300"))
    await gateway.stop()

    (row,) = gateway.log_rows()
    assert (504, True) == (row["status"], row["cost_nano_usd"] > 0)


# ── reasoning ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_reasoning_is_relayed_at_once(gateway: Gateway) -> None:
    gateway.simulator.behave("usual", "reasoning=1000&pace=20ms")

    async with listening(gateway, "usual") as client:
        data = await read_until(client, b"reasoning_content")
        (asked,) = gateway.simulator.requests

    assert b"HTTP/1.1 200" == data[:12]
    assert b"\r\nx-pg-" not in data.lower()
    assert asked.answered_at is None


async def test_reasoning_comes_before_the_text(gateway: Gateway) -> None:
    gateway.simulator.behave("usual", "reasoning=5&pace=5ms", content="So it is")

    response = await stream(gateway, "usual")

    assert ("Hm. " * 5, "So it is") == (reasoning_of(response), text_of(response))
    chunks = chunks_of(response)
    assert 1 == len({chunk["id"] for chunk in chunks})
    assert ["assistant"] == [role for role in roles_of(chunks) if role]
    assert "joins" not in chunks[-1]["meta"]
    assert ("openai", "usual", 1) == tuple(chunks[-1]["meta"][name] for name in ("provider", "model", "attempts"))


async def test_reasoning_waits_where_a_token_alone_sends_the_head(gateway: Gateway) -> None:
    gateway.simulator.behave("token-only", "reasoning=5&pace=5ms", content="So it is")

    response = await stream(gateway, "token-only")

    assert "token-only" == response.headers["x-pg-model"]
    assert ("Hm. " * 5, "So it is") == (reasoning_of(response), text_of(response))


async def test_reasoning_can_be_hidden(gateway: Gateway) -> None:
    gateway.simulator.behave("hidden", "reasoning=5&pace=5ms", content="So it is")

    response = await stream(gateway, "hidden")

    assert b"Hm." not in response.body
    assert ("So it is", "hidden") == (text_of(response), response.headers["x-pg-model"])


async def test_reasoning_is_in_no_log_and_no_session(gateway: Gateway) -> None:
    gateway.simulator.behave("logged", "reasoning=5&pace=5ms", content="So it is")

    response = await stream(gateway, "logged")
    session = chunks_of(response)[-1]["meta"]["session_id"]
    await stream(gateway, "logged", session_id=session)
    await gateway.stop()

    assert "Hm. " * 5 == reasoning_of(response)
    _, second = gateway.simulator.requests
    assert [{"role": "assistant", "content": "So it is"}] == second.body["messages"][1:2]
    rows = gateway.log_rows()
    assert ["So it is"] * 2 == [json.loads(row["response_body"])["content"] for row in rows]
    assert not any("Hm." in str(value) for row in rows for value in row.values())


async def test_reasoning_keeps_the_first_token_clock(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "reasoning=12&pace=100ms", content="worth it")

    response = await stream(gateway, "two")

    assert ("worth it", 1) == (text_of(response), len(gateway.simulator.requests))


async def test_candidate_that_reasons_and_fails_is_replaced(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "reasoning=3&pace=5ms&fault=cut:0")
    gateway.simulator.behave("second", "reasoning=2&pace=5ms", content="rescued")

    response = await stream(gateway, "two")
    await gateway.stop()

    chunks = chunks_of(response)
    assert ("rescued", "Hm. " * 5) == (text_of(response), reasoning_of(response))
    assert 1 == len({chunk["id"] for chunk in chunks})
    assert ["assistant"] == [role for role in roles_of(chunks) if role]
    assert "stop" == chunks[-2]["choices"][0]["finish_reason"]
    (join,) = chunks[-1]["meta"]["joins"]
    assert ("restart", 0, "second") == (join["mode"], join["characters"], join["model"])
    assert "connection closed before the answer was whole" == join["why"]
    # It stands where the voice changes: after the first one's reasoning, before the other's.
    (place,) = [index for index, chunk in enumerate(chunks[:-1]) if "meta" in chunk]
    assert 3 == place
    (row,) = gateway.log_rows()
    assert (200, "second") == (row["status"], row["model"])


async def test_all_that_reason_and_fail_end_honestly(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "reasoning=3&pace=5ms&fault=cut:0")
    gateway.simulator.behave("second", "reasoning=3&pace=5ms&fault=cut:0")

    response = await stream(gateway, "two")

    assert 200 == response.status
    assert_cut_honestly(response, json.loads(events_of(response)[-2][1])["error"])


async def test_hedge_holds_reasoning_of_the_loser(gateway: Gateway) -> None:
    # Some ten deltas come before the hedge begins at 500 ms, and more while the second reasons twice, and wins.
    gateway.simulator.behave("first", "reasoning=1000&pace=50ms")
    gateway.simulator.behave("second", "reasoning=2&latency=400ms&pace=20ms", content="quick")

    response = await stream(gateway, "hedged")

    assert "quick" == text_of(response)
    deltas = [chunk for chunk in chunks_of(response) if chunk["choices"] and chunk["choices"][0]["delta"]]
    models = [chunk["model"] for chunk in deltas if "reasoning_content" in chunk["choices"][0]["delta"]]
    assert ["second"] * 2 == models[-2:]
    assert {"first"} == set(models[:-2])
    assert 1 <= len(models[:-2]) <= 12
    (join,) = chunks_of(response)[-1]["meta"]["joins"]
    assert ("restart", 0, "hedge lost") == (join["mode"], join["characters"], join["why"])


async def test_rescuer_reasons_in_the_stream(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "fault=cut:2", content="one two three")
    gateway.simulator.behave("second", "reasoning=2&pace=5ms", content="one two three")

    response = await stream(gateway, "restarted")

    (join,) = chunks_of(response)[-1]["meta"]["joins"]
    assert ("restart", len("one two")) == (join["mode"], join["characters"])
    assert ("Hm. " * 2, "one two three") == (reasoning_of(response), text_of(response)[join["characters"] :])


# ── sessions, and clients that leave ─────────────────────────────────────────────────────────────────────────────────


async def test_session_behind_an_early_head_is_stored(gateway: Gateway) -> None:
    gateway.simulator.behave("talk", "latency=300ms", content="Noted.")

    first = await stream(gateway, "talk", message="Remember 7")
    session = chunks_of(first)[-1]["meta"]["session_id"]
    await stream(gateway, "talk", message="Which?", session_id=session)

    _, second = gateway.simulator.requests
    assert ["Remember 7", "Noted.", "Which?"] == [message["content"] for message in second.body["messages"]]


@pytest.mark.parametrize(
    ("slug", "behaviour", "leaves_at"),
    [
        ("usual", "latency=60s", b""),
        ("early", "latency=60s", b": keep-alive\n\n"),
        ("early", "reasoning=10000&pace=10ms", b"reasoning_content"),
        ("early", "tokens=10000&pace=10ms&latency=200ms", b'"content":'),
    ],
    ids=["before the head", "after the head", "while it reasons", "after a token"],
)
async def test_leaving_client_stops_the_provider(gateway: Gateway, slug: str, behaviour: str, leaves_at: bytes) -> None:
    gateway.simulator.behave(slug, behaviour)

    async with listening(gateway, slug) as client:
        asked = await gateway.simulator.wait_request()
        if leaves_at:
            await read_until(client, leaves_at)
    with trio.fail_after(10):
        received = await gateway.simulator.wait_closed(asked)
    await gateway.stop()

    assert received.closed_early
    (row,) = gateway.log_rows()
    assert (499, "ClientLeft") == (row["status"], row["error_code"])
    (attempt,) = json.loads(row["attempts"])
    assert attempt[5].startswith("cancelled")


async def test_abandoned_reasoning_leaves_no_turn(gateway: Gateway) -> None:
    gateway.simulator.behave("talk", content="Noted.")
    first = await stream(gateway, "talk", message="Remember 7")
    session = chunks_of(first)[-1]["meta"]["session_id"]
    gateway.simulator.behave("talk", "reasoning=10000&pace=10ms")
    client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    body = {"message": "Forget it", "stream": True, "session_id": session}
    await client.send_all(post(f"/api/{PROJECT}/talk", body, bearer(gateway.token)))
    await read_until(client, b"reasoning_content")

    await client.aclose()

    with trio.fail_after(10):
        await gateway.simulator.wait_closed(gateway.simulator.requests[1])
    gateway.simulator.behave("talk", content="7")
    await stream(gateway, "talk", message="Which?", session_id=session)
    last = gateway.simulator.requests[-1]
    assert ["Remember 7", "Noted.", "Which?"] == [message["content"] for message in last.body["messages"]]


async def test_relayed_reasoning_of_a_leaver_is_paid(gateway: Gateway) -> None:
    gateway.simulator.behave("poor", "reasoning=10000&pace=5ms")

    async with listening(gateway, "poor") as client:
        received = b""
        while received.count(b"reasoning_content") < 40:
            received += await client.receive_some()
    with trio.fail_after(10):
        await gateway.simulator.wait_closed()
    await gateway.stop()

    # 40 deltas of 4 characters are 40 tokens; the prompt's 5 characters two.
    (row,) = gateway.log_rows()
    assert row["cost_nano_usd"] >= 42 * 1_000_000
