"""The table of scripts/bench/peers: what is made of the raw figures."""

from __future__ import annotations

from attrs import evolve

from scripts.bench.benches.peers.plan import QUICK
from scripts.bench.benches.peers.report import make_table
from scripts.bench.benches.peers.request_visit import Visit
from scripts.bench.benches.peers.summary import Ratio, compare, judge, summarise
from scripts.bench.harness.open_loop import OpenResult
from scripts.bench.harness.tables import quantile
from scripts.bench.harness.wrk import WrkResult

PACED = OpenResult(
    due=40,
    sent=40,
    unsent=0,
    ok=40,
    shed=0,
    shed_without_retry_after=0,
    other=0,
    broken=0,
    missing=0,
    goodput_per_s=40.0,
    ok_us=(900.0, 2_000.0, 2_500.0),
    shed_us=(0.0, 0.0, 0.0),
    late_p99_us=10.0,
    core_share=0.1,
    generator_cpu_us=50.0,
)
LOADED = WrkResult(requests=1_000, duration_us=1_000_000, p50_us=900.0, p99_us=2_000.0, not_ok=0, broken=0)


def make_visit(
    peer: str, number: int = 1, *, per_s: int = 1_000, single_p50_us: float = 100.0, not_ok: int = 0
) -> Visit:
    return Visit(
        peer=peer,
        round=number,
        idle_bytes=90_000_000,
        idle_largest_bytes=50_000_000,
        load_bytes=60_000_000,
        cpu_us=100.0,
        core_share=0.98,
        throughput=evolve(LOADED, requests=per_s, not_ok=not_ok),
        single=evolve(LOADED, p50_us=single_p50_us, p99_us=single_p50_us * 2),
        paced=(PACED, None),
        calls=per_s + 40,
    )


def test_rounds_give_their_median() -> None:
    visits = [make_visit("floor", number, per_s=per_s) for number, per_s in ((1, 100), (2, 900), (3, 120))]

    (row,) = summarise(visits)

    assert 120 == row.per_s


def test_ratio_is_ours_over_theirs() -> None:
    visits = [make_visit("lane", per_s=6_000), make_visit("portkey", per_s=500)]

    ours, portkey = summarise(visits)

    assert (Ratio(1.0, 1.0), Ratio(12.0, 1.0)) == (ours.us_over_it, portkey.us_over_it)


def test_ratio_pairs_rounds() -> None:
    fast = [make_visit("lane", 1, per_s=8_000), make_visit("portkey", 1, per_s=800)]
    slow = [make_visit("lane", 2, per_s=2_000), make_visit("portkey", 2, per_s=200)]
    alone = [make_visit("lane", 3, per_s=9_000)]

    ratio = compare([*fast, *slow, *alone], "lane", "portkey")

    assert Ratio(per_s=10.0, cpu=1.0) == ratio


def test_no_ratio_without_us() -> None:
    (row,) = summarise([make_visit("portkey")])

    assert row.us_over_it is None


def test_added_latency_pairs_rounds() -> None:
    quiet = [make_visit("direct", 1, single_p50_us=50), make_visit("lane", 1, single_p50_us=250)]
    busy = [make_visit("direct", 2, single_p50_us=500), make_visit("lane", 2, single_p50_us=700)]

    direct, lane = summarise([*quiet, *busy])

    assert direct.added_ms is None
    assert (0.2, 0.4) == lane.added_ms


def test_unsustainable_rate_shows_a_dash() -> None:
    (row,) = summarise([make_visit("litellm")])

    assert ((0.9, 2.0), None) == row.paced_ms


def test_rows_with_errors_are_marked() -> None:
    visits = [make_visit("floor"), make_visit("litellm", not_ok=3)]

    table = make_table(visits, QUICK)

    assert [False, True] == ["(!)" in cells[0] for cells in table.rows]
    assert 3 == summarise(visits)[1].errors


def test_bars_need_both_rows() -> None:
    visits = [make_visit("lane", per_s=6_000), make_visit("floor", per_s=10_000)]

    bars = {bar.wanted: bar.is_met for bar in judge(visits)}

    assert {"lane at least 0.35 × floor": True, "lane's idle worker under 70 MB": True} == bars


def test_bar_needs_throughput_and_cpu() -> None:
    disturbed = make_visit("portkey", per_s=100)
    ours = make_visit("lane", per_s=6_000)

    met = [judge([evolve(ours, cpu_us=cpu_us), disturbed])[0].is_met for cpu_us in (100.0, 10.0)]

    assert [False, True] == met


def test_negative_added_latency_meets_nothing() -> None:
    visits = [make_visit("direct", single_p50_us=500), make_visit("lane", single_p50_us=100)]

    met = {bar.wanted: bar.is_met for bar in judge(visits)}

    assert not met["lane adds under 0.5 ms (p50)"]


def test_percentile_is_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 201)]

    assert (100.0, 198.0) == (quantile(ordered, 0.50), quantile(ordered, 0.99))
    assert 1.0 == quantile([1.0], 0.99)


def test_unlogged_calls_are_lost_work() -> None:
    visit = make_visit("lane", per_s=960)

    assert [0, 10, 0] == [evolve(visit, logged=logged).lost_rows for logged in (None, 990, 1_003)]
