"""The race's runner: starts and discards tries, decides when one may be hedged, and which breaker a failure counts
for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import random
from typing import ClassVar, Generic, TypeVar

import trio
from attrs import define, field, frozen

from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate
from pg_trio.domain.secret import Secret, mask_secrets
from pg_trio.domain.value import value
from pg_trio.errors import (
    AttemptFailed,
    CandidateAside,
    OwnStateError,
    PassedOver,
    RetriesSpent,
    UpstreamRefused,
    UpstreamUnreachable,
)
from pg_trio.ledger.node_health import Hedges
from pg_trio.racing.attempt import ATTEMPT_LIMIT, Attempt, AttemptEnd, Outcome, Round
from pg_trio.racing.breaker import Fault
from pg_trio.racing.breaker_board import BreakerOpen, Permit, Standing
from pg_trio.racing.pauses import Pauses
from pg_trio.stages.provider_call.call_plan import CallPlan, Pacing
from pg_trio.stages.provider_call.memory import Memory
from pg_trio.stages.provider_call.pace import NEVER
from pg_trio.stages.provider_call.retry import Retries
from pg_trio.stages.provider_call.slot_turns import Line, has_free_slot

T = TypeVar("T")

# Statuses that count against the target (contract, "Failover"); other 4xx are the caller's own mistake.
TARGET_STATUSES = frozenset({403, 404, 408, 409, 425})
# If the deadline ends an attempt, it counts against the target only if it ran at least this long.
PATIENCE_S = 1.0
# Why a candidate is not asked. Its row and the client get this text.
_ASIDE_WORDS = {
    Fault.ASIDE: ("asked for a pause", "asked for a pause"),
    Fault.CREDENTIAL: ("refused the credential", "credential refused"),
    Fault.SLOW: ("was silent in its last calls", "breaker open"),
    Fault.TARGET: ("failed in its last calls", "breaker open"),
    Fault.NOBODY: ("is being tried by another request", "breaker open"),
}


@value(slots=True, eq=False)
class Asked:
    """The tools that an answer may call, the deadline (Trio's clock), the list of tries, and when the request began."""

    tools: Sequence[object]
    ends_at: float
    attempts: Attempts
    now: float


@frozen(slots=True)
class Hands(Generic[T]):
    """How one kind of answer is closed, and how its slot is given back at its end."""

    let_go: Callable[[T], Awaitable[None]]
    hold: Callable[[T, Callable[[], None]], None]


@define(eq=False)
class CallRunner(Generic[T]):
    """The tries of one request; see racing.attempt.Runner. `ordered` are the candidates of the first round.

    `permit` is the winning try's.
    """

    exchange: Callable[[Attempt[Candidate]], Awaitable[T]]
    hands: Hands[T]
    memory: Memory
    hedges: Hedges | None
    asked: Asked
    plan: CallPlan
    pacing: Pacing
    ordered: Sequence[Candidate]
    line: Line | None
    permit: Permit | None = None
    _permits: dict[int, Permit] = field(factory=dict)
    _retries: Retries | None = None

    # A local problem (no file descriptor left) is not a candidate's failure. It must not end other tries either.
    expected: ClassVar[tuple[type[Exception], ...]] = (AttemptFailed, OwnStateError)

    # ── tries ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, attempt: Attempt[Candidate]) -> Awaitable[T]:
        """The candidate's answer. Raises AttemptFailed or OwnStateError."""
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
            self.hands.hold(value, slots.give_back)
        return value

    def _ask(self, attempt: Attempt[Candidate], now: float) -> Awaitable[T]:
        candidate = attempt.candidate
        if attempt.number > 0 or self._retries is not None:
            # The first candidate was chosen just now. The state of the others may have changed since then.
            self._check_turn(candidate, now)
        try:
            permit = self.memory.breakers.begin(candidate, now, is_alone=len(self.ordered) <= 1)
        except BreakerOpen as exc:
            raise self._aside(candidate, Standing(Fault.NOBODY, exc.retry_after_s, True, "")) from None
        self._permits[attempt.number] = permit
        self.asked.attempts.begin(attempt, now)
        return self.exchange(attempt)

    def _check_turn(self, candidate: Candidate, now: float) -> None:
        """Raises PassedOver if the candidate must not be asked now."""
        retries = self._get_retries()
        if retries.aside_s(candidate, now) > 0:
            raise self._aside(candidate, self.memory.breakers.standing(candidate, now))
        if retries.has_failed(candidate):
            calls_per_s = self.memory.breakers.calls_per_s(candidate, now)
            if not self.memory.retry_budget.withdraw(candidate.credential.name, calls_per_s, now):
                retries.give_up(candidate)
                raise RetriesSpent(f"{candidate.provider}: the retry budget of its credential is spent")

    def _aside(self, candidate: Candidate, standing: Standing) -> CandidateAside:
        why = _ASIDE_WORDS[standing.why][1]
        return CandidateAside(say_standing(candidate, standing), standing.wait_s, why)

    async def discard(self, value: T) -> None:
        """Close an answer that came too late."""
        await self.hands.let_go(value)

    def adopt(self, attempt: Attempt[Candidate], permit: Permit) -> None:
        """Count an attempt that was begun without it: it is told how that ends."""
        self._permits[attempt.number] = permit

    # ── what comes next ──────────────────────────────────────────────────────────────────────────────────────────────

    def hedge_after_s(self, candidate: Candidate) -> float:
        """How long the candidate may be silent before the next one starts beside it."""
        pace = NEVER if self.asked.tools and not self.plan.hedges_tools else self.pacing.pace
        return pace.hedge_after_s(candidate)

    def may_hedge(self, candidate: Candidate) -> bool:
        """Whether a hedge may go there now. If so, it is paid from the budget."""
        now = trio.current_time()
        has_slot = self.line is None or has_free_slot(candidate, self.line.slots)
        may_ask = has_slot and self.memory.breakers.may_ask(candidate, now)
        if may_ask and self.hedges is not None and self.hedges.withdraw(now):
            return True
        self.asked.attempts.hedge_denied = True
        return False

    def is_final(self, error: Exception) -> bool:
        """Whether every candidate would refuse this request."""
        return isinstance(error, AttemptFailed) and not error.fails_over

    def next_round(self) -> Round[Candidate] | None:
        """The next round, if there is one."""
        return self._get_retries().next_round(trio.current_time())

    def has_others(self, candidate: Candidate) -> bool:
        """Whether another candidate may be asked after this one, the last one of its round, is given up."""
        return self._get_retries().has_others(candidate, trio.current_time())

    def _get_retries(self) -> Retries:
        if self._retries is None:
            plan = self.plan
            self._retries = Retries(
                plan.candidates,
                plan.max_attempts,
                plan.paid_tries,
                self.asked.attempts,
                self.asked.ends_at,
                self.memory.breakers,
                self.pacing.usual.usually_s,
                random,
            )
            self.note_passed_over([one for one in plan.candidates if one not in self.ordered])
        return self._retries

    # ── how it ended ─────────────────────────────────────────────────────────────────────────────────────────────────

    def record(self, end: AttemptEnd[Candidate]) -> None:
        """Write a row, and report the end to the breakers."""
        if end.outcome is not Outcome.WON:
            self._record_loss(end)
            return
        attempt, ended_at = end.attempt, end.ended_at
        candidate = attempt.candidate
        self.asked.attempts.add(candidate, attempt.started_at, ended_at, "won", is_hedge=attempt.is_hedge)
        asked_at = attempt.started_at if self.line is None else self.line.asked_at[attempt.number]
        self.permit = permit = self._permits.pop(attempt.number)
        permit.succeeded(ended_at)
        if not self.memory.pauses.overlap(asked_at, ended_at):
            self.pacing.note_won(attempt, asked_at, ended_at)

    def _record_loss(self, end: AttemptEnd[Candidate]) -> None:
        candidate, error, attempts = end.attempt.candidate, end.error, self.asked.attempts
        said = mask_secrets(str(error) if end.outcome is Outcome.FAILED else "", secrets_of(candidate))
        if isinstance(error, PassedOver):
            attempts.pass_over(candidate, end.ended_at, said, error.why)
        elif isinstance(error, OwnStateError):
            attempts.pass_over(candidate, end.ended_at, said, "gateway overloaded")
        else:
            outcome = mask_secrets(str(end), secrets_of(candidate))
            why = error.why if isinstance(error, AttemptFailed) else ""
            attempts.add(candidate, end.attempt.started_at, end.ended_at, outcome, why, end.attempt.is_hedge)
        permit = self._permits.pop(end.attempt.number, None)
        # Without a permit, it was never asked.
        if permit is not None:
            if not isinstance(error, UpstreamRefused | UpstreamUnreachable | OwnStateError):
                attempts.lost_to += (candidate,)
            asked_at = end.attempt.started_at if self.line is None else self.line.asked_at[end.attempt.number]
            is_repeated = self._retries is not None and self._retries.has_failed(candidate)
            fault = find_fault(end, asked_at, self.memory.pauses)
            tell(permit, end, fault, said, is_repeated=is_repeated)
            if self.pacing.learned is not None and not self.memory.pauses.overlap(asked_at, end.ended_at):
                self.pacing.learned.learn(end, asked_at)
        if end.outcome is Outcome.FAILED or end.reason == ATTEMPT_LIMIT:
            self._get_retries().note(end)

    def note_passed_over(self, candidates: Sequence[Candidate]) -> None:
        """Write a row for each candidate that may not be asked now."""
        now = trio.current_time()
        for candidate in candidates:
            standing = self.memory.breakers.standing(candidate, now, is_alone=len(self.plan.candidates) == 1)
            if standing.wait_s > 0:
                said = mask_secrets(say_standing(candidate, standing), secrets_of(candidate))
                self.asked.attempts.pass_over(candidate, now, said, _ASIDE_WORDS[standing.why][1])


def tell(
    permit: Permit, end: AttemptEnd[Candidate], fault: Fault | None, said: str = "", *, is_repeated: bool = False
) -> None:
    """Report to the breakers how a try without an answer ended.

    `is_repeated`: this request has failed there before. Such a failure is not counted again: the retries of one request
    may meet a blip of half a second three times, and this must not look like three failed requests.
    """
    if fault is not None and not (is_repeated and fault is Fault.TARGET and not permit.is_probe):
        retry_after_s = end.error.retry_after_s if isinstance(end.error, UpstreamRefused) else None
        permit.failed(fault, end.ended_at, retry_after_s, said)
    permit.cancelled()


def find_fault(end: AttemptEnd[Candidate], asked_at: float, pauses: Pauses) -> Fault | None:
    """The fault that the end of a try shows; None if it shows none, for instance because nothing here listened."""
    if isinstance(end.error, UpstreamRefused):
        return blame(end.error)
    if isinstance(end.error, OwnStateError) or pauses.took_most_of(asked_at, end.ended_at):
        return None
    if end.outcome is Outcome.FAILED or end.reason == ATTEMPT_LIMIT:
        return Fault.TARGET
    return Fault.SLOW if end.reason == "deadline" and end.ended_at - asked_at >= PATIENCE_S else None


def blame(refused: UpstreamRefused) -> Fault:
    """The fault that a refusal shows."""
    status = refused.upstream_status
    if refused.refuses_credential:
        return Fault.CREDENTIAL
    if refused.concerns is not None:
        # An unknown model fails for every request. A context that is too small fails for this one.
        return Fault.TARGET if refused.concerns == "model" else Fault.NOBODY
    if status == 429 or (status >= 500 and refused.retry_after_s is not None):
        return Fault.ASIDE
    return Fault.TARGET if status >= 500 or status in TARGET_STATUSES else Fault.NOBODY


def say_standing(candidate: Candidate, standing: Standing) -> str:
    """Why a candidate is not asked, with its provider's last message if there is one."""
    why = f"{candidate.provider} {_ASIDE_WORDS[standing.why][0]}; not asked for another {standing.wait_s:.3g} s"
    return f"{standing.said} ({why})" if standing.said else why


def secrets_of(*candidates: Candidate) -> list[Secret]:
    """The keys that must be masked in messages of these candidates' providers."""
    return [secret for candidate in candidates for secret in candidate.credential.secrets]
