"""The log of all nodes, for commands (contract: stores/administration.py, LogRows). Synchronous.

Rules:
1. A gateway of this node sends its rows within half a second (log_forwarding.py). So the reader first waits for those
   that are in this node's own log, CATCH_UP_LIMIT_S at most, and says how many are missing then.
2. A request that is asked for by its id may have been served by another node just now: it is looked for again, for
   as long.
3. A follower that loses its connection makes a new one at the next look, and goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from attrs import define, field, frozen

from pg_trio.cluster.node import FILE_NAME as NODE_FILE
from pg_trio.cluster.node import read_node_id
from pg_trio.cluster.postgres.command_connection import ANSWER_MARGIN_S, CommandConnection, store_error_of
from pg_trio.cluster.postgres.log_choices import split_filter
from pg_trio.cluster.postgres.log_forwarding import READ_SPOOL
from pg_trio.cluster.postgres.log_plans import (
    Arrivals,
    Plan,
    Rows,
    Statement,
    drive,
    read_arrivals,
    read_end,
    read_last,
)
from pg_trio.cluster.postgres.log_sum_plans import read_overview
from pg_trio.cluster.postgres.postgres_log_view import log_conninfo
from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import RowChoice
from pg_trio.domain.request_sums import Overview, TimeRange
from pg_trio.errors import StoreError
from pg_trio.store.log_file import FILE_NAME as LOG_FILE
from pg_trio.store.log_reader import FOLLOW_ROWS, LogFilter, LogReader
from pg_trio.store.log_spool import LOCK_NAME
from pg_trio.store.sweep_lock import SweepLock

T = TypeVar("T")

# A command may wait longer than a page.
READ_LIMIT_S = 30
# For what came since the last look: some milliseconds of work.
FOLLOW_LIMIT_S = 5.0
# Four times as long as a batch waits.
CATCH_UP_LIMIT_S = 1.0
CATCH_UP_EVERY_S = 0.05
OWN_LOG = "`--data-dir DIR` in place of `--config FILE` shows this node's own log"


@define(eq=False)
class PostgresLogReader:
    """The rows of all nodes. Use it in a `with` block. Every method may raise StoreError; StoreAway if the server does
    not answer."""

    _conninfo: str = field(repr=False)
    _connection: CommandConnection
    note: str | None
    _arrivals: Arrivals = field(factory=lambda: Arrivals(time.monotonic))
    _last_id: int = 0
    _limit_s: float = READ_LIMIT_S + ANSWER_MARGIN_S

    @classmethod
    def open(cls, url: str, data_dir: Path) -> Self:
        """The log, once what this node has written is there (rule 1). Raises StoreError."""
        conninfo = log_conninfo(url, READ_LIMIT_S)
        with _explained():
            connection = CommandConnection.open(conninfo)
            try:
                return cls(conninfo, connection, OwnSpool(data_dir).wait(connection))
            except BaseException:
                connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def last(self, wanted: LogFilter, limit: int, *, bodies: bool = True) -> list[LogRow]:
        """See LogRows. `new` continues from here."""
        deadline = time.monotonic() + CATCH_UP_LIMIT_S
        while True:
            end, self._last_id = self._ask(read_end(self._arrivals))
            rows = self._ask(read_last(wanted, limit, end, bodies=bodies))
            # Rule 2.
            if rows or wanted.request_id is None or time.monotonic() >= deadline:
                return rows[::-1]
            time.sleep(CATCH_UP_EVERY_S)

    def new(self, wanted: LogFilter, *, bodies: bool = True) -> Iterator[LogRow]:
        """See LogRows. It waits for the server for FOLLOW_LIMIT_S at most, and may be called again after an error."""
        self._limit_s = FOLLOW_LIMIT_S
        split = split_filter(wanted)
        if wanted.since is not None:
            split.indexed.add("at >= %s", wanted.since)
        if wanted.request_id is not None:
            split.indexed.add("request_id = %s", wanted.request_id)
        while True:
            arrived = self._ask(read_arrivals(split, self._last_id, self._arrivals, FOLLOW_ROWS, bodies=bodies))
            if arrived.upto == self._last_id:
                return
            self._last_id = arrived.upto
            yield from (row for _, row in arrived.rows)

    def overview(self, choice: RowChoice, within: TimeRange) -> Overview:
        """See LogRows."""
        return self._ask(read_overview(choice, within))

    def _ask(self, plan: Plan[T]) -> T:
        with _explained():
            return drive(plan, self._fetch)

    def _fetch(self, statement: Statement) -> Rows:
        query, values = statement
        if self._connection.closed:
            self._connection = CommandConnection.open(self._conninfo)
        self._connection.limit_s = self._limit_s
        return self._connection.execute(query.encode(), values).fetchall()


@frozen
class OwnSpool:
    """What this node has written to its own log, and not yet sent. Its files are only read."""

    data_dir: Path

    def wait(self, connection: psycopg.Connection[tuple[Any, ...]]) -> str | None:
        """Wait for rows on their way, if a gateway of this node runs. What to say of those that are missing then."""
        deadline = time.monotonic() + CATCH_UP_LIMIT_S
        while (missing := self._count_missing(connection)) and self._is_sent() and time.monotonic() < deadline:
            time.sleep(CATCH_UP_EVERY_S)
        if not missing:
            return None
        return f"{missing} rows of this node are not in PostgreSQL yet; a gateway that runs here sends them. {OWN_LOG}."

    def _count_missing(self, connection: psycopg.Connection[tuple[Any, ...]]) -> int:
        if not (self.data_dir / LOG_FILE).exists() or not (self.data_dir / NODE_FILE).exists():
            return 0
        try:
            node_id = read_node_id(self.data_dir)
            with LogReader(self.data_dir) as own:
                newest = own.newest_id()
        except StoreError:
            # Of another user: what all nodes have sent can be shown all the same.
            return 0
        row = connection.execute(READ_SPOOL, (node_id,)).fetchone()
        return max(0, newest - (0 if row is None else int(row[0])))

    def _is_sent(self) -> bool:
        """Whether a gateway sends the rows."""
        lock = SweepLock(self.data_dir / LOCK_NAME)
        try:
            return not lock.try_hold()
        finally:
            lock.close()


@contextmanager
def _explained() -> Iterator[None]:
    """An error of psycopg becomes a StoreError that says what to do."""
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise StoreError("PostgreSQL: has no log yet; `pg-trio migrate` makes the tables") from error
    except psycopg.errors.QueryCanceled as error:
        raise StoreError(f"the log was not read within {READ_LIMIT_S} s; `--since` makes it less") from error
    except psycopg.Error as error:
        raise store_error_of(error, f"; {OWN_LOG}") from error
