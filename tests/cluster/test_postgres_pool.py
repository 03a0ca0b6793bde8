"""psycopg on Trio, against a real server: bounded, safe to cancel, and honest about a server that is away."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import psycopg
import pytest
import trio

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.names import resolve_hosts
from pg_trio.cluster.postgres.postgres_pool import PostgresPool, Work
from pg_trio.cluster.postgres.schema import migrate_schema, read_steps
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.support.engine_relay import EngineRelay, engine_relay
from tests.support.engines import PostgresServer, running_postgres

migrate = partial(migrate_schema, steps=read_steps())


@pytest.fixture(autouse=True)
def patient_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a connection may take longer than the limit of a probe, and of a cancel request: `psql` runs in
    the event loop of the pool."""
    for limit in ("PROBE_LIMIT_S", "CANCEL_LIMIT_S"):
        monkeypatch.setattr(f"pg_trio.cluster.postgres.postgres_pool.{limit}", LIMIT_S)


@asynccontextmanager
async def running(pool: PostgresPool) -> AsyncIterator[PostgresPool]:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.run)
            await wait_for(lambda: pool.is_up)
            yield pool
            nursery.cancel_scope.cancel()
    finally:
        pool.close()


@asynccontextmanager
async def relayed(url: str) -> AsyncIterator[tuple[PostgresPool, EngineRelay]]:
    port = int(url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        pool = PostgresPool(url.replace(f":{port}/", f":{relay.port}/"), LIMIT_S)
        async with running(pool):
            yield pool, relay


async def one_value(pool: PostgresPool, statement: str, *values: object) -> object:
    async def ask(connection: TrioConnection) -> object:
        row = await (await connection.execute(statement, values)).fetchone()
        assert row is not None
        return row[0]

    return await pool.use(ask)


async def test_values_go_and_come(postgres_url: str) -> None:
    async with running(PostgresPool(postgres_url, LIMIT_S)) as pool:
        got = [await one_value(pool, "SELECT %s::bytea", b"\x00a"), await one_value(pool, "SELECT %s", 2**60)]
        large = await one_value(pool, "SELECT %s", "x" * 3_000_000)

    assert ([b"\x00a", 2**60], 3_000_000) == (got, len(str(large)))


async def test_uses_share_few_connections(postgres_url: str) -> None:
    async with running(PostgresPool(postgres_url, LIMIT_S, size=2)) as pool:
        pids: set[object] = set()

        async def ask() -> None:
            pids.add(await one_value(pool, "SELECT pg_backend_pid()"))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)

    assert 1 <= len(pids) <= 2


async def test_cancelled_uses_do_not_mix_up_answers(postgres_url: str) -> None:
    order, wrong = random.Random(7), []

    async def ask(pool: PostgresPool, number: int) -> None:
        with trio.move_on_after(order.random() * 0.02):
            if await one_value(pool, "SELECT %s", number) != number:
                wrong.append(number)

    async with running(PostgresPool(postgres_url, LIMIT_S)) as pool:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(ask, pool, number)
        after = await one_value(pool, "SELECT 'after'")

    assert ([], "after") == (wrong, after)


async def test_cancelled_query_is_stopped_in_the_server(postgres_url: str, postgres_server: PostgresServer) -> None:
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"

    async def sleep(pool: PostgresPool) -> None:
        await one_value(pool, "SELECT pg_sleep(%s)", 600)

    async with running(PostgresPool(postgres_url, 2 * LIMIT_S)) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep, pool)
            await wait_for(lambda: postgres_server.query(sleeping) == "1")
            nursery.cancel_scope.cancel()
        await wait_for(lambda: postgres_server.query(sleeping) == "0")

        assert 1 == await one_value(pool, "SELECT 1")


async def test_refused_statement_keeps_its_connection(postgres_url: str) -> None:
    async with running(PostgresPool(postgres_url, LIMIT_S, size=1)) as pool:
        before = await one_value(pool, "SELECT pg_backend_pid()")
        with pytest.raises(psycopg.errors.UndefinedTable):
            await one_value(pool, "SELECT * FROM missing")

        assert before == await one_value(pool, "SELECT pg_backend_pid()")


async def test_transaction_that_fails_leaves_nothing_open(postgres_url: str) -> None:
    async def fail_inside(connection: TrioConnection) -> None:
        async with connection.transaction():
            await connection.execute("CREATE TABLE t (n int)")
            raise KeyError("stop")

    async with running(PostgresPool(postgres_url, LIMIT_S, size=1)) as pool:
        with pytest.raises(KeyError):
            await pool.use(fail_inside)

        assert 0 == await one_value(pool, "SELECT count(*) FROM pg_class WHERE relname = 't'")


async def test_frozen_server_costs_its_limit_once(postgres_url: str) -> None:
    async with relayed(postgres_url) as (pool, relay):
        await one_value(pool, "SELECT 1")
        pool.limit_s = 0.1
        relay.replies.close()
        with pytest.raises(EngineAway, match="in time"):
            await one_value(pool, "SELECT 1")

        with pytest.raises(EngineAway, match="is away"):
            await one_value(pool, "SELECT 1")

        pool.limit_s = LIMIT_S
        relay.cut()
        relay.replies.open()
        await wait_for(lambda: pool.is_up)
        assert 1 == await one_value(pool, "SELECT 1")


async def test_slow_statement_does_not_stop_the_others(postgres_url: str) -> None:
    async with running(PostgresPool(postgres_url, 0.1)) as pool:
        with pytest.raises(EngineAway):
            await one_value(pool, "SELECT pg_sleep(%s)", 600)
        pool.limit_s = LIMIT_S
        await wait_for(lambda: pool.is_up)

        assert 1 == await one_value(pool, "SELECT 1")


async def test_lost_connection_is_replaced(postgres_url: str) -> None:
    async with relayed(postgres_url) as (pool, relay):
        await one_value(pool, "SELECT 1")
        relay.cut()
        with pytest.raises(EngineAway):
            await one_value(pool, "SELECT 1")
        await wait_for(lambda: pool.is_up)

        assert 1 == await one_value(pool, "SELECT 1")


@pytest.mark.parametrize("work", [None, migrate])
async def test_check_gives_a_server_that_is_stopped_little_time(
    monkeypatch: pytest.MonkeyPatch, work: Work[object] | None
) -> None:
    """A gateway starts without it, and no command waits for a minute."""
    monkeypatch.setattr("pg_trio.cluster.postgres.postgres_pool.PROBE_LIMIT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, trio.fail_after(LIMIT_S):
        pool = PostgresPool(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/db", 0.1)

        with pytest.raises(EngineAway, match="does not answer in time"):
            await pool.check(work)


@pytest.mark.slow
async def test_killed_server_comes_back() -> None:
    with running_postgres() as server:
        async with running(PostgresPool(server.url, 1.0)) as pool:
            await one_value(pool, "SELECT 1")
            server.kill()
            with pytest.raises(EngineAway):
                await one_value(pool, "SELECT 1")
            server.start()
            await wait_for(lambda: pool.is_up)

            assert 1 == await one_value(pool, "SELECT 1")


def address_entry(address: str) -> tuple[object, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`two.test` has two addresses, and nothing listens at the first one. Other names have none."""

    async def look_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host == "two.test":
            return [address_entry(address) for address in ("127.0.0.9", "127.0.0.1", "127.0.0.1")]
        if host == "127.0.0.1":
            return [address_entry(host)]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", look_up)


@pytest.mark.usefixtures("names")
async def test_names_get_all_addresses() -> None:
    resolved = await resolve_hosts("postgresql://u:p@two.test:5433,127.0.0.1/db?sslmode=verify-full")

    info = psycopg.conninfo.conninfo_to_dict(resolved)
    assert ("two.test,two.test,127.0.0.1", "verify-full") == (info["host"], info["sslmode"])
    assert ("127.0.0.9,127.0.0.1,127.0.0.1", "5433,5433,5432") == (info["hostaddr"], info["port"])


@pytest.mark.usefixtures("names")
async def test_second_address_of_a_name_is_tried(postgres_server: PostgresServer, postgres_url: str) -> None:
    url = postgres_url.replace("127.0.0.1", "two.test")

    await PostgresPool(url, LIMIT_S).check()


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(("host", "says"), [("none.test", "the host none.test has no address"), ("a..b", "a..b")])
async def test_name_without_an_address_is_told(host: str, says: str) -> None:
    with pytest.raises(OSError, match=says):
        await PostgresPool(f"postgresql://u:geheim@{host}/db", LIMIT_S).check()


async def test_name_that_is_lost_later_is_an_absence(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with running(PostgresPool(postgres_url, LIMIT_S)) as pool:
        monkeypatch.setattr(trio.socket, "getaddrinfo", look_up)

        with pytest.raises(EngineAway, match="has no address"):
            await one_value(pool, "SELECT 1")
        monkeypatch.undo()
        await wait_for(lambda: pool.is_up)


async def turn_read_only(url: str, value: str) -> None:
    """The database takes no writes on new connections, and there are no old ones."""
    database = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SET default_transaction_read_only = off")
        other.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = {value}".encode())
        others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        other.execute(f"SELECT pg_terminate_backend(pid) FROM ({others}) AS those".encode())


async def test_server_that_takes_no_writes_is_told_and_read(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(PostgresPool(postgres_url, LIMIT_S)) as pool:
        await one_value(pool, "SELECT 1")
        await turn_read_only(postgres_url, "on")
        with suppress(EngineAway):
            await one_value(pool, "SELECT 1")
        await wait_for(lambda: pool.is_up and pool.is_read_only)

        assert 1 == await one_value(pool, "SELECT 1")
        assert not pool.can_write
        assert "PostgreSQL: takes no writes" in caplog.text
        await turn_read_only(postgres_url, "off")
        await wait_for(lambda: pool.can_write)
        assert "PostgreSQL works again" in caplog.text


async def test_connection_that_takes_no_writes_is_replaced(postgres_url: str) -> None:
    """A primary that was demoted under connections that stay."""
    async with running(PostgresPool(postgres_url, LIMIT_S, size=1)) as pool:
        demoted = await one_value(pool, "SELECT pg_backend_pid()")
        await one_value(pool, "SELECT set_config('default_transaction_read_only', 'on', false)")

        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await one_value(pool, "CREATE TABLE a ()")
        await wait_for(lambda: pool.can_write)
        assert demoted != await one_value(pool, "SELECT pg_backend_pid()")


async def test_gateway_starts_without_a_server_that_takes_no_writes(postgres_url: str) -> None:
    await turn_read_only(postgres_url, "on")

    with pytest.raises(EngineAway, match="takes no writes"):
        await PostgresPool(postgres_url, LIMIT_S).check(migrate)


@pytest.mark.parametrize("name", ["_connect_gen", "_cancel_gen", "wait"])
def test_hooks_of_psycopg_are_there(name: str) -> None:
    assert callable(getattr(psycopg.AsyncConnection, name))


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_server_that_is_silent_at_the_end_is_asked_once(postgres_url: str) -> None:
    async with relayed(postgres_url) as (pool, relay):
        await pool.fetch("SELECT 1")
        pool.limit_s = 0.3
        relay.replies.close()

        with pytest.raises(EngineAway, match="in time"):
            await pool.reach()
        asked, connections = relay.requests.came, relay.connections
        with pytest.raises(EngineAway, match="is away"):
            await pool.reach()

        # `run` makes a connection of its own to find out.
        assert relay.connections - connections <= 1
        assert relay.requests.came - asked <= 1
        relay.replies.open()


async def test_impatience_at_the_end_counts_as_silence(postgres_url: str) -> None:
    async with relayed(postgres_url) as (pool, relay):
        relay.replies.close()

        with trio.move_on_after(0.1) as patience:
            await pool.reach()
        with pytest.raises(EngineAway, match="is away"):
            await pool.reach()

        assert patience.cancelled_caught
        relay.replies.open()


async def test_server_that_answers_at_the_end_is_used(postgres_url: str) -> None:
    async with running(PostgresPool(postgres_url, LIMIT_S)) as pool:
        for _ in range(3):
            await pool.reach()

        assert [(1,)] == await pool.fetch("SELECT 1")


async def test_closed_idle_connections_are_no_outage(postgres_server: PostgresServer, postgres_url: str) -> None:
    async with running(PostgresPool(postgres_url, LIMIT_S)) as pool:
        before = await one_value(pool, "SELECT pg_backend_pid()")
        theirs = f"FROM pg_stat_activity WHERE pid = {before}"
        postgres_server.query(f"SELECT pg_terminate_backend(pid) {theirs}")
        await wait_for(lambda: "0" == postgres_server.query(f"SELECT count(*) {theirs}"))

        after = await one_value(pool, "SELECT pg_backend_pid()")

        assert pool.is_up
    assert before != after
