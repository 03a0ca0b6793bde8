"""The values of a race: an attempt, how it ended, which one won, its limits, and the protocol of its runner."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    # Values that are made for every request are frozen for the type checker only: see domain/value.py.
    from attrs import frozen as value
else:
    from attrs import define as value

C = TypeVar("C")
T = TypeVar("T")

# Why the race cancelled an attempt.
HEDGE_LOST = "hedge lost"
ATTEMPT_LIMIT = "attempt limit"
REFUSED_ELSEWHERE = "refused elsewhere"


class Outcome(Enum):
    """What became of an attempt."""

    WON = "won"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CRASHED = "crashed"


@value(slots=True, eq=False)
class Attempt(Generic[C]):
    """One try of one candidate. Times are Trio's clock; `number` counts from 0, in the order of starting.

    `ends_at` is the latest end of this try, as known at its start. Failures of other attempts may extend it.
    """

    candidate: C
    number: int
    is_hedge: bool
    started_at: float
    ends_at: float


@value(slots=True, eq=False)
class AttemptEnd(Generic[C]):
    """How an attempt ended; as text: `won`, `failed: <error>`, `cancelled: <reason>`, `crashed: <class>`.

    `reason` of a cancellation is one of the constants above, or what the outer scope's `cancel(reason=…)` gave, or
    `deadline` if the deadline of an outer scope passed.
    """

    attempt: Attempt[C]
    ended_at: float
    outcome: Outcome
    error: BaseException | None = None
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.outcome.value}: {self.reason}" if self.reason else self.outcome.value


@value(slots=True, eq=False)
class Won(Generic[C, T]):
    """The answer, which the caller must close from now on, and the attempt that got it."""

    value: T
    attempt: Attempt[C]


@value(slots=True, eq=False)
class Round(Generic[C]):
    """The next round once all have failed: `candidates` in order, from `starts_at` on (Trio's clock; past means
    now)."""

    starts_at: float
    candidates: Sequence[C]


class AllFailed(Exception, Generic[C]):
    """No candidate answered. `ends` are the failed attempts, in the order of failing; empty if no candidate could be
    asked."""

    def __init__(self, ends: Sequence[AttemptEnd[C]]) -> None:
        super().__init__("; ".join(str(end) for end in ends))
        self.ends = ends


class AttemptLimitPassed(Exception):
    """The error of an attempt that its own limit ended, while the race went on."""


@value(slots=True, eq=False)
class Limits:
    """Times of one race. `ends_at` is on Trio's clock. The caller's scope ends the race then; the race itself does not.

    `reserve_s` is kept back for each candidate not yet tried, so that it has time to answer. If less time is left, the
    candidates get equal shares of it.
    """

    ends_at: float = math.inf
    attempt_limit_s: float = math.inf
    reserve_s: float = 0.0
    # 1 s: closing a connection does not wait for its peer; a longer close is stuck.
    discard_limit_s: float = 1.0

    def cut_at(self, started_at: float, left: int) -> float:
        """When an attempt ends so that the `left` others have time; infinity if the deadline comes first."""
        equal_share_s = (self.ends_at - started_at) / (left + 1)
        for_others_at = max(self.ends_at - left * self.reserve_s, started_at + equal_share_s)
        cut_at = min(started_at + self.attempt_limit_s, for_others_at)
        # At the deadline the caller's scope ends the attempt. A second scope would only add its cost.
        return cut_at if cut_at < self.ends_at else math.inf


class Runner(Protocol[C, T]):
    """The runner of attempts: starts, judges and discards them. Everything but `start` and `discard` is synchronous."""

    @property
    def expected(self) -> tuple[type[Exception], ...]:
        """Errors that are one candidate's failure; everything else is a bug."""

    def start(self, attempt: Attempt[C]) -> Awaitable[T]:
        """Await it: the winning value, a whole answer, or an open stream whose first token has come.

        Owns what it opened until it returns. When it returns, the race owns the value, and then the caller or
        `discard`.
        """

    async def discard(self, value: T) -> None:
        """Close a value that was ready too late. Expected errors are ignored here."""

    def hedge_after_s(self, candidate: C) -> float:
        """Seconds that this candidate may be silent before the next one starts beside it; `math.inf`: no limit."""

    def may_hedge(self, candidate: C) -> bool:
        """Whether a hedge may go to this candidate now. After True the hedge starts, so its cost is paid here.

        Asked in order of the candidates not yet tried, until one is True; asked once for each silent attempt.
        """

    def is_final(self, error: Exception) -> bool:
        """Whether every candidate would give this expected error; then the race ends without another attempt."""

    def record(self, end: AttemptEnd[C]) -> None:
        """Note how an attempt ended."""

    def has_others(self, candidate: C) -> bool:
        """Whether another candidate may be asked in a later round, so that the attempt limits end this candidate, the
        last one of its own round."""

    def next_round(self) -> Round[C] | None:
        """The next candidates, after all of this round have failed; None if the race is lost.

        Asked after each round, so a round must bring the end nearer: by a try, or by time that passes.
        """
