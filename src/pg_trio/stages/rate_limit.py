"""Rate limits: those of the endpoint, and those of the calling token.

Rules:
1. An endpoint's limits are requests per minute and per hour; a token's are requests per minute, a model's tokens per
   minute, and concurrent requests. All but the last are token buckets that refill evenly.
2. A request takes from all limits or from none, so a refused request costs nothing. The token's limits are checked
   first, so a token over its own limit does not affect the shared limits.
3. A model's tokens are reserved by estimate (the input, the endpoint's prompt, and `max_output_tokens` or the gateway's
   `default_output_tokens`; a whole bucket at most, so that a request larger than its limit is served when the bucket is
   full), and settled with the real usage. A failed request gives all of them back. A session's history is known later,
   and `grow` reserves it. Otherwise hundreds of calls with long histories could exceed a limit together.
4. A large body is neither received nor parsed for a request that is already over a limit (`check_left`).
5. What is lent (a model's tokens, a place among those at once) is given back when the request's `async with` block
   ends, also when the request is cancelled.
6. A limit that is in memory is asked without a coroutine (`take_nowait`); one that is elsewhere is waited for (`take`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Protocol

from attrs import evolve, frozen

from pg_trio.domain.chat import Usage, estimate_tokens
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.domain.options import limit_answer
from pg_trio.domain.project import Endpoint, Token, TokenLimits
from pg_trio.errors import RateLimited
from pg_trio.ledger.protocols import MUST_WAIT, Buckets, BucketTake, Leases, Limits, Taken
from pg_trio.ledger.settling import DONE, give_back

MINUTE_S = 60
HOUR_S = 3600
# How long requests take is not known: a client with too many under way asks again after this long.
AT_ONCE_RETRY_S = 1

# Updates the state of some limits in the answer's headers.
Tell = Callable[[Sequence[LimitState]], None]


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
        each = zip(self.policies, left, strict=True)
        return [LimitState(policy, remaining, next_s) for policy, (remaining, next_s) in each]


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
    """What a request took: `async with quota: …` gives back what was lent. This one borrowed nothing."""

    __slots__ = ()

    def settle(self, usage: Usage) -> None:
        """Count the real usage; the rest is given back when the block ends."""

    async def grow(self, tokens: int) -> None:
        """Reserve this many more of a model's tokens. Raises RateLimited; the earlier reservation stays."""

    def __aenter__(self) -> Awaitable[None]:
        return DONE

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]:
        return DONE


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

    async def grow(self, tokens: int) -> None:
        bucket = self._plan.tokens
        if bucket is None:
            return
        more = min(tokens, bucket.policies[0].quota - self._reserved_tokens)
        if more > 0:
            await self._stage.take_more(bucket, more, self._tell)
            self._reserved_tokens += more

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]:
        return self._stage.give_back(self._plan, self._reserved_tokens - self._used_tokens)


class RateLimit:
    """Takes a request's quota, or refuses the request with the time to wait. `clock` is monotonic seconds."""

    def __init__(
        self, buckets: Buckets, leases: Leases, clock: Callable[[], float], default_output_tokens: int
    ) -> None:
        self._buckets = buckets
        self._leases = leases
        self._clock = clock
        self._default_output_tokens = default_output_tokens
        self._token_plans: dict[int, TokenPlan] = {}

    def compile(self, endpoint: Endpoint) -> LimitPlan:
        """The endpoint's limits, ready to take from."""
        output_tokens = endpoint.max_output_tokens or self._default_output_tokens
        return LimitPlan(_bucket_plan(endpoint), endpoint.prompt_chars, output_tokens, endpoint.max_output_tokens)

    def take_nowait(self, call: LimitedCall, token: Token, plan: LimitPlan) -> Quota | None:
        """Count one request, and show the client what is left; None where that takes waiting (`take`).

        Raises RateLimited.
        """
        if token.limits is not None:
            return None
        bucket = plan.buckets
        if bucket is None:
            return NOTHING_LENT
        taken = self._buckets.take_nowait(bucket.key, bucket.limits, self._clock())
        return None if taken is MUST_WAIT else _show(call, bucket, taken)

    async def take(self, call: LimitedCall, token: Token, plan: LimitPlan, request: ClientRequest) -> Quota:
        """The same for every token and every ledger. Raises RateLimited; then nothing was taken."""
        if token.limits is not None:
            return await self._take_of_token(call, self._token_plan(token.id, token.limits), plan, request)
        if plan.buckets is None:
            return NOTHING_LENT
        return _show(call, plan.buckets, await self._take(plan.buckets, self._clock(), 1))

    async def read_left(self, asked: Endpoint | Token) -> list[LimitState]:
        """What is left now of an endpoint's or a token's limits on requests and tokens. Raises Overloaded."""
        buckets: tuple[BucketPlan | None, ...]
        if isinstance(asked, Token):
            of_token = None if asked.limits is None else self._token_plan(asked.id, asked.limits)
            buckets = () if of_token is None else (of_token.requests, of_token.tokens)
        else:
            buckets = (_bucket_plan(asked),)
        states = []
        for bucket in buckets:
            if bucket is not None:
                held = await self._buckets.peek(bucket.key, bucket.limits, self._clock())
                states += bucket.states([(one.remaining, math.ceil(one.next_s)) for one in held])
        return states

    async def check_left(self, call: LimitedCall, token: Token, plan: LimitPlan | None) -> None:
        """Refuse a request that is already over a limit, before its large body is received. Takes nothing.

        `plan` is None where the body will name the endpoint. Raises RateLimited.
        """
        of_token = None if token.limits is None else self._token_plan(token.id, token.limits)
        if of_token is not None:
            await self._check_at_once(call, of_token)
        now = self._clock()
        of_endpoint = None if plan is None else plan.buckets
        for bucket in (*(() if of_token is None else (of_token.requests, of_token.tokens)), of_endpoint):
            if bucket is not None:
                await self._check_bucket(call, bucket, now)

    async def _check_at_once(self, call: LimitedCall, plan: TokenPlan) -> None:
        if plan.at_once is None:
            return
        count = self._leases.count_nowait(plan.key)
        if count is MUST_WAIT:
            count = await self._leases.count(plan.key)
        if count >= plan.at_once.quota:
            call.show_limits([LimitState(plan.at_once, 0, AT_ONCE_RETRY_S)])
            raise RateLimited(plan.at_once.name, AT_ONCE_RETRY_S)

    async def _check_bucket(self, call: LimitedCall, bucket: BucketPlan, now: float) -> None:
        held = self._buckets.peek_nowait(bucket.key, bucket.limits, now)
        if held is MUST_WAIT:
            held = await self._buckets.peek(bucket.key, bucket.limits, now)
        empty = [(one.next_s, policy) for one, policy in zip(held, bucket.policies, strict=True) if one.remaining < 1]
        if empty:
            call.show_limits(bucket.states([(one.remaining, math.ceil(one.next_s)) for one in held]))
            wait_s, policy = max(empty)
            raise RateLimited(policy.name, max(1, math.ceil(wait_s)))

    async def give_back(self, plan: TokenPlan, unused_tokens: int) -> None:
        """Give back quota that a request of the token borrowed; a negative number is use beyond it."""
        try:
            if plan.at_once is not None:
                await self._release(plan)
        finally:
            if plan.tokens is not None and unused_tokens:
                await self._give(plan.tokens, self._clock(), unused_tokens)

    async def take_more(self, bucket: BucketPlan, amount: int, tell: Tell) -> None:
        """Take more for a request that is larger than estimated. Raises RateLimited."""
        taken = await self._take(bucket, self._clock(), amount)
        tell(bucket.states(taken.left()))
        _check(bucket, taken)

    async def _take_of_token(
        self, call: LimitedCall, plan: TokenPlan, of_endpoint: LimitPlan, request: ClientRequest
    ) -> Quota:
        reserved = _estimate(plan, of_endpoint, request)
        buckets, now = of_endpoint.buckets, self._clock()
        states = {state.policy: state for state in plan.first_states(buckets)}
        async with AsyncExitStack() as undo:
            # A refusal also shows the limits to the client.
            undo.callback(lambda: call.show_limits(list(states.values())))
            if plan.at_once is not None:
                if not await self._acquire(plan.key, plan.at_once.quota):
                    states[plan.at_once] = LimitState(plan.at_once, 0, AT_ONCE_RETRY_S)
                    raise RateLimited(plan.at_once.name, AT_ONCE_RETRY_S)
                undo.push_async_callback(self._release, plan)
            wanted = list(_present((plan.requests, 1), (plan.tokens, reserved), (buckets, 1)))
            # Refused ones are the last of what was taken, and have given back the others.
            for (bucket, _), taken in zip(wanted, await self._take_each(wanted, now), strict=False):
                states |= {state.policy: state for state in bucket.states(taken.left())}
                _check(bucket, taken)
            undo.pop_all()
        call.show_limits(list(states.values()))
        return Loan(self, plan, reserved, partial(_tell, call, states))

    def _token_plan(self, token_id: int, limits: TokenLimits) -> TokenPlan:
        plan = self._token_plans.get(token_id)
        if plan is None or plan.limits != limits:
            plan = self._token_plans[token_id] = TokenPlan.of(token_id, limits)
        return plan

    # ── steps of the ledger ──────────────────────────────────────────────────────────────────────────────────────────

    async def _take(self, bucket: BucketPlan, now: float, amount: int) -> Taken:
        taken = self._buckets.take_nowait(bucket.key, bucket.limits, now, amount)
        if taken is MUST_WAIT:
            return await self._buckets.take(bucket.key, bucket.limits, now, amount)
        return taken

    async def _take_each(self, wanted: Sequence[tuple[BucketPlan, int]], now: float) -> Sequence[Taken]:
        """Take from all of these buckets, or from none; the result ends with the first that refused."""
        taken: list[Taken] = []
        async with AsyncExitStack() as undo:
            for index, (bucket, amount) in enumerate(wanted):
                one = self._buckets.take_nowait(bucket.key, bucket.limits, now, amount)
                if one is MUST_WAIT:
                    # The others may wait too: one call for all of them.
                    takes = [BucketTake(each.key, each.limits, count) for each, count in wanted[index:]]
                    taken += await self._buckets.take_each(takes, now)
                    break
                taken.append(one)
                if one.refused is not None:
                    break
                undo.push_async_callback(self._give, bucket, now, amount)
            if not taken or taken[-1].refused is None:
                undo.pop_all()
        return taken

    async def _give(self, bucket: BucketPlan, now: float, amount: int) -> None:
        if self._buckets.give_nowait(bucket.key, bucket.limits, now, amount) is MUST_WAIT:
            await give_back(partial(self._buckets.give, bucket.key, bucket.limits, now, amount))

    async def _acquire(self, key: bytes, limit: int) -> bool:
        acquired = self._leases.acquire_nowait(key, limit)
        return await self._leases.acquire(key, limit) if acquired is MUST_WAIT else acquired

    async def _release(self, plan: TokenPlan) -> None:
        if self._leases.release_nowait(plan.key) is MUST_WAIT:
            await give_back(partial(self._leases.release, plan.key))


def _estimate(plan: TokenPlan, of_endpoint: LimitPlan, request: ClientRequest) -> int:
    if plan.tokens is None:
        return 0
    asked_tokens = request.options.max_output_tokens
    output_tokens = limit_answer(asked_tokens, of_endpoint.ceiling_tokens, of_endpoint.output_tokens)
    tokens = estimate_tokens(request.characters() + of_endpoint.prompt_chars) + output_tokens
    return min(tokens, plan.tokens.policies[0].quota)


def _show(call: LimitedCall, bucket: BucketPlan, taken: Taken) -> Quota:
    """Show the client what is left. Raises RateLimited where nothing was taken."""
    call.show_limits(bucket.states(taken.left()))
    if taken.refused is not None:
        _check(bucket, taken)
    return NOTHING_LENT


def _tell(call: LimitedCall, states: dict[LimitPolicy, LimitState], changed: Sequence[LimitState]) -> None:
    states |= {state.policy: state for state in changed}
    call.show_limits(list(states.values()))


def _check(plan: BucketPlan, taken: Taken) -> None:
    if taken.refused is not None:
        index, wait_s = taken.refused
        raise RateLimited(plan.policies[index].name, max(1, math.ceil(wait_s)))


def _present(*takes: tuple[BucketPlan | None, int]) -> Iterator[tuple[BucketPlan, int]]:
    return ((plan, amount) for plan, amount in takes if plan is not None)


def _bucket_plan(endpoint: Endpoint) -> BucketPlan | None:
    rows = (("minute", endpoint.rate_limit_per_minute, MINUTE_S), ("hour", endpoint.rate_limit_per_hour, HOUR_S))
    policies = [LimitPolicy(name, quota, window_s) for name, quota, window_s in rows if quota is not None]
    return BucketPlan.of(endpoint.uuid.bytes, policies) if policies else None
