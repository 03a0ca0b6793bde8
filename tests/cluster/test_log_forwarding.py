"""Rows of the log on their way from a node's own file to PostgreSQL: none is lost, and none is there twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
import trio
from attrs import evolve

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node
from pg_trio.cluster.postgres import log_forwarding
from pg_trio.cluster.postgres.log_forwarding import LogForwarder
from pg_trio.cluster.postgres.postgres_pool import PostgresPool
from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.guardrails import GuardrailVerdict
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.store.log import LogStore
from pg_trio.store.log_spool import LogSpool
from tests.cluster.waiting import wait_for
from tests.support.engine_relay import engine_relay
from tests.support.engines import PostgresServer
from tests.support.postgres_ledger import migrated_pool

AT = 1_763_800_000.25
NODE = Node("gw-1", "id of gw-1")
Query = Callable[[str], str]


@pytest.fixture
async def pool(nursery: trio.Nursery, postgres_url: str) -> AsyncIterator[PostgresPool]:
    opened = await migrated_pool(nursery, postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def query(postgres_server: PostgresServer, postgres_url: str) -> Query:
    return lambda statement: postgres_server.query(statement, postgres_url)


async def write(folder: Path, *rows: LogRow) -> None:
    """Into the node's own log, as its writer does."""
    log = await LogStore.open(GatewaySettings(data_dir=folder))
    for row in rows:
        log.record(row)
    await log.aclose()


def rows_of(count: int, at: float = AT) -> list[LogRow]:
    return [LogRow(uuid4(), at + number, 200, 12.5, cost_nano_usd=7) for number in range(count)]


async def opened(pool: PostgresPool, folder: Path) -> LogForwarder:
    return LogForwarder(pool, NODE, await LogSpool.open(folder), max_age_days=30)


async def test_whole_row_arrives(pool: PostgresPool, tmp_path: Path, query: Query) -> None:
    attempt = AttemptRow("openai", "m", "main", 1.0, 2.0, "ok", 1.5, "why", False)
    row = LogRow(
        request_id=UUID(int=5),
        at=AT,
        status=502,
        latency_ms=12.345678901234567,
        project_uuid=UUID(int=1),
        endpoint_uuid=UUID(int=2),
        endpoint_slug="sl\x00ug",
        token_id=2**40,
        error="it said \\u0000 and ' \"",
        cost_nano_usd=2**55,
        attempts=(attempt,),
        request_body='{"a": "\\u0000"}',
        subject="ada",
        client_token="one of ada's",
        guardrails=(GuardrailVerdict("pii", "email", "input", "redact", 2),),
    )
    await write(tmp_path, row, evolve(row, request_id=UUID(int=6), request_body=None))
    forwarder = await opened(pool, tmp_path)

    assert 2 == await forwarder.forward()
    await forwarder.aclose()

    got = query(
        "SELECT node, status, latency_ms, project_uuid, endpoint_slug, token_id, error, cost_nano_usd, at"
        f" FROM pgtrio.gateway_logs WHERE request_id = '{UUID(int=5)}'"
    )
    shown = f"12.345678901234567|{UUID(int=1)}|sl\ufffdug|{2**40}|it said \\u0000 and ' \"|{2**55}|{AT}"
    assert f"gw-1|502|{shown}" == got
    assert '{"a": "\\u0000"}' == query("SELECT request_body FROM pgtrio.gateway_log_bodies")
    assert "openai" in query("SELECT attempts FROM pgtrio.gateway_logs LIMIT 1")
    assert 'ada|one of ada\'s|[["pii", "email", "input", "redact", 2]]' == query(
        "SELECT subject, client_token, guardrails FROM pgtrio.gateway_logs LIMIT 1"
    )


async def test_rows_are_sent_once(
    pool: PostgresPool, tmp_path: Path, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_forwarding, "BATCH_ROWS", 10)
    await write(tmp_path, *rows_of(25))
    first = await opened(pool, tmp_path)
    sent = [await first.forward(), await first.forward()]
    await first.aclose()
    await write(tmp_path, *rows_of(3))
    second = await opened(pool, tmp_path)

    sent.append(await second.forward())
    await second.aclose()

    assert ([25, 0, 3], "28") == (sent, query("SELECT count(*) FROM pgtrio.gateway_logs"))


async def test_days_have_partitions(pool: PostgresPool, tmp_path: Path, query: Query) -> None:
    await write(tmp_path, *rows_of(1), *rows_of(1, AT + 86_400))
    forwarder = await opened(pool, tmp_path)
    await forwarder.forward()
    await forwarder.aclose()
    days = "SELECT count(*) FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname = 'gateway_logs'"
    assert "2" == query(days)

    assert "2" == query(f"SELECT pgtrio.drop_log_days({int(AT // 86_400) + 1})")

    assert ("1", "1") == (query(days), query("SELECT count(*) FROM pgtrio.gateway_logs"))


async def test_rows_wait_while_postgres_is_away(
    pool: PostgresPool, nursery: trio.Nursery, postgres_url: str, tmp_path: Path, query: Query
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        relayed = await migrated_pool(nursery, postgres_url.replace(f":{port}/", f":{relay.port}/"), 1.0)
        forwarder = await opened(relayed, tmp_path)
        relay.accepts = False
        relay.cut()
        await write(tmp_path, *rows_of(5))
        with pytest.raises(EngineAway):
            await forwarder.forward()
        relay.accepts = True
        assert await relayed.wait_until_up(10.0)

        assert 5 == await forwarder.forward()
        await forwarder.aclose()
        relayed.close()

    assert "5" == query("SELECT count(*) FROM pgtrio.gateway_logs")


async def test_batch_whose_answer_was_lost_is_there_once(
    nursery: trio.Nursery, postgres_url: str, tmp_path: Path, query: Query
) -> None:
    port = int(postgres_url.rpartition(":")[2].partition("/")[0])
    await write(tmp_path, *rows_of(5))
    async with engine_relay(port) as relay:
        relayed = await migrated_pool(nursery, postgres_url.replace(f":{port}/", f":{relay.port}/"))
        forwarder = await opened(relayed, tmp_path)
        await forwarder.forward()
        # As if its last batch had not been noted.
        query("DELETE FROM pgtrio.log_spools")
        forwarder._last_id = None

        assert 5 == await forwarder.forward()
        await forwarder.aclose()
        relayed.close()

    assert "5" == query("SELECT count(*) FROM pgtrio.gateway_logs")


async def test_stop_in_the_middle_of_a_batch_sends_it(
    postgres_url: str, tmp_path: Path, query: Query, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as running:
        own = await migrated_pool(running, postgres_url)
        forwarder = await opened(own, tmp_path)
        with psycopg.connect(postgres_url) as other:
            other.execute("LOCK TABLE pgtrio.log_spools IN EXCLUSIVE MODE")
            await write(tmp_path, *rows_of(5))
            running.start_soon(forwarder.run)
            await wait_for(lambda: query("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1")
            running.cancel_scope.cancel()
            # The rows are in a transaction that goes on, and waits for its end.
            other.rollback()
    await forwarder.aclose()
    own.close()

    assert "5" == query("SELECT count(*) FROM pgtrio.gateway_logs")
    assert "log.db" not in caplog.text


async def test_replaced_spool_is_sent_from_its_beginning(pool: PostgresPool, tmp_path: Path, query: Query) -> None:
    for folder, count in ((tmp_path / "old", 2), (tmp_path / "new", 4)):
        await write(folder, *rows_of(count))
        forwarder = await opened(pool, folder)
        await forwarder.forward()
        await forwarder.aclose()

    assert "6" == query("SELECT count(*) FROM pgtrio.gateway_logs")


async def test_one_worker_of_a_node_sends(pool: PostgresPool, tmp_path: Path) -> None:
    first, second = await LogSpool.open(tmp_path), await LogSpool.open(tmp_path)

    held = [first.try_hold(), second.try_hold()]
    await first.aclose()

    assert ([True, False], True) == (held, second.try_hold())
    await second.aclose()
