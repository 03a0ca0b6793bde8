"""What nodes tell each other of candidates, as their provider sees it: real `pg-trio serve` processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.racing.breaker import BreakerRules
from pg_trio.simulator import Behaviours
from tests.cluster.callers import Caller, Load
from tests.cluster.served import KEEP_REQUESTS, NODES, ServedCluster, free_ports, served_cluster
from tests.support.engines import PostgresServer, RedisServer
from tests.support.gateway import endpoint

pytestmark = pytest.mark.slow

DEADLINES: dict[str, Any] = {"deadline_ms": 20_000}
FAILOVER = [{"credential": "sim", "model": "second"}]
ENDPOINTS = endpoint("hedged", "first", hedge_after="p95", failover=FAILOVER, **DEADLINES) + endpoint(
    "dead", max_attempts=1, **DEADLINES
)
# A node that knows nothing waits for `LatencyRules.ceiling_s`, which is after the deadline.
QUICK_S, HEDGED_WITHIN_S = 0.1, 5.0
# A node that starts asks at once, and again after a second.
HEARD_S = 2.0
WATCH_S = 22.0
# Others hear of an open breaker within 0.2 s; calls that were sent before may arrive later, on a busy machine.
FIRST_CALLS_S, LATE_S = 3.0, 1.0


def arrivals(cluster: ServedCluster, model: str) -> list[float]:
    return [request.arrived_at for request in cluster.simulator.requests if request.model == model]


async def test_fresh_node_hedges_by_what_it_heard(
    tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer
) -> None:
    behaviours = Behaviours(by_model={"first": f"latency={QUICK_S}s"}, keep_requests=KEEP_REQUESTS)
    async with served_cluster(tmp_path, redis, postgres_server, behaviours) as cluster:
        *ports, last = free_ports(NODES)
        for port in ports:
            cluster.add(ENDPOINTS, port, {})
        await cluster.start()
        await call_all(cluster, "hedged", 30)
        fresh = cluster.add(ENDPOINTS, last, {})
        fresh.start()
        await cluster.wait_serving(fresh)
        await trio.sleep(HEARD_S)

        cluster.simulator.behave("first", "fault=stall")
        hedges_before = len(arrivals(cluster, "second"))
        async with Caller(cluster.token) as caller:
            asked = await caller.call(fresh, "hedged")
        await cluster.stop()

        assert (200, hedges_before + 1) == (asked.status, len(arrivals(cluster, "second")))
        waited_s = arrivals(cluster, "second")[-1] - arrivals(cluster, "first")[-1]
        assert QUICK_S <= waited_s < HEDGED_WITHIN_S


async def call_all(cluster: ServedCluster, slug: str, count: int) -> None:
    """So many calls of each node, one after the other."""

    async def call(number: int) -> None:
        async with Caller(cluster.token) as caller:
            for _ in range(count):
                assert 200 == (await caller.call(cluster.nodes[number], slug)).status

    async with trio.open_nursery() as clients:
        for number in range(len(cluster.nodes)):
            clients.start_soon(call, number)


async def test_dead_provider_is_probed_once_a_cooldown_by_each_node(
    tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer
) -> None:
    behaviours = Behaviours(by_model={"dead": "fault=status:503"}, keep_requests=KEEP_REQUESTS)
    async with served_cluster(tmp_path, redis, postgres_server, behaviours) as cluster:
        for port in free_ports(NODES):
            cluster.add(ENDPOINTS, port, {})
        await cluster.start()
        load = Load(cluster.token, pause_s=0.05)
        async with trio.open_nursery() as clients:
            for number in range(4 * NODES):
                clients.start_soon(load.ask, partial(cluster.nodes.__getitem__, number % NODES), "dead")
            await trio.sleep(WATCH_S)
            load.is_over = True
        await cluster.stop()

        came = arrivals(cluster, "dead")
        probes = [at for at in came if at > came[0] + FIRST_CALLS_S]
        # It is lone, so its cooldown is short. Every node has clients that ask all the time.
        assert 0 < len(probes)
        assert NODES >= most_within(probes, BreakerRules().open_alone_s - LATE_S)
        assert len(came) < len(load.asked) / 20


def most_within(times: Sequence[float], window_s: float) -> int:
    return max(sum(at <= other < at + window_s for other in times) for at in times)
