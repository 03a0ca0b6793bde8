"""Reads the log for `pg-trio logs` while a gateway writes it. Synchronous, read-only.

Rules:
1. The file is opened read-only, and never made, migrated or locked: a reader cannot harm a running gateway.
2. The last rows are found through an index on their time. A request id has no index, because random keys would make
   every write more expensive as the file grows. It is searched in the index by time, which has it, too.
3. New rows are found by `id`, the order of writing. Their times are those of the requests' heads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from attrs import frozen

from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import RowChoice
from pg_trio.domain.request_sums import Overview, TimeRange
from pg_trio.errors import StoreError
from pg_trio.store.database import explained, open_reader
from pg_trio.store.log_file import FILE_NAME, SCHEMA, read_rows
from pg_trio.store.log_query import read_overview

# Rows read at once while following.
FOLLOW_ROWS = 1_000


@frozen(slots=True)
class LogFilter:
    """Selects rows. None (or False) filters nothing. `since` is Unix seconds; statuses are from–to, both included."""

    project_uuid: UUID | None = None
    endpoint_slug: str | None = None
    statuses: tuple[int, int] | None = None
    since: float | None = None
    request_id: UUID | None = None
    client_request_id: str | None = None
    client_address: str | None = None
    subject: str | None = None
    errors_only: bool = False

    def conditions(self) -> tuple[list[str], list[object]]:
        """SQL conditions, all of which hold, and their parameters."""
        wanted: list[tuple[str, Sequence[object]]] = []
        if self.project_uuid is not None:
            wanted.append(("project_uuid = ?", (self.project_uuid.bytes,)))
        if self.endpoint_slug is not None:
            wanted.append(("endpoint_slug = ?", (self.endpoint_slug,)))
        if self.statuses is not None:
            wanted.append(("status BETWEEN ? AND ?", self.statuses))
        if self.since is not None:
            wanted.append(("at >= ?", (self.since,)))
        if self.request_id is not None:
            wanted.append(("request_id = ?", (self.request_id.bytes,)))
        if self.client_request_id is not None:
            wanted.append(("client_request_id = ?", (self.client_request_id,)))
        if self.client_address is not None:
            wanted.append(("client_address = ?", (self.client_address,)))
        if self.subject is not None:
            # The first lets SQLite use the index of these rows.
            wanted.append(("client_token IS NOT NULL AND subject = ?", (self.subject,)))
        if self.errors_only:
            # A broken stream had already sent its 200. Every failed row has an error code.
            wanted.append(("error_code IS NOT NULL", ()))
        return [text for text, _ in wanted], [value for _, values in wanted for value in values]


class LogReader:
    """The log's rows. Use it in a `with` block."""

    def __init__(self, data_dir: Path) -> None:
        """Opens `log.db`. Raises: StoreError if it is not there, cannot be read, or is not of this release."""
        self._path = data_dir / FILE_NAME
        if not self._path.exists():
            raise StoreError(f"{self._path}: not there, so no gateway ever ran here; is data_dir the right one?")
        self._connection = open_reader(self._path, SCHEMA)
        self._last_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    def note(self) -> str | None:
        """See LogRows: nothing."""
        return None

    def newest_id(self) -> int:
        """The id of the row written last; 0 without rows. Raises StoreError."""
        with explained(self._path):
            return _max_id(self._connection)

    def last(self, wanted: LogFilter, limit: int, *, bodies: bool = True) -> list[LogRow]:
        """The newest `limit` rows that match, oldest first. `new` continues from here."""
        conditions, parameters = wanted.conditions()
        order = "ORDER BY at DESC, id DESC LIMIT ?"
        with explained(self._path):
            self._last_id = _max_id(self._connection)
            parameters += [self._last_id, limit]
            rows = read_rows(self._connection, [*conditions, "id <= ?"], order, parameters, bodies=bodies)
        return [row for _, row in reversed(rows)]

    def new(self, wanted: LogFilter, *, bodies: bool = True) -> Iterator[LogRow]:
        """The rows that match and were written since the last call (or since `last`), in the order of writing."""
        conditions, parameters = wanted.conditions()
        with explained(self._path):
            end = _max_id(self._connection)
            if end < self._last_id:
                # Every row was deleted, and ids began again.
                self._last_id = 0
            while self._last_id < end:
                # By id, so that rows that do not match are read once only.
                upto = min(end, self._last_id + FOLLOW_ROWS)
                within = [*conditions, "id > ?", "id <= ?"]
                values = [*parameters, self._last_id, upto]
                rows = read_rows(self._connection, within, "ORDER BY id", values, bodies=bodies)
                yield from (row for _, row in rows)
                self._last_id = upto

    def overview(self, choice: RowChoice, within: TimeRange) -> Overview:
        """The sums of a range."""
        with explained(self._path):
            return read_overview(self._connection, choice, within)


def _max_id(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM gateway_logs").fetchone()[0])
