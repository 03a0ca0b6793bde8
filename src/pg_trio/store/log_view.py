"""The log as operators see it: read by a worker, on threads of its own, while the log's writer goes on.

Rules:
1. The file is opened at the first question and only read.
2. Sums have a connection of their own, so that a list never waits for them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import trio

from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import Cursor, RowChoice
from pg_trio.domain.request_sums import Overview, TimeRange
from pg_trio.store.database import SerialConnection, open_reader
from pg_trio.store.log_file import FILE_NAME, SCHEMA
from pg_trio.store.log_query import read_after, read_newest_id, read_one, read_overview, read_page

T = TypeVar("T")

CLOSE_LIMIT_S = 5.0


class LogView:
    """Reads the log. Every method may raise StoreError."""

    has_nodes = False

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        self._opening = trio.Lock()
        self._open: dict[str, SerialConnection] = {}

    async def page(
        self, choice: RowChoice, before: Cursor | None, limit: int
    ) -> tuple[list[tuple[int, LogRow]], Cursor | None]:
        """At most `limit` rows with their ids, newest first and without bodies, and where the next page begins."""
        return await self._ask("lists", lambda connection: read_page(connection, choice, before, limit))

    async def one(self, request_id: UUID) -> LogRow | None:
        """The row of a request, with its bodies; None if there is none."""
        return await self._ask("lists", lambda connection: read_one(connection, request_id))

    async def newest_id(self) -> int:
        """The id of the row written last; 0 without rows."""
        return await self._ask("lists", read_newest_id)

    async def after(self, row_id: int, limit: int) -> list[tuple[int, LogRow]]:
        """At most `limit` rows written after the row of that id, oldest first and without bodies."""
        return await self._ask("lists", lambda connection: read_after(connection, row_id, limit))

    async def overview(self, choice: RowChoice, within: TimeRange) -> Overview:
        """The sums of a range."""
        return await self._ask("sums", lambda connection: read_overview(connection, choice, within))

    async def aclose(self) -> None:
        """Close the file. Works under cancellation too, for at most CLOSE_LIMIT_S."""
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            for connection in self._open.values():
                await connection.aclose()

    async def _ask(self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        if name not in self._open:
            async with self._opening:
                if name not in self._open:
                    limiter = trio.CapacityLimiter(1)
                    connection = await trio.to_thread.run_sync(open_reader, self._path, SCHEMA, limiter=limiter)
                    self._open[name] = SerialConnection(self._path, connection)
        return await self._open[name].run(work, abandon_on_cancel=True)
