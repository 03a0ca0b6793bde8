"""Streaming over sockets: what the client reads, how a stream ends, what the provider sees when the client leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.simulator import Simulator, serve_simulator
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, send_raw

FAILOVER = [{"credential": "sim", "model": "second"}]
RESCUED = {"streaming_enabled": True, "failover": FAILOVER, "idle_timeout_ms": 300}
LONG_STAGES = ("auth", "read", "provider", "stream")
CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("live", streaming_enabled=True),
        endpoint("plain"),
        endpoint("two", model="first", streaming_enabled=True, failover=FAILOVER),
        endpoint("hedged", model="first", streaming_enabled=True, failover=FAILOVER, hedge_after_ms=50),
        endpoint("idle", streaming_enabled=True, idle_timeout_ms=200),
        endpoint("slow-start", model="first", streaming_enabled=True, first_token_timeout_ms=200, failover=FAILOVER),
        endpoint("continued", model="first", **RESCUED, on_stream_failure="continue"),
        endpoint("restarted", model="first", **RESCUED, on_stream_failure="restart"),
        endpoint("short", streaming_enabled=True, deadline_ms=20_000, stream_deadline_ms=400),
        endpoint("poor", streaming_enabled=True, monthly_budget_usd="10", estimated_cost_per_1k_tokens_usd="1"),
    ]
)


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION, request.param)


async def stream(gateway: Gateway, slug: str, **fields: object) -> HttpResponse:
    return await gateway.call(slug, {"message": "Tell me", "stream": True, **fields})


def events_of(response: HttpResponse) -> list[tuple[str, str]]:
    """(event, data) of each event of the body, read as the simplest client would; comments are dropped."""
    events = []
    for block in response.body.decode("utf-8").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if fields:
            events.append((fields.get("event", "message"), fields["data"]))
    return events


def chunks_of(response: HttpResponse) -> list[dict[str, Any]]:
    """The JSON chunks of a stream, errors and `[DONE]` apart."""
    return [json.loads(data) for event, data in events_of(response) if event == "message" and data != "[DONE]"]


def text_of(response: HttpResponse) -> str:
    """What a client that reads only `choices[0].delta.content` has at the end."""
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(response) if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def roles_of(chunks: list[dict[str, Any]]) -> list[str | None]:
    return [chunk["choices"][0]["delta"].get("role") for chunk in chunks if chunk["choices"]]


def assert_cut_honestly(response: HttpResponse, error: str) -> None:
    """A stream that broke: finish reason `error`, an `error` event, `[DONE]`, in that order, and a clean end."""
    *_, (_, last_chunk), (kind, said), (_, done) = events_of(response)
    assert "error" == json.loads(last_chunk)["choices"][0]["finish_reason"]
    assert ("error", {"ok": False, "error": error}) == (kind, json.loads(said))
    assert "[DONE]" == done


async def test_tokens_arrive_as_openai_chunks(gateway: Gateway) -> None:
    gateway.simulator.behave("live", content="Grüße, 世界! 👋\nBye.")

    response = await stream(gateway, "live")

    assert (200, "text/event-stream; charset=utf-8") == (response.status, response.headers["content-type"])
    assert ("no-cache", "no") == (response.headers["cache-control"], response.headers["x-accel-buffering"])
    assert "Grüße, 世界! 👋\nBye." == text_of(response)
    chunks = chunks_of(response)
    assert {"chat.completion.chunk"} == {chunk["object"] for chunk in chunks}
    assert 1 == len({chunk["id"] for chunk in chunks})
    assert "assistant" == chunks[0]["choices"][0]["delta"]["role"]
    assert "stop" == chunks[-2]["choices"][0]["finish_reason"]
    assert ("message", "[DONE]") == events_of(response)[-1]


async def test_last_chunk_has_usage_and_meta(gateway: Gateway) -> None:
    response = await stream(gateway, "live")

    last = chunks_of(response)[-1]
    assert [] == last["choices"]
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"] > 0
    assert response.headers["x-request-id"] == last["meta"]["request_id"]


async def test_stream_is_ignored_where_not_enabled(gateway: Gateway) -> None:
    response = await stream(gateway, "plain")

    assert ("application/json", True) == (response.headers["content-type"], response.json()["ok"])


async def test_not_asked_for_is_not_streamed(gateway: Gateway) -> None:
    response = await gateway.call("live")

    assert "application/json" == response.headers["content-type"]


async def test_failure_before_first_token_is_plain_json(gateway: Gateway) -> None:
    gateway.simulator.behave("live", "fault=status:503")

    response = await stream(gateway, "live")

    assert (502, "application/json") == (response.status, response.headers["content-type"])


@pytest.mark.parametrize("fault", ["status:500", "reset", "hangup", "garbage", "cut:0", "wrong_type"])
async def test_failure_before_first_token_fails_over(gateway: Gateway, fault: str) -> None:
    gateway.simulator.behave("first", f"fault={fault}")
    gateway.simulator.behave("second", content="rescued")

    response = await stream(gateway, "two")

    assert (200, "rescued") == (response.status, text_of(response))
    assert "2" == response.headers["x-pg-attempts"]


async def test_silent_head_is_no_token(gateway: Gateway) -> None:
    # The head and the role come at once, the first token never: a race is not won by that.
    gateway.simulator.behave("first", "head=early&latency=30s")
    gateway.simulator.behave("second", content="quick")

    response = await stream(gateway, "hedged")

    assert "quick" == text_of(response)
    first = gateway.simulator.requests[0]
    with trio.fail_after(10):
        await gateway.simulator.wait_closed(first)


async def test_first_token_limit_starts_next(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "head=early&latency=30s")
    gateway.simulator.behave("second", content="in time")

    response = await stream(gateway, "slow-start")

    assert "in time" == text_of(response)


@pytest.mark.parametrize("fault", ["cut:3", "reset:body", "stream_error:3"])
async def test_cut_stream_never_looks_finished(gateway: Gateway, fault: str) -> None:
    gateway.simulator.behave("live", f"tokens=20&pace=5ms&fault={fault}")

    response = await stream(gateway, "live")

    assert 200 == response.status
    kind, said = events_of(response)[-2]
    assert "error" == kind
    assert json.loads(said)["error"].startswith("Provider call failed: ")
    assert_cut_honestly(response, json.loads(said)["error"])


async def test_idle_limit_ends_stream(gateway: Gateway) -> None:
    gateway.simulator.behave("idle", "tokens=20&fault=stall:3")

    response = await stream(gateway, "idle")

    assert_cut_honestly(response, "Provider call failed: no token within 0.2 s")


async def test_stream_deadline_ends_stream(gateway: Gateway) -> None:
    gateway.simulator.behave("short", "tokens=1000&pace=20ms")

    response = await stream(gateway, "short")

    assert_cut_honestly(response, "Deadline exceeded: no answer within 400 ms.")


async def test_leaving_client_closes_provider_connection(gateway: Gateway) -> None:
    gateway.simulator.behave("live", "tokens=1000&pace=20ms")
    body = {"message": "Tell me", "stream": True}
    client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    await client.send_all(post(f"/api/{PROJECT}/live", body, bearer(gateway.token)))
    assert b"data: " in await client.receive_some() + await client.receive_some()

    await client.aclose()

    with trio.fail_after(10):
        received = await gateway.simulator.wait_closed()
    assert received.closed_early


async def test_relayed_part_is_settled_and_logged(gateway: Gateway) -> None:
    gateway.simulator.behave("poor", "tokens=20&fault=cut:5")

    whole = await stream(gateway, "live")
    cut = await stream(gateway, "poor")
    await gateway.stop()

    rows = gateway.log_rows()
    assert [(200, None), (502, "ProviderCallFailed")] == [(row["status"], row["error_code"]) for row in rows]
    assert [response.headers["x-request-id"] for response in (whole, cut)] == [row["request_id"] for row in rows]
    assert rows[1]["completion_tokens"] > 0
    assert rows[1]["cost_nano_usd"] > 0


async def test_reasoning_wins_nothing_but_lives(gateway: Gateway) -> None:
    gateway.simulator.behave("idle", "reasoning=10&pace=60ms&tokens=3")

    response = await stream(gateway, "idle")

    assert "stop" == chunks_of(response)[-2]["choices"][0]["finish_reason"]


async def test_many_streams_mix_nothing(gateway: Gateway) -> None:
    gateway.simulator.behave("live", "pace=1ms")
    texts: dict[int, str] = {}

    async def read(number: int) -> None:
        text = f"caller {number} says " + " ".join(str(number) for _ in range(30))
        texts[number] = text_of(await stream(gateway, "live", message=text))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(read, number)

    assert [] == [number for number, text in texts.items() if f"caller {number} says {number} {number}" not in text]


async def test_bad_token_is_401_before_anything(gateway: Gateway) -> None:
    response = await send_raw(gateway.port, post(f"/api/{PROJECT}/live", {"message": "Hi", "stream": True}))

    assert 401 == response.status


# ── after the first token ────────────────────────────────────────────────────────────────────────────────────────────

WORDS = " ".join(f"word{number}" for number in range(60))


@pytest.mark.parametrize("fault", ["cut:40", "cut:40:clean", "stall:40", "stream_error:40"])
async def test_failed_stream_is_continued(gateway: Gateway, fault: str) -> None:
    gateway.simulator.behave("first", f"fault={fault}", content=WORDS)
    gateway.simulator.behave("second", content="and the rest")

    response = await stream(gateway, "continued")
    await gateway.stop()

    first, second = gateway.simulator.requests
    relayed = text_of(response).removesuffix("and the rest")
    # The second candidate got the prompt, and what the client has, word for word, as the assistant's.
    assert [*first.body["messages"], {"role": "assistant", "content": relayed}] == second.body["messages"]
    assert relayed.split() == WORDS.split()[:40]
    chunks = chunks_of(response)
    assert 1 == len({chunk["id"] for chunk in chunks})
    assert ["assistant"] == [role for role in roles_of(chunks) if role]
    assert "stop" == chunks[-2]["choices"][0]["finish_reason"]
    (join,) = chunks[-1]["meta"]["joins"]
    assert ("continue", len(relayed), "second") == (join["mode"], join["characters"], join["model"])
    assert [join] == [chunk["meta"]["join"] for chunk in chunks[:-1] if "meta" in chunk]
    (row,) = gateway.log_rows()
    assert (200, "second") == (row["status"], row["model"])
    attempts = json.loads(row["attempts"])
    assert [f"failed: {join['why']}", "won"] == [attempt[5] for attempt in attempts]
    assert row["completion_tokens"] == chunks[-1]["usage"]["completion_tokens"]
    assert row["completion_tokens"] > 40


async def test_row_names_who_carried_a_stream_on(nursery: trio.Nursery, tmp_path: Path) -> None:
    spare: Simulator = await nursery.start(serve_simulator)
    credential = f'[[credentials]]\nname="spare"\nprovider="groq"\napi_key="gsk_test"\nbase_url="{spare.base_url}"\n'
    carried = {**RESCUED, "failover": [{"credential": "spare", "model": "second"}], "on_stream_failure": "continue"}
    gateway = await start_gateway(nursery, tmp_path, credential + project() + endpoint("ask", "first", **carried))
    gateway.simulator.behave("first", "fault=cut:4", content=WORDS)

    response = await stream(gateway, "ask")
    await gateway.stop()

    (row,) = gateway.log_rows()
    assert ("groq", "second") == (row["provider"], row["model"])
    assert ("openai", "groq") == (response.headers["x-pg-provider"], chunks_of(response)[-1]["meta"]["provider"])


async def test_failed_stream_is_restarted(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "fault=cut:40", content=WORDS)
    gateway.simulator.behave("second", content=WORDS)

    response = await stream(gateway, "restarted")

    first, second = gateway.simulator.requests
    assert first.body["messages"] == second.body["messages"]
    chunks = chunks_of(response)
    (join,) = chunks[-1]["meta"]["joins"]
    assert "restart" == join["mode"]
    assert WORDS == text_of(response)[join["characters"] :]


async def test_nobody_left_ends_a_stream_honestly(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "fault=cut:4", content=WORDS)
    gateway.simulator.behave("second", "fault=cut:4", content=WORDS)

    response = await stream(gateway, "continued")

    assert 2 == len(gateway.simulator.requests)
    kind, said = events_of(response)[-2]
    assert "error" == kind
    assert_cut_honestly(response, json.loads(said)["error"])


async def test_cut_tool_call_is_not_joined(gateway: Gateway) -> None:
    gateway.simulator.behave("first", 'tool=look_up:{"city": "Ulm"}&fault=cut:1')

    response = await stream(gateway, "continued")

    assert ["first"] == [received.body["model"] for received in gateway.simulator.requests]
    assert "error" == events_of(response)[-2][0]


async def test_client_that_leaves_in_a_rescue_closes_everything(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "fault=cut:4", content=WORDS)
    gateway.simulator.behave("second", "latency=60s")
    client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    body = {"message": "Tell me", "stream": True}
    await client.send_all(post(f"/api/{PROJECT}/continued", body, bearer(gateway.token)))
    with trio.fail_after(10):
        while len(gateway.simulator.requests) < 2:  # noqa: ASYNC110  # nobody tells
            await trio.sleep(0.01)

    await client.aclose()

    with trio.fail_after(10):
        received = await gateway.simulator.wait_closed(gateway.simulator.requests[1])
    assert received.closed_early


async def test_last_chunk_tells_how_it_went(gateway: Gateway) -> None:
    gateway.simulator.behave("live", "tokens=5&pace=20ms&latency=100ms")

    response = await stream(gateway, "live")
    await gateway.stop()

    meta = chunks_of(response)[-1]["meta"]
    assert (response.headers["x-request-id"], "openai", 1) == (meta["request_id"], meta["provider"], meta["attempts"])
    assert ["auth", "read", "provider", "stream"] == [name for name in meta["timings_ms"] if name in LONG_STAGES]
    assert 100 <= meta["first_token_ms"] <= meta["timings_ms"]["provider"] + meta["overhead_ms"] + 50
    assert meta["timings_ms"]["stream"] >= 60
    assert meta["overhead_ms"] < meta["first_token_ms"]
    (row,) = gateway.log_rows()
    (attempt,) = json.loads(row["attempts"])
    started_ms, ended_ms, outcome, first_token_ms = attempt[3:7]
    assert ("won", meta["first_token_ms"]) == (outcome, first_token_ms)
    assert started_ms < first_token_ms < ended_ms - 60


async def test_stream_that_always_breaks_is_asked_last(gateway: Gateway) -> None:
    gateway.simulator.behave("first", "fault=cut:4", content=WORDS)
    gateway.simulator.behave("second", content="good")

    texts = [text_of(await stream(gateway, "two")) for _ in range(8)]

    assert "good" == texts[-1]
