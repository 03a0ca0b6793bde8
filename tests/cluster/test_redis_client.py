"""The client of Redis, against a real server, and through a relay that holds or cuts what passes."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.dialing import connect_to, greet_for
from pg_trio.cluster.redis.resp import RedisError, Reply, encode_command
from pg_trio.cluster.redis.scripts import Script
from pg_trio.config.cluster_settings import RedisAddress, parse_redis_url
from pg_trio.errors import StoreError
from scripts.bench.harness.processes import find_free_port
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.support.engine_relay import EngineRelay, engine_relay
from tests.support.engines import RedisServer, running_redis

ADD = Script("return {redis.call('INCRBY', KEYS[1], ARGV[1])}")


def client_of(address: RedisAddress, limit_s: float = 1.0) -> RedisClient:
    return RedisClient(connect_to(address), limit_s, [ADD], [greet_for(address)])


def at_port(port: int) -> RedisAddress:
    return RedisAddress((("127.0.0.1", port),))


@asynccontextmanager
async def running(client: RedisClient) -> AsyncIterator[RedisClient]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        await wait_for(lambda: client.is_up)
        yield client
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def relayed(redis: RedisServer, limit_s: float = 1.0) -> AsyncIterator[tuple[RedisClient, EngineRelay]]:
    async with engine_relay(redis.port) as relay, running(client_of(at_port(relay.port), limit_s)) as client:
        yield client, relay


async def test_commands_are_answered(redis: RedisServer) -> None:
    async with running(client_of(at_port(redis.port))) as client:
        answered = [
            await client.call(encode_command("SET", "a", b"\x00\xff")),
            await client.call(encode_command("GET", "a")),
            await client.run_script(ADD, ["n"], [5]),
        ]
        refused = await client.call(encode_command("LPUSH", "a", 1))

    assert ["OK", b"\x00\xff", [5]] == answered
    assert isinstance(refused, RedisError)
    assert "WRONGTYPE" == refused.code


async def test_many_callers_get_their_own_answers(redis: RedisServer) -> None:
    wrong = []

    async def ask(client: RedisClient, number: int) -> None:
        if await client.call(encode_command("ECHO", number)) != b"%d" % number:
            wrong.append(number)

    async with running(client_of(at_port(redis.port))) as client, trio.open_nursery() as nursery:
        for number in range(500):
            nursery.start_soon(ask, client, number)

    assert [] == wrong


async def test_cancelled_callers_do_not_mix_up_answers(redis: RedisServer) -> None:
    order, wrong = random.Random(7), []

    async def ask(client: RedisClient, number: int) -> None:
        with trio.CancelScope() as scope:
            if order.random() < 0.5:
                scope.cancel()
            if await client.call(encode_command("ECHO", number)) != b"%d" % number:
                wrong.append(number)

    async with running(client_of(at_port(redis.port))) as client:
        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(ask, client, number)
        after = await client.call(encode_command("ECHO", "after"))
        listed = await client.call(encode_command("CLIENT", "LIST"))

    assert ([], b"after") == (wrong, after)
    assert isinstance(listed, bytes)
    assert 1 == listed.count(b"name=pg_trio")


async def test_forgotten_script_is_loaded_again(redis: RedisServer) -> None:
    async with running(client_of(at_port(redis.port))) as client:
        await client.call(encode_command("SCRIPT", "FLUSH"))

        assert [3] == await client.run_script(ADD, ["n"], [3])


async def test_failing_script_is_no_answer(redis: RedisServer) -> None:
    async with running(client_of(at_port(redis.port))) as client:
        with pytest.raises(EngineAway, match="Redis refused a script"):
            await client.run_script(ADD, ["n"], ["x"])


# ── cancelled on its way ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_cancelled_take_is_undone_before_the_cancellation_passes(redis: RedisServer) -> None:
    async with relayed(redis) as (client, relay):
        relay.replies.close()

        async def take() -> None:
            def undo(reply: Reply) -> None:
                assert [1] == reply
                client.tell(encode_command("DECRBY", "n", 1))

            await client.run_script(ADD, ["n"], [1], undo)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await relay.replies.wait_held()
            nursery.cancel_scope.cancel()
            relay.replies.open()

        assert b"0" == await client.call(encode_command("GET", "n"))


async def test_worker_that_was_late_does_not_blame_redis(redis: RedisServer) -> None:
    answers: list[Reply] = []
    async with running(client_of(at_port(redis.port), limit_s=0.2)) as client:

        async def ask() -> None:
            answers.append(await client.call(encode_command("ECHO", "heard")))

        for _ in range(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                # The process does not run, and the reply comes meanwhile.
                time.sleep(0.3)  # noqa: ASYNC251

    assert 5 * [b"heard"] == answers


async def test_reply_after_the_limit_is_undone(redis: RedisServer) -> None:
    undone: list[Reply] = []
    async with relayed(redis, limit_s=0.05) as (client, relay):
        relay.replies.close()
        with pytest.raises(EngineAway, match="does not answer in time"):
            await client.run_script(ADD, ["n"], [1], undone.append)
        relay.replies.open()
        await wait_for(lambda: bool(undone))

    assert [[1]] == undone


async def test_cancelled_wait_is_bounded(redis: RedisServer) -> None:
    async with relayed(redis, limit_s=0.05) as (client, relay):
        relay.replies.close()
        with trio.fail_after(LIMIT_S), trio.CancelScope() as scope:
            scope.cancel()
            await client.run_script(ADD, ["n"], [1], lambda _: None)

        assert scope.cancelled_caught


# ── an engine that is away ───────────────────────────────────────────────────────────────────────────────────────────


async def test_frozen_server_costs_its_limit_once(redis: RedisServer) -> None:
    async with relayed(redis, limit_s=0.05) as (client, relay):
        relay.requests.close()
        with pytest.raises(EngineAway, match="in time"):
            await client.call(encode_command("PING"))
        before = relay.requests.held

        with pytest.raises(EngineAway, match="is away"):
            await client.call(encode_command("PING"))

        assert (False, before) == (client.is_up, relay.requests.held)


async def test_server_that_goes_on_is_used_at_once(redis: RedisServer) -> None:
    async with relayed(redis, limit_s=0.05) as (client, relay):
        relay.replies.close()
        with pytest.raises(EngineAway):
            await client.call(encode_command("PING"))
        relay.replies.open()
        await wait_for(lambda: client.is_up)

        assert ("PONG", 1) == (await client.call(encode_command("PING")), relay.connections)


async def test_silent_connection_is_replaced(redis: RedisServer) -> None:
    async with relayed(redis, limit_s=0.05) as (client, relay):
        relay.replies.close()
        with pytest.raises(EngineAway):
            await client.call(encode_command("PING"))
        await wait_for(lambda: relay.connections > 1)
        relay.replies.open()
        await wait_for(lambda: client.is_up)

        assert "PONG" == await client.call(encode_command("PING"))


async def test_calls_under_way_end_with_the_connection(redis: RedisServer) -> None:
    ended = []
    async with relayed(redis) as (client, relay):
        relay.replies.close()

        async def ask() -> None:
            try:
                await client.call(encode_command("PING"))
            except EngineAway as away:
                ended.append(str(away))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await relay.replies.wait_held()
            relay.cut()
        relay.replies.open()

    assert 3 == len(ended)


@pytest.mark.slow
async def test_killed_and_frozen_server_comes_back() -> None:
    with running_redis() as server:
        client = client_of(at_port(server.port), 0.2)
        async with running(client):
            server.kill()
            await wait_for(lambda: not client.is_up)
            server.start()
            await wait_for(lambda: client.is_up)
            first = await client.run_script(ADD, ["n"], [1])
            server.freeze()
            with pytest.raises(EngineAway):
                await client.call(encode_command("PING"))
            server.thaw()
            await wait_for(lambda: client.is_up)
            second = await client.run_script(ADD, ["n"], [1])

    assert ([1], [2]) == (first, second)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_listening_is_away() -> None:
    with pytest.raises(EngineAway, match=r"Redis at 127\.0\.0\.1:1 cannot be reached \(Connection refused\)"):
        await client_of(at_port(1)).check()


@pytest.mark.parametrize(
    ("host", "says"), [("none.invalid", "Name or service not known|Temporary failure|no address"), ("a..b", "label")]
)
async def test_name_without_an_address_is_told(host: str, says: str) -> None:
    address = RedisAddress(((host, 1),))
    client = RedisClient(connect_to(address), LIMIT_S, (), [greet_for(address)])

    with pytest.raises(EngineAway, match=rf"Redis at {host}:1 cannot be reached \((?!Unknown error).*({says})"):
        await client.check()


@pytest.mark.slow
async def test_redis_cluster_is_refused() -> None:
    refused = pytest.raises(StoreError, match="is a Redis Cluster, which is not supported")
    with running_redis("--cluster-enabled", "yes", "--cluster-port", str(find_free_port())) as server, refused:
        await client_of(at_port(server.port)).check()


@pytest.mark.slow
async def test_password_and_database_are_used() -> None:
    with running_redis("--requirepass", "geheim") as server:
        bare = server.url.removeprefix("redis://")
        with pytest.raises(StoreError, match="Redis demands a password"):
            await client_of(parse_redis_url(f"redis://{bare}")).check()
        with pytest.raises(StoreError, match="Redis refuses AUTH: WRONGPASS"):
            await client_of(parse_redis_url(f"redis://:falsch@{bare}")).check()
        url = f"redis://:geheim@127.0.0.1:{server.port}/3"
        async with running(client_of(parse_redis_url(url))) as client:
            listed = await client.call(encode_command("CLIENT", "INFO"))

    assert isinstance(listed, bytes)
    assert b" db=3 " in listed
