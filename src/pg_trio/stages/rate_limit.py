"""Requests per minute and per hour of one endpoint: token buckets that refill evenly. A request takes from both or
from neither, so that one that is refused costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from pg_trio.domain.project import Endpoint
from pg_trio.errors import RateLimited

MINUTE_S = 60.0
HOUR_S = 3600.0


class Buckets(Protocol):
    """Token buckets by key. A bucket's limit is its capacity; it refills evenly over its window."""

    def take(self, key: bytes, limits: tuple[tuple[int, float], ...], now: float) -> tuple[int, float] | None:
        """Take one token from each of the key's buckets, `limits` being (capacity, window in seconds) each.

        None if all had one; else nothing was taken, and the answer is the index of the bucket with the longest wait
        and that wait in seconds.
        """


class RateLimit:
    """Takes a request's tokens, or refuses it with the time to the next one. `clock` is monotonic seconds."""

    def __init__(self, buckets: Buckets, clock: Callable[[], float]) -> None:
        self._buckets = buckets
        self._clock = clock
        self._plans: dict[Endpoint, tuple[bytes, tuple[str, ...], tuple[tuple[int, float], ...]]] = {}

    def take(self, endpoint: Endpoint) -> None:
        """Count one request on the endpoint. Raises RateLimited."""
        if endpoint.rate_limit_per_minute is None and endpoint.rate_limit_per_hour is None:
            return
        plan = self._plans.get(endpoint)
        if plan is None:
            plan = self._plans[endpoint] = _plan(endpoint)
        key, scopes, limits = plan
        refused = self._buckets.take(key, limits, self._clock())
        if refused is not None:
            index, wait_s = refused
            raise RateLimited(scopes[index], max(1, math.ceil(wait_s)))


def _plan(endpoint: Endpoint) -> tuple[bytes, tuple[str, ...], tuple[tuple[int, float], ...]]:
    rows = [
        (scope, (limit, window_s))
        for scope, limit, window_s in (
            ("minute", endpoint.rate_limit_per_minute, MINUTE_S),
            ("hour", endpoint.rate_limit_per_hour, HOUR_S),
        )
        if limit is not None
    ]
    return endpoint.uuid.bytes, tuple(scope for scope, _ in rows), tuple(limit for _, limit in rows)
