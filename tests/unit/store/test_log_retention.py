"""Old rows leave the log, in small steps, and with their space; what they cost stays known. Real files and threads."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import trio
from attrs import evolve

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.client_grant import holder_key
from pg_trio.domain.log_row import LogRow
from pg_trio.store.free_pages import KEPT_FREE_PAGES
from pg_trio.store.log import LogStore
from pg_trio.store.log_retention import DAY_S, LOCK_NAME, SPEND_KEPT_S

NOW = 1_700_000_000.0
ENDPOINT = UUID(int=7)
MIB = 1024 * 1024
PATIENCE_S = 10


def make_row(number: int, at: float, **fields: object) -> LogRow:
    return evolve(LogRow(request_id=UUID(int=number), at=at, status=200, latency_ms=1.0), **fields)  # type: ignore[arg-type]


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(data_dir=tmp_path / "data", log_max_age_days=1, log_max_bytes=0, log_batch_ms=1)


@pytest.fixture
async def store(settings: GatewaySettings) -> AsyncIterator[LogStore]:
    store = await LogStore.open(settings)
    yield store
    await store.aclose()


async def fill(store: LogStore, rows: list[LogRow]) -> None:
    for row in rows:
        store.record(row)
    while store.waiting:
        await store._write_batch()


async def kept(store: LogStore) -> list[float]:
    return sorted(row.at for row in await store.recent(100_000))


async def test_old_rows_go(store: LogStore) -> None:
    ages = [3 * DAY_S, DAY_S + 1, DAY_S - 1, 0]
    await fill(store, [make_row(number, NOW - age) for number, age in enumerate(ages)])

    deleted = await store.retention.sweep(NOW)

    assert (2, [NOW - DAY_S + 1, NOW]) == (deleted, await kept(store))


async def test_zero_keeps_all(settings: GatewaySettings) -> None:
    async with await LogStore.open(evolve(settings, log_max_age_days=0)) as store:
        await fill(store, [make_row(1, 5.0)])

        assert 0 == await store.retention.sweep(NOW)
        assert [5.0] == await kept(store)


async def test_many_rows_go_in_small_batches(store: LogStore) -> None:
    await fill(store, [make_row(number, 5.0) for number in range(3_000)])
    statements: list[str] = []
    store._connection._connection.set_trace_callback(statements.append)

    deleted = await store.retention.sweep(NOW)

    assert 3_000 == deleted
    deletes = [statement for statement in statements if statement.startswith("DELETE FROM gateway_logs")]
    assert len(deletes) >= 4
    assert [] == [statement for statement in deletes if int(statement.rpartition("LIMIT ")[2][:-1]) > 1_000]


async def test_large_log_shrinks_to_its_limit(settings: GatewaySettings) -> None:
    path = settings.data_dir / "log.db"
    async with await LogStore.open(evolve(settings, log_max_age_days=0, log_max_bytes=4 * MIB)) as store:
        await fill(store, [make_row(number, number, request_body="x" * 16_000) for number in range(1_000)])
        with trio.fail_after(PATIENCE_S):  # page by page it would take ten times as long
            deleted = await store.retention.sweep(NOW)
        left = await kept(store)

    # The oldest went, and hardly more of them than had to: some 255 rows of four pages are 4 MiB.
    assert list(range(deleted, 1_000)) == left
    assert 240 < len(left) < 260
    assert path.stat().st_size < 4 * MIB + KEPT_FREE_PAGES * 4096 + MIB


async def test_writer_has_its_turns_between_batches(store: LogStore, nursery: trio.Nursery) -> None:
    await fill(store, [make_row(number, 5.0) for number in range(6_000)])
    statements: list[str] = []
    store._connection._connection.set_trace_callback(lambda statement: statements.append(statement[:6]))

    async def record() -> None:
        while True:
            store.record(make_row(1, NOW))
            await trio.sleep(0.001)

    nursery.start_soon(store.write)
    nursery.start_soon(record)
    await store.retention.sweep(NOW)

    deletes = [place for place, statement in enumerate(statements) if statement == "DELETE"]
    assert "INSERT" in statements[deletes[0] : deletes[-1]]
    nursery.cancel_scope.cancel()


async def test_spend_outlives_its_rows(store: LogStore) -> None:
    month = NOW - NOW % 900
    rows = [
        make_row(number, month + at, endpoint_uuid=ENDPOINT, cost_nano_usd=cost)
        for number, (at, cost) in enumerate([(-1.0, 1), (0.0, 10), (5.0, 100), (1000.0, 1_000), (3 * DAY_S, 10_000)])
    ]
    await fill(store, [*rows, make_row(99, month + 1.0, endpoint_uuid=ENDPOINT)])
    before = await store.spend_since(month)

    deleted = await store.retention.sweep(month + 3 * DAY_S)

    assert (5, {ENDPOINT: 11_110}) == (deleted, before)
    assert before == await store.spend_since(month)


async def test_holders_spend_outlives_its_rows(store: LogStore) -> None:
    month = NOW - NOW % 900
    rows = [
        make_row(
            number,
            month + at,
            endpoint_uuid=ENDPOINT,
            cost_nano_usd=cost,
            token_id=7,
            subject=subject,
            client_token=f"token-{number % 2}",
        )
        for number, (at, subject, cost) in enumerate(
            [
                (-1.0, "ada", 1),
                (0.0, "ada", 10),
                (5.0, "ada", 100),
                (5.0, "bob", 7),
                (3 * DAY_S, "ada", 1_000),
                # Of client tokens without a subject: one of today, and one that has expired.
                (3 * DAY_S, None, 5),
                (1.0, None, 3),
            ]
        )
    ]
    await fill(store, [*rows, make_row(99, month + 1.0, endpoint_uuid=ENDPOINT, cost_nano_usd=9, token_id=7)])
    expected = {holder_key(7, "s:ada"): 1_110, holder_key(7, "s:bob"): 7, holder_key(7, "t:token-1"): 5}

    before = await store.holder_spend_since(month, month + 2 * DAY_S)
    deleted = await store.retention.sweep(month + 3 * DAY_S)

    assert (6, expected) == (deleted, before)
    assert expected == await store.holder_spend_since(month, month + 2 * DAY_S)


async def test_spend_of_long_ago_is_forgotten(store: LogStore, settings: GatewaySettings) -> None:
    await fill(store, [make_row(1, NOW, endpoint_uuid=ENDPOINT, cost_nano_usd=5)])
    # The end of the longest month that it may be the beginning of.
    await store.retention.sweep(NOW + 31 * DAY_S)
    assert {ENDPOINT: 5} == await store.spend_since(NOW - 900)

    await store.retention.sweep(NOW + SPEND_KEPT_S + 1800)

    assert {} == await store.spend_since(0)


async def test_one_worker_sweeps(settings: GatewaySettings, store: LogStore, nursery: trio.Nursery) -> None:
    await fill(store, [make_row(1, 5.0)])
    lock = os.open(settings.data_dir / LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)

    await store.retention._sweep_if_ours()
    while_held = await kept(store)
    os.close(lock)
    await store.retention._sweep_if_ours()

    assert ([5.0], []) == (while_held, await kept(store))


async def test_stopped_worker_leaves_the_lock(settings: GatewaySettings, store: LogStore) -> None:
    await fill(store, [make_row(1, time.time() - 2 * DAY_S)])
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.retention.run)
            while await kept(store):  # noqa: ASYNC110 - a thread deletes it
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()

    with (settings.data_dir / LOCK_NAME).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_failure_is_said_and_tried_again(settings: GatewaySettings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with await LogStore.open(settings, busy_limit_s=0.02) as store:
        await fill(store, [make_row(1, 5.0)])
        with closing(sqlite3.connect(settings.data_dir / "log.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            await store.retention._sweep_if_ours()
            holder.execute("ROLLBACK")
        await store.retention._sweep_if_ours()
        assert [] == await kept(store)

    first, second = [record.getMessage() for record in caplog.records]
    assert "cannot delete old rows of the log: " in first
    assert "locked by another process" in first
    assert "cannot delete old rows of the log: works again." == second


async def test_log_of_older_release_is_kept(settings: GatewaySettings) -> None:
    # Its rows stay, its free pages are used again; only its size stays what it was.
    async with await LogStore.open(settings) as store:
        await fill(store, [make_row(1, NOW)])
    with closing(sqlite3.connect(settings.data_dir / "log.db", isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = DELETE")
        file.execute("PRAGMA auto_vacuum = NONE")
        file.execute("VACUUM")

    async with await LogStore.open(settings) as store:
        await fill(store, [make_row(number, 5.0, request_body="x" * 50_000) for number in range(200)])
        assert 200 == await store.retention.sweep(NOW)
        assert [NOW] == await kept(store)
