"""The retry budget: a share of a key's calls, and some a second in any case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.racing.retry_budget import MIN_PER_S, OwnBuckets, RetryBudget


def withdrawals(budget: RetryBudget, now: float, calls_per_s: float = 0.0, key: str = "key") -> int:
    """How many there are at this moment, up to a thousand."""
    return sum(budget.withdraw(key, calls_per_s, now) for _ in range(1000))


def test_quiet_key_has_ten_a_second() -> None:
    budget = RetryBudget(0.2)

    assert [10, 0, 5, 10] == [withdrawals(budget, now) for now in (0.0, 0.0, 0.5, 60.0)]


@pytest.mark.parametrize(("calls_per_s", "retries"), [(10, 10), (50, 10), (51, 11), (1000, 200)])
def test_busy_key_has_its_share(calls_per_s: float, retries: int) -> None:
    assert retries == withdrawals(RetryBudget(0.2), 0.0, calls_per_s)


def test_workers_have_as_many_calls_each() -> None:
    assert 400 == withdrawals(RetryBudget(0.2, workers=2), 0.0, 1000)


def test_keys_are_apart() -> None:
    budget = RetryBudget(0.2)
    withdrawals(budget, 0.0)

    assert 10 == withdrawals(budget, 0.0, key="other")


def test_nothing_is_nothing() -> None:
    assert 0 == withdrawals(RetryBudget(0.0), 0.0, 1e6)


@given(st.lists(st.floats(0, 5), max_size=200))
def test_bound_holds_for_every_stretch(moments: list[float]) -> None:
    buckets = OwnBuckets()
    taken = [now for now in sorted(moments) if buckets.take("key", MIN_PER_S, now)]

    for index, begin in enumerate(taken):
        for count, end in enumerate(taken[index:], start=1):
            assert count <= MIN_PER_S * (1 + end - begin) + 1e-6
