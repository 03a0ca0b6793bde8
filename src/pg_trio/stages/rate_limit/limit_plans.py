"""The limits of endpoints, tokens and holders, prepared for takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attrs import evolve, frozen

from pg_trio.domain.limits import LimitPolicy, LimitsLeft
from pg_trio.domain.project import Endpoint, TokenLimits
from pg_trio.ledger.protocols import Buckets, Leases, Limits

MINUTE_S = 60
HOUR_S = 3600


@frozen(slots=True)
class BucketPlan:
    """The buckets of one key, prepared for takes."""

    key: bytes
    limits: Limits
    policies: tuple[LimitPolicy, ...]

    @classmethod
    def of(cls, key: bytes, policies: Sequence[LimitPolicy]) -> BucketPlan:
        """The plan of the limits that have a window."""
        limits = tuple((policy.quota, float(policy.window_s or 1)) for policy in policies)
        return cls(key, limits, tuple(policies))

    def states(self, left: Sequence[tuple[int, int]]) -> LimitsLeft:
        """The limits' remaining quota, for the client."""
        return LimitsLeft(self.policies, left)


@frozen(slots=True, eq=False)
class LimitPlan:
    """What a request to an endpoint takes. `buckets` is None where the endpoint itself has no limit; the others are for
    a token's limit on a model's tokens: characters that the endpoint adds, and tokens that an answer may have."""

    buckets: BucketPlan | None
    prompt_chars: int
    output_tokens: int
    ceiling_tokens: int | None = None

    def for_input(self) -> LimitPlan:
        """The plan for requests that are answered without output, and without the endpoint's prompt."""
        return evolve(self, prompt_chars=0, output_tokens=0)


@frozen(slots=True, eq=False)
class Books:
    """Where a plan's limits are counted."""

    buckets: Buckets
    leases: Leases


class WantedTake(NamedTuple):
    """What a request takes of one plan's buckets."""

    buckets: Buckets
    plan: BucketPlan
    amount: int


@frozen(slots=True)
class TokenPlan:
    """A token's or a holder's limits, prepared for takes. A token's keys are a letter and its id, 9 bytes; an
    endpoint's keys have 16, a holder's 17 or 18."""

    limits: TokenLimits
    books: Books
    key: bytes
    at_once: LimitPolicy | None
    requests: BucketPlan | None
    tokens: BucketPlan | None

    @classmethod
    def of(cls, token_id: int, limits: TokenLimits, books: Books) -> TokenPlan:
        """The plan of a token's limits."""
        number = token_id.to_bytes(8, "big")
        at_once = requests = tokens = None
        if limits.max_concurrent is not None:
            at_once = LimitPolicy("token_concurrent", limits.max_concurrent, None, "concurrent-requests")
        if limits.rate_limit_per_minute is not None:
            policy = LimitPolicy("token_minute", limits.rate_limit_per_minute, MINUTE_S)
            requests = BucketPlan.of(b"r" + number, [policy])
        if limits.tokens_per_minute is not None:
            policy = LimitPolicy("token_tokens", limits.tokens_per_minute, MINUTE_S, "tokens")
            tokens = BucketPlan.of(b"t" + number, [policy])
        return cls(limits, books, b"c" + number, at_once, requests, tokens)

    @classmethod
    def of_holder(cls, key: bytes, limits: TokenLimits, books: Books) -> TokenPlan:
        """The plan of a holder's limits."""
        at_once = requests = None
        if limits.max_concurrent is not None:
            at_once = LimitPolicy("subject_concurrent", limits.max_concurrent, None, "concurrent-requests")
        if limits.rate_limit_per_minute is not None:
            policy = LimitPolicy("subject_minute", limits.rate_limit_per_minute, MINUTE_S)
            requests = BucketPlan.of(key, [policy])
        return cls(limits, books, b"c" + key, at_once, requests, None)

    def policies(self) -> list[LimitPolicy]:
        """All of its limits."""
        policies = [] if self.at_once is None else [self.at_once]
        for plan in (self.requests, self.tokens):
            policies += [] if plan is None else plan.policies
        return policies


def plan_buckets(endpoint: Endpoint) -> BucketPlan | None:
    """The buckets of the endpoint's limits; None without any."""
    rows = (("minute", endpoint.rate_limit_per_minute, MINUTE_S), ("hour", endpoint.rate_limit_per_hour, HOUR_S))
    policies = [LimitPolicy(name, quota, window_s) for name, quota, window_s in rows if quota is not None]
    return BucketPlan.of(endpoint.uuid.bytes, policies) if policies else None
