"""Spans, as a collector receives them over OTLP, and `traceparent`, as providers receive it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
import trio
import trio.testing

from pg_trio.observe.trace_facts import EndedRequest
from pg_trio.observe.trace_feed import QUEUED_TRACES, TraceFeed
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway, start_pages
from tests.support.metrics_text import scrape
from tests.support.otlp_receiver import ReceivedSpan, Receiver, serve_receiver
from tests.support.wire import bearer, post, send_raw

FAILOVER = [{"credential": "sim", "model": "second"}]
ENDPOINTS = "\n".join(
    [
        project(),
        endpoint("plain", estimated_cost_per_1k_tokens_usd="1"),
        endpoint("hedged", "first", failover=FAILOVER, hedge_after_ms=0),
        endpoint("failing", "first", failover=FAILOVER),
        endpoint("streamed", streaming_enabled=True),
        endpoint("short", deadline_ms=300),
        endpoint("masked", guardrails={"pii_filter": {"enabled": True}}),
    ]
)
# A request without calls, as trace_facts.py writes it, with a long name.
LINE = json.dumps(
    [str(UUID(int=1)), 1.5e9, None, "gateway", "p", "s" * 1000, *[None] * 3, 404, "refused_request", None, None, 1.0]
    + [None] * 9
    + [[]]
).encode()
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-{flags}") for flags in ("01", "00"))


# Stands for a request, where the feed is given a line in its place.
ENDED = cast(EndedRequest, None)


@pytest.fixture
async def receiver(nursery: trio.Nursery) -> Receiver:
    received: Receiver = await nursery.start(serve_receiver)
    return received


async def start(nursery: trio.Nursery, folder: Path, receiver: Receiver, **settings: object) -> Gateway:
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    observe = "\n".join(["[observe]", f'otlp_endpoint = "{receiver.endpoint}"', *lines, ""])
    return await start_gateway(nursery, folder, observe + ENDPOINTS)


def told(gateway: Gateway) -> list[str | None]:
    """The `traceparent` of each call that the provider received."""
    return [request.headers.get("traceparent") for request in gateway.simulator.requests]


def by_kind(spans: list[ReceivedSpan], kind: str) -> list[ReceivedSpan]:
    return [span for span in spans if span.kind == kind]


async def test_spans_of_a_request(nursery: trio.Nursery, tmp_path: Path, receiver: Receiver) -> None:
    gateway = await start(nursery, tmp_path, receiver)

    answer = await gateway.call("plain")

    server, operation, call = await receiver.wait_spans(3)
    request_id = answer.headers["x-request-id"]
    assert ("POST /api/{project}/{endpoint}", "SERVER", "") == (server.name, server.kind, server.parent_id)
    assert ("chat plain", "INTERNAL", server.span_id) == (operation.name, operation.kind, operation.parent_id)
    assert ("chat plain", "CLIENT", operation.span_id) == (call.name, call.kind, call.parent_id)
    assert {UUID(request_id).hex} == {span.trace_id for span in receiver.spans}
    assert (200, request_id, "ok") == tuple(
        server.attributes[name] for name in ("http.response.status_code", "pg_trio.request_id", "pg_trio.outcome")
    )
    usage = answer.json()["usage"]
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "plain",
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "server.address": "127.0.0.1",
        "pg_trio.attempt.outcome": "won",
    }
    assert expected.items() <= call.attributes.items()
    assert not any("gen_ai.system" in span.attributes for span in receiver.spans)
    assert server.start_ns <= operation.start_ns <= call.start_ns <= call.end_ns <= operation.end_ns <= server.end_ns
    assert [f"00-{call.trace_id}-{call.span_id}-01"] == told(gateway)
    assert "pg_trio" == receiver.resources[0]["service.name"]
    assert "application/x-protobuf" == receiver.heads[0]["content-type"]
    assert b"Hello there" not in b"".join(receiver.bodies)


async def test_sampled_parent_is_continued(nursery: trio.Nursery, tmp_path: Path, receiver: Receiver) -> None:
    gateway = await start(nursery, tmp_path, receiver, trace_ratio=0, keep_always=[])

    await gateway.call("plain", None, SAMPLED, ("tracestate", "vendor=1"))

    server, _, call = await receiver.wait_spans(3)
    assert (TRACE, PARENT) == (server.trace_id, server.parent_id)
    assert [f"00-{TRACE}-{call.span_id}-01"] == told(gateway)
    assert "vendor=1" == gateway.simulator.requests[0].headers["tracestate"]


async def test_unsampled_parent_sends_nothing(nursery: trio.Nursery, tmp_path: Path, receiver: Receiver) -> None:
    gateway = await start(nursery, tmp_path, receiver)
    gateway.simulator.behave("first", "fault=status:500")

    await gateway.call("failing", None, UNSAMPLED)
    await gateway.call("plain", None, SAMPLED)

    assert {"plain"} == {span.attributes.get("pg_trio.endpoint") for span in (await receiver.wait_spans(3))[:1]}
    assert 3 == len(receiver.spans)
    assert all(f"00-{TRACE}-" in str(sent) and str(sent).endswith("-00") for sent in told(gateway)[:2])


async def test_ratio_of_nothing_keeps_what_matters(nursery: trio.Nursery, tmp_path: Path, receiver: Receiver) -> None:
    gateway = await start(nursery, tmp_path, receiver, trace_ratio=0)
    gateway.simulator.behave("short", "fault=stall")

    await gateway.call("plain")
    await gateway.call("short")

    server, _, call = await receiver.wait_spans(3)
    assert ("deadline", True) == (server.attributes["pg_trio.outcome"], server.is_error)
    assert "cancelled" == call.attributes["error.type"]
    assert ["00", "00"] == [str(sent)[-2:] for sent in told(gateway)]


async def test_losers_have_spans(nursery: trio.Nursery, tmp_path: Path, receiver: Receiver) -> None:
    gateway = await start(nursery, tmp_path, receiver)
    gateway.simulator.behave("first", "fault=stall")

    await gateway.call("hedged")

    calls = by_kind(await receiver.wait_spans(4), "CLIENT")
    seen = {
        span.name: (span.attributes["pg_trio.attempt.outcome"], span.attributes.get("error.type")) for span in calls
    }
    assert {"chat first": ("lost", "cancelled"), "chat second": ("won", None)} == seen
    assert {f"00-{span.trace_id}-{span.span_id}-01" for span in calls} == set(told(gateway))


async def test_stream_has_its_first_token(nursery: trio.Nursery, tmp_path: Path, receiver: Receiver) -> None:
    gateway = await start(nursery, tmp_path, receiver)

    await gateway.call("streamed", {"message": "Tell me", "stream": True})

    _, operation, call = await receiver.wait_spans(3)
    assert ["gen_ai.first_token"] == [name for name, _ in operation.events] == [name for name, _ in call.events]
    assert call.start_ns <= call.events[0][1] <= call.end_ns
    assert [f"00-{call.trace_id}-{call.span_id}-01"] == told(gateway)


async def test_embeddings_and_v1_have_their_names(nursery: trio.Nursery, tmp_path: Path, receiver: Receiver) -> None:
    gateway = await start(nursery, tmp_path, receiver)
    operators = await start_pages(nursery, gateway)
    bodies: dict[str, dict[str, object]] = {
        "embeddings": {"input": "Hi"},
        "chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    }
    for path, body in bodies.items():
        request = post(f"/api/{PROJECT}/v1/{path}", {"model": "plain", **body}, bearer(gateway.token))
        assert 200 == (await send_raw(gateway.port, request)).status

    spans = await receiver.wait_spans(6)
    assert {f"POST /api/{{project}}/v1/{path}" for path in bodies} == {span.name for span in by_kind(spans, "SERVER")}
    calls = by_kind(spans, "CLIENT")
    assert {"embeddings plain", "chat plain"} == {span.name for span in calls}
    assert {f"00-{span.trace_id}-{span.span_id}-01" for span in calls} == set(told(gateway))
    scraped = await scrape(operators.port)
    for surface, operation in (("embeddings", "embeddings"), ("openai", "chat")):
        assert 1 == scraped.sum("pg_trio_requests_total", surface=surface, endpoint="plain")
        assert 1 == scraped.sum("gen_ai_server_request_duration_seconds_count", gen_ai_operation_name=operation)


async def test_content_where_asked_for(nursery: trio.Nursery, tmp_path: Path, receiver: Receiver) -> None:
    gateway = await start(nursery, tmp_path, receiver, capture_content=True)

    await gateway.call("masked", {"message": "Mail jane@example.com"})
    await gateway.call("streamed", {"message": "Tell me", "stream": True})

    operations = by_kind(await receiver.wait_spans(6), "INTERNAL")
    texts = [
        (span.attributes["gen_ai.input.messages"], span.attributes["gen_ai.output.messages"]) for span in operations
    ]
    assert "jane@example.com" not in texts[0][0]
    assert ["user", "user"] == [json.loads(asked)[0]["role"] for asked, _ in texts]
    assert all("You said" in answered for _, answered in texts)


async def test_without_a_collector_the_client_s_trace_goes_on(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, ENDPOINTS)

    await gateway.call("plain", None, SAMPLED)
    await gateway.call("plain")
    await gateway.call("plain", None, ("traceparent", "nonsense"))

    assert [SAMPLED[1], None, None] == told(gateway)


async def test_spans_match_log_rows(nursery: trio.Nursery, tmp_path: Path, receiver: Receiver) -> None:
    gateway = await start(nursery, tmp_path, receiver)
    gateway.simulator.behave("first", "fault=status:500")
    for slug in ("plain", "failing", "hedged", "unknown", "streamed", "short"):
        await gateway.call(slug, {"message": "Hi", "stream": slug == "streamed"})
    await gateway.stop()

    rows = gateway.log_rows()
    servers = {span.attributes["pg_trio.request_id"]: span for span in by_kind(receiver.spans, "SERVER")}
    assert len(rows) == len(servers) == 6
    for row in rows:
        server = servers[row["request_id"]]
        assert row["status"] == server.attributes["http.response.status_code"]
        assert pytest.approx(row["latency_ms"], abs=0.01) == (server.end_ns - server.start_ns) / 1e6
        calls = [span for span in by_kind(receiver.spans, "CLIENT") if span.trace_id == server.trace_id]
        assert describe_rows(row) == sorted((span.attributes["gen_ai.request.model"], outcome(span)) for span in calls)


def describe_rows(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Model and outcome of each call of a log row."""
    tried = [(attempt[1], attempt[5].partition(":")[0]) for attempt in json.loads(row["attempts"])]
    return sorted(one for one in tried if one[1] != "passed over")


def outcome(span: ReceivedSpan) -> str:
    said: str = span.attributes["pg_trio.attempt.outcome"]
    return "cancelled" if said == "lost" else said


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hang", "refuse", "gone"])
async def test_troubled_collector_costs_requests_nothing(
    nursery: trio.Nursery, tmp_path: Path, receiver: Receiver, mode: str
) -> None:
    if mode == "gone":
        receiver.port = 9
    else:
        receiver.mode = mode  # type: ignore[assignment]
    gateway = await start(nursery, tmp_path, receiver)
    operators = await start_pages(nursery, gateway)

    answers = [await gateway.call("plain") for _ in range(20)]

    assert [200] * 20 == [answer.status for answer in answers]
    if mode == "refuse":
        with trio.fail_after(20):
            while not (await scrape(operators.port)).sum("pg_trio_traces_dropped_total"):  # noqa: ASYNC110 # from outside
                await trio.sleep(0.05)
    with trio.fail_after(20):
        await gateway.stop()


@pytest.mark.slow
async def test_hanging_collector_fills_the_queue_alone(nursery: trio.Nursery, receiver: Receiver) -> None:
    receiver.mode = "hang"
    feed = TraceFeed([f"{receiver.endpoint}/v1/traces", "1", "0"], write_line=lambda _: LINE)

    async with trio.open_nursery() as running:
        running.start_soon(feed.run)
        feed.send(ENDED)
        with trio.fail_after(20):
            await receiver.grown.wait()
        for _ in range(2 * QUEUED_TRACES):
            feed.send(ENDED)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2 * QUEUED_TRACES):
            feed.send(ENDED)
        dropped, began = feed.dropped, trio.current_time()
        running.cancel_scope.cancel()

    assert trio.current_time() - began < 20
    # What the queue did not hold, and what a pipe of 64 KiB and the process do not either.
    assert QUEUED_TRACES < dropped < 4 * QUEUED_TRACES
    assert dropped < feed.dropped


@pytest.mark.slow
async def test_process_that_dies_is_started_again(nursery: trio.Nursery, receiver: Receiver) -> None:
    feed = TraceFeed([f"{receiver.endpoint}/v1/traces", "1", "0"], write_line=lambda _: LINE)
    nursery.start_soon(feed.run)
    feed.send(ENDED)
    with trio.fail_after(20):
        await receiver.grown.wait()
    grown = receiver.grown

    assert feed.pid is not None
    os.kill(feed.pid, signal.SIGKILL)
    with trio.fail_after(20):
        while not grown.is_set():
            feed.send(ENDED)
            await trio.sleep(0.1)
