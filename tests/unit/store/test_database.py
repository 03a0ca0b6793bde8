"""Opening files: made new, taken over, or refused with a reason. Real files throughout."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from pg_trio.errors import StoreError
from pg_trio.store.database import SerialConnection, explained, open_database, open_reader, take_turns, write_in_turn
from pg_trio.store.migrations import Schema, migrate
from pg_trio.store.transaction import transaction

# The user `nobody` of Linux distributions; any user without files would work.
NOBODY = 65_534
FIRST = ("CREATE TABLE things (name TEXT)",)
SECOND = ("ALTER TABLE things ADD COLUMN size INTEGER", "CREATE INDEX by_size ON things (size)")
OLD = Schema(application_id=0x123401, steps=(FIRST,))
NEW = Schema(application_id=0x123401, steps=(FIRST, SECOND))
OTHER = Schema(application_id=0x123402, steps=(FIRST,))


def open_file(path: Path, schema: Schema = NEW, busy_limit_s: float = 0.05) -> closing[sqlite3.Connection]:
    return closing(open_database(path, schema, synchronous="NORMAL", busy_limit_s=busy_limit_s))


def read_one(connection: sqlite3.Connection, query: str) -> object:
    return connection.execute(query).fetchone()[0]


def test_directory_and_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data" / "things.db"

    with open_file(path):
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert {"things.db": 0o600, "things.db-wal": 0o600, "things.db-shm": 0o600} == modes
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)


def test_new_file_has_every_step(tmp_path: Path) -> None:
    with open_file(tmp_path / "things.db") as connection:
        connection.execute("INSERT INTO things VALUES ('a', 1)")

        assert 2 == read_one(connection, "PRAGMA user_version")
        assert "wal" == read_one(connection, "PRAGMA journal_mode")


def test_old_file_keeps_rows(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path, OLD) as connection:
        connection.execute("INSERT INTO things VALUES ('kept')")

    with open_file(path, NEW) as connection:
        rows = connection.execute("SELECT name, size FROM things").fetchall()

    assert [("kept", None)] == rows


def test_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path, NEW):
        pass

    with pytest.raises(StoreError, match=r"things\.db: written by a newer pg_trio \(schema 2; this one knows 1\)"):
        open_file(path, OLD)


def test_failed_step_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path, OLD):
        pass
    broken = Schema(OLD.application_id, (FIRST, ("CREATE TABLE half (a)", "CREATE TABLE half (a)")))

    with pytest.raises(StoreError, match="already exists"):
        open_file(path, broken)

    with open_file(path, OLD) as connection:
        assert 1 == read_one(connection, "PRAGMA user_version")
        assert 0 == read_one(connection, "SELECT count(*) FROM sqlite_master WHERE name = 'half'")


def test_simultaneous_opening_migrates_once(tmp_path: Path) -> None:
    path = tmp_path / "things.db"

    def open_and_read(_: int) -> object:
        with open_file(path, busy_limit_s=10) as connection:
            return read_one(connection, "PRAGMA user_version")

    with ThreadPoolExecutor(8) as threads:
        versions = list(threads.map(open_and_read, range(16)))

    assert [2] * 16 == versions


def test_step_taken_by_another_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path, Schema(0, ())) as slow, open_file(path, Schema(0, ())) as quick:

        def migrate_the_other(statement: str) -> None:
            if "sqlite_master" in statement:
                slow.set_trace_callback(None)
                migrate(quick, NEW, "quick")

        slow.set_trace_callback(migrate_the_other)

        migrate(slow, NEW, "slow")

        assert [2, 2] == [read_one(connection, "PRAGMA user_version") for connection in (slow, quick)]


@pytest.mark.parametrize("existing", [OTHER, None])
def test_foreign_database_is_untouched(tmp_path: Path, existing: Schema | None) -> None:
    path = tmp_path / "things.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if existing is None:
            connection.execute("CREATE TABLE recipes (name TEXT)")
        else:
            migrate(connection, existing, "other")

    with pytest.raises(StoreError, match="another program's database, or another of our own files"):
        open_file(path)

    with closing(sqlite3.connect(path)) as connection:
        assert 0 == read_one(connection, "SELECT count(*) FROM sqlite_master WHERE name = 'by_size'")


def test_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    path.write_bytes(b"this is a letter, not a database\n" * 100)

    with pytest.raises(StoreError, match=r"things\.db: not a database of ours, or damaged; move it away"):
        open_file(path)


def test_damaged_page_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path) as connection, transaction(connection):
        connection.executemany("INSERT INTO things VALUES (?, 1)", [("x" * 500,) for _ in range(100)])
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 2 :] = b"\xff" * (len(damaged) - 4096 * 2)
    path.write_bytes(damaged)

    with open_file(path) as connection, pytest.raises(StoreError, match="the file is damaged"), explained(path):
        connection.execute("SELECT sum(size) FROM things NOT INDEXED").fetchall()


def test_file_instead_of_directory(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    with pytest.raises(StoreError, match="data: data_dir is a file, not a directory"):
        open_file(tmp_path / "data" / "things.db")


def test_directory_below_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"data_dir cannot be created \(Not a directory\)"):
        open_file(tmp_path / "file" / "data" / "things.db")


def test_directory_instead_of_file(tmp_path: Path) -> None:
    (tmp_path / "things.db").mkdir()

    with pytest.raises(StoreError, match=r"things\.db: not a file"):
        open_file(tmp_path / "things.db")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root can write everywhere, so root becomes another user inside the block."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_unwritable_directory() -> None:
    # Not pytest's own folder: others may not even look into that.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)

        with as_nobody(), pytest.raises(StoreError, match="data_dir is not writable"):
            open_file(Path(folder) / "things.db")


def test_locked_file_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with (
        open_file(path, OLD) as holder,
        transaction(holder),
        pytest.raises(StoreError, match="locked by another process for too long"),
    ):
        open_file(path, NEW)


def test_full_disk_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path) as connection:
        connection.execute(f"PRAGMA max_page_count = {read_one(connection, 'PRAGMA page_count')}")

        with pytest.raises(StoreError, match="the disk is full"), explained(path), transaction(connection):
            connection.execute("INSERT INTO things VALUES (?, 1)", ("x" * 100_000,))

        assert 0 == read_one(connection, "SELECT count(*) FROM things")


def test_read_only_file_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path):
        pass

    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
        pytest.raises(StoreError, match="not writable"),
        explained(path),
    ):
        connection.execute("INSERT INTO things VALUES ('a', 1)")


def test_reader_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path) as writer, closing(open_reader(path, NEW)) as reader:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("INSERT INTO things VALUES ('a', 1)")

        assert 0 == read_one(writer, "SELECT count(*) FROM things")


def test_misuse_stays_a_bug(tmp_path: Path) -> None:
    with (
        open_file(tmp_path / "things.db") as connection,
        pytest.raises(sqlite3.ProgrammingError),
        explained(tmp_path),
    ):
        connection.execute("INSERT INTO things VALUES (?, ?)", ("too few",))


async def test_one_thread_at_a_time(tmp_path: Path) -> None:
    serial = SerialConnection(tmp_path / "things.db", open_database(tmp_path / "things.db", NEW, synchronous="NORMAL"))
    inside: list[int] = []
    seen: list[int] = []

    def look(_: sqlite3.Connection) -> None:
        inside.append(1)
        seen.append(len(inside))
        os.sched_yield()  # lets another thread in, if there is one
        inside.pop()

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(serial.run, look)

    await serial.aclose()
    assert [1] * 50 == seen
    assert 0 == serial.busy_threads


def test_existing_file_opens_beside_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path) as writer:
        writer.execute("BEGIN IMMEDIATE")

        with open_file(path) as connection:
            assert 0 == read_one(connection, "SELECT count(*) FROM things")


def test_write_gets_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    tried = 0

    def insert(connection: sqlite3.Connection) -> None:
        nonlocal tried
        tried += 1
        if tried == 3:
            holder.execute("ROLLBACK")
        connection.execute("INSERT INTO things VALUES ('a', 1)")

    with open_file(path) as connection, open_file(path) as holder:
        take_turns(connection)
        holder.execute("BEGIN IMMEDIATE")
        write_in_turn(insert, 10.0, connection)

        assert (3, 1) == (tried, read_one(connection, "SELECT count(*) FROM things"))


def test_write_gives_up_in_time(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    with open_file(path) as connection, open_file(path) as holder:
        take_turns(connection)
        holder.execute("BEGIN IMMEDIATE")

        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write_in_turn(lambda file: file.execute("DELETE FROM things"), 0.05, connection)
