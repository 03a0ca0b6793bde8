"""How an endpoint's candidates are asked: decided once for each endpoint, so that a request pays for what it uses."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrs import evolve, field, frozen

from pg_trio.domain.project import Candidate, Endpoint, OnStreamFailure
from pg_trio.racing.attempt import Attempt, AttemptEnd, Limits, Outcome
from pg_trio.racing.latency import Latencies
from pg_trio.racing.slots import Slots
from pg_trio.stages.provider_call.pace import NEVER, FixedPace, LearnedPace, Pace, learned_pace
from pg_trio.stages.provider_call.retry import UsualTimes
from pg_trio.stages.provider_call.slot_turns import CredentialSlots

# The contract's default of `max_attempts`: a first try and three retries, as of most providers' client libraries.
ATTEMPTS_A_CANDIDATE = 4
# Enough for a candidate that is well, and no more than a first one that is merely slow can spare.
RESERVE_SHARE = 1 / 4


@frozen(slots=True, eq=False)
class Pacing:
    """When silent candidates are hedged, the estimates that learn from their times (None: not used), and their usual
    times, for retries."""

    pace: Pace
    learned: LearnedPace | None
    usual: UsualTimes = field(factory=UsualTimes)

    def note_won(self, attempt: Attempt[Candidate], asked_at: float, ended_at: float) -> None:
        """Count the winner's time, from when it was asked (Trio's clock)."""
        self.usual.note(attempt.candidate, ended_at - asked_at)
        if self.learned is not None:
            self.learned.learn(AttemptEnd(attempt, ended_at, Outcome.WON), asked_at)


@frozen(slots=True, eq=False)
class CallPlan:
    """An endpoint as the race sees it. `candidates` are those whose provider is on, and may be none.

    `max_attempts` bounds the tries of one request, retries included, and `paid_tries` those that may be charged for,
    which a budget has reserved. `slots` are those of the credentials that are limited; None where none is.
    `first_provider` is that of the endpoint's first candidate, whether it is on or not.
    """

    first_provider: str

    candidates: tuple[Candidate, ...]
    max_attempts: int
    paid_tries: float
    attempt_limit_s: float
    reserve_s: float | None
    hedges_tools: bool
    first_token_limit_s: float
    on_stream_failure: OnStreamFailure
    answers: Pacing
    streams: Pacing
    slots: Mapping[str, Slots] | None
    # Whether there is one candidate, and nothing but the request's deadline limits it.
    is_lone: bool = field(init=False)

    @is_lone.default
    def _find_lone(self) -> bool:
        return len(self.candidates) == 1 and self.attempt_limit_s == math.inf

    # Whether its calls are not limited either: then a race has nothing to decide before its first try has failed.
    is_straight: bool = field(init=False)

    @is_straight.default
    def _find_straight(self) -> bool:
        return self.is_lone and self.slots is None

    # Whether a candidate may be unable to carry what a request holds (fit.py).
    is_picky: bool = False

    def without_restarts(self) -> CallPlan:
        """The same plan, but a stream that would be asked for again fails."""
        return evolve(self, on_stream_failure="error") if self.on_stream_failure == "restart" else self

    @property
    def may_hedge(self) -> bool:
        """Whether a silent candidate is ever hedged."""
        return len(self.candidates) > 1 and (self.answers.pace is not NEVER or self.streams.pace is not NEVER)

    def limits(self, ends_at: float, now: float) -> Limits:
        """The limits of a race that begins now."""
        if len(self.candidates) == 1:
            # There is no other candidate to keep time for.
            return Limits(ends_at, self.attempt_limit_s)
        return race_limits(ends_at, now, self.attempt_limit_s, self.reserve_s)


def make_plan(
    endpoint: Endpoint, disabled_providers: frozenset[str], latencies: Latencies, slots: CredentialSlots
) -> CallPlan:
    """The plan of one endpoint."""
    candidates = tuple(candidate for candidate in endpoint.candidates if candidate.provider not in disabled_providers)
    return CallPlan(
        first_provider=endpoint.candidates[0].provider,
        candidates=candidates,
        max_attempts=endpoint.max_attempts or ATTEMPTS_A_CANDIDATE * len(candidates),
        paid_tries=math.inf if endpoint.monthly_budget_usd is None else len(candidates),
        # A lone candidate has all the time there is.
        attempt_limit_s=endpoint.attempt_timeout_ms / 1000 if len(candidates) > 1 else math.inf,
        reserve_s=None if endpoint.reserve_ms is None else endpoint.reserve_ms / 1000,
        hedges_tools=endpoint.hedge_tools,
        first_token_limit_s=endpoint.first_token_timeout_ms / 1000,
        on_stream_failure=endpoint.on_stream_failure,
        answers=_pacing(endpoint, learned_pace(endpoint, "answer", latencies)),
        streams=_pacing(endpoint, learned_pace(endpoint, "first token", latencies)),
        slots=slots.of(candidates),
    )


def race_limits(ends_at: float, now: float, attempt_limit_s: float, reserve_s: float | None) -> Limits:
    """The limits of a race that begins now. Without `reserve_s`, each candidate not yet tried is kept RESERVE_SHARE of
    the time that is left."""
    if reserve_s is None:
        reserve_s = RESERVE_SHARE * (ends_at - now) if ends_at < math.inf else 0.0
    return Limits(ends_at, attempt_limit_s, reserve_s)


def _pacing(endpoint: Endpoint, learned: LearnedPace | None) -> Pacing:
    if learned is not None:
        return Pacing(learned, learned)
    fixed_ms = endpoint.hedge_after_ms
    return Pacing(NEVER if fixed_ms is None else FixedPace(fixed_ms / 1000), None)
