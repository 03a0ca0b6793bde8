"""One node cut off from Redis while the others reach it, and a network that is slow in one direction.

The cut is a link of a network namespace that is taken down. Delays are a relay's: many kernels have no `tc netem`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pg_trio.domain.project import TokenLimits
from tests.cluster.callers import Load
from tests.cluster.networks import SplitNetwork, split_network
from tests.cluster.served import NODES, ServedCluster, free_ports, served_cluster
from tests.cluster.waiting import wait_for
from tests.cluster.world import ClusterWorld, ask
from tests.support.engine_relay import engine_relay
from tests.support.engines import PostgresServer, RedisServer, running_redis
from tests.support.gateway import endpoint, project

LIMIT = 600
PER_S = LIMIT / 60
WARM_S, CUT_S, BACK_WITHIN_S, WATCH_S = 6.0, 15.0, 5.0, 10.0
# A connection that is just being made meanwhile is given up after 2 s.
FOUND_S = 3.0
CLIENTS = {"open": 6, "narrow": 12, "talk": 3}
ENDPOINTS = endpoint("open") + endpoint("narrow", rate_limit_per_minute=LIMIT) + endpoint("talk", sessions_enabled=True)


@pytest.fixture
def network() -> Iterator[SplitNetwork]:
    with split_network() as made:
        yield made


@asynccontextmanager
async def split_cluster(
    folder: Path, redis: RedisServer, postgres: PostgresServer, network: SplitNetwork
) -> AsyncIterator[ServedCluster]:
    """Two nodes of this machine, and one, the last, on the network."""
    async with (
        served_cluster(folder, redis, postgres, host=network.host) as cluster,
        engine_relay(postgres.port, network.host) as to_postgres,
    ):
        here, there = f"127.0.0.1:{postgres.port}", f"{network.host}:{to_postgres.port}"
        urls = {
            "redis_url": f"redis://{network.redis}:{redis.port}/0",
            "postgres_url": cluster.postgres_url.replace(here, there),
        }
        cut_off, *others = free_ports(NODES)
        for port in others:
            cluster.add(ENDPOINTS, port, {})
        cluster.add(ENDPOINTS, cut_off, urls, host=network.node, prefix=network.prefix)
        await cluster.start(TokenLimits(max_concurrent=100))
        yield cluster


@pytest.mark.slow
async def test_node_cut_off_from_redis(tmp_path: Path, postgres_server: PostgresServer, network: SplitNetwork) -> None:
    options = ("--bind", "127.0.0.1", network.redis, "--protected-mode", "no")
    with running_redis(*options) as redis:
        async with split_cluster(tmp_path, redis, postgres_server, network) as cluster:
            load, started_at = Load(cluster.token, pause_s=0.15), trio.current_time()
            async with trio.open_nursery() as clients:
                for number, slug in enumerate(slug for slug, count in CLIENTS.items() for _ in range(count)):
                    clients.start_soon(load.ask, lambda at=number: cluster.nodes[at % NODES], slug, 0.05)
                await trio.sleep(WARM_S)
                network.cut()
                cut_at = trio.current_time()
                await trio.sleep(CUT_S)
                network.heal()
                healed_at = trio.current_time()
                await trio.sleep(BACK_WITHIN_S + WATCH_S)
                load.is_over = True
            run_s = trio.current_time() - started_at
            permits = redis.command("KEYS", "pg_trio:permits:*")

        # No request fails, at any node, and no permit is left.
        assert {200} == set(load.statuses("open")) == set(load.statuses("talk"))
        assert {200, 429} == set(load.statuses("narrow"))
        assert "" == permits
        # The node that is cut off has its share of the limit, which began without what the node had used.
        lone = [one for one in load.asked if one.slug == "narrow" and one.port == cluster.nodes[-1].port]
        alone = [
            one for one in lone if one.status == 200 and cut_at < one.ended_at and one.sent_at < healed_at + FOUND_S
        ]
        late_s = load.longest_s("narrow")
        assert 0 < len(alone) <= (LIMIT + PER_S * (CUT_S + FOUND_S + 2 * late_s)) / NODES
        # The others together have all of the limit meanwhile, and no more.
        arrived = [request.arrived_at for request in cluster.simulator.requests if request.model == "narrow"]
        assert len(arrived) - len(alone) <= LIMIT + PER_S * run_s
        # When it is back, all of them together have what one limit gives.
        back_at = healed_at + BACK_WITHIN_S
        exact = [at for at in arrived if back_at <= at < back_at + WATCH_S]
        assert abs(len(exact) - PER_S * WATCH_S) <= PER_S * late_s + 2


# ── a network that is slow in one direction ──────────────────────────────────────────────────────────────────────────

TOKENS, TOKEN_S = 20, 180.0
CONFIGURATION = project() + endpoint("narrow", rate_limit_per_hour=TOKENS)


async def statuses_of(world: ClusterWorld, token: str, count: int) -> list[int]:
    """The statuses of so many calls at once, over all nodes, sorted."""
    statuses: list[int] = []

    async def call(number: int) -> None:
        statuses.append((await ask(world.nodes[number % len(world.nodes)], token, "narrow")).status)

    async with trio.open_nursery() as calls:
        for number in range(count):
            calls.start_soon(call, number)
    return sorted(statuses)


def used_tokens(redis: RedisServer) -> float:
    """What is missing of the bucket in Redis."""
    (key,) = redis.command("KEYS", "pg_trio:bucket:*").split()
    seconds, micros = redis.command("TIME").split()
    now = (int(seconds) - 1735689600) * 1e6 + int(micros)
    return (float(redis.command("GET", key)) - now) / 1e6 / TOKEN_S


async def test_slow_way_within_the_limit_of_calls(
    nursery: trio.Nursery, tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer, postgres_url: str
) -> None:
    world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
    async with engine_relay(redis.port) as relay:
        relay.requests.delay_s = 0.05
        await world.start(CONFIGURATION, 1)
        await world.start(CONFIGURATION, 1, redis_port=relay.port)

        got = await statuses_of(world, world.make_token(TokenLimits(max_concurrent=100)), 40)
        await wait_for(lambda: redis.command("KEYS", "pg_trio:permits:*") == "")
        await world.stop()

    assert TOKENS * [200] + TOKENS * [429] == got


async def test_replies_that_come_too_late_take_nothing(
    nursery: trio.Nursery, tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer, postgres_url: str
) -> None:
    world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
    async with engine_relay(redis.port) as relay:
        await world.start(CONFIGURATION, 1)
        await world.start(CONFIGURATION, 1, redis_port=relay.port, redis_ms=50)
        token = world.make_token(TokenLimits(max_concurrent=100))
        # Each command is carried out, and its reply comes after its caller went on without it.
        relay.replies.delay_s = 0.15
        got = await statuses_of(world, token, 60)
        relay.replies.delay_s = 0.0
        admitted = got.count(200)
        # What was admitted beyond the limit is nearly nothing of an hour's bucket: it may owe some seconds' tokens.
        await wait_for(lambda: abs(used_tokens(redis) - min(admitted, TOKENS)) < 0.5)
        await wait_for(lambda: redis.command("KEYS", "pg_trio:permits:*") == "")
        await world.stop()

    assert {200, 429} == set(got)
    # The node that does not hear Redis in time has its share.
    assert TOKENS <= admitted <= 2 * TOKENS
    assert admitted == sum(len(node.simulator.requests) for node in world.nodes)
