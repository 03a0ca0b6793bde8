"""One SQLite connection, used by one thread at a time; and explanations of SQLite's errors for the operator.

Rules:
1. Every connection waits for a lock no longer than its busy limit, so every thread returns.
2. A `SerialConnection` has its own limiter of one thread. An abandoned call keeps that thread until it is done. So two
   threads never use the connection, and a cancelled reader does not wait for the disk.
3. `sqlite3`'s exceptions become `StoreError` here and nowhere else. Misuse (ProgrammingError, …) is a bug and stays.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import trio

from pg_trio.errors import StoreError
from pg_trio.store.migrations import Schema, check_schema, migrate

logger = logging.getLogger("pg_trio.store")

T = TypeVar("T")

# 2 s: the gateway's transactions take milliseconds. A longer holder is a shell or a backup, and requests have
# deadlines.
BUSY_LIMIT_S = 2.0
# SQLite does not wait for a lock while it changes the journal mode, so this code tries again.
_WAL_RETRY_S = 0.01

# The pause between two tries for the write lock. SQLite itself tries after 1, 2, 5 and 10 ms, then less and less often.
_TURN_S = 0.015

# Result codes (sqlite.org/rescode.html) by their low byte, and what to do about each.
_EXPLANATIONS = {
    sqlite3.SQLITE_BUSY: "locked by another process for too long; find it (lsof) or try again",
    sqlite3.SQLITE_LOCKED: "locked by another connection for too long; try again",
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; move it away with its -wal and -shm files, and restore a backup",
    sqlite3.SQLITE_NOTADB: "not a database of ours, or damaged; move it away, or choose another data_dir",
    sqlite3.SQLITE_READONLY: "not writable; the gateway's user must own the file and its directory",
    sqlite3.SQLITE_PERM: "access denied; the gateway's user must own the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; the gateway's user must own the file and its directory",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; see the system's log",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """An SQLite error inside the block becomes a StoreError with the file, the reason and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        if type(exc) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            raise
        # An extended code (SQLITE_IOERR_WRITE, …) carries its primary one in the low byte.
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        advice = _EXPLANATIONS.get(code, "cannot be used")
        raise StoreError(f"{path}: {advice} (SQLite: {exc}).") from exc


def is_busy(error: BaseException | None) -> bool:
    """Whether another connection held the lock: the error of SQLite, or the cause of a StoreError."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def make_data_dir(data_dir: Path) -> None:
    """Make sure that the directory exists and is writable. A new one is for its owner alone. An existing one of this
    user that others can write to is made so too, because another user could replace the gateway's files there.

    Raises: StoreError if it cannot be made, is not a directory, or cannot be written.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as exc:
        raise StoreError(f"{data_dir}: data_dir is a file, not a directory; choose another data_dir.") from exc
    except OSError as exc:
        raise StoreError(
            f"{data_dir}: data_dir cannot be created ({exc.strerror}); create it for the gateway's user,"
            " or choose another data_dir."
        ) from exc
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise StoreError(
            f"{data_dir}: data_dir is not writable; the gateway's user must own it, and its disk not be read-only."
        )
    _keep_others_out(data_dir)


# Directories already reported: once a process, though each database is opened separately.
_told: set[Path] = set()


def _keep_others_out(data_dir: Path) -> None:
    status = data_dir.stat()
    if not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    # A sticky directory (/tmp) is for all users: they need it, and cannot replace the gateway's files there.
    if status.st_uid == os.geteuid() and not status.st_mode & stat.S_ISVTX:
        try:
            data_dir.chmod(0o700)
        except OSError as exc:
            mode += f", and cannot be changed: {exc.strerror}"
        else:
            logger.warning("%s: others could write to data_dir (mode %s); it is 0700 now", data_dir, mode)
            return
    if data_dir not in _told:
        _told.add(data_dir)
        logger.warning(
            "%s: others can write to data_dir (mode %s), and so replace tokens and limits; give it to the gateway's"
            " user alone (chmod 700)",
            data_dir,
            mode,
        )


def check_no_links(path: Path) -> None:
    """Raises StoreError if the database, or a file that SQLite keeps beside it, is a symbolic link.

    SQLite follows links, and would write to the target with the gateway's rights.
    """
    for ending in ("", "-wal", "-shm", "-journal"):
        beside = Path(f"{path}{ending}")
        try:
            mode = beside.lstat().st_mode
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            what = "a symbolic link, which is not followed" if stat.S_ISLNK(mode) else "not a file"
            raise StoreError(f"{beside}: {what}; move it away, or choose another data_dir.")


def open_database(
    path: Path,
    schema: Schema,
    *,
    synchronous: Literal["FULL", "NORMAL"],
    busy_limit_s: float = BUSY_LIMIT_S,
    cached_statements: int = 128,
) -> sqlite3.Connection:
    """An open connection to a file of the newest schema; a missing file is made. Transactions are explicit.

    Raises: StoreError if the file or its directory cannot be used.
    """
    make_data_dir(path.parent)
    _make_private_file(path)
    check_no_links(path)
    with explained(path):
        connection = sqlite3.connect(
            path,
            timeout=busy_limit_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=cached_statements,
        )
        try:
            _use_wal(connection, busy_limit_s)
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            migrate(connection, schema, str(path))
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path, schema: Schema | None, *, busy_limit_s: float = BUSY_LIMIT_S) -> sqlite3.Connection:
    """A read-only connection to an existing file. With `schema=None` any schema is accepted.

    Raises: StoreError if the file cannot be read, or its schema is not this release's.
    """
    check_no_links(path)
    # A reader of a WAL file needs a -shm file beside it. On a read-only disk there is none, and also no writer.
    is_frozen = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_frozen else ''}"
    with explained(path):
        connection = sqlite3.connect(uri, uri=True, timeout=busy_limit_s, isolation_level=None, check_same_thread=False)
        try:
            if schema is not None:
                check_schema(connection, schema, str(path))
        except BaseException:
            connection.close()
            raise
    return connection


def _make_private_file(path: Path) -> None:
    try:
        # Only a new file: closing any descriptor of a file drops every POSIX lock that this process holds on it,
        # SQLite's included. SQLite gives -wal and -shm the mode of this file.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    except OSError as exc:
        raise StoreError(f"{path}: cannot be created ({exc.strerror}); the gateway's user must own data_dir.") from exc
    try:
        # Restore the bits that the umask removed.
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _use_wal(connection: sqlite3.Connection, busy_limit_s: float) -> None:
    # WAL: readers never wait for a writer, so another worker's flush does not delay a look-up.
    limit = time.monotonic() + busy_limit_s
    while True:
        try:
            # Lets free pages be returned to the disk. This works only on a file without a page, so it comes first. On
            # other files it would change nothing, and would wait for the write lock while other workers are busy.
            if connection.execute("PRAGMA page_count").fetchone() == (0,):
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or time.monotonic() > limit:
                raise
            time.sleep(_WAL_RETRY_S)


def check_is_there(path: Path, opened: os.stat_result) -> None:
    """Raises StoreError if the path no longer names the opened file. It costs one `stat`, 2 µs."""
    try:
        is_there = os.path.samestat(path.stat(), opened)
    except OSError:
        is_there = False
    if not is_there:
        raise StoreError(f"{path}: was deleted or replaced under the running gateway; put it back, or restart.")


def take_turns(connection: sqlite3.Connection) -> None:
    """Prepare this connection for `write_in_turn`."""
    connection.execute(f"PRAGMA busy_timeout = {int(_TURN_S * 1000)}")


def write_in_turn(work: Callable[[sqlite3.Connection], T], limit_s: float, connection: sqlite3.Connection) -> T:
    """Run `work` and return its result. While other connections write, it is started again, for at most `limit_s`.
    `work` must be one transaction, so that it can be repeated.

    SQLite's own waiting asks again at growing intervals, up to 0.1 s. With four workers that wrote without a pause,
    each holding the lock for 10 ms, one got no turn for 2 s. With a new try every few milliseconds all got theirs
    within 0.3 s.
    """
    limit = time.monotonic() + limit_s
    while True:
        try:
            return work(connection)
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or time.monotonic() > limit:
                raise


class SerialConnection:
    """A connection whose work runs on a thread, one piece at a time, in the order of the calls."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._limiter = trio.CapacityLimiter(1)

    @property
    def busy_threads(self) -> int:
        """The number of threads that work for this connection: 0 or 1."""
        return int(self._limiter.borrowed_tokens)

    async def run(self, work: Callable[[sqlite3.Connection], T], *, abandon_on_cancel: bool = False) -> T:
        """Run `work` on the thread and return its result. With `abandon_on_cancel` a cancelled caller leaves at once,
        and the thread ends alone.

        Raises: StoreError for an SQLite error.
        """
        return await trio.to_thread.run_sync(
            self._work, work, limiter=self._limiter, abandon_on_cancel=abandon_on_cancel
        )

    async def aclose(self) -> None:
        """Close the connection, after the running work. Closing twice is allowed."""
        await self.run(sqlite3.Connection.close, abandon_on_cancel=True)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with explained(self._path):
            return work(self._connection)
