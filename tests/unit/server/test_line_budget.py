"""The budget of log lines: bursts are told, floods are counted."""

from __future__ import annotations

from pg_trio.server.http1.line_budget import LineBudget


def test_burst_has_its_lines() -> None:
    budget = LineBudget(2, window_s=5)

    assert [0, 0, None, None] == [budget.take(100.0) for _ in range(4)]


def test_next_window_tells_the_count() -> None:
    budget = LineBudget(1, window_s=5)
    for now in (100.0, 101.0, 104.9):
        budget.take(now)

    assert (2, None) == (budget.take(105.0), budget.take(105.1))


def test_told_once() -> None:
    budget = LineBudget(2, window_s=5)
    for _ in range(3):
        budget.take(100.0)

    assert (1, 0) == (budget.take(105.0), budget.take(105.0))
