"""When a silent candidate is hedged: never, after a fixed time, or when it is slower than it usually is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias, get_args

import trio
from attrs import frozen

from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.racing.attempt import AttemptEnd, Outcome
from pg_trio.racing.latency import Latencies, Latency, LatencyRules

# A whole answer takes longer than a first token: what is learned of the one says nothing of the other.
Kind: TypeAlias = Literal["answer", "first token"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Pace(Protocol):
    """How long a candidate may be silent."""

    def hedge_after_s(self, candidate: Candidate) -> float:
        """Seconds until the next candidate is started beside it; infinity for never."""


@frozen(slots=True)
class FixedPace:
    """The same fixed time for every candidate."""

    after_s: float

    def hedge_after_s(self, candidate: Candidate) -> float:
        """See Pace."""
        return self.after_s


NEVER = FixedPace(math.inf)


@frozen(slots=True, eq=False)
class LearnedPace:
    """A percentile of each candidate's own recent times; `cold_s` while too little is known."""

    _latencies: Mapping[tuple[str, str], Latency]
    _cold_s: float

    def hedge_after_s(self, candidate: Candidate) -> float:
        """See Pace."""
        estimate_s = self._latency(candidate).estimate_s(trio.current_time())
        return self._cold_s if estimate_s is None else estimate_s

    def learn(self, end: AttemptEnd[Candidate], asked_at: float) -> None:
        """Count a try. A failure says nothing of how long an answer takes; a cancelled try took longer than it had."""
        latency, took_s = self._latency(end.attempt.candidate), end.ended_at - asked_at
        if end.outcome is Outcome.WON:
            latency.record(took_s, end.ended_at)
        elif end.outcome is Outcome.CANCELLED:
            latency.record_beaten(took_s, end.ended_at)

    def _latency(self, candidate: Candidate) -> Latency:
        return self._latencies[candidate.credential.name, candidate.memory_name]


def learned_pace(endpoint: Endpoint, kind: Kind, latencies: Latencies) -> LearnedPace | None:
    """The pace of an endpoint with `hedge_after`, for whole answers or for first tokens; None for any other."""
    percentile = endpoint.hedge_after
    if percentile is None:
        return None
    rules = LatencyRules(quantile=int(percentile[1:]) / 100)
    # The ceiling is the longest that a candidate is waited for, so also where nothing is known.
    kept = {name[2:]: latencies.estimate_of(name, rules) for name in learned_names(endpoint, kind)}
    return LearnedPace(kept, rules.ceiling_s)


def learned_names(endpoint: Endpoint, kind: Kind) -> list[tuple[str, str, str, str]]:
    """The names of what an endpoint learns: kind, percentile, credential, model of each candidate."""
    if endpoint.hedge_after is None:
        return []
    return [(kind, endpoint.hedge_after, one.credential.name, one.memory_name) for one in endpoint.candidates]
