"""Token buckets of all nodes (contract: ledger/protocols.py, Buckets).

Rules:
1. A small limit is exact: one call to Redis takes from all buckets of a request, or from none.
2. A large limit is spent from leases (bucket_leases.py), at once where a lease is here.
3. What goes back is sent without waiting. Redis executes this worker's commands in their order, so its later takes see
   it.
4. While Redis is away, the node's share holds (away_buckets.py), at once.
5. When it is back, both hold for a moment: what other workers admitted meanwhile, and have not told yet, is within
   their shares. So it is where it has lost its data (redis_data.py), once this worker has told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

import trio
from attrs import define, field, frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.away_buckets import AwayBuckets
from pg_trio.cluster.redis.bucket_leases import HOLD_BACK_S, BucketLease, lease_size
from pg_trio.cluster.redis.bucket_wire import (
    GIVE,
    TAKE,
    BucketGroup,
    TakeReply,
    Wanted,
    find_refusal,
    give_arguments,
    owed_arguments,
    read_take,
    state_taken,
    take_arguments,
)
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.pending import Undo
from pg_trio.cluster.redis.redis_data import DataLost
from pg_trio.cluster.redis.redis_return import RedisReturn
from pg_trio.cluster.redis.resp import Reply
from pg_trio.errors import Overloaded
from pg_trio.ledger.protocols import MUST_WAIT, BucketTake, Held, Limits, MustWait, Taken
from pg_trio.shared_memory.token_bucket import NANO, look

logger = logging.getLogger("pg_trio.cluster")

# Leases that are asked for in one call.
LEASES_A_CALL = 100
# Old leases are looked for this often; less than RETURN_S.
SWEEP_S = 0.05
# How late the node's shares know what a worker has used (away_buckets.py, rule 2).
SHARE_EVERY_S = 0.25
# Keys whose plan is remembered.
MOST_PLANS = 20_000
# Owed tokens told to Redis in one command after its return.
OWED_A_CALL = 500


@frozen(slots=True, eq=False)
class _Plan:
    """How a key is taken from. `size` is that of its leases, 0 for an exact limit."""

    limits: Limits
    group: BucketGroup
    size: int
    # None for an exact limit.
    lease: BucketLease | None

    @classmethod
    def of(cls, key: bytes, limits: Limits) -> _Plan:
        size = lease_size(limits)
        group = BucketGroup.of(key, limits, HOLD_BACK_S if size else 0.0)
        return cls(limits, group, size, BucketLease(key, limits, group, size) if size else None)


@define(eq=False)
class RedisBuckets:
    """See the rules. `run` asks for leases ahead of need, and gives old ones back. `clock`: the one of `now`."""

    client: RedisClient
    away: AwayBuckets
    clock: Callable[[], float] = time.monotonic
    _plans: dict[bytes, _Plan] = field(factory=dict)
    _low: dict[bytes, BucketLease] = field(factory=dict)
    _leased: dict[bytes, BucketLease] = field(factory=dict)
    _is_low: trio.Event = field(factory=trio.Event)
    _return: RedisReturn = field(init=False)

    @_return.default
    def _make_return(self) -> RedisReturn:
        return RedisReturn(self.client, self.clock)

    # ── at once ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def take_nowait(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> Taken | MustWait:
        """See Buckets."""
        if not self.client.is_up:
            return self.away.take(key, limits, now, amount)
        if self._return.is_under_way(now):
            return MUST_WAIT
        lease = self._plan(key, limits).lease
        taken = None if lease is None else self._spend(lease, amount, now)
        return MUST_WAIT if taken is None else taken

    def give_nowait(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """See Buckets."""
        if not self.client.is_up:
            self.away.give(key, limits, now, amount)
            return
        self._give([(self._plan(key, limits).group, amount)])
        self.away.note(key, limits, now, -amount)

    def peek_nowait(self, key: bytes, limits: Limits, now: float) -> Sequence[Held] | MustWait:
        """See Buckets."""
        return MUST_WAIT if self.client.is_up else self.away.peek(key, limits, now)

    # ── by asking Redis ──────────────────────────────────────────────────────────────────────────────────────────────

    async def take(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> Taken:
        """See Buckets."""
        return (await self.take_each([BucketTake(key, limits, amount)], now))[0]

    async def take_each(self, takes: Sequence[BucketTake], now: float) -> list[Taken]:
        """See Buckets."""
        if not self.client.is_up:
            return self._take_away(takes, now)
        if self._return.is_under_way(now):
            return await self._take_of_both(takes, now)
        try:
            return await self._take_there(takes, now)
        except DataLost:
            await self.client.data.wait_for_beat(self.client.limit_s)
        except EngineAway:
            return self._take_away(takes, now)
        return await self._take_of_both(takes, now)

    async def _take_of_both(self, takes: Sequence[BucketTake], now: float) -> list[Taken]:
        """Take each from Redis if this node's share has it, too, or none. Raises Overloaded."""
        of_share = self._hold(takes, now)
        if of_share[-1].refused is not None:
            return of_share
        is_admitted = False
        try:
            # What Redis grants is taken out of the share, too (rule 2 of away_buckets.py).
            return await self._take_there(takes, now)
        except EngineAway:
            is_admitted = True
            return of_share
        finally:
            self._end_holds(takes, now, is_admitted=is_admitted)

    async def _take_there(self, takes: Sequence[BucketTake], now: float) -> list[Taken]:
        """Take each from its lease or from Redis, or none. Raises EngineAway."""
        here: dict[int, Taken] = {}
        try:
            for index, take in enumerate(takes):
                lease = self._plan(take.key, take.limits).lease
                taken = None if lease is None else self._spend(lease, take.amount, now)
                if taken is not None:
                    here[index] = taken
            asked = [take for index, take in enumerate(takes) if index not in here]
            there = await self._ask(asked, now) if asked else []
        except BaseException:
            self._put_back([takes[index] for index in here], now)
            raise
        if there and there[-1].refused is not None:
            self._put_back([takes[index] for index in here], now)
        return _merge(len(takes), here, there)

    async def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """See Buckets."""
        self.give_nowait(key, limits, now, amount)

    async def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]:
        """See Buckets."""
        if not self.client.is_up:
            return self.away.peek(key, limits, now)
        plan = self._plan(key, limits)
        wanted = [Wanted(plan.group, 0, 0)]
        try:
            reply = await self._run_take(wanted)
        except EngineAway:
            return self.away.peek(key, limits, now)
        now_ns, here = round(now * NANO), 0 if plan.lease is None else plan.lease.left
        pairs = zip(reply.missing_ns[0], plan.group.rates, strict=True)
        return [look(now_ns + missing - here * rate.token_ns, rate, now_ns) for missing, rate in pairs]

    async def _ask(self, takes: Sequence[BucketTake], now: float) -> list[Taken]:
        """Take each, or none. Raises EngineAway."""
        plans = [self._plan(take.key, take.limits) for take in takes]
        amounts = [plan.group.fit(take.amount) for take, plan in zip(takes, plans, strict=True)]
        # No lease for the time being: what is not spent of it would go back to buckets that others have emptied since.
        is_exact = self._return.is_after_loss(now)
        wanted = [
            Wanted(plan.group, amount, amount if is_exact else amount + plan.size)
            for plan, amount in zip(plans, amounts, strict=True)
        ]

        def undo(reply: Reply) -> None:
            if isinstance(reply, list):
                self._give_all(wanted, read_take(reply, wanted))

        asked_at = self.clock()
        reply = await self._run_take(wanted, undo)
        if reply.is_refused:
            return _refused(wanted, reply, now)
        for take, plan, amount, granted, missing_ns in zip(
            takes, plans, amounts, reply.granted, reply.missing_ns, strict=True
        ):
            self.away.note(take.key, take.limits, now, granted)
            if plan.lease is not None:
                self._leased[take.key] = plan.lease
                plan.lease.add(granted - amount, missing_ns, asked_at, now)
        now_ns = round(now * NANO)
        return [
            state_taken(plan.group, missing_ns, now_ns) if plan.lease is None else plan.lease.state(now)
            for plan, missing_ns in zip(plans, reply.missing_ns, strict=True)
        ]

    async def _run_take(self, wanted: Sequence[Wanted], undo: Undo | None = None) -> TakeReply:
        """What Redis says. Raises EngineAway, also if it has lost what this worker has told it."""
        keys, arguments = take_arguments(wanted, self.client.data.mark)
        return read_take(await self.client.run_script(TAKE, keys, arguments, undo), wanted)

    def _take_away(self, takes: Sequence[BucketTake], now: float) -> list[Taken]:
        """Take each from this node's share, or none. Raises Overloaded."""
        taken = self._hold(takes, now)
        if taken[-1].refused is None:
            self._end_holds(takes, now, is_admitted=True)
        return taken

    def _hold(self, takes: Sequence[BucketTake], now: float) -> list[Taken]:
        """Hold each in this node's share, or none. Raises Overloaded."""
        held: list[Taken] = []
        try:
            for take in takes:
                held.append(self.away.hold(take.key, take.limits, now, take.amount))
                if held[-1].refused is not None:
                    break
        except Overloaded:
            self._end_holds(takes[: len(held)], now, is_admitted=False)
            raise
        if held[-1].refused is not None:
            self._end_holds(takes[: len(held) - 1], now, is_admitted=False)
        return held

    def _end_holds(self, takes: Sequence[BucketTake], now: float, *, is_admitted: bool) -> None:
        for take in takes:
            self.away.end_hold(take.key, take.limits, now, take.amount, is_admitted=is_admitted)

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Ask for leases ahead of need, and give old ones back. Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._refill)
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._share_use)

    async def _refill(self) -> None:
        while True:
            await self._is_low.wait()
            self._is_low = trio.Event()
            while self._low:
                leases = [self._low.pop(key) for key in list(self._low)[:LEASES_A_CALL]]
                try:
                    await self._lease(leases)
                except EngineAway:
                    # A request that needs one asks by itself.
                    logger.debug("no lease could be had")
                finally:
                    for lease in leases:
                        lease.is_asked = False

    async def _lease(self, leases: Sequence[BucketLease]) -> None:
        wanted = [Wanted(lease.group, 0, lease.size) for lease in leases]

        def undo(reply: Reply) -> None:
            if isinstance(reply, list):
                self._give_all(wanted, read_take(reply, wanted))

        asked_at = self.clock()
        reply = await self._run_take(wanted, undo)
        now = self.clock()
        for lease, granted, missing_ns in zip(leases, reply.granted, reply.missing_ns, strict=True):
            self.away.note(lease.key, lease.limits, now, granted)
            self._leased[lease.key] = lease
            lease.add(granted, missing_ns, asked_at, now)

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_S)
            now = self.clock()
            ended = [(lease, lease.end_old(now)) for lease in self._leased.values()]
            self._leased = {key: lease for key, lease in self._leased.items() if not lease.is_empty}
            self._give([(lease.group, tokens) for lease, tokens in ended if tokens])
            for lease, tokens in ended:
                if tokens:
                    self.away.note(lease.key, lease.limits, now, -tokens)

    async def _share_use(self) -> None:
        while True:
            await trio.sleep(SHARE_EVERY_S)
            self.away.share_use(self.clock())

    def _spend(self, lease: BucketLease, amount: int, now: float) -> Taken | None:
        taken = lease.spend(amount, now)
        if taken is not None and lease.is_low and not lease.is_asked:
            lease.is_asked = True
            self._low[lease.key] = lease
            self._is_low.set()
        return taken

    def _put_back(self, takes: Iterable[BucketTake], now: float) -> None:
        for take in takes:
            lease = self._plan(take.key, take.limits).lease
            if lease is not None:
                lease.put_back(take.amount, now)

    # ── Redis comes back ─────────────────────────────────────────────────────────────────────────────────────────────

    def catch_up(self, has_lost_data: bool) -> None:
        """Redis has answered a beat: take from its buckets what it does not know of."""
        self._return.note_beat(has_lost_data)
        self._tell_owed(has_lost_data)

    def hear_again(self) -> None:
        """Redis answers, which it did not in time."""
        self._return.note_late()
        self._tell_owed(has_lost_data=False)

    def _tell_owed(self, has_lost_data: bool) -> None:
        owed = self.away.end(self.clock(), has_lost_data=has_lost_data)
        for start in range(0, len(owed), OWED_A_CALL):
            taken = [(self._plan(one.key, one.limits).group, one.tokens) for one in owed[start : start + OWED_A_CALL]]
            # After lost data it may be more than was used.
            self.client.tell(GIVE.call(*owed_arguments(taken, may_owe=not has_lost_data)))

    # ── small steps ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _plan(self, key: bytes, limits: Limits) -> _Plan:
        plan = self._plans.get(key)
        # Nearly always the same object, because a stage's plan has one.
        if plan is None or (plan.limits is not limits and plan.limits != limits):
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[key] = _Plan.of(key, limits)
        return plan

    def _give(self, given: Sequence[tuple[BucketGroup, int]]) -> None:
        if given:
            self.client.tell(GIVE.call(*give_arguments(given)))

    def _give_all(self, wanted: Sequence[Wanted], reply: TakeReply) -> None:
        if not reply.is_refused:
            groups = zip(wanted, reply.granted, strict=True)
            self._give([(one.group, tokens) for one, tokens in groups if tokens])


def _refused(wanted: Sequence[Wanted], reply: TakeReply, now: float) -> list[Taken]:
    """What was taken up to the group that refused; it is the last."""
    now_ns = round(now * NANO)
    taken: list[Taken] = []
    for one, missing_ns in zip(wanted, reply.missing_ns, strict=True):
        refusal = find_refusal(one.group, missing_ns, one.least)
        taken.append(state_taken(one.group, missing_ns, now_ns, one.least))
        if refusal is not None:
            break
    return taken


def _merge(count: int, here: dict[int, Taken], there: Sequence[Taken]) -> list[Taken]:
    """Both in the order of the takes, up to the one that was refused."""
    asked, merged = iter(there), []
    for index in range(count):
        taken = here[index] if index in here else next(asked)
        merged.append(taken)
        if taken.refused is not None:
            break
    return merged
