"""Which requests are exported, and how the exporting process reads its pipe."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from uuid import uuid4

import pytest
import trio
from attrs import evolve
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pg_trio.domain.call import RequestHead, RequestOrigin
from pg_trio.domain.project import Caller
from pg_trio.errors import DeadlineExceeded, MissingToken
from pg_trio.observe.span_building import build_spans, find_trace
from pg_trio.observe.trace_exporter import Builder, export, read_batches
from pg_trio.observe.trace_facts import (
    EndedRequest,
    TraceFacts,
    read_facts,
    read_servers,
    write_line,
    write_servers,
)
from pg_trio.observe.trace_feed import QUEUED_TRACES, TraceFeed
from pg_trio.observe.tracing import Sampling, Tracing
from pg_trio.recorder import Recorders
from tests.support.recorded import CANDIDATE, ENDPOINT, PROJECT, TOKEN, SilentCall

ALL = ("error", "deadline", "hedged")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Tried:
    """Requests that are recorded by hand, and the traces that came of them."""

    def __init__(self, ratio: float, keep: Sequence[str] = ALL) -> None:
        self.traces: list[EndedRequest] = []
        sampling = Sampling(ratio, keep)
        self.recorders = Recorders([Tracing(sampling, self)], begin_trace=sampling.begin)

    def send(self, trace: EndedRequest) -> None:
        self.traces.append(trace)

    @property
    def sent(self) -> list[bytes]:
        return [write_line(trace) for trace in self.traces]

    def record(self, error: Exception | None = None, *, is_hedged: bool = False, flags: str | None = None) -> int:
        """One request; how many traces have been sent so far."""
        call = SilentCall()
        call.head = evolve(call.head, request_id=uuid4())
        if flags is not None:
            call.head = with_parent(call.head, flags)
        with suppress(Exception), self.recorders.open(call) as recorder:
            recorder.caller_found(Caller(TOKEN, PROJECT))
            recorder.endpoint_found(ENDPOINT)
            began = recorder.head.head_at
            recorder.attempts.add(CANDIDATE, began, began + 0.5, "won", is_hedge=is_hedged)
            if error is not None:
                raise error
        return len(self.traces)


def facts_of(tried: Tried) -> TraceFacts:
    """Of the first request."""
    facts = read_facts(tried.sent[0])
    assert facts is not None
    return facts


def with_parent(head: RequestHead, flags: str) -> RequestHead:
    return evolve(head, origin=RequestOrigin(surface="gateway", traceparent=f"00-{TRACE}-{PARENT}-{flags}"))


async def test_ratio_of_all_keeps_all() -> None:
    tried = Tried(1.0, ())

    assert [1, 2] == [tried.record(), tried.record(MissingToken())]


async def test_ratio_is_a_share() -> None:
    tried = Tried(0.25, ())
    for _ in range(400):
        tried.record()

    # 100 expected, a standard deviation of 9.
    assert 50 < len(tried.sent) < 150


@pytest.mark.parametrize("keep", ALL)
async def test_what_matters_is_kept(keep: str) -> None:
    tried = Tried(0.0, [keep])
    before = tried.record(), tried.record(MissingToken())

    tried.record(DeadlineExceeded(100) if keep != "hedged" else None, is_hedged=keep == "hedged")

    assert (0, 0, 1) == (*before, len(tried.sent))


async def test_parent_decides() -> None:
    tried = Tried(0.0)

    assert 0 == tried.record(DeadlineExceeded(100), is_hedged=True, flags="00")
    assert 1 == tried.record(flags="01")
    facts = facts_of(tried)
    assert (TRACE, PARENT) == (find_trace(facts).trace_id, build_spans(facts, {})[0]["parent"])


async def test_shape_of_a_trace() -> None:
    tried = Tried(1.0)
    tried.record()

    server, operation, call = build_spans(facts_of(tried), {})
    assert ["SERVER", "INTERNAL", "CLIENT"] == [server["kind"], operation["kind"], call["kind"]]
    assert (server["id"], operation["id"]) == (operation["parent"], call["parent"])
    assert 500_000_000 == call["end"] - call["start"]
    assert 1_700_000_000_500_000_000 == server["start"]


async def test_full_queue_drops_and_counts() -> None:
    tried, feed = Tried(1.0), TraceFeed([])
    tried.record()
    for _ in range(QUEUED_TRACES + 7):
        feed.send(tried.traces[0])

    assert 7 == feed.dropped


class BreakingPipe(trio.abc.SendStream):
    """A pipe that breaks in the middle of a write, while further requests end."""

    def __init__(self, on_write: Callable[[], None]) -> None:
        self._on_write = on_write

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._on_write()
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError

    async def aclose(self) -> None:
        raise AssertionError


async def test_broken_write_drops_what_was_written_alone() -> None:
    tried, feed = Tried(1.0), TraceFeed([])
    tried.record()
    trace = tried.traces[0]

    def send(count: int) -> None:
        for _ in range(count):
            feed.send(trace)

    send(2)
    with pytest.raises(trio.BrokenResourceError):
        await feed._write(BreakingPipe(partial(send, 5)))

    assert 2 == feed.dropped


# ── the exporting process ────────────────────────────────────────────────────────────────────────────────────────────


def read_all(*written: bytes) -> list[list[bytes]]:
    """The batches of what is written to a pipe, in one piece each."""
    reading, writing = os.pipe()

    def write() -> None:
        for data in written:
            os.write(writing, data)
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    batches = list(read_batches(reading))
    writer.join()
    os.close(reading)
    return batches


def test_lines_come_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "alarm", lambda seconds: 0)
    lines = [b"%d" % number * 50 for number in range(300)]

    batches = read_all(
        b"\n".join(lines[:7]) + b"\n" + lines[7][:9], lines[7][9:] + b"\n\n", b"\n".join(lines[8:]) + b"\n"
    )

    assert lines == [line for batch in batches for line in batch]


def test_last_part_of_a_line_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "alarm", lambda seconds: 0)

    assert [[b"whole"]] == read_all(b"whole\npart")


class Collector(SpanExporter):
    """Takes spans, or raises, or refuses."""

    def __init__(self, result: SpanExportResult | None) -> None:
        self.result = result
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        if self.result is None:
            raise ConnectionError("gone")
        return self.result


async def test_spans_are_the_sdk_s() -> None:
    tried, collector = Tried(1.0), Collector(SpanExportResult.SUCCESS)
    tried.record(DeadlineExceeded(100), flags="01")

    failed = export(collector, Builder("1.2", "3"), [tried.sent[0], b'{"trace": "broken'])

    assert 1 == failed
    server, operation, call = collector.spans
    assert server.parent is not None
    assert (int(PARENT, 16), True) == (server.parent.span_id, server.parent.is_remote)
    assert operation.context is not None
    assert call.parent is not None
    assert (operation.context.span_id, False) == (call.parent.span_id, call.parent.is_remote)
    assert ("pg_trio", "1.2", "worker-3") == tuple(
        server.resource.attributes[f"service.{name}"] for name in ("name", "version", "instance.id")
    )
    assert not server.status.is_ok


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, None])
async def test_what_is_not_taken_is_counted(result: SpanExportResult | None) -> None:
    tried = Tried(1.0)
    tried.record()
    tried.record()

    assert 2 == export(Collector(result), Builder("1", "0"), tried.sent)


# ── the lines between the two ────────────────────────────────────────────────────────────────────────────────────────


async def test_line_states_the_request() -> None:
    tried = Tried(1.0)
    tried.record(DeadlineExceeded(100), is_hedged=True, flags="01")

    facts = facts_of(tried)

    (row,) = facts.attempts
    assert (504, "deadline", f"00-{TRACE}-{PARENT}-01") == (facts.status, facts.kind, facts.traceparent)
    assert (ENDPOINT.slug, PROJECT.slug) == (facts.endpoint, facts.project_slug)
    assert ("won", True, 500.0) == (row.kind, row.is_hedge, row.ended_ms)


async def test_spoilt_lines_are_no_requests() -> None:
    tried = Tried(1.0)
    tried.record()
    (line,), values = tried.sent, json.loads(tried.sent[0])
    row = values[-1][0]

    parts = [line[:length] for length in range(len(line))]
    others = [json.dumps([*values[:place], {}, *values[place + 1 :]]).encode() for place in range(len(values))]
    lengths = [json.dumps(each).encode() for each in (values[:-1], [*values, 1], [*values[:-1], [row[:-1]]])]
    rows = [json.dumps([*values[:-1], each]).encode() for each in ([[*row[:3], "x", *row[4:]]], [row, None])]

    assert not [each for each in [*parts, *others, *lengths, *rows] if read_facts(each) is not None]


@pytest.mark.parametrize(("seed", "told"), [(2**64 - 1, str(2**64 - 1)), (2**70, float(2**70))])
async def test_odd_values_cost_no_trace(seed: int, told: object) -> None:
    """Half a surrogate pair is no text, and protobuf has integers of 64 bits: both are told as near as can be."""
    tried, collector = Tried(1.0), Collector(SpanExportResult.SUCCESS)
    tried.record()
    record, outcome, *_ = tried.traces[0]
    asked = (None, None, None, None, None, seed, None, None)
    ended = EndedRequest(record, outcome, asked, ("stop", "chat-\ud800"), None)

    failed = export(collector, Builder("1", "0"), [write_line(ended)])

    _, operation, call = collector.spans
    assert 0 == failed
    assert call.attributes is not None
    assert operation.attributes is not None
    assert ("chat-?", told) == (
        call.attributes["gen_ai.response.id"],
        operation.attributes["gen_ai.request.seed"],
    )


async def test_servers_come_first() -> None:
    tried, collector = Tried(1.0), Collector(SpanExportResult.SUCCESS)
    tried.record()
    line = write_servers({CANDIDATE.credential.name: ("api.example.com", 8443)})

    assert 0 == export(collector, Builder("1", "0"), [line, *tried.sent])

    assert collector.spans[2].attributes is not None
    assert ("api.example.com", 8443) == tuple(
        collector.spans[2].attributes[f"server.{name}"] for name in ("address", "port")
    )
    assert [None, None] == [read_servers(tried.sent[0]), read_servers(line[:-1])]
