"""The second table of scripts/bench/peers: what is made of the streams that were read."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from attrs import asdict, evolve

from scripts.bench.benches.peers.plan import QUICK
from scripts.bench.benches.peers.report import make_stream_table
from scripts.bench.benches.peers.stream_visit import Streamed, StreamVisit, plan_flood
from scripts.bench.benches.peers.summary import judge_streams, summarise_streams
from scripts.bench.harness.stream_load import StreamLoad, StreamResult, read_load, summarise_reads
from scripts.bench.harness.stream_reads import Read
from scripts.bench.harness.target import QUESTION, StreamOrder, Target

RESULT = StreamResult(
    streams=64,
    tokens=100_000,
    seconds=1.0,
    reads=1_000,
    first_p50_us=500.0,
    first_p99_us=900.0,
    lag_p50_us=300.0,
    lag_p99_us=800.0,
    steady=64,
    longest_gap_ms=21.0,
)
MS = 1_000_000


def make_visit(peer: str, number: int = 1, *, alone_cpu_s: float = 2.0, first_us: float = 500.0) -> StreamVisit:
    begun = Streamed(evolve(RESULT, first_p50_us=first_us, first_p99_us=first_us * 2), 0.5)
    return StreamVisit(
        peer=peer,
        round=number,
        flood=Streamed(RESULT, 0.9),
        lone=begun,
        among=begun,
        paced=Streamed(RESULT, alone_cpu_s),
        calls=100,
    )


def make_read(*arrivals_ms: int) -> Read:
    """One stream, asked for at 1 ms, whose tokens all left at 0."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    tokens = [b'{"content":" 0.%d.0"}' % number for number in range(len(arrivals_ms))]
    end = b'"stop" data: [DONE]\n\n'
    pieces = [b"%x\r\n%b\r\n" % (len(data), data) for data in (*tokens, end)]
    pieces = [head + pieces[0], *pieces[1:-1], pieces[-1] + b"0\r\n\r\n"]
    times = [ms * MS for ms in (*arrivals_ms, arrivals_ms[-1])]
    with socket.socket() as sock:
        return Read(0, sock, pieces, times, asked_ns=MS)


def test_gaps_lags_and_first_token() -> None:
    result = summarise_reads([make_read(3, 5, 106), make_read(4, 103)])

    assert (2, 5) == (result.streams, result.tokens)
    assert (2_000.0, 3_000.0) == (result.first_p50_us, result.first_p99_us)
    assert (5_000.0, 106_000.0) == (result.lag_p50_us, result.lag_p99_us)
    assert (1, 101.0) == (result.steady, result.longest_gap_ms)


def test_first_token_is_added_to_the_upstreams() -> None:
    quiet = [make_visit("direct", 1, first_us=100.0), make_visit("lane", 1, first_us=700.0)]
    busy = [make_visit("direct", 2, first_us=900.0), make_visit("lane", 2, first_us=1_500.0)]

    direct, lane = summarise_streams([*quiet, *busy])

    assert direct.lone_added_ms is None
    assert (0.6, 1.2) == lane.lone_added_ms


def test_bars_ask_for_tokens_alone_as_well() -> None:
    visits = [make_visit("direct", first_us=100.0), make_visit("lane", alone_cpu_s=5.0, first_us=1_050.0)]

    met = [(bar.wanted, bar.is_met) for bar in judge_streams(visits)]

    assert [
        ("lane relays at least 25,000 tokens/s a core, as fast as they are taken", True),
        ("lane relays at least 25,000 tokens/s a core, each alone", False),
        ("lane delays the first token under 1 ms (1 stream, p50)", True),
        ("lane delays the first token under 1 ms (32 streams, p50)", True),
    ] == met


def test_ratio_is_tokens_and_cpu_alone() -> None:
    visits = [make_visit("lane", alone_cpu_s=1.0), make_visit("litellm", alone_cpu_s=8.0)]

    _, litellm = summarise_streams(visits)

    assert litellm.us_over_it is not None
    assert (1.0, 8.0) == (litellm.us_over_it.per_s, litellm.us_over_it.cpu)


def test_who_cannot_stream_is_told_with_its_reason() -> None:
    text = str(make_stream_table([make_visit("lane")], {"litellm": "500\nmore"}, QUICK.streams))

    assert "| pg_trio, its own lane |" in text
    assert "LEFT OUT: 500\n" in text + "\n"


def test_unlogged_streams_are_told() -> None:
    text = str(make_stream_table([evolve(make_visit("lane"), logged=90)], {}, QUICK.streams))

    assert "10 of 100 calls were not logged" in text


@pytest.mark.parametrize(("per_s", "tokens"), [(32_000.0, 2_000), (10.0, 100), (9e9, 6_250)])
def test_flood_lasts_but_has_limits(per_s: float, tokens: int) -> None:
    assert StreamOrder(32, tokens, 0) == plan_flood(per_s, 32, 2.0)


def test_load_survives_its_file(tmp_path: Path) -> None:
    load = StreamLoad(Target(80, headers={"a": "b"}), StreamOrder(1, 2, 3), 0.5)
    (tmp_path / "load").write_text(json.dumps(asdict(load)))

    assert load == read_load(tmp_path / "load")


def test_stream_asks_the_same_question() -> None:
    target = Target(80, body=json.dumps({"message": QUESTION}))

    head, _, body = target.ask_stream(7, StreamOrder(1, 20, 300)).as_bytes().partition(b"\r\n\r\n")

    assert {"message": f"{QUESTION} stream 7 of 20 tokens every 300", "stream": True} == json.loads(body)
    assert f"Content-Length: {len(body)}".encode() in head
