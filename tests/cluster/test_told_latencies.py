"""How long candidates take is told to other nodes by way of Redis."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.told_latencies import ENOUGH, MOST_ASKED, ToldLatencies
from pg_trio.ledger.node_health import LatencyCounts
from pg_trio.racing.latency import BUCKETS, Latency, LatencyBoard, LatencyRules, OwnCounts
from tests.cluster.waiting import wait_for
from tests.support.engine_relay import engine_relay
from tests.support.engines import RedisServer
from tests.support.redis_ledger import open_redis_ledger

NAME = ("answer", "p95", "openai-main", "gpt")
IDENTITY = {"openai-main": b"key 1"}
RULES = LatencyRules()


class Told(ToldLatencies):
    """A node whose clock can be moved."""

    ahead_s = 0.0

    def estimate(self, name: tuple[str, ...] = NAME) -> Latency:
        return LatencyBoard(self.find).estimate_of(name, RULES)

    def now(self) -> float:
        return trio.current_time() + self.ahead_s


class World:
    """Opens nodes."""

    def __init__(self, nursery: trio.Nursery, redis: RedisServer, stack: ExitStack, folder: Path) -> None:
        self._opening = (nursery, redis, stack, folder)

    async def open(self, name: str, *, identities: dict[str, bytes] = IDENTITY, server: object = None) -> Told:
        nursery, redis, stack, folder = self._opening
        ledger = await open_redis_ledger(nursery, server or redis, stack, folder, name=name)  # type: ignore[arg-type]

        def find_own(name: tuple[str, ...], buckets: int, half_s: float) -> LatencyCounts:
            return OwnCounts(half_s)

        node = Told(find_own, ledger.client, ledger.node, identities)
        node.clock = node.now
        return node


@pytest.fixture
async def world(nursery: trio.Nursery, redis: RedisServer, stack: ExitStack, tmp_path: Path) -> World:
    return World(nursery, redis, stack, tmp_path)


def record(node: Told, estimate: Latency, took_s: float, count: int, after_s: float = RULES.refresh_s) -> None:
    for _ in range(count):
        estimate.record(took_s, node.now())
    # As a call does before each race.
    node.ahead_s += after_s
    estimate.estimate_s(node.now())


async def test_node_without_calls_goes_by_the_others(world: World) -> None:
    here, there, fresh = [await world.open(f"gw-{number}") for number in range(3)]
    fresh.ahead_s = 3600.0
    estimates = [node.estimate() for node in (here, there, fresh)]
    # 0.1 s at one node, 2 s at another: the 95th percentile is of both.
    record(here, estimates[0], 0.1, 95)
    record(there, estimates[1], 2.0, 5)
    for node in (here, there, fresh):
        await node.exchange()

    assert estimates[0].estimate_s(here.now()) == estimates[2].estimate_s(fresh.now()) == pytest.approx(0.1, rel=0.07)

    record(there, estimates[1], 2.0, 5)
    await there.exchange()
    fresh.ahead_s += 2.0
    await fresh.exchange()
    assert pytest.approx(2.0, rel=0.07) == estimates[2].estimate_s(fresh.now())


async def test_candidate_is_heard_of_before_its_first_use(world: World) -> None:
    here, fresh = await world.open("gw-1"), await world.open("gw-2")
    record(here, here.estimate(), 0.1, ENOUGH)
    fresh.expect([NAME], RULES.window_s / 2)
    for node in (here, fresh):
        await node.exchange()

    assert pytest.approx(0.1, rel=0.07) == fresh.estimate().estimate_s(fresh.now())


async def test_few_samples_of_all_are_no_estimate(world: World) -> None:
    here, fresh = await world.open("gw-1"), await world.open("gw-2")
    told, heard = here.estimate(), fresh.estimate()
    record(here, told, 0.1, ENOUGH - 1)
    for node in (here, fresh):
        await node.exchange()

    assert heard.estimate_s(fresh.now()) is None
    record(fresh, heard, 0.1, 1)
    assert heard.estimate_s(fresh.now()) is not None


async def test_own_samples_win(world: World) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    slow, quick = here.estimate(), there.estimate()
    # Far away from the provider.
    record(here, slow, 5.0, 10_000)
    for node in (here, there):
        await node.exchange()
    assert pytest.approx(5.0, rel=0.07) == quick.estimate_s(there.now())

    record(there, quick, 0.1, ENOUGH)
    there.ahead_s += RULES.refresh_s

    assert pytest.approx(0.1, rel=0.07) == quick.estimate_s(there.now())


async def test_what_was_told_ends(world: World) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    told, heard = here.estimate(), there.estimate()
    record(here, told, 0.1, ENOUGH)
    for node in (here, there):
        await node.exchange()

    there.ahead_s += RULES.window_s / 2

    assert heard.estimate_s(there.now()) is None


async def test_what_was_heard_is_not_told(world: World, redis: RedisServer) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    told, heard = here.estimate(), there.estimate()
    record(here, told, 0.1, ENOUGH)
    for node in (here, there):
        await node.exchange()
    record(there, heard, 0.1, 1)
    await there.exchange()

    (key,) = redis.command("KEYS", "pg_trio:latencies:*").split()
    counts = redis.command("HGET", key, there.node.id).split()[1:]
    assert 1 == sum(int(part.split(":")[1]) for part in counts)


async def test_another_key_of_a_credential_is_another_candidate(world: World) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2", identities={"openai-main": b"key 2"})
    told, heard = here.estimate(), there.estimate()
    record(here, told, 0.1, ENOUGH)

    for node in (here, there):
        await node.exchange()

    assert heard.estimate_s(there.now()) is None


async def test_nothing_new_is_not_told(world: World, redis: RedisServer) -> None:
    here = await world.open("gw-1")
    estimate = here.estimate()
    record(here, estimate, 0.1, 1000)
    await here.exchange()
    (key,) = redis.command("KEYS", "pg_trio:latencies:*").split()
    told = redis.command("HGETALL", key)

    # Less than a tenth more.
    record(here, estimate, 0.1, 90)
    await here.exchange()
    assert told == redis.command("HGETALL", key)

    record(here, estimate, 0.1, 20)
    await here.exchange()
    assert told != redis.command("HGETALL", key)


async def test_untold_is_told_later(world: World, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        here, there = await world.open("gw-1", server=relay), await world.open("gw-2")
        told, heard = here.estimate(), there.estimate()
        relay.accepts = False
        relay.cut()
        await wait_for(lambda: not here.client.is_up)
        record(here, told, 0.1, ENOUGH)
        with pytest.raises(EngineAway):
            await here.exchange()
        relay.accepts = True
        await wait_for(lambda: here.client.is_up)

        await here.exchange()
        await there.exchange()

    assert heard.estimate_s(there.now()) is not None


async def test_every_candidate_has_its_turn(world: World) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    names = [("answer", "p95", "openai-main", f"model {number}") for number in range(2 * MOST_ASKED)]
    for name in names:
        record(here, here.estimate(name), 0.1, ENOUGH, after_s=0.0)
    heard = [there.estimate(name) for name in names]

    for _ in range(4):
        await here.exchange()
    for _ in range(2):
        await there.exchange()

    assert all(estimate.estimate_s(there.now()) is not None for estimate in heard)


async def test_strange_news_changes_nothing(world: World, redis: RedisServer) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    told, heard = here.estimate(), there.estimate()
    record(here, told, 0.1, ENOUGH)
    await here.exchange()
    (key,) = redis.command("KEYS", "pg_trio:latencies:*").split()
    at = redis.command("HGET", key, here.node.id).split()[0]

    # A newer release's: another form, and buckets that this one does not have.
    redis.command("HSET", key, "newer", f"{at} sketch")
    redis.command("HSET", key, "larger", f"{at} {BUCKETS + 100}:5")
    await there.exchange()

    assert pytest.approx(0.1, rel=0.07) == heard.estimate_s(there.now())


async def test_nodes_exchange_by_a_task(world: World, nursery: trio.Nursery) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    told, heard = here.estimate(), there.estimate()
    for node in (here, there):
        nursery.start_soon(node.run)

    record(here, told, 0.1, ENOUGH)

    await wait_for(lambda: heard.estimate_s(there.now()) is not None)
