"""A Redis that has reached its `maxmemory` is away: nodes go by their shares and what they have, until it has room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from attrs import define

from pg_trio.cluster.redis.redis_answers import RedisAnswerStore
from pg_trio.domain.project import TokenLimits
from pg_trio.errors import AnswersUnavailable
from tests.cluster.test_redis_answers import begin_answer, opened
from tests.cluster.test_redis_limits import KEY, SMALL, remaining, take_all
from tests.cluster.test_redis_slots import slots_of
from tests.cluster.test_redis_slots import take_all as take_slots
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.cluster.world import ClusterWorld, ask, wait_for_sum
from tests.support.engines import PostgresServer, RedisServer, running_redis
from tests.support.gateway import endpoint, project
from tests.support.kept import HEAD, LIMITS, NAME, read_all
from tests.support.redis_ledger import RedisLedger, open_redis_ledger

MAX_MEMORY = 8 * 1024 * 1024
FILLER_BYTES = 64 * 1024


@define
class SmallRedis:
    """A server with little memory, which another application may use up."""

    server: RedisServer
    fillers: int = 0

    def fill(self) -> None:
        while True:
            said = self.server.command("SETRANGE", f"filler:{self.fillers}", str(FILLER_BYTES - 1), "x")
            if said.startswith("OOM"):
                break
            self.fillers += 1
        # It has just room for the smallest things, now and then: the connections of `redis-cli` come and go.
        self.server.command("CONFIG", "SET", "maxmemory", str(MAX_MEMORY - 2 * FILLER_BYTES))

    def free(self) -> None:
        self.server.command("DEL", *[f"filler:{number}" for number in range(self.fillers)])
        self.server.command("CONFIG", "SET", "maxmemory", str(MAX_MEMORY))
        self.fillers = 0


@pytest.fixture
def small() -> Iterator[SmallRedis]:
    with running_redis("--maxmemory", str(MAX_MEMORY), "--maxmemory-policy", "noeviction") as server:
        yield SmallRedis(server)


@pytest.fixture
async def node(nursery: trio.Nursery, small: SmallRedis, stack: ExitStack, tmp_path: Path) -> RedisLedger:
    """One of two nodes."""
    first, _ = [await open_redis_ledger(nursery, small.server, stack, tmp_path, name=name) for name in ("gw-1", "gw-2")]
    await wait_for(lambda: first.node.live_nodes == 2)
    return first


async def test_limits_are_shares(node: RedisLedger, small: SmallRedis) -> None:
    slots = slots_of(node, 6)
    assert 1 == await take_slots(slots, 1)
    small.fill()
    await wait_for(lambda: not node.client.is_up)

    admitted = await take_all(node, KEY, SMALL, 20)
    permits = [node.permits.acquire_nowait(KEY, 5) for _ in range(4)]
    for _ in range(2):
        await slots.take(LIMIT_S)

    assert (10, [True, True, False, False]) == (admitted, permits)
    assert (0, 3) == (await take_slots(slots, 2), slots.in_use)


async def test_call_that_finds_no_memory_falls_back(node: RedisLedger, small: SmallRedis) -> None:
    small.fill()

    assert 10 == await take_all(node, KEY, SMALL, 20)
    assert 2 == sum([await node.permits.acquire(KEY, 5) for _ in range(4)])


async def test_what_was_admitted_meanwhile_counts_afterwards(node: RedisLedger, small: SmallRedis) -> None:
    small.fill()
    await wait_for(lambda: not node.client.is_up)
    await take_all(node, KEY, SMALL, 8)
    assert await node.permits.acquire(KEY, 5)
    small.free()
    await wait_for(lambda: bool(remaining(small.server)))
    await node.permits.renew()

    (held,) = await node.buckets.peek(KEY, SMALL, 0.0)

    assert (12, 1) == (held.remaining, await node.permits.count(KEY))


async def test_answer_that_was_kept_before_goes_on_afterwards(small: SmallRedis) -> None:
    async with opened(small.server.port) as store, opened(small.server.port) as other:
        writer, reader = await begin_answer(store, other)
        small.fill()

        writer.add([b"2" * FILLER_BYTES])
        await wait_for(lambda: not store.client.is_up)
        with pytest.raises(AnswersUnavailable):
            await claim_once(store)
        small.free()
        writer.end("whole", 60)

        assert [b"2" * FILLER_BYTES] == await read_all(reader)
        reader.close()
        assert writer.is_kept


async def claim_once(store: RedisAnswerStore) -> None:
    await store.claim(NAME, HEAD, LIMITS)


async def test_gateways_go_on(
    nursery: trio.Nursery, tmp_path: Path, small: SmallRedis, postgres_server: PostgresServer, postgres_url: str
) -> None:
    configuration = (
        "[observe]\nmetrics_public = true\n"
        + project()
        + endpoint("open")
        + endpoint("narrow", rate_limit_per_hour=20)
        + endpoint("live", streaming_enabled=True, resumable_streams=True)
    )
    world = ClusterWorld(nursery, tmp_path, small.server, postgres_server, postgres_url)
    nodes = await world.start(configuration, 2)
    token = world.make_token(TokenLimits(max_concurrent=50))
    assert 200 == (await ask(nodes[0], token, "open")).status
    await wait_for_sum(nodes, "pg_trio_cluster_nodes", 4)
    small.fill()
    await wait_for_sum(nodes, "pg_trio_redis_up", 0)

    statuses = {slug: [(await ask(node, token, slug)).status for node in nodes * 15] for slug in ("open", "narrow")}
    streams = [(await ask(node, token, "live", {"message": "Hi", "stream": True})).status for node in nodes]
    small.free()
    await wait_for_sum(nodes, "pg_trio_redis_up", 2)
    await world.stop()

    assert {200} == set(statuses["open"])
    assert (20, 10) == (statuses["narrow"].count(200), statuses["narrow"].count(429))
    assert [200, 200] == streams


def test_server_says_what_it_lacks(small: SmallRedis) -> None:
    """Redis's own words, which the link reads."""
    small.fill()
    script = "return redis.call('SET', 'a', string.rep('x', 100000))"

    said = subprocess.run(
        ["redis-cli", "-p", str(small.server.port), "EVAL", script, "0"], capture_output=True, check=False
    )

    assert (said.stdout + said.stderr).startswith(b"OOM ")
