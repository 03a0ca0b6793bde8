"""Estimates how long a candidate takes: a quantile of the recent past, in constant memory. Synchronous; `now` is passed
in.

Rules:
1. Times are counted in buckets whose bounds grow by a twelfth octave (6 %), as in an HDR or DDSketch histogram: the
   answer is the upper bound of its bucket, so it is never below the exact quantile and at most 6 % above it.
2. The recent past is the last one to two half windows, which take turns; nothing is ever moved or sorted. All workers
   may count together (shared_memory/latency_counts.py).
3. The loser of a hedge was cancelled before it answered. It is only known to be slower than the estimate, so
   `record_beaten` counts it in the bucket after the estimate. Without losers, or with losers at the estimate, the
   quantile and the next hedge would come earlier each time. With the time that they were given, the estimate would rise
   without end, because that time includes the winner's. (docs/decisions/005-race.md)
4. There is no estimate before enough calls were seen. An estimate lies between floor and ceiling.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Hashable, Sequence
from operator import add
from typing import Protocol

from attrs import frozen

from pg_trio.ledger.node_health import FindCounts, LatencyCounts

BUCKETS_PER_OCTAVE = 12
BUCKET_GROWTH = math.pow(2.0, 1 / BUCKETS_PER_OCTAVE)
# 1 ms to 70 min: 22 octaves. What is quicker or slower counts in the outermost bucket.
SHORTEST_S = 0.001
BUCKETS = 22 * BUCKETS_PER_OCTAVE + 1


@frozen(slots=True)
class LatencyRules:
    """The parameters of an estimate."""

    quantile: float = 0.95
    window_s: float = 120.0
    # 20 is the fewest samples of which the 95th percentile is not simply the largest.
    min_samples: int = 20
    # Below 50 ms the cause is more often a busy moment of the gateway than a slow provider.
    floor_s: float = 0.05
    ceiling_s: float = 30.0
    # Walking over the buckets takes 10 µs, so it is not done for every request.
    refresh_s: float = 0.25


class Latency(Protocol):
    """The known times of one candidate."""

    def record(self, took_s: float, now: float) -> None:
        """Count a call that was answered after this long."""

    def record_beaten(self, given_s: float, now: float) -> None:
        """Count a call that was cancelled after this long."""

    def estimate_s(self, now: float) -> float | None:
        """The quantile; None while too little is known."""


class Latencies(Protocol):
    """The estimates of all candidates, kept by one process or by all workers together."""

    def estimate_of(self, key: Hashable, rules: LatencyRules) -> Latency:
        """The estimate of a key, made at its first use. The rules of a key never change."""


class OwnCounts:
    """The counts that one process keeps for itself: the last one to two half windows, which take turns."""

    __slots__ = ("_before", "_began_at", "_half_s", "_now")

    def __init__(self, half_s: float) -> None:
        self._half_s = half_s
        self._now = _empty()
        self._before = _empty()
        self._began_at = -math.inf

    def add(self, bucket: int, now: float) -> None:
        """Count one."""
        self._turn(now)
        self._now[bucket] += 1

    def read(self, now: float) -> Sequence[int]:
        """All counts."""
        self._turn(now)
        return list(map(add, self._now, self._before))

    def _turn(self, now: float) -> None:
        """Forget what is too old."""
        if now < self._began_at + self._half_s:
            return
        self._before = self._now if now < self._began_at + 2 * self._half_s else _empty()
        self._now = _empty()
        self._began_at = now


class LatencyEstimate:
    """The quantile of one candidate's times."""

    __slots__ = ("_counts", "_estimate_s", "_estimated_at", "_rules")

    def __init__(self, rules: LatencyRules, counts: LatencyCounts | None = None) -> None:
        self._rules = rules
        self._counts = counts or OwnCounts(rules.window_s / 2)
        self._estimate_s: float | None = None
        self._estimated_at = -math.inf

    def record(self, took_s: float, now: float) -> None:
        """Count a call that was answered after this long."""
        self._counts.add(_bucket(took_s), now)

    def record_beaten(self, given_s: float, now: float) -> None:
        """Count a call that was cancelled after this long because another won. Ignored if it was not late."""
        estimate_s = self.estimate_s(now)
        if estimate_s is not None and given_s >= estimate_s:
            self.record(estimate_s * BUCKET_GROWTH, now)

    def estimate_s(self, now: float) -> float | None:
        """The quantile, at most `refresh_s` old; None while too little is known."""
        if now >= self._estimated_at + self._rules.refresh_s or self._estimate_s is None:
            self._estimate_s = self._walk(self._counts.read(now))
            self._estimated_at = now
        return self._estimate_s

    def _walk(self, counts: Sequence[int]) -> float | None:
        count = sum(counts)
        if count < self._rules.min_samples:
            return None
        # Rank by the nearest-rank definition: the smallest value that at least this share of all does not exceed.
        left = max(1, math.ceil(self._rules.quantile * count))
        bucket = 0
        for bucket, held in enumerate(counts):  # noqa: B007
            left -= held
            if left <= 0:
                break
        return min(max(_upper_bound_s(bucket), self._rules.floor_s), self._rules.ceiling_s)


class LatencyBoard:
    """All estimates; the configuration bounds their number. `find_counts` finds the counts of a key."""

    def __init__(self, find_counts: FindCounts | None = None) -> None:
        self._find_counts = find_counts
        self._estimates: dict[Hashable, LatencyEstimate] = {}

    def estimate_of(self, key: Hashable, rules: LatencyRules) -> Latency:
        """See Latencies."""
        estimate = self._estimates.get(key)
        if estimate is None:
            name = tuple(map(str, key)) if isinstance(key, tuple) else (str(key),)
            counts = self._find_counts(name, BUCKETS, rules.window_s / 2) if self._find_counts is not None else None
            estimate = self._estimates[key] = LatencyEstimate(rules, counts)
        return estimate


def _empty() -> array[int]:
    return array("L", bytes(array("L").itemsize * BUCKETS))


def _bucket(took_s: float) -> int:
    if took_s <= SHORTEST_S:
        return 0
    # A bucket includes its own bound. Otherwise an estimate that is counted again would move up each time.
    return min(BUCKETS - 1, math.ceil(math.log2(took_s / SHORTEST_S) * BUCKETS_PER_OCTAVE - 1e-9))


def _upper_bound_s(bucket: int) -> float:
    return SHORTEST_S * math.pow(2.0, bucket / BUCKETS_PER_OCTAVE)
