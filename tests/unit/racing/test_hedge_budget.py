"""The hedge budget: exact sums, and the bound over any stretch of any history."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pg_trio.racing.hedge_budget import EPSILON_HEDGES, HedgeBudget, HedgeRules


def withdrawals(budget: HedgeBudget, now: float, tries: int = 1000) -> int:
    return sum(budget.withdraw(now) for _ in range(tries))


def test_reserve_is_there_at_first() -> None:
    assert 5 == withdrawals(HedgeBudget(HedgeRules(reserve=5), 0.0), 0.0)


def test_twenty_requests_earn_one() -> None:
    budget = HedgeBudget(HedgeRules(share=0.05, min_per_s=0), 0.0)
    withdrawals(budget, 0.0)

    for _ in range(20):
        budget.deposit()

    assert 1 == withdrawals(budget, 0.0)


def test_rounding_costs_no_hedge() -> None:
    budget = HedgeBudget(HedgeRules(share=0.1, min_per_s=0), 0.0)
    withdrawals(budget, 0.0)

    # In floats a little less than one.
    for _ in range(10):
        budget.deposit()

    assert 1 == withdrawals(budget, 0.0)


def test_savings_are_bounded() -> None:
    budget = HedgeBudget(HedgeRules(reserve=5), 0.0)

    for _ in range(100_000):
        budget.deposit()

    assert 5 == withdrawals(budget, 1e9)


def test_low_traffic_earns_by_time() -> None:
    budget = HedgeBudget(HedgeRules(reserve=5, min_per_s=0.1), 0.0)
    withdrawals(budget, 0.0)

    assert (0, 1, 1) == (withdrawals(budget, 9.0), withdrawals(budget, 10.0), withdrawals(budget, 1000.0))


def test_time_leaves_savings_alone() -> None:
    budget = HedgeBudget(HedgeRules(reserve=5), 0.0)
    budget.withdraw(0.0)

    assert 4.0 == budget.balance(1e6)


def test_nothing_allowed_is_nothing() -> None:
    budget = HedgeBudget(HedgeRules(share=0, reserve=0, min_per_s=0), 0.0)

    budget.deposit()

    assert not budget.withdraw(1e9)


def test_time_earns_nothing_without_a_reserve() -> None:
    budget = HedgeBudget(HedgeRules(reserve=0), 0.0)

    assert not budget.withdraw(1e9)


def test_clock_going_backwards_earns_nothing() -> None:
    budget = HedgeBudget(HedgeRules(reserve=1, min_per_s=1), 100.0)
    budget.withdraw(100.0)

    assert not budget.withdraw(0.0)


@given(
    rules=st.builds(
        HedgeRules, share=st.floats(0, 1), reserve=st.floats(0, 20), min_per_s=st.sampled_from([0.0, 1 / 60, 1.0])
    ),
    history=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 100)), max_size=30),
    since=st.integers(0, 29),
)
def test_bound_holds_over_any_stretch(rules: HedgeRules, history: list[tuple[int, int, float]], since: int) -> None:
    budget = HedgeBudget(rules, 0.0)

    now = 0.0
    requests = hedges = 0
    seconds = 0.0
    for step, (asked, tries, wait_s) in enumerate(history):
        now += wait_s
        for _ in range(asked):
            budget.deposit()
        sent = withdrawals(budget, now, tries)
        if step >= since:
            requests, hedges = requests + asked, hedges + sent
            # What was earned before the stretch began is in the reserve.
            seconds += wait_s

    # Time alone fills up to one hedge, also where the reserve is smaller than that by rounding.
    assert hedges <= rules.reserve + rules.share * requests + rules.min_per_s * seconds + 100 * EPSILON_HEDGES
