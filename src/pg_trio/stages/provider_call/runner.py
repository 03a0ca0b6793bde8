"""What the race needs to know of a try: how it is made and let go, when it may be hedged, whom a failure blames."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio
from attrs import define, field

from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate
from pg_trio.domain.secret import mask_secrets
from pg_trio.errors import AttemptFailed, CandidateAside, UpstreamRefused, UpstreamUnreachable
from pg_trio.racing.attempt import ATTEMPT_LIMIT, Attempt, AttemptEnd, Outcome
from pg_trio.racing.breaker import Fault
from pg_trio.racing.breaker_board import BreakerOpen, Breakers, Permit
from pg_trio.racing.hedge_budget import HedgeBudget
from pg_trio.stages.provider_call.pace import LearnedPace, Pace
from pg_trio.stages.provider_call.slots import Line, has_free_slot

T = TypeVar("T")

# What a status says of whom it blames (contract, "Failover"); other 4xx are the caller's own mistake.
CREDENTIAL_STATUSES = frozenset({401, 402})
TARGET_STATUSES = frozenset({403, 404, 408, 409, 425})
# An attempt that the deadline ended says something against its target only if it had at least this long.
PATIENCE_S = 1.0


@define(eq=False)
class CallRunner(Generic[T]):
    """The tries of one request; see racing.attempt.Runner. `learned` is told how long they took, if anybody asks."""

    exchange: Callable[[Attempt[Candidate]], Awaitable[T]]
    let_go: Callable[[T], Awaitable[None]]
    hold: Callable[[T, Callable[[], None]], None]
    breakers: Breakers[Candidate]
    hedges: HedgeBudget
    attempts: Attempts
    is_alone: bool
    pace: Pace
    learned: LearnedPace | None
    line: Line | None
    _permits: dict[int, Permit] = field(factory=dict, init=False)

    expected: tuple[type[Exception], ...] = (AttemptFailed,)

    def start(self, attempt: Attempt[Candidate]) -> Awaitable[T]:
        """Await it: the candidate's answer. Raises AttemptFailed."""
        if self.line is None:
            return self._ask(attempt, attempt.started_at)
        return self._ask_in_line(attempt, self.line)

    async def _ask_in_line(self, attempt: Attempt[Candidate], line: Line) -> T:
        slots = await line.take_slot(attempt)
        try:
            value = await self._ask(attempt, trio.current_time())
        except BaseException:
            if slots is not None:
                slots.give_back()
            raise
        if slots is not None:
            self.hold(value, slots.give_back)
        return value

    def _ask(self, attempt: Attempt[Candidate], now: float) -> Awaitable[T]:
        if attempt.number > 0:
            # The first was chosen in this very moment; what became of the others since then is news.
            self._pass_over_aside(attempt, now)
        try:
            self._permits[attempt.number] = self.breakers.begin(attempt.candidate, now, is_alone=self.is_alone)
        except BreakerOpen as exc:
            said = f"{attempt.candidate.provider} kept failing; another worker is trying it just now."
            raise CandidateAside(said, exc.retry_after_s) from None
        return self.exchange(attempt)

    def _pass_over_aside(self, attempt: Attempt[Candidate], now: float) -> None:
        aside_s = self.breakers.aside_s(attempt.candidate, now)
        if aside_s > attempt.ends_at - now:
            said = f"{attempt.candidate.provider} asked for a pause of another {aside_s:.3g} s"
            raise CandidateAside(said, aside_s)

    async def discard(self, value: T) -> None:
        """Close an answer that came too late."""
        await self.let_go(value)

    def hedge_after_s(self, candidate: Candidate) -> float:
        """How long the candidate may be silent before the next is started beside it."""
        return self.pace.hedge_after_s(candidate)

    def may_hedge(self, candidate: Candidate) -> bool:
        """Whether a hedge may go there now; if so, it is paid."""
        now = trio.current_time()
        if self.line is not None and not has_free_slot(candidate, self.line.slots):
            return False
        return self.breakers.may_ask(candidate, now) and self.hedges.withdraw(now)

    def is_final(self, error: Exception) -> bool:
        """Whether everybody would refuse this request."""
        return isinstance(error, AttemptFailed) and not error.fails_over

    def record(self, end: AttemptEnd[Candidate]) -> None:
        """Leave a row, and tell the breakers."""
        candidate, outcome = end.attempt.candidate, end.outcome.value
        if end.reason:
            secret = candidate.credential.api_key
            outcome = mask_secrets(str(end), [secret] if secret is not None else [])
        self.attempts.add(candidate, end.attempt.started_at, end.ended_at, outcome)
        permit = self._permits.pop(end.attempt.number, None)
        if permit is None:
            # It was never asked.
            return
        if end.outcome is not Outcome.WON and not isinstance(end.error, UpstreamRefused | UpstreamUnreachable):
            self.attempts.lost += 1
        asked_at = end.attempt.started_at if self.line is None else self.line.asked_at[end.attempt.number]
        tell(permit, end, asked_at)
        if self.learned is not None:
            self.learned.learn(end, asked_at)


def tell(permit: Permit, end: AttemptEnd[Candidate], asked_at: float) -> None:
    """Tell the breakers how a try ended: what blames whom."""
    now = end.ended_at
    if end.outcome is Outcome.WON:
        permit.succeeded(now)
    elif isinstance(end.error, UpstreamRefused):
        permit.failed(blame(end.error), now, end.error.retry_after_s)
    elif end.outcome is Outcome.FAILED or end.reason == ATTEMPT_LIMIT:
        permit.failed(Fault.TARGET, now)
    elif end.reason == "deadline" and now - asked_at >= PATIENCE_S:
        permit.failed(Fault.SLOW, now)
    permit.cancelled()


def blame(refused: UpstreamRefused) -> Fault:
    """Whom a refusal blames."""
    status = refused.upstream_status
    if status == 429 or (status >= 500 and refused.retry_after_s is not None):
        return Fault.ASIDE
    if status in CREDENTIAL_STATUSES:
        return Fault.CREDENTIAL
    return Fault.TARGET if status >= 500 or status in TARGET_STATUSES else Fault.NOBODY
