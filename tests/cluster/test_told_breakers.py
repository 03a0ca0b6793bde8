"""Breakers are told to other nodes by way of Redis."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.told_breakers import ToldBreakers
from pg_trio.racing.breaker import Record
from pg_trio.racing.stored_breaker import LocalRecords
from tests.cluster.waiting import wait_for
from tests.support.engine_relay import engine_relay
from tests.support.engines import RedisServer
from tests.support.redis_ledger import open_redis_ledger

NAME = ("target", "openai-main", "gpt")
IDENTITY = {"openai-main": b"key 1"}


class World:
    """Opens nodes."""

    def __init__(self, nursery: trio.Nursery, redis: RedisServer, stack: ExitStack, folder: Path) -> None:
        self._opening = (nursery, redis, stack, folder)

    async def open(
        self, name: str, *, ahead_s: float = 0.0, identities: dict[str, bytes] = IDENTITY, server: object = None
    ) -> ToldBreakers:
        nursery, redis, stack, folder = self._opening
        ledger = await open_redis_ledger(nursery, server or redis, stack, folder, name=name)  # type: ignore[arg-type]

        def clock() -> float:
            return trio.current_time() + ahead_s

        return ToldBreakers(LocalRecords(), ledger.client, ledger.node, identities, clock)


@pytest.fixture
async def world(nursery: trio.Nursery, redis: RedisServer, stack: ExitStack, tmp_path: Path) -> World:
    return World(nursery, redis, stack, tmp_path)


def place_of(node: ToldBreakers) -> int:
    place = node.find(NAME)
    assert place is not None
    return place


def state_of(node: ToldBreakers, place: int) -> Record:
    return Record(*node.read(place))


def change(node: ToldBreakers, place: int, why: int, ago_s: float = 0.0) -> None:
    """As a call of this node does."""
    record = state_of(node, place)
    assert node.hold()
    node.write(
        place,
        record._replace(
            generation=record.generation + 1,
            why=why,
            level=2,
            changed_at=node.clock() - ago_s,
            open_for_s=30.0,
            calls=9,
        ),
    )
    node.release()


async def test_open_breaker_is_heard_by_its_age(world: World) -> None:
    # Their clocks are an hour apart.
    here, there = await world.open("gw-1"), await world.open("gw-2", ahead_s=3600.0)
    places = place_of(here), place_of(there)

    change(here, places[0], 1, ago_s=5.0)
    await here.exchange()
    await there.exchange()

    heard = state_of(there, places[1])
    assert (1, 2, 30.0) == (heard.why, heard.level, heard.open_for_s)
    assert pytest.approx(5.0, abs=2.0) == there.clock() - heard.changed_at
    # Counts of calls stay at home.
    assert 0 == heard.calls


async def test_breaker_that_is_well_again_is_heard(world: World) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    places = place_of(here), place_of(there)
    change(here, places[0], 1, ago_s=5.0)
    await here.exchange()
    await there.exchange()

    change(there, places[1], 0)
    await there.exchange()
    await here.exchange()

    assert 0 == state_of(here, places[0]).why


async def test_what_was_heard_is_not_told(world: World, redis: RedisServer) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    places = place_of(here), place_of(there)
    change(here, places[0], 1)
    for node in (here, there, here, there):
        await node.exchange()

    assert "1" == redis.command("GET", "pg_trio:breakers:version")
    assert (1, 1) == (state_of(here, places[0]).generation, state_of(there, places[1]).generation)


async def test_older_news_changes_nothing(world: World) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    places = place_of(here), place_of(there)
    change(here, places[0], 1, ago_s=60.0)
    change(there, places[1], 2, ago_s=1.0)

    await here.exchange()
    await there.exchange()
    await here.exchange()

    assert (2, 2) == (state_of(here, places[0]).why, state_of(there, places[1]).why)


async def test_breaker_that_is_found_later_hears_too(world: World) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    change(here, place_of(here), 1)
    await here.exchange()
    await there.exchange()

    place = place_of(there)
    await there.exchange()

    assert 1 == state_of(there, place).why


async def test_another_key_of_a_credential_is_another_breaker(world: World) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2", identities={"openai-main": b"key 2"})
    place = place_of(there)
    change(here, place_of(here), 1)

    await here.exchange()
    await there.exchange()

    assert 0 == state_of(there, place).why


async def test_untold_is_told_later(world: World, redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay:
        here, there = await world.open("gw-1", server=relay), await world.open("gw-2")
        places = place_of(here), place_of(there)
        relay.accepts = False
        relay.cut()
        change(here, places[0], 1)
        with pytest.raises(EngineAway):
            await here.exchange()
        relay.accepts = True
        await wait_for(lambda: here.client.is_up)

        await here.exchange()
        await there.exchange()

    assert 1 == state_of(there, places[1]).why


async def test_nodes_exchange_by_a_task(world: World, nursery: trio.Nursery) -> None:
    here, there = await world.open("gw-1"), await world.open("gw-2")
    places = place_of(here), place_of(there)
    for node in (here, there):
        nursery.start_soon(node.run)

    change(here, places[0], 1)

    await wait_for(lambda: state_of(there, places[1]).why == 1)
