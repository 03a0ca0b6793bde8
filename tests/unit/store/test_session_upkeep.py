"""What is done to the sessions' file beside the requests. Real files and threads."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import trio
import trio.lowlevel

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.chat import Message
from pg_trio.domain.session import Turn
from pg_trio.store import session_upkeep
from pg_trio.store.free_pages import KEPT_FREE_PAGES
from pg_trio.store.session_file import BACKSTOP_PAGES, PURGE_SESSIONS
from pg_trio.store.session_upkeep import LOCK_NAME, SessionUpkeep
from pg_trio.store.sessions import SessionStore

PATIENCE_S = 10
ENDPOINT, OTHER_ENDPOINT = UUID(int=7), UUID(int=8)
KEEP_S = {ENDPOINT: 100.0}
PAGE_BYTES = 4096


def first_turn(session: int = 1, *, at: float = 1_000.0, endpoint: UUID = ENDPOINT, said: str = "Hi") -> Turn:
    return Turn(
        session_id=UUID(int=session),
        is_first=True,
        endpoint=endpoint,
        token_id=4,
        at=at,
        messages=(Message("user", said), Message("assistant", "Ho")),
        token_count=10,
    )


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(data_dir=tmp_path / "data")


@pytest.fixture
async def store(settings: GatewaySettings, nursery: trio.Nursery) -> AsyncIterator[SessionStore]:
    async with await SessionStore.open(settings, KEEP_S, busy_limit_s=0.02) as store:
        nursery.start_soon(store.write)
        yield store


def at_time(store: SessionStore, now_s: float) -> SessionUpkeep:
    store.upkeep._now_s = lambda: now_s
    return store.upkeep


async def append_many(store: SessionStore, numbers: range, said: str = "Hi") -> None:
    async with trio.open_nursery() as appending:
        for number in numbers:
            appending.start_soon(store.append, first_turn(number, at=0.0, said=said))


def connect(settings: GatewaySettings) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(settings.data_dir / "sessions.db", isolation_level=None))


def count(settings: GatewaySettings, table: str) -> int:
    with connect(settings) as file:
        return int(file.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def eventually(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - nothing here could set an event
            await trio.sleep(0.001)


async def test_purge_deletes_expired_alone(store: SessionStore, settings: GatewaySettings) -> None:
    week = 604_800.0
    now = 10 * week
    await store.append(first_turn(1, at=now - 99))
    await store.append(first_turn(2, at=now - 101))
    await store.append(first_turn(3, at=now - week + 1, endpoint=OTHER_ENDPOINT))
    await store.append(first_turn(4, at=now - week - 1, endpoint=OTHER_ENDPOINT))

    deleted = await at_time(store, now).purge_batch()

    assert (2, 4) == (deleted, count(settings, "messages"))
    assert [True, False, True, False] == [await store.load(UUID(int=session)) is not None for session in (1, 2, 3, 4)]


async def test_purge_is_bounded(store: SessionStore, settings: GatewaySettings) -> None:
    await append_many(store, range(PURGE_SESSIONS + 3))

    deleted = [await at_time(store, 10_000.0).purge_batch() for _ in range(3)]

    assert [PURGE_SESSIONS, 3, 0] == deleted
    assert (0, 0) == (count(settings, "sessions"), count(settings, "messages"))


async def test_purge_of_nothing_writes_nothing(
    store: SessionStore, settings: GatewaySettings, caplog: pytest.LogCaptureFixture
) -> None:
    await store.append(first_turn())
    with connect(settings) as holder:
        holder.execute("BEGIN IMMEDIATE")

        await at_time(store, 1_050.0).purge()

    # A write would have found the file locked.
    assert [] == caplog.records
    assert 1 == count(settings, "sessions")


async def test_purged_space_goes_back_to_the_disk(
    store: SessionStore, settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_upkeep, "PURGE_PAUSE_S", 0)
    path = settings.data_dir / "sessions.db"
    await append_many(store, range(300), said="x" * 40_000)
    await store.upkeep.checkpoint()
    assert path.stat().st_size > 11_000_000

    await at_time(store, 10_000.0).purge()
    await store.upkeep.checkpoint()

    assert path.stat().st_size < (KEPT_FREE_PAGES + 300) * PAGE_BYTES


async def test_purge_goes_on_after_a_failure(
    store: SessionStore,
    settings: GatewaySettings,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(session_upkeep, "PURGE_EVERY_S", 0.001)
    await store.append(first_turn())
    with connect(settings) as holder:
        holder.execute("BEGIN IMMEDIATE")
        nursery.start_soon(at_time(store, 10_000.0).run)
        await eventually(lambda: bool(caplog.records))
        holder.execute("ROLLBACK")

    await eventually(lambda: count(settings, "sessions") == 0)

    assert caplog.records[0].getMessage().startswith("cannot delete expired sessions: ")


async def test_one_worker_does_it(
    store: SessionStore, settings: GatewaySettings, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_upkeep, "PURGE_EVERY_S", 0.001)
    await store.append(first_turn())
    lock = os.open(settings.data_dir / LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)

    nursery.start_soon(at_time(store, 10_000.0).run)
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    while_held = count(settings, "sessions")
    os.close(lock)

    await eventually(lambda: count(settings, "sessions") == 0)
    assert 1 == while_held


async def test_stopped_worker_leaves_the_lock(
    store: SessionStore, settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_upkeep, "PURGE_EVERY_S", 0.001)
    await store.append(first_turn())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(at_time(store, 10_000.0).run)
        await eventually(lambda: count(settings, "sessions") == 0)
        nursery.cancel_scope.cancel()

    with (settings.data_dir / LOCK_NAME).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_commits_leave_pages_to_checkpoints(store: SessionStore, settings: GatewaySettings) -> None:
    path = settings.data_dir / "sessions.db"
    await store.upkeep.checkpoint()
    size = path.stat().st_size

    await append_many(store, range(150), said="x" * 40_000)  # more than SQLite's own thousand pages
    left = path.stat().st_size
    await store.upkeep.checkpoint()

    assert size == left
    assert path.stat().st_size > size + 150 * 40_000


async def test_commits_checkpoint_where_nobody_does(
    store: SessionStore, settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings.data_dir / "sessions.db"
    size = path.stat().st_size

    for start in range(0, 2_000, 100):
        await append_many(store, range(start, start + 100), said="x" * 40_000)

    assert path.stat().st_size > size
    assert path.with_name("sessions.db-wal").stat().st_size < 2 * BACKSTOP_PAGES * PAGE_BYTES


async def test_long_wal_begins_anew_among_writers(
    store: SessionStore, settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_upkeep, "RESTART_PAGES", 100)
    wal = settings.data_dir / "sessions.db-wal"
    await append_many(store, range(50), said="x" * 40_000)
    late: list[str] = []

    def write_late(statement: str) -> None:  # a turn that was committed after the pages were moved
        if "RESTART" in statement:
            with connect(settings) as other:
                other.execute("PRAGMA wal_autocheckpoint = 0")
                other.execute("UPDATE sessions SET token_count = 11 WHERE number = 1")
            late.append(statement)

    store.upkeep._connection._connection.set_trace_callback(write_late)
    await store.upkeep.checkpoint()
    size = wal.stat().st_size
    for number in range(100, 110):
        await store.append(first_turn(number))

    assert 1 == len(late)
    assert size == wal.stat().st_size


async def test_short_wal_stops_no_writer(store: SessionStore) -> None:
    await append_many(store, range(50), said="x" * 40_000)
    statements: list[str] = []
    store.upkeep._connection._connection.set_trace_callback(statements.append)

    await store.upkeep.checkpoint()

    assert {"PRAGMA wal_checkpoint(PASSIVE)"} == set(statements)


async def test_failed_checkpoint_is_said(
    store: SessionStore, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(session_upkeep, "CHECKPOINT_EVERY_S", 0.001)
    outcomes = iter([sqlite3.OperationalError("disk I/O error")])

    def fail_once(connection: sqlite3.Connection) -> int:
        for error in outcomes:
            raise error
        return 0

    monkeypatch.setattr(session_upkeep, "move_pages", fail_once)
    nursery.start_soon(store.upkeep.run)
    await eventually(lambda: len(caplog.records) == 2)

    first, second = [record.getMessage() for record in caplog.records]
    assert "cannot move written sessions into their file: " in first
    assert "cannot move written sessions into their file: works again." == second
