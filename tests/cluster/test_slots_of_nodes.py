"""`max_concurrent` of a credential over three nodes of two workers, as its provider sees it: never more calls at once,
and nearly as many wherever they come from; after a killed node and an absence of Redis, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from pg_trio.simulator import Behaviours
from pg_trio.simulator.simulated_provider import Received
from tests.cluster.callers import Load
from tests.cluster.served import KEEP_REQUESTS, NODES, ServedCluster, ServedNode, running_cluster
from tests.support.engines import PostgresServer, RedisServer, running_redis
from tests.support.gateway import endpoint

pytestmark = pytest.mark.slow

LIMIT, CALL_S = 12, 0.2
CREDENTIAL = f"max_concurrent = {LIMIT}\nslot_wait_ms = 20000\nmax_waiting = 1000\n"
CLIENTS = 2 * LIMIT
# A call's end is noted a moment after its last byte was sent. By then the next one may have begun.
NOTED_S = 0.01
START_S, WATCH_S, FREE_WITHIN_S = 2.0, 6.0, 10.0


@asynccontextmanager
async def limited_cluster(
    folder: Path, redis: RedisServer, postgres: PostgresServer
) -> AsyncIterator[tuple[ServedCluster, Load]]:
    """The nodes, and clients that are stopped at the end."""
    behaviours = Behaviours(by_model={"limited": f"latency={CALL_S}s"}, keep_requests=KEEP_REQUESTS)
    endpoints = endpoint("limited", deadline_ms=30_000)
    async with running_cluster(
        folder, redis, postgres, endpoints, behaviours=behaviours, credential=CREDENTIAL
    ) as cluster:
        yield cluster, Load(cluster.token)
        await cluster.stop()


def calls_of(cluster: ServedCluster) -> list[Received]:
    return [request for request in cluster.simulator.requests if request.model == "limited"]


def end_of(call: Received, now: float) -> float:
    """When it was answered, or its client went."""
    return min([at for at in (call.answered_at, call.closed_at) if at is not None], default=now)


def most_at_once(calls: Sequence[Received], since: float, until: float) -> int:
    """The most calls that the provider had under way at a moment between."""
    changes = []
    for one in calls:
        ends_at = max(end_of(one, until), one.arrived_at + NOTED_S) - NOTED_S
        changes += [(one.arrived_at, 1), (ends_at, -1)]
    at_once = most = 0
    for at, change in sorted(changes):
        at_once += change
        if since <= at < until:
            most = max(most, at_once)
    return most


def share_used(calls: Sequence[Received], since: float, until: float) -> float:
    """How much of the limit was in use, on average."""
    busy_s = sum(
        max(0.0, min(end_of(one, until), until) - max(one.arrived_at, since)) for one in calls if one.arrived_at < until
    )
    return busy_s / (LIMIT * (until - since))


def node_of(nodes: Sequence[ServedNode], number: int) -> ServedNode:
    return nodes[number % len(nodes)]


async def watch(seconds: float) -> tuple[float, float]:
    began_at = trio.current_time()
    await trio.sleep(seconds)
    return began_at, trio.current_time()


def assert_served(load: Load) -> None:
    """Calls are answered, or refused because a queue stands (docs/configuration.md)."""
    assert {200, 503} >= set(load.statuses("limited"))


def start_clients(
    clients: trio.Nursery, load: Load, find_node: Callable[[int], ServedNode], count: int = CLIENTS
) -> None:
    for number in range(count):
        clients.start_soon(load.ask, partial(find_node, number), "limited")


async def test_limit_is_one_wherever_calls_come_from(
    tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer
) -> None:
    async with limited_cluster(tmp_path, redis, postgres_server) as (cluster, load):
        watched = []
        # First node by node, then all of them.
        for nodes in (cluster.nodes[:1], cluster.nodes[1:2], cluster.nodes):
            load.is_over = False
            async with trio.open_nursery() as clients:
                start_clients(clients, load, partial(node_of, nodes))
                await trio.sleep(START_S)
                watched.append(await watch(WATCH_S))
                load.is_over = True
        calls = calls_of(cluster)

        assert_served(load)
        assert LIMIT == most_at_once(calls, 0.0, trio.current_time())
        used = [share_used(calls, *window) for window in watched]
        assert min(used) >= 0.8, used
        by_node = [
            sum(1 for one in load.asked if one.port == node.port and one.sent_at >= watched[-1][0])
            for node in cluster.nodes
        ]
        # All want as much, so each has a third.
        assert min(by_node) >= 0.7 * sum(by_node) / NODES, by_node


async def test_slots_of_a_killed_node_are_free_soon(
    tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer
) -> None:
    async with limited_cluster(tmp_path, redis, postgres_server) as (cluster, load):
        victim, others = cluster.nodes[0], cluster.nodes[1:]
        async with trio.open_nursery() as clients:
            with trio.CancelScope() as of_the_victim:
                async with trio.open_nursery() as victims:
                    start_clients(victims, Load(cluster.token), partial(node_of, [victim]))
                    # It has every slot, and is killed with all of them in use.
                    await trio.sleep(START_S)
                    before = most_at_once(calls_of(cluster), trio.current_time() - 1.0, trio.current_time())
                    await trio.to_thread.run_sync(victim.kill)
                    killed_at = trio.current_time()
                    of_the_victim.cancel()
            start_clients(clients, load, partial(node_of, others))
            await trio.sleep(FREE_WITHIN_S)
            window = await watch(WATCH_S)
            load.is_over = True
        calls = calls_of(cluster)

        assert LIMIT == before == most_at_once(calls, 0.0, trio.current_time())
        used = share_used(calls, *window)
        assert used >= 0.8, used
        assert window[0] - killed_at < FREE_WITHIN_S + 1.0
        assert_served(load)


@pytest.mark.parametrize("fault", ["frozen", "killed"])
async def test_redis_away_and_back(tmp_path: Path, postgres_server: PostgresServer, fault: str) -> None:
    with running_redis() as redis:
        async with limited_cluster(tmp_path, redis, postgres_server) as (cluster, load):
            async with trio.open_nursery() as clients:
                start_clients(clients, load, partial(node_of, cluster.nodes))
                await trio.sleep(START_S)
                await trio.to_thread.run_sync(redis.freeze if fault == "frozen" else redis.kill)
                away = await watch(WATCH_S)
                await trio.to_thread.run_sync(redis.thaw if fault == "frozen" else redis.start)
                await trio.sleep(5.0)
                back = await watch(WATCH_S)
                load.is_over = True
            calls = calls_of(cluster)

            assert_served(load)
            assert LIMIT >= most_at_once(calls, *away)
            assert LIMIT == most_at_once(calls, 0.0, trio.current_time())
            assert share_used(calls, *away) >= 0.8
            assert share_used(calls, *back) >= 0.8
