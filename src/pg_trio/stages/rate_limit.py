"""Rate limits: those of the endpoint, and those of the calling token.

Rules:
1. An endpoint's limits are requests per minute and per hour; a token's are requests per minute, a model's tokens per
   minute, and concurrent requests. All but the last are token buckets that refill evenly.
2. A request takes from all limits or from none, so a refused request costs nothing. The token's limits are checked
   first, so a token over its own limit does not affect the shared limits.
3. A model's tokens are reserved by estimate (the input, the endpoint's prompt, and `max_output_tokens` or the
   gateway's `default_output_tokens`; a whole bucket at most, so that a request larger than its limit is served when
   the bucket is full), and settled with the real usage. A failed request gives all of them back. A session's history
   is known later, and `grow` reserves it. Otherwise hundreds of calls with long histories could exceed a limit
   together.
4. A large body is neither received nor parsed for a request that is already over a limit (`check_left`).
5. Borrowed quota (a model's tokens, a place among the concurrent requests) is given back when the request's `with`
   block ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Protocol

from attrs import frozen

from pg_trio.domain.chat import ChatRequest, Usage, estimate_tokens
from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.domain.project import Endpoint, Token, TokenLimits
from pg_trio.errors import RateLimited

MINUTE_S = 60
HOUR_S = 3600
# `Retry-After` of the limit on concurrent requests. It is a guess, because the duration of requests is not known.
AT_ONCE_RETRY_S = 1

Limits = tuple[tuple[int, float], ...]
# Updates the state of some limits in the answer's headers.
Tell = Callable[[Sequence[LimitState]], None]


class Taken(Protocol):
    """The result of a take (see shared_memory/token_bucket.py)."""

    @property
    def refused(self) -> tuple[int, float] | None: ...

    def left(self) -> Sequence[tuple[int, int]]: ...


class Held(Protocol):
    """A bucket's state at a moment."""

    @property
    def remaining(self) -> int: ...

    @property
    def next_s(self) -> float: ...


class Buckets(Protocol):
    """Token buckets by key. A bucket's limit is its capacity; it refills evenly over its window."""

    def take(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> Taken:
        """Take from each of the key's buckets, or from none. Each of `limits` is (capacity, window in s)."""

    def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """Put tokens back; a negative amount takes, down to empty. Never fails."""

    def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]:
        """The state of each of the key's buckets. Takes no tokens and no lock."""


class Leases(Protocol):
    """Places for concurrent requests, by key."""

    def acquire(self, key: bytes, limit: int) -> bool: ...

    def release(self, key: bytes) -> None: ...

    def count(self, key: bytes) -> int: ...


class LimitedCall(Protocol):
    """The call whose answer shows the limits."""

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """Show the remaining quota in every later answer."""


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

    def states(self, left: Sequence[tuple[int, int]]) -> list[LimitState]:
        """The limits' remaining quota, for the client."""
        return [LimitState(policy, *each) for policy, each in zip(self.policies, left, strict=True)]


@frozen(slots=True)
class TokenPlan:
    """A token's limits, prepared for takes. Its keys are a letter and the token's id, 9 bytes; an endpoint's keys have
    16."""

    limits: TokenLimits
    key: bytes
    at_once: LimitPolicy | None
    requests: BucketPlan | None
    tokens: BucketPlan | None

    @classmethod
    def of(cls, token_id: int, limits: TokenLimits) -> TokenPlan:
        """The plan of these limits."""
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
        return cls(limits, b"c" + number, at_once, requests, tokens)

    def first_states(self, endpoint: BucketPlan | None) -> list[LimitState]:
        """All limits of a request, before the remaining quota is looked up."""
        policies = [] if self.at_once is None else [self.at_once]
        for plan in (self.requests, self.tokens, endpoint):
            policies += [] if plan is None else plan.policies
        return [LimitState(policy) for policy in policies]


class Quota:
    """The quota of a request: leaving `with quota: …` gives borrowed quota back. This class borrowed none."""

    __slots__ = ()

    def settle(self, usage: Usage) -> None:
        """Count the real usage; the rest is given back when the block ends."""

    def grow(self, tokens: int) -> None:
        """Reserve this many more of a model's tokens. Raises RateLimited; the earlier reservation stays."""

    def __enter__(self) -> Quota:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


NOTHING_LENT = Quota()


class Loan(Quota):
    """The quota that a limited token's request has borrowed."""

    __slots__ = ("_plan", "_reserved_tokens", "_stage", "_tell", "_used_tokens")

    def __init__(self, stage: RateLimit, plan: TokenPlan, reserved_tokens: int, tell: Tell) -> None:
        self._stage = stage
        self._plan = plan
        self._reserved_tokens = reserved_tokens
        self._tell = tell
        self._used_tokens = 0

    def settle(self, usage: Usage) -> None:
        self._used_tokens = usage.total_tokens

    def grow(self, tokens: int) -> None:
        bucket = self._plan.tokens
        if bucket is None:
            return
        more = min(tokens, bucket.policies[0].quota - self._reserved_tokens)
        if more > 0:
            self._stage.take_more(bucket, more, self._tell)
            self._reserved_tokens += more

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stage.give_back(self._plan, self._reserved_tokens - self._used_tokens)


class RateLimit:
    """Takes a request's quota, or refuses the request with the time to wait. `clock` is monotonic seconds."""

    def __init__(
        self, buckets: Buckets, leases: Leases, clock: Callable[[], float], default_output_tokens: int
    ) -> None:
        self._buckets = buckets
        self._leases = leases
        self._clock = clock
        self._default_output_tokens = default_output_tokens
        self._endpoint_plans: dict[Endpoint, BucketPlan | None] = {}
        self._token_plans: dict[int, TokenPlan] = {}

    def take(self, call: LimitedCall, token: Token, endpoint: Endpoint, request: ChatRequest) -> Quota:
        """Count one request, and show the client the remaining quota. Raises RateLimited."""
        if token.limits is not None:
            return self._take_of_token(call, self._token_plan(token.id, token.limits), endpoint, request)
        plan = self._endpoint_plan(endpoint)
        if plan is not None:
            taken = self._buckets.take(plan.key, plan.limits, self._clock())
            call.show_limits(plan.states(taken.left()))
            _check(plan, taken)
        return NOTHING_LENT

    def check_left(self, call: LimitedCall, token: Token, endpoint: Endpoint | None) -> None:
        """Refuse a request that is already over a limit, before its large body is received. Takes nothing.

        `endpoint` is None if the body names it. Raises RateLimited.
        """
        plan = None if token.limits is None else self._token_plan(token.id, token.limits)
        of_endpoint = None if endpoint is None else self._endpoint_plan(endpoint)
        if plan is not None and plan.at_once is not None and self._leases.count(plan.key) >= plan.at_once.quota:
            call.show_limits([LimitState(plan.at_once, 0, AT_ONCE_RETRY_S)])
            raise RateLimited(plan.at_once.name, AT_ONCE_RETRY_S)
        now = self._clock()
        for bucket in (*(() if plan is None else (plan.requests, plan.tokens)), of_endpoint):
            if bucket is not None:
                self._check_bucket(call, bucket, now)

    def _check_bucket(self, call: LimitedCall, bucket: BucketPlan, now: float) -> None:
        held = self._buckets.peek(bucket.key, bucket.limits, now)
        empty = [(one.next_s, policy) for one, policy in zip(held, bucket.policies, strict=True) if one.remaining < 1]
        if empty:
            call.show_limits(bucket.states([(one.remaining, math.ceil(one.next_s)) for one in held]))
            wait_s, policy = max(empty)
            raise RateLimited(policy.name, max(1, math.ceil(wait_s)))

    def give_back(self, plan: TokenPlan, unused_tokens: int) -> None:
        """Give back quota that a request of the token borrowed; a negative number is use beyond it."""
        if plan.at_once is not None:
            self._leases.release(plan.key)
        if plan.tokens is not None and unused_tokens:
            self._buckets.give(plan.tokens.key, plan.tokens.limits, self._clock(), unused_tokens)

    def take_more(self, bucket: BucketPlan, amount: int, tell: Tell) -> None:
        """Take more for a request that is larger than estimated. Raises RateLimited."""
        taken = self._buckets.take(bucket.key, bucket.limits, self._clock(), amount)
        tell(bucket.states(taken.left()))
        _check(bucket, taken)

    def _take_of_token(self, call: LimitedCall, plan: TokenPlan, endpoint: Endpoint, request: ChatRequest) -> Quota:
        reserved = self._estimate(plan, endpoint, request)
        of_endpoint, now = self._endpoint_plan(endpoint), self._clock()
        states = {state.policy: state for state in plan.first_states(of_endpoint)}
        with ExitStack() as undo:
            # A refusal also shows the limits to the client.
            undo.callback(lambda: call.show_limits(list(states.values())))
            if plan.at_once is not None:
                if not self._leases.acquire(plan.key, plan.at_once.quota):
                    states[plan.at_once] = LimitState(plan.at_once, 0, AT_ONCE_RETRY_S)
                    raise RateLimited(plan.at_once.name, AT_ONCE_RETRY_S)
                undo.callback(self._leases.release, plan.key)
            for bucket, amount in _present((plan.requests, 1), (plan.tokens, reserved), (of_endpoint, 1)):
                taken = self._buckets.take(bucket.key, bucket.limits, now, amount)
                states |= {state.policy: state for state in bucket.states(taken.left())}
                _check(bucket, taken)
                undo.callback(self._buckets.give, bucket.key, bucket.limits, now, amount)
            undo.pop_all()
        call.show_limits(list(states.values()))
        return Loan(self, plan, reserved, partial(_tell, call, states))

    def _estimate(self, plan: TokenPlan, endpoint: Endpoint, request: ChatRequest) -> int:
        if plan.tokens is None:
            return 0
        output = endpoint.max_output_tokens or self._default_output_tokens
        tokens = estimate_tokens(request.characters() + endpoint.prompt_chars) + output
        return min(tokens, plan.tokens.policies[0].quota)

    def _endpoint_plan(self, endpoint: Endpoint) -> BucketPlan | None:
        try:
            return self._endpoint_plans[endpoint]
        except KeyError:
            plan = self._endpoint_plans[endpoint] = _endpoint_plan(endpoint)
            return plan

    def _token_plan(self, token_id: int, limits: TokenLimits) -> TokenPlan:
        plan = self._token_plans.get(token_id)
        if plan is None or plan.limits != limits:
            plan = self._token_plans[token_id] = TokenPlan.of(token_id, limits)
        return plan


def _tell(call: LimitedCall, states: dict[LimitPolicy, LimitState], changed: Sequence[LimitState]) -> None:
    states |= {state.policy: state for state in changed}
    call.show_limits(list(states.values()))


def _check(plan: BucketPlan, taken: Taken) -> None:
    if taken.refused is not None:
        index, wait_s = taken.refused
        raise RateLimited(plan.policies[index].name, max(1, math.ceil(wait_s)))


def _present(*takes: tuple[BucketPlan | None, int]) -> Iterator[tuple[BucketPlan, int]]:
    return ((plan, amount) for plan, amount in takes if plan is not None)


def _endpoint_plan(endpoint: Endpoint) -> BucketPlan | None:
    rows = (("minute", endpoint.rate_limit_per_minute, MINUTE_S), ("hour", endpoint.rate_limit_per_hour, HOUR_S))
    policies = [LimitPolicy(name, quota, window_s) for name, quota, window_s in rows if quota is not None]
    return BucketPlan.of(endpoint.uuid.bytes, policies) if policies else None
