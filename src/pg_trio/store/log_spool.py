"""The log's file as a spool: rows in the order of their writing, for another store that takes them over."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import trio

from pg_trio.store.database import BUSY_LIMIT_S, SerialConnection
from pg_trio.store.log_file import COLUMN_NAMES, FILE_NAME, open_log
from pg_trio.store.sweep_lock import SweepLock

LOCK_NAME = "log.forward.lock"
# Columns that hold a UUID as 16 bytes.
UUID_COLUMNS = frozenset({"request_id", "project_uuid", "endpoint_uuid"})


class LogSpool:
    """Open with `await LogSpool.open(…)`, close with `aclose`. Every method may raise StoreError."""

    def __init__(self, data_dir: Path, connection: SerialConnection) -> None:
        self._connection = connection
        self._lock = SweepLock(data_dir / LOCK_NAME)

    @classmethod
    async def open(cls, data_dir: Path) -> Self:
        """The spool of a data directory; a missing file is made. Raises: StoreError."""
        connection = await trio.to_thread.run_sync(open_log, data_dir, BUSY_LIMIT_S, limiter=trio.CapacityLimiter(1))
        return cls(data_dir, SerialConnection(data_dir / FILE_NAME, connection))

    def try_hold(self) -> bool:
        """Whether this worker is the one that takes the rows over."""
        return self._lock.try_hold()

    async def read_after(self, row_id: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """At most `limit` rows with a larger id, in order: (id, values by column). UUIDs are text."""
        return await self._connection.run(partial(_read_after, row_id, limit), abandon_on_cancel=True)

    async def read_ends(self, row_id: int) -> tuple[int, UUID | None]:
        """The largest id (0 without rows), and the request of the row with this id, if it is there."""
        return await self._connection.run(partial(_read_ends, row_id), abandon_on_cancel=True)

    async def aclose(self) -> None:
        """Close the file, and let another worker take over."""
        await self._connection.aclose()
        self._lock.close()


def _read_after(row_id: int, limit: int, connection: sqlite3.Connection) -> list[tuple[int, dict[str, Any]]]:
    query = f"SELECT id, {', '.join(COLUMN_NAMES)} FROM gateway_logs WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
    return [(each, _name(values)) for each, *values in connection.execute(query, (row_id, limit))]


def _name(values: list[Any]) -> dict[str, Any]:
    named = dict(zip(COLUMN_NAMES, values, strict=True))
    for column in UUID_COLUMNS:
        if named[column] is not None:
            named[column] = str(UUID(bytes=bytes(named[column])))
    return named


def _read_ends(row_id: int, connection: sqlite3.Connection) -> tuple[int, UUID | None]:
    largest = connection.execute("SELECT max(id) FROM gateway_logs").fetchone()[0]
    row = connection.execute("SELECT request_id FROM gateway_logs WHERE id = ?", (row_id,)).fetchone()
    return largest or 0, None if row is None else UUID(bytes=bytes(row[0]))
