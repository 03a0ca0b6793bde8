"""How many retries one key (a credential) may have: a share of its calls, so that an outage is not multiplied.

Synchronous; `now` is passed in. Retries draw on a bucket that holds one second's worth and refills evenly. Its rate is
`share` of the recently answered calls, and `MIN_PER_S` at least. So in any period of time

    retries <= (1 + seconds) * max(MIN_PER_S, share * calls a second)

A retry that finds the bucket empty is not made. It does not wait either, because waiting retries would be a queue.
"""

from __future__ import annotations

import math

from pg_trio.ledger.node_health import RetryBuckets

# 10 a second: linkerd's `minRetriesPerSecond`; so that a key with few calls can be retried at all.
MIN_PER_S = 10


class OwnBuckets:
    """The buckets of one process: the moment at which each is full again (the generic cell rate algorithm)."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}

    def take(self, key: str, per_s: int, now: float) -> bool:
        """See RetryBuckets."""
        full_at = max(now, self._full_at.get(key, now)) + 1 / per_s
        # The rounding error in a sum of tenths must not cost the last retry.
        if full_at > now + 1 + 1e-9:
            return False
        self._full_at[key] = full_at
        return True


class RetryBudget:
    """The retries that may be made. `share` 0: none. So many `workers` share the buckets, with as many calls each."""

    def __init__(self, share: float, buckets: RetryBuckets | None = None, workers: int = 1) -> None:
        self._share = share
        self._buckets = buckets or OwnBuckets()
        self._workers = workers

    @property
    def is_none(self) -> bool:
        """Whether retries are switched off."""
        return self._share <= 0

    def withdraw(self, key: str, calls_per_s: float, now: float) -> bool:
        """Take one retry out; False if there is none. `calls_per_s`: the key's calls, as far as this worker knows."""
        if self.is_none:
            return False
        per_s = max(MIN_PER_S, math.ceil(self._share * calls_per_s * self._workers))
        return self._buckets.take(key, per_s, now)
