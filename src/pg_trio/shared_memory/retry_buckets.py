"""Retry budgets of all workers: a token bucket for each credential. racing/retry_budget.py has their purpose."""

from __future__ import annotations

from hashlib import blake2b

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.token_bucket import SharedBuckets


class SharedRetryBuckets:
    """See ledger.node_health.RetryBuckets. `ahead_s` as for breaker_records.SharedBreakers."""

    def __init__(self, buckets: SharedBuckets, ahead_s: float) -> None:
        self._buckets = buckets
        self._ahead_s = ahead_s

    def take(self, key: str, per_s: int, now: float) -> bool:
        """Take one of at most `per_s` a second; False also if the key cannot be held now."""
        # 20 bytes: a different length from endpoints' and tokens' keys among the buckets.
        place = blake2b(key.encode(), digest_size=20, person=b"retries").digest()
        try:
            return self._buckets.take(place, ((per_s, 1.0),), now + self._ahead_s).refused is None
        except Overloaded:
            return False
