"""Race, estimate and budget together, in virtual time: a long tail is cut for a few per cent more calls."""

from __future__ import annotations

import math
from random import Random

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from pg_trio.racing.attempt import Attempt, AttemptEnd, Limits, Outcome
from pg_trio.racing.hedge_budget import HedgeBudget, HedgeRules
from pg_trio.racing.latency import LatencyEstimate, LatencyRules
from pg_trio.racing.race import race

REQUESTS = 4000


@define(eq=False)
class TailRunner:
    """Candidates that take 200 ms (log-normal), and 3 s in 5 % of calls."""

    random: Random
    budget: HedgeBudget
    estimates: dict[str, LatencyEstimate]
    calls: int = 0
    expected: tuple[type[Exception], ...] = ()
    times: list[float] = field(factory=list)

    async def start(self, attempt: Attempt[str]) -> str:
        self.calls += 1
        is_slow = self.random.random() < 0.05
        await trio.sleep(3.0 if is_slow else self.random.lognormvariate(math.log(0.2), 0.3))
        return attempt.candidate

    async def discard(self, value: str) -> None:
        """Nothing was opened."""

    def hedge_after_s(self, candidate: str) -> float:
        return self.estimates[candidate].estimate_s(trio.current_time()) or math.inf

    def may_hedge(self, candidate: str) -> bool:
        return self.budget.withdraw(trio.current_time())

    def is_final(self, error: Exception) -> bool:
        return False

    def has_others(self, candidate: str) -> bool:
        return False

    def next_round(self) -> None:
        """No candidate fails here."""

    def record(self, end: AttemptEnd[str]) -> None:
        took_s = end.ended_at - end.attempt.started_at
        estimate = self.estimates[end.attempt.candidate]
        if end.outcome is Outcome.WON:
            estimate.record(took_s, end.ended_at)
        else:
            estimate.record_beaten(took_s, end.ended_at)

    async def ask(self) -> None:
        began_at = trio.current_time()
        self.budget.deposit()
        await race(["primary", "backup"], self, Limits())
        self.times.append(trio.current_time() - began_at)


async def p99_and_calls(rules: HedgeRules) -> tuple[float, float]:
    names = ("primary", "backup")
    runner = TailRunner(Random(1), HedgeBudget(rules, 0.0), {name: LatencyEstimate(LatencyRules()) for name in names})
    async with trio.open_nursery() as nursery:
        for _ in range(REQUESTS):
            nursery.start_soon(runner.ask)
            await trio.sleep(0.05)
    return sorted(runner.times)[REQUESTS * 99 // 100], runner.calls / REQUESTS


async def test_p95_hedge_cuts_the_tail(autojump_clock: MockClock) -> None:
    without_s, _ = await p99_and_calls(HedgeRules(share=0, reserve=0, min_per_s=0))
    with_s, calls = await p99_and_calls(HedgeRules())

    assert 3.0 == pytest.approx(without_s)
    assert with_s <= 0.9
    assert calls <= 1.06
