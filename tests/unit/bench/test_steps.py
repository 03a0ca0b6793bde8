"""`scripts/bench/steps`: what is counted, and under whose name."""

from __future__ import annotations

import sys

from scripts.bench.benches.steps import StepCounter


def below(times: int) -> int:
    return sum(range(times))


def root() -> int:
    return below(1) + below(2)


def beside() -> int:
    return below(3)


def count() -> StepCounter:
    counter = StepCounter(root.__code__)
    before = sys.gettrace()
    counter.start()
    try:
        beside()
        root()
    finally:
        sys.settrace(before)
    return counter


def test_only_what_the_root_calls_is_counted() -> None:
    counter = count()

    assert {root.__code__: 1, below.__code__: 2} == dict(counter.calls)
    assert beside.__code__ not in counter.own


def test_callers_are_charged_for_what_they_call() -> None:
    counter = count()

    own_root, own_below = counter.own[root.__code__], counter.own[below.__code__]
    assert own_root > 0
    assert own_below > 0
    assert own_root + own_below == counter.inclusive[root.__code__]
    assert own_below == counter.inclusive[below.__code__]


def test_counts_are_the_same_each_time() -> None:
    assert count().own == count().own
