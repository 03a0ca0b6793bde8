"""Requests per minute and per hour of one endpoint: token buckets that refill evenly. A request takes from both or
from neither, so that one that is refused costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen

from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.domain.project import Endpoint
from pg_trio.errors import RateLimited

MINUTE_S = 60
HOUR_S = 3600

Limits = tuple[tuple[int, float], ...]


class Taken(Protocol):
    """What became of a take (see shared_memory/token_bucket.py)."""

    @property
    def refused(self) -> tuple[int, float] | None: ...

    def left(self) -> Sequence[tuple[int, int]]: ...


class Buckets(Protocol):
    """Token buckets by key. A bucket's limit is its capacity; it refills evenly over its window."""

    def take(self, key: bytes, limits: Limits, now: float) -> Taken:
        """Take one token from each of the key's buckets, or from none, `limits` being (capacity, window in s) each."""


class LimitedCall(Protocol):
    """Who tells the client of its limits."""

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """Every answer from here on says what is left."""


@frozen(slots=True)
class BucketPlan:
    """The buckets of one key, ready to take from."""

    key: bytes
    limits: Limits
    policies: tuple[LimitPolicy, ...]

    @classmethod
    def of(cls, key: bytes, policies: Sequence[LimitPolicy]) -> BucketPlan:
        """The plan of limits that have a window."""
        limits = tuple((policy.quota, float(policy.window_s or 1)) for policy in policies)
        return cls(key, limits, tuple(policies))

    def states(self, left: Sequence[tuple[int, int]]) -> list[LimitState]:
        """What is left, for the client."""
        return [LimitState(policy, *each) for policy, each in zip(self.policies, left, strict=True)]


class RateLimit:
    """Takes a request's tokens, or refuses it with the time to the next one. `clock` is monotonic seconds."""

    def __init__(self, buckets: Buckets, clock: Callable[[], float]) -> None:
        self._buckets = buckets
        self._clock = clock
        self._plans: dict[Endpoint, BucketPlan] = {}

    def take(self, call: LimitedCall, endpoint: Endpoint) -> None:
        """Count one request on the endpoint, and show what is left. Raises RateLimited."""
        if endpoint.rate_limit_per_minute is None and endpoint.rate_limit_per_hour is None:
            return
        plan = self._plans.get(endpoint)
        if plan is None:
            plan = self._plans[endpoint] = _endpoint_plan(endpoint)
        taken = self._buckets.take(plan.key, plan.limits, self._clock())
        call.show_limits(plan.states(taken.left()))
        if taken.refused is not None:
            index, wait_s = taken.refused
            raise RateLimited(plan.policies[index].name, max(1, math.ceil(wait_s)))


def _endpoint_plan(endpoint: Endpoint) -> BucketPlan:
    rows = (("minute", endpoint.rate_limit_per_minute, MINUTE_S), ("hour", endpoint.rate_limit_per_hour, HOUR_S))
    return BucketPlan.of(
        endpoint.uuid.bytes, [LimitPolicy(name, quota, window_s) for name, quota, window_s in rows if quota is not None]
    )
