"""A month's spend: what is reserved counts against the budget until it is settled."""

from __future__ import annotations

from pg_trio.shared_memory.spend import LocalSpend


def test_reservations_count_against_budget() -> None:
    spend = LocalSpend()

    answers = [spend.reserve(b"k", 1, 40, budget=100) for _ in range(3)]

    assert [None, None, 0] == answers
    assert (0, 80) == spend.read(b"k", 1)


def test_settling_gives_rest_back() -> None:
    spend = LocalSpend()
    spend.reserve(b"k", 1, 40, budget=100)

    spend.settle(b"k", 1, 40, spent=25)

    assert (25, 0) == spend.read(b"k", 1)


def test_exactly_the_budget_fits() -> None:
    spend = LocalSpend()

    assert spend.reserve(b"k", 1, 100, budget=100) is None


def test_new_month_starts_at_nothing() -> None:
    spend = LocalSpend(1, {b"k": 100})

    refused = spend.reserve(b"k", 1, 1, budget=100)
    allowed = spend.reserve(b"k", 2, 1, budget=100)

    assert (100, None) == (refused, allowed)
    assert (0, 1) == spend.read(b"k", 2)


def test_settling_past_month_changes_nothing() -> None:
    spend = LocalSpend()
    spend.reserve(b"k", 1, 40, budget=100)
    spend.reserve(b"k", 2, 10, budget=100)

    spend.settle(b"k", 1, 40, spent=40)

    assert (0, 10) == spend.read(b"k", 2)
