"""Which candidates are asked again within one request, and when (contract, section "Retry").

Rules:
1. When every candidate has failed, those whose failure may pass are asked again: after their `Retry-After`, else after
   a jittered pause of 100 ms, which doubles with each round, 2 s at most. Failures that do not pass (a refused key, an
   unknown model) are final for this request.
2. A candidate that sent a `Retry-After` to an earlier request is waited for as well. While another request probes it,
   it is checked after each pause.
3. A wait begins only if it can help: the remaining time must exceed the wait plus the candidate's usual time.
4. `attempt_timeout_ms` ends a try of a later round if another candidate may be asked after it. It also ends one of the
   first round if another candidate is waited for. A silent provider must not use up the time of the others.
5. `max_attempts` bounds the tries. One is kept for each candidate whose `Retry-After` ends in time: quick failures of
   the others must not use up the try that has a chance.
6. A retry is paid from its credential's retry budget. If that is empty, this request does not ask the candidate again.
7. An endpoint's budget reserves money for one try of each candidate. A provider may charge for a try that was cut
   short, but not for one that it refused. No more tries that may be charged for are made than were reserved.
8. A candidate whose breaker is open because it failed is a last resort, and only if this request has asked it before.
   Candidates that this request passed over for that reason are not asked, so an endpoint that is down fails at once.

Nothing of this is made before a request's first failure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from attrs import define, field

from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate
from pg_trio.errors import AttemptFailed, CandidateFull, PassedOver, UpstreamRefused
from pg_trio.racing.attempt import AttemptEnd, AttemptLimitPassed, Round
from pg_trio.racing.breaker import Fault
from pg_trio.racing.breaker_board import Breakers, Standing

# The contract's. 100 ms: the first wait of gRPC's service configuration and of AWS' clients.
FIRST_PAUSE_S = 0.1
PAUSE_GROWTH = 2.0
PAUSE_LIMIT_S = 2.0
# The random part of a pause ("equal jitter"): clients that failed together do not come back together.
JITTER_SHARE = 0.5
# The breaker must agree that a wait is over. It keeps times in 32 bits, on a converted clock.
SLACK_S = 0.001


@define(slots=True, eq=False)
class LastFailure:
    """How a candidate failed in this request the last time."""

    is_final: bool
    # The time that its `Retry-After` names; minus infinity without one.
    again_at: float
    # The end of its breaker's pause, as it was right after this failure.
    aside_until: float


@define(slots=True, eq=False)
class NextTry:
    """A candidate that may be asked again, from `at` on. `has_word`: a `Retry-After` gave that time. `is_news`: another
    request received that `Retry-After`."""

    candidate: Candidate
    at: float
    has_word: bool
    is_news: bool = False


@define(slots=True, eq=False)
class Retries:
    """The retries of one request. `usually_s` says what a candidate usually takes; `random` is from 0 to 1.

    `paid_tries` is how many tries may be charged for (infinity: any number); `attempts` counts those so far.
    """

    candidates: Sequence[Candidate]
    max_attempts: int
    paid_tries: float
    attempts: Attempts
    ends_at: float
    breakers: Breakers[Candidate]
    usually_s: Callable[[Candidate], float]
    random: Callable[[], float]
    tries: int = 0
    _rounds: int = 0
    _failures: dict[int, LastFailure] = field(factory=dict)
    # Candidates that had no slot when they were last to be asked.
    _full: set[int] = field(factory=set)
    # Candidates that another request probed first (rule 8).
    _left_alone: set[int] = field(factory=set)

    def has_failed(self, candidate: Candidate) -> bool:
        """Whether the candidate has failed in this request: asking it once more is a retry."""
        return id(candidate) in self._failures

    def note(self, end: AttemptEnd[Candidate]) -> None:
        """An attempt has failed, and was reported to its breakers."""
        candidate, error = end.attempt.candidate, end.error
        standing = self.breakers.standing(candidate, end.ended_at)
        if isinstance(error, PassedOver):
            if isinstance(error, CandidateFull):
                self._full.add(id(candidate))
            elif standing.why is not Fault.ASIDE:
                self._left_alone.add(id(candidate))
            return
        self.tries += 1
        self._full.discard(id(candidate))
        wait_s = error.retry_after_s if isinstance(error, UpstreamRefused) else None
        self._failures[id(candidate)] = LastFailure(
            is_final=not _may_pass(error),
            again_at=-math.inf if wait_s is None else end.ended_at + wait_s,
            aside_until=end.ended_at + standing.wait_s if standing.why is Fault.ASIDE else -math.inf,
        )

    def give_up(self, candidate: Candidate) -> None:
        """Do not ask the candidate again."""
        self._failures[id(candidate)].is_final = True

    def next_round(self, now: float) -> Round[Candidate] | None:
        """The candidates of the next round and its time; None if there is none."""
        left = int(min(self.max_attempts - self.tries, self.paid_tries - self.attempts.lost))
        if left <= 0:
            return None
        turns = self._choose(self._find_turns(now), left)
        if not turns:
            return None
        self._rounds += 1
        starts_at = min(turn.at for turn in turns)
        ready = sorted((turn for turn in turns if turn.at <= starts_at), key=self._is_full)
        return Round(starts_at, [turn.candidate for turn in ready])

    def has_others(self, candidate: Candidate, now: float) -> bool:
        """Whether another candidate is left if this one is given up, running or not.

        In the first round failed candidates do not count: the last one has all the remaining time (the contract).
        """
        if self.max_attempts - self.tries <= 1:
            return False
        others = [turn for turn in self._find_turns(now) if turn.candidate is not candidate]
        return any(turn.is_news or (self._rounds > 0 and self.has_failed(turn.candidate)) for turn in others)

    def aside_s(self, candidate: Candidate, now: float) -> float:
        """How long the candidate asked another request to wait; 0 if it did not."""
        standing = self.breakers.standing(candidate, now)
        return standing.wait_s if self._is_news(candidate, standing, now) else 0.0

    # ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _find_turns(self, now: float) -> list[NextTry]:
        # The exponent is bounded, because a long wait would overflow a float.
        pause_s = min(PAUSE_LIMIT_S, FIRST_PAUSE_S * PAUSE_GROWTH ** min(self._rounds, 32))
        pause_s *= 1 - JITTER_SHARE * self.random()
        turns = [self._find_turn(candidate, now, now + pause_s) for candidate in self.candidates]
        return [turn for turn in turns if turn is not None and turn.at + self.usually_s(turn.candidate) < self.ends_at]

    def _find_turn(self, candidate: Candidate, now: float, after_pause: float) -> NextTry | None:
        failure = self._failures.get(id(candidate))
        if failure is not None and failure.is_final:
            return None
        standing = self.breakers.standing(candidate, now, is_alone=len(self.candidates) == 1)
        if self._is_news(candidate, standing, now):
            if standing.has_probe:
                return NextTry(candidate, after_pause, has_word=False, is_news=True)
            return NextTry(candidate, now + standing.wait_s + SLACK_S, has_word=True, is_news=True)
        if standing.why is Fault.CREDENTIAL and standing.wait_s > 0:
            return None
        if failure is not None:
            has_word = failure.again_at > now
            return NextTry(candidate, failure.again_at + SLACK_S if has_word else after_pause, has_word)
        if id(candidate) in self._left_alone or (standing.why in (Fault.TARGET, Fault.SLOW) and standing.wait_s > 0):
            return None
        # It was passed over at first, and may be asked now.
        return NextTry(candidate, after_pause if self._rounds else now, has_word=False)

    def _is_news(self, candidate: Candidate, standing: Standing, now: float) -> bool:
        """Whether the candidate waits for a `Retry-After` that another request received."""
        if standing.why is not Fault.ASIDE or standing.wait_s <= 0:
            return False
        failure = self._failures.get(id(candidate))
        return failure is None or standing.has_probe or now + standing.wait_s > failure.aside_until + SLACK_S

    def _choose(self, turns: Sequence[NextTry], left: int) -> list[NextTry]:
        """As many turns as tries are left. Those with a `Retry-After` come first (rule 5)."""
        # A slot that may become free is no reason for another round.
        if all(self._is_full(turn) for turn in turns):
            return []
        by_word = [turn for turn in turns if turn.has_word][:left]
        others = [turn for turn in turns if not turn.has_word]
        return by_word + others[: left - len(by_word)]

    def _is_full(self, turn: NextTry) -> bool:
        return id(turn.candidate) in self._full


def _may_pass(error: BaseException | None) -> bool:
    if isinstance(error, AttemptFailed):
        return error.may_pass
    # The try's own limit or a state of the gateway ended it: this is not the candidate's failure.
    return isinstance(error, AttemptLimitPassed)


class UsualTimes:
    """Usual times of candidates in seconds: a moving average, as TCP keeps it for round trips (RFC 6298)."""

    __slots__ = ("_took_s",)

    def __init__(self) -> None:
        # By identity: hashing a candidate hashes all its fields, and an endpoint's candidates are never replaced.
        self._took_s: dict[int, float] = {}

    def note(self, candidate: Candidate, took_s: float) -> None:
        """Count an answer, or a first token."""
        times_s, key = self._took_s, id(candidate)
        usual_s = times_s.get(key, took_s)
        times_s[key] = usual_s + (took_s - usual_s) / 8

    def usually_s(self, candidate: Candidate) -> float:
        """Its usual time; 0 while nothing is known."""
        return self._took_s.get(id(candidate), 0.0)
