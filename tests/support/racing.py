"""Candidates of a race whose behaviour is known to the tick."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio
from attrs import define, field

from pg_trio.racing.attempt import Attempt, AttemptEnd, Limits, Round, Won
from pg_trio.racing.race import race


class Refusal(Exception):
    """The expected error of these races."""


class FinalRefusal(Refusal):
    """An expected error that every candidate would give."""


@define(eq=False)
class FakeAttempt:
    """A candidate that answers with its name, or raises `error`, after `after_s`; and what was done to it when.

    Those that wait for one `gate` end in the same tick, all of them: two that sleep until the same moment do not, for
    the first to wake may cancel the other. A stubborn one takes no notice of being cancelled.
    """

    name: str
    after_s: float = math.inf
    error: Exception | None = None
    cleanup_s: float = 0.0
    gate: trio.Event | None = None
    is_stubborn: bool = False
    starts: list[float] = field(factory=list)
    cancelled_at: float | None = None
    told_ends_at: float | None = None

    async def run(self) -> str:
        self.starts.append(trio.current_time())
        try:
            await self._wait()
        except trio.Cancelled:
            self.cancelled_at = trio.current_time()
            with trio.CancelScope(shield=True):
                await trio.sleep(self.cleanup_s)
            raise
        if self.error is not None:
            raise self.error
        return self.name

    async def _wait(self) -> None:
        with trio.CancelScope(shield=self.is_stubborn):
            if self.gate is not None:
                await self.gate.wait()
            else:
                await trio.sleep(self.after_s)


@define(eq=False)
class FakeRunner:
    """Runs FakeAttempts. `hedge_after_s` holds for all; `may_hedge_to` says who may be hedged to."""

    hedging_after_s: float = math.inf
    may_hedge_to: Callable[[FakeAttempt], bool] = lambda candidate: True
    discard_s: float = 0.0
    discard_error: Exception | None = None
    ends: list[AttemptEnd[FakeAttempt]] = field(factory=list)
    discarded: list[str] = field(factory=list)
    alive: int = 0
    hedge_questions: list[str] = field(factory=list)
    rounds: list[Round[FakeAttempt]] = field(factory=list)

    expected: tuple[type[Exception], ...] = (Refusal,)

    async def start(self, attempt: Attempt[FakeAttempt]) -> str:
        attempt.candidate.told_ends_at = attempt.ends_at
        self.alive += 1
        try:
            return await attempt.candidate.run()
        finally:
            self.alive -= 1

    async def discard(self, value: str) -> None:
        self.alive += 1
        try:
            await trio.sleep(self.discard_s)
            if self.discard_error is not None:
                raise self.discard_error
            self.discarded.append(value)
        finally:
            self.alive -= 1

    def hedge_after_s(self, candidate: FakeAttempt) -> float:
        return self.hedging_after_s

    def may_hedge(self, candidate: FakeAttempt) -> bool:
        self.hedge_questions.append(candidate.name)
        return self.may_hedge_to(candidate)

    def is_final(self, error: Exception) -> bool:
        return isinstance(error, FinalRefusal)

    def record(self, end: AttemptEnd[FakeAttempt]) -> None:
        self.ends.append(end)

    def has_others(self, candidate: FakeAttempt) -> bool:
        return bool(self.rounds)

    def next_round(self) -> Round[FakeAttempt] | None:
        return self.rounds.pop(0) if self.rounds else None

    @property
    def story(self) -> list[tuple[str, float, float, str]]:
        """Of each attempt, in the order of ending: who, from when, until when, and what became of it."""
        return [(end.attempt.candidate.name, end.attempt.started_at, end.ended_at, str(end)) for end in self.ends]


async def run_race(
    candidates: list[FakeAttempt], runner: FakeRunner, limits: Limits | None = None
) -> Won[FakeAttempt, str]:
    """The race, with no limits unless given."""
    return await race(candidates, runner, limits or Limits())
