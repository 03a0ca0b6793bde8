"""Limits in Redis beyond the contract (tests/contract/test_ledger.py): several nodes, leases, Redis away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from pg_trio.cluster.redis.bucket_leases import HOLD_BACK_S, HOLD_S, LEASE_S, lease_size
from pg_trio.cluster.redis.bucket_wire import GIVE, MOST_OWED_S
from pg_trio.cluster.redis.keys import bucket_key
from pg_trio.cluster.redis.redis_permits import PERMIT_S
from pg_trio.cluster.redis.redis_return import SETTLE_S, SHORT_S
from pg_trio.cluster.redis.resp import encode_command
from pg_trio.errors import Overloaded, StoreError
from pg_trio.ledger.protocols import MUST_WAIT, BucketTake, Limits
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.support.engine_relay import engine_relay
from tests.support.engines import RedisServer, running_redis
from tests.support.redis_ledger import RedisLedger, open_redis_ledger

KEY, OTHER = bytes(16), b"r" + bytes(8)
# A token an hour: what refills while a test runs is nothing.
SMALL: Limits = ((20, 3600.0),)
# 1,000 a second, so a lease is 250.
LARGE: Limits = ((60_000, 60.0),)
# As large at once, but nothing refills: a lease needs a rate, so the window is the longest that has one.
SLOW: Limits = ((60_000, 1000.0),)

Opened = Callable[..., Awaitable[RedisLedger]]


@pytest.fixture
async def open_node(nursery: trio.Nursery, redis: RedisServer, stack: ExitStack, tmp_path: Path) -> Opened:
    """Opens a node."""

    async def open_one(name: str = "gw-1", *, server: object = None, **options: object) -> RedisLedger:
        return await open_redis_ledger(nursery, server or redis, stack, tmp_path, name=name, **options)  # type: ignore[arg-type]

    return open_one


async def take_all(ledger: RedisLedger, key: bytes, limits: Limits, tries: int) -> int:
    """How many of so many tries were admitted, as a stage asks."""
    admitted = 0
    for _ in range(tries):
        now = ledger.buckets.clock()
        taken = ledger.buckets.take_nowait(key, limits, now)
        if taken is MUST_WAIT:
            taken = await ledger.buckets.take(key, limits, now)
        admitted += taken.refused is None
    return admitted


def remaining(redis: RedisServer) -> list[str]:
    return redis.command("KEYS", "pg_trio:bucket:*").split()


# ── several nodes ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nodes_share_one_small_limit(open_node: Opened) -> None:
    nodes = [await open_node(f"gw-{number}") for number in range(3)]
    admitted = []

    async def ask(node: RedisLedger) -> None:
        admitted.append(await take_all(node, KEY, SMALL, 20))

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(ask, node)

    assert 20 == sum(admitted)


async def test_nodes_share_one_large_limit(open_node: Opened) -> None:
    nodes = [await open_node(f"gw-{number}") for number in range(3)]
    admitted = []
    started = nodes[0].buckets.clock()

    async def ask(node: RedisLedger) -> None:
        admitted.append(await take_all(node, KEY, SLOW, 30_000))

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(ask, node)

    refilled = (nodes[0].buckets.clock() - started + HOLD_BACK_S) * 60
    assert 60_000 * 0.98 <= sum(admitted) <= 60_000 + refilled


async def test_permits_count_over_nodes(open_node: Opened) -> None:
    first, second = await open_node("gw-1"), await open_node("gw-2")

    acquired = [await node.permits.acquire(KEY, 3) for node in (first, second, first, second)]
    first.permits.release_nowait(KEY)

    assert ([True, True, True, False], 2) == (acquired, await first.permits.count(KEY))
    assert await first.permits.acquire(KEY, 3)


async def test_several_keys_are_taken_together_or_not_at_all(open_node: Opened) -> None:
    ledger = await open_node()
    one: Limits = ((1, 3600.0),)
    takes = [BucketTake(KEY, SMALL, 5), BucketTake(OTHER, one, 1)]

    first = await ledger.buckets.take_each(takes, 0.0)
    second = await ledger.buckets.take_each(takes, 0.0)

    assert [None, None] == [taken.refused for taken in first]
    refused = second[-1].refused
    assert refused is not None
    assert pytest.approx((0, 3600.0), abs=60) == refused
    (held,) = await ledger.buckets.peek(KEY, SMALL, 0.0)
    assert 15 == held.remaining


async def test_take_of_several_keys_is_one_call(open_node: Opened, redis: RedisServer) -> None:
    ledger = await open_node()
    # Its link is greeted, and has beaten.
    await ledger.client.call(encode_command("PING"))
    redis.command("CONFIG", "RESETSTAT")

    await ledger.buckets.take_each([BucketTake(KEY, ((9, 60.0), (9, 3600.0)), 1), BucketTake(OTHER, SMALL, 1)], 0.0)

    stats = dict(line.split(":", 1) for line in redis.command("INFO", "commandstats").splitlines() if ":" in line)
    assert "calls=1," in stats["cmdstat_evalsha"] or int(stats["cmdstat_evalsha"].split("calls=")[1].split(",")[0]) <= 2


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lease_is_a_quarter_second_of_the_slowest_limit() -> None:
    sizes = [lease_size(limits) for limits in (((600, 60.0),), LARGE, ((60_000, 60.0), (360_000, 3600.0)), SMALL)]

    assert [0, 60_000 / 60 * LEASE_S, 100 * LEASE_S, 0] == sizes


async def test_hot_limit_seldom_asks(open_node: Opened, redis: RedisServer) -> None:
    ledger = await open_node()
    redis.command("CONFIG", "RESETSTAT")

    assert 1000 == await take_all(ledger, KEY, LARGE, 1000)

    stats = dict(line.split(":", 1) for line in redis.command("INFO", "commandstats").splitlines() if ":" in line)
    calls = int(stats["cmdstat_evalsha"].split("calls=")[1].split(",")[0])
    # 250 tokens a lease; heartbeats, and what goes back, come on top.
    assert calls <= 1000 / 50


async def test_unspent_lease_goes_back(open_node: Opened, redis: RedisServer) -> None:
    # Every command is noted.
    redis.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
    ledger = await open_node()
    await take_all(ledger, KEY, SLOW, 1)

    await wait_for(lambda: not ledger.buckets._leased)
    await ledger.buckets.peek(KEY, SLOW, 0.0)

    # A lease of 15, of which nothing was spent: the request's own token came on top.
    given = redis.command("SLOWLOG", "GET", "20").partition(GIVE.digest)[2].split()
    redis.command("CONFIG", "SET", "slowlog-log-slower-than", "10000")
    assert ["1", bucket_key(KEY, 1000), "16666.667"] == given[:3]
    assert "15" == given[4]


async def test_old_lease_is_not_spent(open_node: Opened) -> None:
    ledger = await open_node()
    now = ledger.buckets.clock()
    await ledger.buckets.take(KEY, LARGE, now)

    later = ledger.buckets.take_nowait(KEY, LARGE, now + HOLD_S + 1)

    assert later is MUST_WAIT


async def test_request_for_a_whole_large_limit_is_served(open_node: Opened) -> None:
    ledger = await open_node()

    taken = await ledger.buckets.take(KEY, LARGE, ledger.buckets.clock(), 60_000)

    assert taken.refused is None


# ── cancelled ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limits", [SMALL, SLOW])
async def test_cancelled_take_takes_nothing(open_node: Opened, redis: RedisServer, limits: Limits) -> None:
    async with engine_relay(redis.port) as relay:
        ledger = await open_node(server=relay)
        before = (await ledger.buckets.peek(KEY, limits, 0.0))[0].remaining
        relay.replies.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.buckets.take, KEY, limits, ledger.buckets.clock())
            await relay.replies.wait_held()
            nursery.cancel_scope.cancel()
            relay.replies.open()

        (held,) = await ledger.buckets.peek(KEY, limits, 0.0)
        assert before == held.remaining


async def test_cancelled_acquire_leaves_no_permit(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        ledger = await open_node(server=relay)
        relay.replies.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.permits.acquire, KEY, 1)
            await relay.replies.wait_held()
            nursery.cancel_scope.cancel()
            relay.replies.open()

        assert 0 == await ledger.permits.count(KEY)


# ── Redis is away ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nodes_go_on_with_their_share(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        ledger = await open_node(server=relay)
        await open_node("gw-2")
        await wait_for(lambda: ledger.node.live_nodes == 2)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not ledger.client.is_up)

        admitted = await take_all(ledger, KEY, SMALL, 20)
        permits = [ledger.permits.acquire_nowait(KEY, 5) for _ in range(4)]

    assert (10, [True, True, False, False]) == (admitted, permits)


async def test_share_does_not_begin_full(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        ledger = await open_node(server=relay)
        await take_all(ledger, KEY, SMALL, 15)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not ledger.client.is_up)

        assert 5 == await take_all(ledger, KEY, SMALL, 20)


async def test_worker_that_loses_redis_alone_knows_what_its_node_has_used(
    open_node: Opened, redis: RedisServer
) -> None:
    async with engine_relay(redis.port) as relay:
        here = await open_node(server=relay, workers=2)
        other = await open_node(workers=2)
        await take_all(other, KEY, SMALL, 15)
        other.buckets.away.share_use(other.buckets.clock())
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not here.client.is_up)

        assert 5 == await take_all(here, KEY, SMALL, 20)


async def test_what_was_admitted_beyond_the_limit_is_owed(open_node: Opened, redis: RedisServer) -> None:
    limits: Limits = ((20, 60.0),)

    def missing_s() -> float:
        seconds, micros = redis.command("TIME").split()
        now = (int(seconds) - 1_735_689_600) * 1e6 + int(micros)
        return (float(redis.command("GET", bucket_key(KEY, 60)) or now) - now) / 1e6

    async with engine_relay(redis.port) as relay:
        cut_off, other = await open_node(server=relay), await open_node("gw-2")
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not cut_off.client.is_up)
        # It may not know of the other node yet: its share is 10 or 20.
        assert await take_all(cut_off, KEY, limits, 20) >= 10
        assert await take_all(other, KEY, limits, 20) >= 20
        relay.accepts = True
        await wait_for(lambda: missing_s() > 60.5)

        taken = await other.buckets.take(KEY, limits, 0.0)
        (held,) = await other.buckets.peek(KEY, limits, 0.0)

    # What is owed refills first, for some seconds at most.
    assert taken.refused is not None
    assert missing_s() <= 60 + MOST_OWED_S
    assert ([0], 0) == ([left for left, _ in taken.left()], held.remaining)


async def test_what_was_admitted_meanwhile_counts_afterwards(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        ledger = await open_node(server=relay)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not ledger.client.is_up)
        await take_all(ledger, KEY, SMALL, 8)
        relay.accepts = True
        await wait_for(lambda: bool(remaining(redis)))

        (held,) = await ledger.buckets.peek(KEY, SMALL, 0.0)

    assert 12 == held.remaining


async def test_limit_is_not_given_again_after_an_absence(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        nodes = [await open_node(f"gw-{number}", server=relay) for number in (1, 2)]
        await wait_for(lambda: all(node.node.live_nodes == 2 for node in nodes))
        admitted = await take_all(nodes[0], KEY, SMALL, 4)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not any(node.client.is_up for node in nodes))
        await trio.sleep(SHORT_S)
        relay.accepts = True
        await wait_for(lambda: all(node.client.is_up for node in nodes))

        # One at a time, so that some is admitted just before the shares cease to hold.
        tries = 30
        for number in range(tries):
            admitted += await take_all(nodes[number % 2], KEY, SMALL, 1)
            await trio.sleep(1.5 * SETTLE_S / tries)

    assert 20 == admitted


async def test_share_and_redis_both_hold_after_an_absence(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        cut_off, other = await open_node(server=relay), await open_node("gw-2")
        await wait_for(lambda: cut_off.node.live_nodes == 2)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not cut_off.client.is_up)
        await trio.sleep(SHORT_S)
        admitted = await take_all(other, KEY, SMALL, 15)
        relay.accepts = True
        await wait_for(lambda: cut_off.client.is_up)

        # Its share is 10.
        admitted += await take_all(cut_off, KEY, SMALL, 20)

    assert 20 == admitted


async def test_limit_is_not_given_again_when_a_late_redis_answers(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        nodes = [await open_node(f"gw-{number}", server=relay, limit_s=0.2) for number in (1, 2)]
        await wait_for(lambda: all(node.node.live_nodes == 2 for node in nodes))
        # Each has its link.
        admitted = sum([await take_all(node, KEY, SMALL, 1) for node in nodes])
        relay.replies.close()
        for node in nodes:
            # The first one waits for its limit; what it got too late goes back.
            admitted += await take_all(node, KEY, SMALL, 6)
        relay.replies.open()
        await wait_for(lambda: all(node.client.is_up for node in nodes))
        for node in nodes:
            admitted += await take_all(node, KEY, SMALL, 20)

    assert 20 == admitted


async def hold_all(ledger: RedisLedger, key: bytes, limit: int, tries: int) -> int:
    """How many of so many permits were had; none is given back."""
    had = 0
    for _ in range(tries):
        got = ledger.permits.acquire_nowait(key, limit)
        if got is MUST_WAIT:
            got = await ledger.permits.acquire(key, limit)
        had += got
    return had


async def test_share_counts_the_permits_of_all_workers_of_a_node(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        here, other = [await open_node(server=relay, workers=2) for _ in range(2)]
        held = await hold_all(other, KEY, 5, 4)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not here.client.is_up)

        held += await hold_all(here, KEY, 5, 5)

    assert 5 == held


async def test_permits_are_not_given_again_after_an_absence(open_node: Opened) -> None:
    with running_redis() as server:
        nodes = [await open_node(f"gw-{number}", server=server) for number in (1, 2)]
        await wait_for(lambda: all(node.node.live_nodes == 2 for node in nodes))
        held = await hold_all(nodes[0], KEY, 10, 2)
        server.kill()
        await wait_for(lambda: not any(node.client.is_up for node in nodes))
        held += await hold_all(nodes[1], KEY, 10, 2)
        await trio.sleep(SHORT_S)
        server.start()
        await wait_for(lambda: all(node.client.is_up for node in nodes))

        tries = 30
        for number in range(tries):
            held += await hold_all(nodes[number % 2], KEY, 10, 1)
            await trio.sleep(1.5 * SETTLE_S / tries)
        counted = await nodes[0].permits.count(KEY)

    assert (10, 10) == (held, counted)


async def test_permits_are_not_given_again_when_a_late_redis_answers(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        nodes = [await open_node(f"gw-{number}", server=relay, limit_s=0.2) for number in (1, 2)]
        await wait_for(lambda: all(node.node.live_nodes == 2 for node in nodes))
        held = sum([await hold_all(node, KEY, 10, 1) for node in nodes])
        relay.replies.close()
        for node in nodes:
            held += await hold_all(node, KEY, 10, 2)
        relay.replies.open()
        await wait_for(lambda: all(node.client.is_up for node in nodes))
        for node in nodes:
            held += await hold_all(node, KEY, 10, 10)
        counted = await nodes[0].permits.count(KEY)

    assert (10, 10) == (held, counted)


async def test_refusing_gateway_refuses(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        ledger = await open_node(server=relay, refuses=True)
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not ledger.client.is_up)

        with pytest.raises(Overloaded):
            ledger.buckets.take_nowait(KEY, SMALL, 0.0)
        with pytest.raises(Overloaded):
            ledger.permits.acquire_nowait(KEY, 1)


async def test_call_under_way_falls_back(open_node: Opened, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        ledger = await open_node(server=relay, limit_s=0.2)
        relay.replies.close()

        taken = await ledger.buckets.take(KEY, SMALL, 0.0)
        permit = await ledger.permits.acquire(KEY, 1)

        assert (None, True) == (taken.refused, permit)


@pytest.mark.slow
async def test_empty_restart_is_made_good(open_node: Opened) -> None:
    with running_redis() as server:
        nodes = [await open_node(f"gw-{number}", server=server) for number in (1, 2)]
        for node in nodes:
            await take_all(node, KEY, SMALL, 4)
        await nodes[0].permits.acquire(OTHER, 2)
        server.kill()
        await wait_for(lambda: not any(node.client.is_up for node in nodes))
        server.start()
        await wait_for(lambda: bool(server.command("KEYS", "pg_trio:permits:*")))

        async def left() -> int:
            return (await nodes[0].buckets.peek(KEY, SMALL, 0.0))[0].remaining

        with trio.fail_after(LIMIT_S):
            while await left() > 12:  # noqa: ASYNC110
                await trio.sleep(0.01)

        assert (12, 1) == (await left(), await nodes[1].permits.count(OTHER))


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_permits_of_a_dead_node_end(open_node: Opened, redis: RedisServer) -> None:
    ledger = await open_node()
    await ledger.permits.acquire(KEY, 1)

    (key,) = redis.command("KEYS", "pg_trio:permits:*").split()

    # Redis itself forgets them, if no task renews them.
    assert 0 < int(redis.command("PTTL", key)) <= PERMIT_S * 1000 < 10_000


async def test_renewed_permits_live_on(open_node: Opened, redis: RedisServer) -> None:
    ledger = await open_node()
    for _ in range(3):
        await ledger.permits.acquire(KEY, 3)
    redis.command("FLUSHALL")

    await ledger.permits.renew()

    assert 3 == await ledger.permits.count(KEY)


async def test_name_of_a_live_node_is_refused(open_node: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg_trio.cluster.redis.heartbeat.CLAIM_TRIES", 1)
    monkeypatch.setattr("pg_trio.cluster.redis.heartbeat.CLAIM_PAUSE_S", 0.0)
    await open_node("gw-1")

    with pytest.raises(StoreError, match=r"cluster\.node: another gateway, with another data_dir, runs as 'gw-1'"):
        await open_node("gw-1")


async def test_fenced_node_acquires_nothing(open_node: Opened, redis: RedisServer) -> None:
    ledger = await open_node()
    assert await ledger.permits.acquire(KEY, 5)
    redis.command("SET", "pg_trio:node:gw-1", "another")
    redis.command("DEL", *redis.command("KEYS", "pg_trio:permits:*").split())

    await ledger.permits.renew()
    with pytest.raises(Overloaded):
        await ledger.permits.acquire(KEY, 5)

    assert "" == redis.command("KEYS", "pg_trio:permits:*")
