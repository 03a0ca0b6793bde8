"""Token buckets: the arithmetic, and the buckets of one process.

A bucket is two numbers: its level in tokens, and when that was. It refills evenly, `capacity / window` tokens a second,
up to its capacity. It starts full.
"""

from __future__ import annotations

# A token short by less than this is a whole one: refilling for exactly the wait that was told must be enough, and
# float arithmetic loses some 1e-15 on the way.
EPSILON_TOKENS = 1e-9


def refill(level: float, since_s: float, capacity: int, window_s: float) -> float:
    """The level after `since_s` seconds. A clock that went backwards refills nothing."""
    return min(float(capacity), level + max(0.0, since_s) * capacity / window_s)


def wait_for_token(level: float, capacity: int, window_s: float) -> float:
    """Seconds until the bucket holds one whole token; 0 if it does."""
    if level >= 1.0 - EPSILON_TOKENS:
        return 0.0
    return (1.0 - level) * window_s / capacity if capacity else window_s


class LocalBuckets:
    """Buckets of one process, by key. Synchronous, so that under Trio a take is atomic without a lock."""

    def __init__(self) -> None:
        self._levels: dict[bytes, list[tuple[float, float]]] = {}

    def take(self, key: bytes, limits: tuple[tuple[int, float], ...], now: float) -> tuple[int, float] | None:
        """Take one token from each bucket of the key, or from none: (index, wait in seconds) of the longest wait."""
        stored = self._levels.get(key)
        if stored is None or len(stored) != len(limits):
            stored = [(float(capacity), now) for capacity, _ in limits]
        levels = [
            refill(level, now - at, capacity, window_s)
            for (level, at), (capacity, window_s) in zip(stored, limits, strict=True)
        ]
        waits = [wait_for_token(level, *limit) for level, limit in zip(levels, limits, strict=True)]
        longest = max(waits)
        taken = 1.0 if longest == 0.0 else 0.0
        self._levels[key] = [(level - taken, now) for level in levels]
        return None if longest == 0.0 else (waits.index(longest), longest)
