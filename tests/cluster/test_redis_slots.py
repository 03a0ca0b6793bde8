"""Slots of credentials that nodes lease from Redis: exact over all workers of all nodes, fair, and near full use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
import trio
from attrs import define, field

from pg_trio.cluster.redis.keys import MARK
from pg_trio.cluster.redis.redis_slots import EXCHANGE_S, SLOTS, RedisSlots
from pg_trio.cluster.redis.slot_lease import LEASE_S
from pg_trio.racing.leased_slots import LeasedSlots
from pg_trio.racing.slots import NoSlot, SlotRules
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.support.engine_relay import engine_relay
from tests.support.engines import RedisServer, running_redis
from tests.support.redis_ledger import RedisLedger, open_redis_ledger

KEY = bytes(20)
# Much longer than any wait here takes.
LONG_S = 30.0
FREE_WITHIN_S = 10.0

Opened = Callable[..., Awaitable[RedisLedger]]


@pytest.fixture
async def open_node(nursery: trio.Nursery, redis: RedisServer, stack: ExitStack, tmp_path: Path) -> Opened:
    """Opens a worker of a node. Those of the same name share its memory."""

    async def open_one(name: str = "gw-1", *, server: object = None, **options: object) -> RedisLedger:
        options = {"workers": 2, **options}
        return await open_redis_ledger(nursery, server or redis, stack, tmp_path, name=name, **options)  # type: ignore[arg-type]

    return open_one


def slots_of(ledger: RedisLedger, limit: int, queue_limit: int = 1000) -> LeasedSlots:
    return LeasedSlots(SlotRules(limit, queue_limit, shed_age_s=LONG_S), ledger.slots, KEY)


@define
class Provider:
    """What it sees: the calls at once, and how many of each caller."""

    now: int = 0
    most: int = 0
    calls: Counter[int] = field(factory=Counter)

    async def answer(self, caller: int, take_s: float) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.calls[caller] += 1
        try:
            await trio.sleep(take_s)
        finally:
            self.now -= 1


async def call(slots: LeasedSlots, provider: Provider, caller: int = 0, take_s: float = 0.01) -> None:
    async with slots.hold(LONG_S):
        await provider.answer(caller, take_s)


async def take_all(slots: LeasedSlots, tries: int) -> int:
    """How many of so many tries have a slot without waiting for one."""
    taken = 0
    for _ in range(tries):
        try:
            await slots.take(0)
        except NoSlot:
            continue
        taken += 1
    return taken


def count_calls(redis: RedisServer) -> int:
    """Scripts that were run."""
    stats = redis.command("INFO", "commandstats").split("cmdstat_evalsha:calls=")
    return int(stats[1].split(",")[0]) if len(stats) > 1 else 0


# ── one limit over all nodes ─────────────────────────────────────────────────────────────────────────────────────────


async def test_lone_node_has_every_slot(open_node: Opened) -> None:
    node, other = await open_node("gw-1"), await open_node("gw-2")
    slots = slots_of(node, 8)

    taken = await take_all(slots, 12)

    assert 8 == taken
    # The figure that people see is of all nodes.
    idle = slots_of(other, 8)
    await wait_for(lambda: idle.in_use == 8)
    assert 0 == await take_all(idle, 1)
    assert (8, 0) == (slots.in_use, idle.free)


async def test_workers_of_a_node_share_its_lease(open_node: Opened) -> None:
    one, other = slots_of(await open_node("gw-1"), 4), slots_of(await open_node("gw-1"), 4)

    taken = await take_all(one, 2) + await take_all(other, 6)

    assert 4 == taken


async def test_slots_of_an_idle_node_are_taken_by_another(open_node: Opened) -> None:
    here, there = slots_of(await open_node("gw-1"), 6), slots_of(await open_node("gw-2"), 6)
    assert 6 == await take_all(here, 6)
    for _ in range(6):
        here.give_back()

    # It still holds them; a call that waits gets one, and then the rest.
    for _ in range(6):
        await there.take(LIMIT_S)

    assert 6 == there.in_use


async def test_waiting_call_gets_the_slot_that_another_node_frees(open_node: Opened) -> None:
    here, there = slots_of(await open_node("gw-1"), 1), slots_of(await open_node("gw-2"), 1)
    await here.take(0)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(there.take, LONG_S)
            await wait_for(lambda: there.waiting == 1)
            here.give_back()

    assert (1, 0) == (there.in_use, there.waiting)


async def test_queue_of_a_busy_node_does_not_keep_every_slot(open_node: Opened) -> None:
    nodes = [slots_of(await open_node(f"gw-{number}"), 2) for number in range(3)]
    provider = Provider()

    async def keep_calling(number: int) -> None:
        while min(provider.calls[each] for each in range(3)) < 5:
            await call(nodes[number], provider, number)

    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            for number in (0, 0, 0, 0, 0, 0, 0, 0, 1, 2):
                nursery.start_soon(keep_calling, number)

    assert 2 == provider.most


@pytest.mark.parametrize("seed", range(4))
async def test_storm_never_passes_the_limit(open_node: Opened, seed: int) -> None:
    luck, limit = Random(seed), (1, 3, 7, 20)[seed]
    workers = [slots_of(await open_node(f"gw-{number // 2}"), limit) for number in range(6)]
    provider = Provider()

    async def visit() -> None:
        number = luck.randrange(6) if luck.random() < 0.5 else 0
        await trio.sleep(luck.random())
        with trio.move_on_after(luck.choice([0.0, 0.002, 0.05, LONG_S])):
            await call(workers[number], provider, number, luck.random() * 0.02)

    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(visit)

    assert 0 == provider.now
    assert 0 < provider.most <= limit
    assert [0] * 6 == [slots.waiting for slots in workers]
    await wait_for(lambda: {0} == {slots.in_use for slots in workers})


# ── what it costs ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_hot_credential_seldom_asks(open_node: Opened, redis: RedisServer) -> None:
    slots = slots_of(await open_node(), 50)
    provider = Provider()
    began_at, before = trio.current_time(), count_calls(redis)

    for _ in range(100):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(call, slots, provider, 0, 0.0)

    ran_s = trio.current_time() - began_at
    # Four exchanges of a worker each 100 ms are many (beats and breakers included), and the first calls ask.
    assert count_calls(redis) - before <= 20 + 4 * ran_s / EXCHANGE_S
    assert 2000 == provider.calls[0]


async def test_idle_node_says_nothing(open_node: Opened, redis: RedisServer) -> None:
    slots = slots_of(await open_node(), 50)
    await slots.take(0)
    slots.give_back()

    await wait_for(lambda: lease_in_redis(redis, "gw-1")[:3] == ["0", "0", "0"])
    told = lease_in_redis(redis, "gw-1")[3]
    await trio.sleep(4 * EXCHANGE_S)

    assert told == lease_in_redis(redis, "gw-1")[3]


def lease_in_redis(redis: RedisServer, node: str) -> list[str]:
    """Slots held, used and needed, and the message's number."""
    return redis.command("HGET", f"pg_trio:slots:{KEY.hex()}:nodes", node).split()


# ── cancelled ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_cancelled_ask_leaves_nothing(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        slots = slots_of(await open_node(server=relay), 1)
        relay.replies.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slots.take, LONG_S)
            await relay.replies.wait_held()
            nursery.cancel_scope.cancel()
        relay.replies.open()

        assert (0, 0) == (slots.in_use, slots.waiting)
        await slots.take(LIMIT_S)


# ── Redis away, and back ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_node_goes_on_with_its_share(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        here = await open_node("gw-1", server=relay)
        await open_node("gw-2")
        await wait_for(lambda: here.node.live_nodes == 2)
        slots = slots_of(here, 6)
        assert 1 == await take_all(slots, 1)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not here.client.is_up)

        # What it had heard before counts a moment longer.
        for _ in range(2):
            await slots.take(LIMIT_S)

        assert (0, 3) == (await take_all(slots, 2), slots.in_use)
        # Back, it needs no more than its share at first; then what is free.
        relay.accepts = True
        await wait_for(lambda: here.client.is_up)
        for _ in range(3):
            await slots.take(LIMIT_S)
        assert 6 == slots.in_use


async def test_refusing_gateway_has_no_slots(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        here = await open_node("gw-1", server=relay, refuses=True)
        slots = slots_of(here, 6)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not here.client.is_up)

        with pytest.raises(NoSlot):
            await slots.take(0)


async def test_calls_under_way_are_put_back(open_node: Opened) -> None:
    with running_redis() as server:
        here, there = await open_node("gw-1", server=server), await open_node("gw-2", server=server)
        slots = slots_of(here, 4)
        assert 3 == await take_all(slots, 3)

        # Its data are gone; the link is not.
        server.command("FLUSHALL")
        await wait_for(lambda: lease_in_redis(server, "gw-1")[:2] in (["3", "3"], ["4", "3"]))

        assert 4 - int(lease_in_redis(server, "gw-1")[0]) == await take_all(slots_of(there, 4), 2)


async def test_slots_of_a_dead_node_end(open_node: Opened, redis: RedisServer) -> None:
    slots = slots_of(await open_node(), 1)
    await slots.take(0)

    left_ms = int(redis.command("PTTL", f"pg_trio:slots:{KEY.hex()}"))

    assert 0 < left_ms <= LEASE_S * 1000


@pytest.mark.slow
async def test_slots_of_a_cut_off_node_are_free_within_ten_seconds(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        here = await open_node("gw-1", server=relay)
        cut_off, other = slots_of(here, 6), slots_of(await open_node("gw-2"), 6)
        await wait_for(lambda: here.node.live_nodes == 2)
        assert 6 == await take_all(cut_off, 6)
        relay.accepts = False
        relay.cut()

        with trio.fail_after(FREE_WITHIN_S):
            for _ in range(6):
                await other.take(LONG_S)
        # The node that is cut off uses its share at most: its old calls, and no new ones until few are left.
        assert 0 == await take_all(cut_off, 1)
        for _ in range(5):
            cut_off.give_back()
        assert 2 == await take_all(cut_off, 6)

        # Back, what it runs counts first of all, and the other node gives back.
        relay.accepts = True
        await wait_for(lambda: lease_in_redis(redis, here.node.id)[:2] == ["3", "3"])
        for _ in range(6):
            other.give_back()
        await wait_for(lambda: 6 >= sum(int(lease_in_redis(redis, each)[0]) for each in ("gw-1", "gw-2")))


async def test_old_lease_is_not_used(open_node: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = await open_node()
    slots = slots_of(ledger, 3)
    assert 3 == await take_all(slots, 3)
    slots.give_back()

    # As a process that was stopped for a minute: it asks first.
    monkeypatch.setattr(ledger.slots, "clock", lambda: trio.current_time() + 10**6)

    assert not ledger.slots.acquire(KEY, 3)
    await slots.take(LIMIT_S)


async def test_fenced_node_has_no_slots(open_node: Opened, redis: RedisServer) -> None:
    ledger = await open_node()
    redis.command("SET", "pg_trio:node:gw-1", "another")
    await wait_for(lambda: ledger.node.is_fenced)

    assert 0 == await take_all(slots_of(ledger, 3), 1)
    assert "" == redis.command("KEYS", "pg_trio:slots:*")


async def test_smaller_limit_holds_at_once(open_node: Opened) -> None:
    ledger = await open_node()
    slots = slots_of(ledger, 6)
    assert 6 == await take_all(slots, 6)
    for _ in range(6):
        slots.give_back()

    assert 2 == await take_all(slots_of(ledger, 2), 6)


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def tell(slots: RedisSlots, node: str, *figures: int) -> list[object]:
    """The reply to (number, held, used, need, want) of a node, with a limit of 10."""
    keys = ("pg_trio:node:" + node, MARK, "pg_trio:slots:x", "pg_trio:slots:x:nodes")
    return list(await slots.client.run_script(SLOTS, keys, (node, 8000, "", 10, *figures)))


async def test_older_message_changes_nothing(open_node: Opened) -> None:
    slots = (await open_node()).slots
    assert [6, 10, 0, 0] == await tell(slots, "a", 7, 0, 0, 4, 6)

    assert [-1, 0, 0, 0] == await tell(slots, "a", 6, 0, 0, 9, 9)
    assert [6, 10, 0, 0] == await tell(slots, "a", 8, 4, 0, 4, 6)


async def test_need_is_shared_evenly(open_node: Opened) -> None:
    slots = (await open_node()).slots
    assert [10, 10, 0, 0] == await tell(slots, "a", 1, 0, 0, 20, 30)
    # Nothing is free; b needs 2, which is less than an even share.
    assert [0, 2, 0, 1] == await tell(slots, "b", 1, 0, 0, 2, 3)

    assert [10, 8, 0, 1] == await tell(slots, "a", 2, 10, 10, 20, 30)
    assert [8, 8, 0, 1] == await tell(slots, "a", 3, 8, 8, 20, 30)
    assert [2, 2, 8, 1] == await tell(slots, "b", 2, 0, 0, 2, 3)
    # Three that need more than there is have three each, and the tenth in turns.
    await tell(slots, "c", 1, 0, 0, 9, 9)
    await tell(slots, "b", 3, 2, 2, 9, 9)
    (_, keep, _, _) = await tell(slots, "a", 4, 8, 8, 20, 30)
    assert keep in (3, 4)
