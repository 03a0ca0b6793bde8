"""The second table of scripts/bench/peers: what is made of the streams that were read."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from attrs import asdict

from scripts.bench.benches.peers.report import Findings, add_differences, judge_streams, make_stream_table
from scripts.bench.benches.peers.visits import QUICK, plan_flood
from scripts.bench.harness.streams import Read, StreamLoad, read_load, summarise_reads
from scripts.bench.harness.tables import Found
from scripts.bench.harness.target import QUESTION, StreamOrder, Target

MS = 1_000_000


def make_visit(*, number: int = 1, first_ms: float = 0.5, **changed: float) -> dict[str, float]:
    firsts = {
        f"{kind}_{which}_ms": first_ms * (1 + (which == "p99"))
        for kind in ("lone", "among")
        for which in ("p50", "p99")
    }
    return {
        "round": number,
        "per_s": 100_000.0,
        "a_read": 100.0,
        "cpu_us": 9.0,
        "core_share": 0.9,
        "alone_cpu_us": 20.0,
        **firsts,
        "steady_sum": 64,
        "streams_sum": 64,
        "lag_p50_ms": 0.3,
        "lag_p99_ms": 0.8,
        "gap_ms_max": 21.0,
        "lost_sum": 0,
        "calls": 100,
        **changed,
    }


def findings(no_streams: dict[str, str] | None = None, **streams: list[dict[str, float]]) -> Findings:
    return Findings(QUICK, {}, streams=streams, no_streams=no_streams or {})


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

    assert (2, 5) == (result["streams_sum"], result["tokens"])
    assert (2.0, 3.0) == (result["first_p50_ms"], result["first_p99_ms"])
    assert (5.0, 106.0, 106.0) == (result["lag_p50_ms"], result["lag_p99_ms"], result["lag_ms_max"])
    assert (1, 101.0) == (result["steady_sum"], result["gap_ms_max"])


def test_first_token_is_added_to_the_upstreams() -> None:
    direct = [make_visit(number=1, first_ms=0.1), make_visit(number=2, first_ms=0.9)]
    lane = [make_visit(number=1, first_ms=0.7), make_visit(number=2, first_ms=1.5)]

    table = make_stream_table(findings(direct=direct, lane=lane))

    column = list(table.head).index("first token added ms, 1 stream, p50 / p99")
    assert ["–", "0.60 / 1.20"] == [row[column] for row in table.rows]


def test_bars_ask_for_tokens_alone_as_well() -> None:
    found: Found = {"direct": [make_visit(first_ms=0.1)], "lane": [make_visit(first_ms=1.05, alone_cpu_us=50.0)]}

    met = [(bar.wanted, bar.is_met) for bar in judge_streams(add_differences(found))]

    assert [
        ("lane relays at least 25,000 tokens/s a core, as fast as they are taken", True),
        ("lane relays at least 25,000 tokens/s a core, each alone", False),
        ("lane delays the first token under 1 ms (1 stream, p50)", True),
        ("lane delays the first token under 1 ms (32 streams, p50)", True),
    ] == met


def test_ratio_is_tokens_and_cpu_alone() -> None:
    table = make_stream_table(findings(lane=[make_visit(alone_cpu_us=10.0)], litellm=[make_visit(alone_cpu_us=80.0)]))

    column = list(table.head).index("ours ÷ it, tokens/s / CPU alone")
    assert "1.00 / 8.00" == table.rows[1][column]


def test_peer_that_cannot_stream_is_told_with_its_reason() -> None:
    text = str(make_stream_table(findings({"litellm": "500\nmore"}, lane=[make_visit()])))

    assert "| pg_trio, its own lane |" in text
    assert "LEFT OUT: 500\n" in text + "\n"


def test_unlogged_streams_are_told() -> None:
    text = str(make_stream_table(findings(lane=[make_visit(lost_sum=10)])))

    assert "10 of 100 streams were not logged" in text


@pytest.mark.parametrize(("per_s", "tokens"), [(32_000.0, 2_000), (10.0, 100), (9e9, 6_250)])
def test_flood_lasts_but_has_limits(per_s: float, tokens: int) -> None:
    assert StreamOrder(32, tokens, 0) == plan_flood(per_s, 2.0)


def test_load_survives_its_file(tmp_path: Path) -> None:
    load = StreamLoad(Target(80, headers={"a": "b"}), StreamOrder(1, 2, 3), 0.5)
    (tmp_path / "load").write_text(json.dumps(asdict(load)))

    assert load == read_load(tmp_path / "load")


def test_stream_asks_the_same_question() -> None:
    target = Target(80, body=json.dumps({"message": QUESTION}))

    head, _, body = target.ask_stream(7, StreamOrder(1, 20, 300)).as_bytes().partition(b"\r\n\r\n")

    assert {"message": f"{QUESTION} stream 7 of 20 tokens every 300", "stream": True} == json.loads(body)
    assert f"Content-Length: {len(body)}".encode() in head
