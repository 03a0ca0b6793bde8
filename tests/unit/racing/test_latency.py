"""The latency estimate against exact quantiles."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.racing.latency import BUCKETS_PER_OCTAVE, LatencyBoard, LatencyEstimate, LatencyRules

WIDTH = 2 ** (1 / BUCKETS_PER_OCTAVE)


def make_estimate(times: list[float], rules: LatencyRules | None = None) -> LatencyEstimate:
    estimate = LatencyEstimate(rules or LatencyRules(floor_s=0.0, ceiling_s=math.inf))
    for took_s in times:
        estimate.record(took_s, 0.0)
    return estimate


def exact(times: list[float], quantile: float) -> float:
    return sorted(times)[max(1, math.ceil(quantile * len(times))) - 1]


@given(st.lists(st.floats(0.001, 4000), min_size=20, max_size=300), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_estimate_is_within_bucket(times: list[float], quantile: float) -> None:
    rules = LatencyRules(quantile=quantile, floor_s=0.0, ceiling_s=math.inf)

    estimate_s = make_estimate(times, rules).estimate_s(0.0)

    assert estimate_s is not None
    assert exact(times, quantile) * (1 - 1e-9) <= estimate_s <= exact(times, quantile) * WIDTH * (1 + 1e-9)


def test_log_normal_with_tail() -> None:
    random = Random(4)
    times = [3.0 if random.random() < 0.05 else random.lognormvariate(math.log(0.2), 0.3) for _ in range(5000)]

    estimate_s = make_estimate(times).estimate_s(0.0)

    assert estimate_s is not None
    assert exact(times, 0.95) <= estimate_s <= exact(times, 0.95) * WIDTH


def test_silent_until_enough() -> None:
    assert (None, True) == (
        make_estimate([0.2] * 19).estimate_s(0.0),
        make_estimate([0.2] * 20).estimate_s(0.0) is not None,
    )


@pytest.mark.parametrize(
    ("took_s", "estimate_s"), [pytest.param(0.001, 0.05, id="floor"), pytest.param(500.0, 30.0, id="ceiling")]
)
def test_answer_is_bounded(took_s: float, estimate_s: float) -> None:
    assert estimate_s == make_estimate([took_s] * 20, LatencyRules()).estimate_s(0.0)


@pytest.mark.parametrize("took_s", [0.0, 1e-9, 1e9])
def test_outermost_buckets_take_the_rest(took_s: float) -> None:
    estimate_s = make_estimate([took_s] * 20).estimate_s(0.0)

    assert estimate_s is not None
    assert 0.001 <= estimate_s <= 4195


def test_past_is_forgotten() -> None:
    rules = LatencyRules(window_s=120)
    estimate = make_estimate([10.0] * 1000, rules)

    for _ in range(100):
        estimate.record(0.1, 60.0)
    mixed_s = estimate.estimate_s(60.0)
    for _ in range(100):
        estimate.record(0.1, 120.0)
    recent_s = estimate.estimate_s(120.0)

    assert (10.0, 0.1) == pytest.approx((mixed_s, recent_s), rel=WIDTH - 1)
    assert None is estimate.estimate_s(1000.0)


def test_estimate_is_refreshed_now_and_then() -> None:
    estimate = make_estimate([0.1] * 20)
    first_s = estimate.estimate_s(0.0)

    for _ in range(100):
        estimate.record(5.0, 0.1)

    assert first_s == estimate.estimate_s(0.2)
    assert pytest.approx(5.0, rel=WIDTH - 1) == estimate.estimate_s(0.25)


def test_loser_counts_just_after_estimate() -> None:
    estimate = make_estimate([0.1] * 20)
    first_s = estimate.estimate_s(0.0)
    assert first_s is not None

    for _ in range(100):
        estimate.record_beaten(3.0, 0.1)

    assert pytest.approx(first_s * WIDTH) == estimate.estimate_s(1.0)


def test_loser_that_was_not_late_says_nothing() -> None:
    estimate = make_estimate([0.1] * 20)

    for _ in range(100):
        estimate.record_beaten(0.02, 0.1)

    assert estimate.estimate_s(0.0) == estimate.estimate_s(1.0)


def test_loser_says_nothing_while_little_is_known() -> None:
    estimate = make_estimate([0.1] * 19)

    estimate.record_beaten(3.0, 0.0)

    assert None is estimate.estimate_s(1.0)


def test_board_remembers_each_key() -> None:
    board, rules = LatencyBoard(), LatencyRules()

    for _ in range(20):
        board.estimate_of(("a", 1), rules).record(0.2, 0.0)

    assert pytest.approx(0.2, rel=WIDTH - 1) == board.estimate_of(("a", 1), rules).estimate_s(0.0)
    assert None is board.estimate_of(("b", 1), rules).estimate_s(0.0)


def test_estimate_counted_again_stays() -> None:
    estimate = make_estimate([0.1] * 20)
    first_s = estimate.estimate_s(0.0)
    assert first_s is not None

    for step in range(1, 50):
        estimate.record(estimate.estimate_s(float(step)) or 0.0, float(step))

    assert first_s == estimate.estimate_s(50.0)
