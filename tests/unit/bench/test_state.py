"""What scripts/bench/state makes of what its clients saw."""

from __future__ import annotations

from attrs import evolve

from scripts.bench.benches.state import judge_growth
from scripts.bench.benches.state.budget import BudgetResult
from scripts.bench.benches.state.growth import Growth
from scripts.bench.benches.state.limit import LIMIT, judge

# (sent, answered, status): a full bucket at once, then one every 0.1 s, which is the refill.
BURST = [(0.0, 0.5, 200)] * LIMIT
REFILL = [(number / 10, number / 10 + 0.01, 200) for number in range(1, 700)]
LAST = (70.0, 70.01, 429)


def test_limit_and_refill_are_possible_and_no_more() -> None:
    kept = judge([*BURST, *REFILL, LAST])
    broken = judge([*BURST, *REFILL, LAST, (3.0, 3.1, 200), (4.0, 4.1, 200)])

    assert (1300, 1299, True) == (kept.possible, kept.admitted, kept.is_good)
    assert (1301, False) == (broken.admitted, broken.is_good)


def test_too_few_are_noticed() -> None:
    assert not judge([*BURST, *REFILL[::2], LAST]).is_good


def test_every_window_is_looked_at() -> None:
    # Over the whole time they would be possible: after a pause, within a minute, they are not.
    late = [(200.0 + number / 1000, 200.5 + number / 1000, 200) for number in range(1201)]

    result = judge([(0.0, 0.1, 429), *late])

    assert (True, 1201, False) == (result.admitted <= result.possible, result.most_in_window, result.is_good)


def test_other_answers_are_no_success() -> None:
    assert not judge([*BURST, *REFILL, LAST, (1.0, 1.1, 503)]).is_good


def test_budget_must_agree_with_log_and_be_free() -> None:
    good = BudgetResult(seconds=1.0, statuses={}, budget=100, logged=99, settled=99, reserved=0)

    bad = [evolve(good, logged=101), evolve(good, settled=98), evolve(good, reserved=1)]

    assert (True, [False] * 3) == (good.is_good, [result.is_good for result in bad])


def test_growth_is_seen_in_either_centile() -> None:
    small = Growth("load", "sessions", 1_000, 2.0, p50_ms=1.0, p99_ms=4.0)
    other = Growth("commit", "sessions", 1_000, 2.0, p50_ms=0.1, p99_ms=0.2)
    flat, slower, rougher = (
        evolve(small, size=10_000, p50_ms=p50, p99_ms=p99) for p50, p99 in [(2.0, 12.0), (2.1, 4.0), (1.0, 12.1)]
    )

    rows = judge_growth([small, flat, slower, rougher, other])

    assert [True, True, False, False, True] == [is_met for *_, is_met in rows]
    assert "2.00 / 12.00 ms" == rows[3][2]
