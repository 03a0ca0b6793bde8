"""A Redis that is emptied under connections that stay (FLUSHALL): nothing is given again, at no node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from pg_trio.cluster.redis.redis_return import SETTLE_S
from pg_trio.ledger.protocols import Limits
from tests.cluster import test_redis_slots as of_slots
from tests.cluster.test_redis_limits import KEY, SMALL, take_all
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.support.engines import RedisServer, running_redis
from tests.support.redis_ledger import RedisLedger, open_redis_ledger

NODES = 2
LIMIT = 20
# 33 a second.
LEASED: Limits = ((2000, 60.0),)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture
async def nodes(nursery: trio.Nursery, server: RedisServer, stack: ExitStack, tmp_path: Path) -> list[RedisLedger]:
    opened = [await open_redis_ledger(nursery, server, stack, tmp_path, name=f"gw-{number}") for number in range(NODES)]
    await wait_for(lambda: all(one.node.live_nodes == NODES for one in opened))
    return opened


async def take_everywhere(nodes: list[RedisLedger], limits: Limits, tries: int) -> int:
    """How many of so many tries at each node were admitted."""
    return sum([await take_all(node, KEY, limits, tries) for node in nodes])


async def test_exact_limit_is_given_once(nodes: list[RedisLedger], server: RedisServer) -> None:
    assert LIMIT == await take_everywhere(nodes, SMALL, LIMIT // NODES)

    # The second time, one of the nodes may have beaten, so that there is data again.
    for _ in range(3):
        server.command("FLUSHALL")
        assert 0 == await take_everywhere(nodes, SMALL, LIMIT)


async def test_exact_limit_is_exact_again(nodes: list[RedisLedger], server: RedisServer) -> None:
    """What is left is had from Redis again, by any node, once all have told."""
    assert 5 == await take_all(nodes[0], KEY, SMALL, 5)
    server.command("FLUSHALL")
    admitted = await take_all(nodes[0], KEY, SMALL, LIMIT)
    await trio.sleep(2.0)

    rest = await take_everywhere(nodes[::-1], SMALL, LIMIT)
    # Until all have told, no node has more than its share.
    assert (LIMIT // NODES - 5, LIMIT - LIMIT // NODES) == (admitted, rest)


@pytest.mark.parametrize(("limits", "most"), [(SMALL, LIMIT), (LEASED, 2000)], ids=["exact", "leased"])
async def test_node_without_requests_before_has_what_the_others_left(
    nodes: list[RedisLedger], server: RedisServer, limits: Limits, most: int
) -> None:
    """Its share is untouched, but another node has used the whole limit, and has told."""
    busy, calm = nodes
    began_at = trio.current_time()

    async def request() -> None:
        admitted.append(await take_all(calm, KEY, limits, 1))

    admitted = [await take_all(busy, KEY, limits, most)]
    server.command("FLUSHALL")
    admitted.append(await take_all(busy, KEY, limits, LIMIT))

    async with trio.open_nursery() as requests:
        for _ in range(200):
            requests.start_soon(request)

    capacity, window_s = limits[0]
    assert sum(admitted) <= most + capacity / window_s * (trio.current_time() - began_at) + 1


async def test_no_lease_outlives_what_others_tell(nodes: list[RedisLedger], server: RedisServer) -> None:
    """What is not spent of a lease of the fresh data would be free again after the others have emptied its bucket."""
    quiet, early = nodes
    await take_all(quiet, KEY, LEASED, 2000)

    server.command("FLUSHALL")
    async with trio.open_nursery() as requests:
        for _ in range(100):
            requests.start_soon(take_all, early, KEY, LEASED, 1)
    emptied_at = trio.current_time()
    await take_all(quiet, KEY, LEASED, 1)
    await trio.sleep(SETTLE_S)
    rest = await take_everywhere(nodes, LEASED, 2000)

    capacity, window_s = LEASED[0]
    assert rest <= capacity / window_s * (trio.current_time() - emptied_at) + 1


async def test_leased_limit_is_given_once(nodes: list[RedisLedger], server: RedisServer) -> None:
    began_at = trio.current_time()
    admitted = await take_everywhere(nodes, LEASED, 2000)
    for _ in range(3):
        server.command("FLUSHALL")
        admitted += await take_everywhere(nodes, LEASED, 2000)

    assert admitted <= 2000 + 2000 / 60 * (trio.current_time() - began_at) + 1


async def test_permits_are_given_once(nodes: list[RedisLedger], server: RedisServer) -> None:
    assert all([await node.permits.acquire(KEY, 4) for node in nodes for _ in range(2)])

    for _ in range(3):
        server.command("FLUSHALL")
        assert not any([await node.permits.acquire(KEY, 4) for node in nodes])
    await wait_for(lambda: server.command("ZCARD", f"pg_trio:permits:{KEY.hex()}") == "4")


async def test_node_without_permits_before_has_what_the_others_left(
    nodes: list[RedisLedger], server: RedisServer
) -> None:
    busy, calm = nodes
    assert all([await busy.permits.acquire(KEY, 4) for _ in range(4)])
    server.command("FLUSHALL")

    assert not any([await node.permits.acquire(KEY, 4) for node in (busy, calm, calm)])


async def test_slots_are_given_once(nodes: list[RedisLedger], server: RedisServer) -> None:
    slots = [of_slots.slots_of(node, 6) for node in nodes]
    for one in slots * 3:
        await one.take(LIMIT_S)

    for _ in range(3):
        server.command("FLUSHALL")
        for _ in range(30):
            assert 0 == sum([await of_slots.take_all(one, 1) for one in slots])
            await trio.sleep(0.01)
