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
6. The holder of a client token may have limits, too: requests per minute and concurrent requests. They are counted in
   books of their own, and taken before the parent token's, which hold for all of its client tokens together.
7. A limit that is in memory is asked without a coroutine (`take_nowait`); one that is elsewhere is waited for (`take`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import takewhile
from types import TracebackType
from typing import Protocol

from pg_trio.domain.chat import Usage, estimate_tokens
from pg_trio.domain.client_grant import ClientGrant
from pg_trio.domain.client_request import ClientRequest
from pg_trio.domain.limits import LimitPolicy, LimitsLeft, LimitState
from pg_trio.domain.options import limit_answer
from pg_trio.domain.project import Endpoint, Token, TokenLimits
from pg_trio.errors import Overloaded, RateLimited
from pg_trio.ledger.protocols import MUST_WAIT, Buckets, BucketTake, HolderBooks, Leases, OpenHolders, Taken
from pg_trio.ledger.settling import DONE, give_back
from pg_trio.stages.rate_limit.limit_plans import (
    HOUR_S,
    MINUTE_S,
    Books,
    BucketPlan,
    LimitPlan,
    TokenPlan,
    WantedTake,
    plan_buckets,
)

__all__ = [
    "HOUR_S",
    "MINUTE_S",
    "NOTHING_LENT",
    "BucketPlan",
    "LimitPlan",
    "Loan",
    "Quota",
    "RateLimit",
    "TokenPlan",
]

# How long requests take is not known: a client with too many under way asks again after this long.
AT_ONCE_RETRY_S = 1
# The plans of tokens and of holders, some 500 bytes each; they are made again in 20 µs.
PLANS_KEPT = 10_000

# Updates the state of some limits in the answer's headers.
Tell = Callable[[Sequence[LimitState]], None]


class LimitedCall(Protocol):
    """The call whose answer shows the limits."""

    def show_limits(self, states: Sequence[LimitState]) -> None:
        """Show the remaining quota in every later answer."""


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
    """The quota that a limited token's request has borrowed. The last plan is the token's, a holder's comes before."""

    __slots__ = ("_plans", "_reserved_tokens", "_stage", "_tell", "_used_tokens")

    def __init__(self, stage: RateLimit, plans: Sequence[TokenPlan], reserved_tokens: int, tell: Tell) -> None:
        self._stage = stage
        self._plans = plans
        self._reserved_tokens = reserved_tokens
        self._tell = tell
        self._used_tokens = 0

    def settle(self, usage: Usage) -> None:
        self._used_tokens = usage.total_tokens

    async def grow(self, tokens: int) -> None:
        bucket = self._plans[-1].tokens
        if bucket is None:
            return
        more = min(tokens, bucket.policies[0].quota - self._reserved_tokens)
        if more > 0:
            await self._stage.take_more(bucket, more, self._tell)
            self._reserved_tokens += more

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Awaitable[None]:
        return self._stage.give_back(self._plans, self._reserved_tokens - self._used_tokens)


class RateLimit:
    """Takes a request's quota, or refuses the request with the time to wait. `clock` is monotonic seconds."""

    def __init__(
        self,
        buckets: Buckets,
        leases: Leases,
        clock: Callable[[], float],
        default_output_tokens: int,
        holders: OpenHolders | None = None,
    ) -> None:
        self._buckets = buckets
        self._books = Books(buckets, leases)
        self._holders = holders
        self._holder_plans: dict[bytes, TokenPlan] = {}
        self._clock = clock
        self._default_output_tokens = default_output_tokens
        self._token_plans: dict[int, TokenPlan] = {}

    def compile(self, endpoint: Endpoint) -> LimitPlan:
        """The endpoint's limits, ready to take from."""
        output_tokens = endpoint.max_output_tokens or self._default_output_tokens
        return LimitPlan(plan_buckets(endpoint), endpoint.prompt_chars, output_tokens, endpoint.max_output_tokens)

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
        """The same for every token and every ledger. Raises RateLimited; then nothing was taken. Raises Overloaded."""
        if token.limits is not None:
            return await self._take_of_token(call, await self._plans_of(token), plan, request)
        if plan.buckets is None:
            return NOTHING_LENT
        return _show(call, plan.buckets, await self._take(self._books, plan.buckets, self._clock(), 1))

    async def read_left(self, asked: Endpoint | Token) -> list[LimitState]:
        """What is left now of an endpoint's or a token's limits on requests and tokens. Raises Overloaded."""
        buckets: tuple[BucketPlan | None, ...]
        if isinstance(asked, Token):
            of_token = None if asked.limits is None else self._token_plan(asked.id, asked.limits)
            buckets = () if of_token is None else (of_token.requests, of_token.tokens)
        else:
            buckets = (plan_buckets(asked),)
        states: list[LimitState] = []
        for bucket in buckets:
            if bucket is not None:
                held = await self._buckets.peek(bucket.key, bucket.limits, self._clock())
                states += bucket.states([(one.remaining, math.ceil(one.next_s)) for one in held])
        return states

    async def check_left(self, call: LimitedCall, token: Token, plan: LimitPlan | None) -> None:
        """Refuse a request that is already over a limit, before its large body is received. Takes nothing.

        `plan` is None where the body will name the endpoint. Raises RateLimited.
        """
        now = self._clock()
        for of_token in await self._plans_of(token):
            await self._check_at_once(call, of_token)
            for bucket in (of_token.requests, of_token.tokens):
                if bucket is not None:
                    await self._check_bucket(call, of_token.books, bucket, now)
        if plan is not None and plan.buckets is not None:
            await self._check_bucket(call, self._books, plan.buckets, now)

    async def _check_at_once(self, call: LimitedCall, plan: TokenPlan) -> None:
        if plan.at_once is None:
            return
        leases = plan.books.leases
        count = leases.count_nowait(plan.key)
        if count is MUST_WAIT:
            count = await leases.count(plan.key)
        if count >= plan.at_once.quota:
            call.show_limits([LimitState(plan.at_once, 0, AT_ONCE_RETRY_S)])
            raise RateLimited(plan.at_once.name, AT_ONCE_RETRY_S)

    async def _check_bucket(self, call: LimitedCall, books: Books, bucket: BucketPlan, now: float) -> None:
        held = books.buckets.peek_nowait(bucket.key, bucket.limits, now)
        if held is MUST_WAIT:
            held = await books.buckets.peek(bucket.key, bucket.limits, now)
        empty = [(one.next_s, policy) for one, policy in zip(held, bucket.policies, strict=True) if one.remaining < 1]
        if empty:
            call.show_limits(bucket.states([(one.remaining, math.ceil(one.next_s)) for one in held]))
            wait_s, policy = max(empty)
            raise RateLimited(policy.name, max(1, math.ceil(wait_s)))

    async def give_back(self, plans: Sequence[TokenPlan], unused_tokens: int) -> None:
        """Give back quota that a request of the token borrowed; a negative number is use beyond it."""
        async with AsyncExitStack() as steps:
            for plan in plans:
                if plan.tokens is not None and unused_tokens:
                    steps.push_async_callback(self._give, self._buckets, plan.tokens, self._clock(), unused_tokens)
                if plan.at_once is not None:
                    steps.push_async_callback(self._release, plan)

    async def take_more(self, bucket: BucketPlan, amount: int, tell: Tell) -> None:
        """Take more for a request that is larger than estimated. Raises RateLimited."""
        taken = await self._take(self._books, bucket, self._clock(), amount)
        tell(bucket.states(taken.left()))
        _check(bucket, taken)

    async def _take_of_token(
        self, call: LimitedCall, plans: Sequence[TokenPlan], of_endpoint: LimitPlan, request: ClientRequest
    ) -> Quota:
        reserved = _estimate(plans[-1], of_endpoint, request)
        buckets, now = of_endpoint.buckets, self._clock()
        policies = [*[policy for plan in plans for policy in plan.policies()], *(buckets.policies if buckets else ())]
        states = {policy: LimitState(policy) for policy in policies}
        async with AsyncExitStack() as undo:
            # A refusal also shows the limits to the client.
            undo.callback(lambda: call.show_limits(list(states.values())))
            for plan in plans:
                if plan.at_once is not None:
                    if not await self._acquire(plan, plan.at_once.quota):
                        states[plan.at_once] = LimitState(plan.at_once, 0, AT_ONCE_RETRY_S)
                        raise RateLimited(plan.at_once.name, AT_ONCE_RETRY_S)
                    undo.push_async_callback(self._release, plan)
            wanted = list(self._takes_of(plans, reserved, buckets))
            # Refused ones are the last of what was taken, and have given back the others.
            for one, taken in zip(wanted, await self._take_each(wanted, now), strict=False):
                states |= {state.policy: state for state in one.plan.states(taken.left())}
                _check(one.plan, taken)
            undo.pop_all()
        call.show_limits(list(states.values()))
        return Loan(self, plans, reserved, partial(_tell, call, states))

    def _takes_of(
        self, plans: Sequence[TokenPlan], reserved: int, of_endpoint: BucketPlan | None
    ) -> Iterator[WantedTake]:
        """Each bucket of a request, in the order of taking."""
        for plan in plans:
            for bucket, amount in ((plan.requests, 1), (plan.tokens, reserved)):
                if bucket is not None:
                    yield WantedTake(plan.books.buckets, bucket, amount)
        if of_endpoint is not None:
            yield WantedTake(self._buckets, of_endpoint, 1)

    async def _plans_of(self, token: Token) -> Sequence[TokenPlan]:
        """The plans of a token's limits: its holder's, if that has any, and the stored token's. Raises Overloaded."""
        limits = token.limits
        if limits is None:
            return ()
        plan = self._token_plan(token.id, limits)
        grant = token.grant
        if grant is None or (grant.rate_limit_per_minute is None and grant.max_concurrent is None):
            return (plan,)
        if self._holders is None:
            raise Overloaded(AT_ONCE_RETRY_S)
        return (self._holder_plan(grant, await self._holders()), plan)

    def _holder_plan(self, grant: ClientGrant, books: HolderBooks) -> TokenPlan:
        limits = TokenLimits(grant.rate_limit_per_minute, None, grant.max_concurrent)
        plan = self._holder_plans.get(grant.key)
        if plan is None or plan.limits != limits:
            if len(self._holder_plans) >= PLANS_KEPT:
                self._holder_plans.clear()
            plan = TokenPlan.of_holder(grant.key, limits, Books(books.buckets, books.leases))
            self._holder_plans[grant.key] = plan
        return plan

    def _token_plan(self, token_id: int, limits: TokenLimits) -> TokenPlan:
        plan = self._token_plans.get(token_id)
        if plan is None or plan.limits != limits:
            if len(self._token_plans) >= PLANS_KEPT:
                self._token_plans.clear()
            plan = self._token_plans[token_id] = TokenPlan.of(token_id, limits, self._books)
        return plan

    async def _take(self, books: Books, bucket: BucketPlan, now: float, amount: int) -> Taken:
        taken = books.buckets.take_nowait(bucket.key, bucket.limits, now, amount)
        if taken is MUST_WAIT:
            return await books.buckets.take(bucket.key, bucket.limits, now, amount)
        return taken

    async def _take_each(self, wanted: Sequence[WantedTake], now: float) -> Sequence[Taken]:
        """Take from all of these buckets, or from none; the result ends with the first that refused."""
        taken: list[Taken] = []
        async with AsyncExitStack() as undo:
            while len(taken) < len(wanted):
                done = await _take_next(wanted[len(taken) :], now)
                for one in wanted[len(taken) : len(taken) + len(done)]:
                    if done[-1].refused is None:
                        undo.push_async_callback(self._give, one.buckets, one.plan, now, one.amount)
                taken += done
                if done[-1].refused is not None:
                    break
            else:
                undo.pop_all()
        return taken

    async def _give(self, buckets: Buckets, bucket: BucketPlan, now: float, amount: int) -> None:
        if buckets.give_nowait(bucket.key, bucket.limits, now, amount) is MUST_WAIT:
            await give_back(partial(buckets.give, bucket.key, bucket.limits, now, amount))

    async def _acquire(self, plan: TokenPlan, limit: int) -> bool:
        acquired = plan.books.leases.acquire_nowait(plan.key, limit)
        return await plan.books.leases.acquire(plan.key, limit) if acquired is MUST_WAIT else acquired

    async def _release(self, plan: TokenPlan) -> None:
        if plan.books.leases.release_nowait(plan.key) is MUST_WAIT:
            await give_back(partial(plan.books.leases.release, plan.key))


async def _take_next(wanted: Sequence[WantedTake], now: float) -> Sequence[Taken]:
    """Take from the first of these buckets; where that waits, from all that follow in the same books, or from none."""
    first = wanted[0]
    taken = first.buckets.take_nowait(first.plan.key, first.plan.limits, now, first.amount)
    if taken is not MUST_WAIT:
        return [taken]
    same = takewhile(lambda one: one.buckets is first.buckets, wanted)
    return await first.buckets.take_each([BucketTake(one.plan.key, one.plan.limits, one.amount) for one in same], now)


def _estimate(plan: TokenPlan, of_endpoint: LimitPlan, request: ClientRequest) -> int:
    if plan.tokens is None:
        return 0
    asked_tokens = request.options.max_output_tokens
    output_tokens = limit_answer(asked_tokens, of_endpoint.ceiling_tokens, of_endpoint.output_tokens)
    tokens = estimate_tokens(request.characters() + of_endpoint.prompt_chars) + output_tokens
    return min(tokens, plan.tokens.policies[0].quota)


def _show(call: LimitedCall, bucket: BucketPlan, taken: Taken) -> Quota:
    """Show the client what is left. Raises RateLimited where nothing was taken."""
    call.show_limits(LimitsLeft(bucket.policies, taken.left()))
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
