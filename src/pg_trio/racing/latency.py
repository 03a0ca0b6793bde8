"""How long a candidate takes: a quantile of the recent past, in constant memory. Synchronous; `now` is passed in.

Rules:
1. Times are counted in buckets whose bounds grow by a twelfth octave (6 %), as in an HDR or DDSketch histogram: the
   answer is the upper bound of its bucket, so it is never below the exact quantile and at most 6 % above it.
2. The recent past is the last one to two half windows, which take turns; nothing is ever moved or sorted.
3. A hedge's loser was cancelled before it had answered; `record_beaten` counts it in the bucket after the estimate that
   it had passed: all that is known is that it was slower. Leaving losers out would lower the quantile, and with it the
   next hedge, without end; so would counting them at the estimate. Counting the time they were given raises it without
   end: they come after the estimate by the winner's time, and the next losers later still. (docs/decisions/005-race.md)
4. Silent until it has seen enough; the answer lies between floor and ceiling.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Hashable
from typing import Protocol

from attrs import frozen

BUCKETS_PER_OCTAVE = 12
BUCKET_GROWTH = math.pow(2.0, 1 / BUCKETS_PER_OCTAVE)
# 1 ms to 70 min: 22 octaves. What is quicker or slower counts in the outermost bucket.
SHORTEST_S = 0.001
BUCKETS = 22 * BUCKETS_PER_OCTAVE + 1


@frozen(slots=True)
class LatencyRules:
    """What is asked of the past."""

    quantile: float = 0.95
    window_s: float = 120.0
    # 20 is the fewest samples of which the 95th percentile is not simply the largest.
    min_samples: int = 20
    # Below 50 ms a hedge is likelier to meet a busy moment of ours than a slow provider.
    floor_s: float = 0.05
    ceiling_s: float = 30.0
    # Walking the buckets takes 10 µs, so that is not done for every request.
    refresh_s: float = 0.25


class Latency(Protocol):
    """What is known of one candidate's times, by whoever keeps it."""

    def record(self, took_s: float, now: float) -> None:
        """Count a call that was answered after this long."""

    def record_beaten(self, given_s: float, now: float) -> None:
        """Count a call that was cancelled after this long."""

    def estimate_s(self, now: float) -> float | None:
        """The quantile; None while too little is known."""


class Latencies(Protocol):
    """The estimates of all candidates, by whoever keeps them: one process, or all workers together."""

    def estimate_of(self, key: Hashable, rules: LatencyRules) -> Latency:
        """The estimate of a key, made where it is asked for first; one key is always asked for by the same rules."""


class LatencyEstimate:
    """The quantile of one candidate's times."""

    __slots__ = (
        "_before",
        "_began_at",
        "_count_before",
        "_count_now",
        "_estimate_s",
        "_estimated_at",
        "_now",
        "_rules",
    )

    def __init__(self, rules: LatencyRules) -> None:
        self._rules = rules
        self._now = _empty()
        self._before = _empty()
        self._count_now = 0
        self._count_before = 0
        self._began_at = -math.inf
        self._estimate_s: float | None = None
        self._estimated_at = -math.inf

    def record(self, took_s: float, now: float) -> None:
        """Count a call that was answered after this long."""
        self._turn(now)
        self._now[_bucket(took_s)] += 1
        self._count_now += 1

    def record_beaten(self, given_s: float, now: float) -> None:
        """Count a call that was cancelled after this long, for another had won; one that was not late says nothing."""
        estimate_s = self.estimate_s(now)
        if estimate_s is not None and given_s >= estimate_s:
            self.record(estimate_s * BUCKET_GROWTH, now)

    def estimate_s(self, now: float) -> float | None:
        """The quantile, at most `refresh_s` old; None while too little is known."""
        if now >= self._estimated_at + self._rules.refresh_s or self._estimate_s is None:
            self._turn(now)
            self._estimate_s = self._walk()
            self._estimated_at = now
        return self._estimate_s

    def _walk(self) -> float | None:
        count = self._count_now + self._count_before
        if count < self._rules.min_samples:
            return None
        # Rank by the nearest-rank definition: the smallest value that at least this share of all does not exceed.
        left = max(1, math.ceil(self._rules.quantile * count))
        bucket = 0
        for bucket, (now, before) in enumerate(zip(self._now, self._before, strict=True)):  # noqa: B007
            left -= now + before
            if left <= 0:
                break
        return min(max(_upper_bound_s(bucket), self._rules.floor_s), self._rules.ceiling_s)

    def _turn(self, now: float) -> None:
        """Forget what is too old."""
        half_s = self._rules.window_s / 2
        if now < self._began_at + half_s:
            return
        is_recent = now < self._began_at + 2 * half_s
        self._before, self._count_before = (self._now, self._count_now) if is_recent else (_empty(), 0)
        self._now, self._count_now = _empty(), 0
        self._began_at = now


class LatencyBoard:
    """The estimates that one process keeps for itself; bounded by what is configured."""

    def __init__(self) -> None:
        self._estimates: dict[Hashable, LatencyEstimate] = {}

    def estimate_of(self, key: Hashable, rules: LatencyRules) -> Latency:
        """See Latencies."""
        return self._estimates.setdefault(key, LatencyEstimate(rules))


def _empty() -> array[int]:
    return array("L", bytes(array("L").itemsize * BUCKETS))


def _bucket(took_s: float) -> int:
    if took_s <= SHORTEST_S:
        return 0
    # A bucket's own bound belongs to it: rounding up would move an estimate that is counted again, step by step.
    return min(BUCKETS - 1, math.ceil(math.log2(took_s / SHORTEST_S) * BUCKETS_PER_OCTAVE - 1e-9))


def _upper_bound_s(bucket: int) -> float:
    return SHORTEST_S * math.pow(2.0, bucket / BUCKETS_PER_OCTAVE)
