"""The first table of scripts/bench/peers: what is made of the figures of requests."""

from __future__ import annotations

from scripts.bench.benches.peers.report import Findings, add_differences, judge, make_table
from scripts.bench.benches.peers.visits import QUICK
from scripts.bench.harness.tables import quantile

Figures = dict[str, float]


def make_visit(number: int = 1, *, per_s: float = 1_000, single_p50_ms: float = 0.1, **changed: float) -> Figures:
    return {
        "round": number,
        "per_s": per_s,
        "cpu_us": 100.0,
        "core_share": 0.98,
        "idle_mb": 90.0,
        "idle_largest_mb": 50.0,
        "load_mb": 60.0,
        "single_p50_ms": single_p50_ms,
        "single_p99_ms": single_p50_ms * 2,
        "at_40_p50_ms": 0.9,
        "at_40_p99_ms": 2.0,
        "at_40_generator_us": 50.0,
        "errors_sum": 0,
        "lost_sum": 0,
        "calls": per_s + 40,
        **changed,
    }


def row(found: dict[str, list[Figures]], number: int) -> dict[str, str]:
    table = make_table(Findings(QUICK, {}, found))
    return dict(zip(table.head, table.rows[number], strict=True))


def test_rounds_give_their_median() -> None:
    visits = [make_visit(number, per_s=per_s) for number, per_s in ((1, 100), (2, 900), (3, 120))]

    assert "120" == row({"floor": visits}, 0)["req/s (32 conn.)"]


def test_ratio_is_ours_over_theirs() -> None:
    found = {"lane": [make_visit(per_s=6_000)], "portkey": [make_visit(per_s=500, cpu_us=900.0)]}

    assert ["1.00 / 1.00", "12.00 / 9.00"] == [row(found, number)["ours ÷ it, req/s / CPU"] for number in (0, 1)]


def test_ratio_pairs_rounds() -> None:
    ours = [make_visit(number, per_s=per_s) for number, per_s in ((1, 8_000), (2, 2_000), (3, 9_000))]
    theirs = [make_visit(1, per_s=800), make_visit(2, per_s=200)]

    assert "10.00 / 1.00" == row({"lane": ours, "portkey": theirs}, 1)["ours ÷ it, req/s / CPU"]


def test_no_ratio_without_us() -> None:
    assert "–" == row({"portkey": [make_visit()]}, 0)["ours ÷ it, req/s / CPU"]


def test_added_latency_pairs_rounds() -> None:
    direct = [make_visit(1, single_p50_ms=0.05), make_visit(2, single_p50_ms=0.5)]
    lane = [make_visit(1, single_p50_ms=0.25), make_visit(2, single_p50_ms=0.7)]
    found = {"direct": direct, "lane": lane}

    assert ["–", "0.20 / 0.40"] == [row(found, number)["added ms (1 conn.), p50 / p99"] for number in (0, 1)]


def test_unsustainable_rate_shows_a_dash() -> None:
    shown = row({"litellm": [make_visit()]}, 0)

    assert ("0.90 / 2.00", "–") == (shown["ms at 40/s, p50 / p99"], shown["ms at 500/s, p50 / p99"])


def test_rows_with_errors_are_marked() -> None:
    found = {"floor": [make_visit()], "litellm": [make_visit(errors_sum=3), make_visit(2)]}

    table = make_table(Findings(QUICK, {}, found))

    assert [False, True] == ["(!)" in cells[0] for cells in table.rows]
    assert "3" == table.rows[1][-1]


def test_bars_need_both_rows() -> None:
    found = {"lane": [make_visit(per_s=6_000)], "floor": [make_visit(per_s=10_000)]}

    bars = {bar.wanted: bar.is_met for bar in judge(found)}

    assert {"lane at least 0.35 × floor": True, "lane's idle worker under 70 MB": True} == bars


def test_bar_needs_throughput_and_cpu() -> None:
    portkey = [make_visit(per_s=100)]
    ours = [[make_visit(per_s=6_000, cpu_us=cpu_us)] for cpu_us in (100.0, 10.0)]

    met = [judge({"lane": lane, "portkey": portkey})[0].is_met for lane in ours]

    assert [False, True] == met


def test_negative_added_latency_meets_nothing() -> None:
    found = {"direct": [make_visit(single_p50_ms=0.5)], "lane": [make_visit(single_p50_ms=0.1)]}

    met = {bar.wanted: bar.is_met for bar in judge(add_differences(found))}

    assert not met["lane adds under 0.5 ms (p50)"]


def test_percentile_is_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 201)]

    assert (100.0, 198.0) == (quantile(ordered, 0.50), quantile(ordered, 0.99))
    assert 1.0 == quantile([1.0], 0.99)


def test_unlogged_calls_are_told() -> None:
    text = str(make_table(Findings(QUICK, {}, {"lane": [make_visit(lost_sum=10)]})))

    assert "10 of 1,040 calls were not logged" in text
