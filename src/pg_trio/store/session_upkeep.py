"""Background work on `sessions.db`: moves written pages into it, deletes expired sessions, and returns their space to
the disk.

Rules:
1. One worker does it for all that share the directory. A kernel lock decides which; its process's end releases it.
2. A commit only appends to the -wal file. A checkpoint (random writes and a wait for the disk) moves its pages to their
   places. It runs here, on a separate connection and thread, and is PASSIVE, so that writers do not wait for it.
3. A -wal file begins anew only after all of it was moved, and steady writers always add one more turn. So beyond
   RESTART_PAGES the small rest is moved while the writers wait (RESTART).
4. If no worker does this (it was killed, the disk refused), commits do it from `BACKSTOP_PAGES` on.
5. Deletions go through the store's writer, in parts with pauses, so that the requests' turns come first.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import UUID

import trio

from pg_trio.errors import StoreError
from pg_trio.store.database import SerialConnection
from pg_trio.store.free_pages import give_back_pages
from pg_trio.store.outage import Outage
from pg_trio.store.session_file import PURGE_SESSIONS, delete_sessions, find_endpoints, find_expired
from pg_trio.store.sweep_lock import SweepLock

_log = logging.getLogger(__name__)
T = TypeVar("T")

LOCK_NAME = "sessions.sweep.lock"
# The shortest TTL is a minute; an expired session is on disk for about another minute.
PURGE_EVERY_S = 60.0
# Between two batches of a purge, and two steps of giving pages back.
PURGE_PAUSE_S = 0.1
# How long sessions are kept if their endpoint is no longer configured or has sessions switched off: the longest TTL.
UNKNOWN_ENDPOINT_KEEP_S = 604_800.0
# 0.25 s: without turns it only reads a counter. After a checkpoint of MANY_PAGES (SQLite's own threshold) the next one
# comes at once, because there are many turns.
CHECKPOINT_EVERY_S = 0.25
MANY_PAGES = 1_000
CHECKPOINT_PAUSE_S = 0.01
# 32 MiB, half of the commits' own threshold (session_file.BACKSTOP_PAGES). Some thousand turns write that much.
RESTART_PAGES = 8_192
# Pages moved while the writers wait: a few milliseconds. A backup's long read leaves more; then this waits for its end.
RESTART_REST_PAGES = 1_024


class Write(Protocol):
    """Runs one transaction on the store's writer, after the waiting ones."""

    def __call__(self, work: Callable[[sqlite3.Connection], T]) -> Awaitable[T]: ...


class SessionUpkeep:
    """Run `run` while the store is open."""

    def __init__(
        self, data_dir: Path, keep_s: Mapping[UUID, float], connection: SerialConnection, write: Write
    ) -> None:
        self._keep_s = {endpoint.bytes: keep for endpoint, keep in keep_s.items()}
        self._connection = connection
        self._write = write
        self._lock = SweepLock(data_dir / LOCK_NAME)
        self._moved = 0
        self._now_s: Callable[[], float] = time.time
        self._purges = Outage(_log, "cannot delete expired sessions")
        self._checkpoints = Outage(_log, "cannot move written sessions into their file")

    async def run(self) -> None:
        """Move pages four times a second, purge every minute, until cancelled. Failures are logged and tried again."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._repeat, self.checkpoint, CHECKPOINT_EVERY_S, self._checkpoints)
                nursery.start_soon(self._repeat, self.purge, PURGE_EVERY_S, self._purges)
        finally:
            self._lock.close()

    async def _repeat(self, act: Callable[[], Awaitable[object]], every_s: float, outage: Outage) -> None:
        while True:
            await trio.sleep(every_s)
            if not self._lock.try_hold():
                continue
            try:
                await act()
            except StoreError as exc:
                outage.failed(exc)
            else:
                outage.succeeded()

    async def checkpoint(self) -> None:
        """Move committed pages to their places in the file, except pages that readers or writers are using."""
        while await self._move_pages() >= MANY_PAGES:  # noqa: ASYNC110 - a pause, nothing is waited for
            await trio.sleep(CHECKPOINT_PAUSE_S)

    async def _move_pages(self) -> int:
        before, self._moved = self._moved, await self._connection.run(move_pages, abandon_on_cancel=True)
        # If there are fewer than before, the -wal file began anew meanwhile.
        return self._moved - before if self._moved >= before else self._moved

    async def purge(self) -> None:
        """Delete all expired sessions, and return free pages beyond the kept ones."""
        while await self.purge_batch() == PURGE_SESSIONS:  # noqa: ASYNC110 - a pause, nothing is waited for
            await trio.sleep(PURGE_PAUSE_S)
        while await self._write(give_back_pages):  # noqa: ASYNC110
            await trio.sleep(PURGE_PAUSE_S)

    async def purge_batch(self) -> int:
        """Delete at most PURGE_SESSIONS expired sessions and return their number. Writes nothing if there are none."""
        now = self._now_s()
        endpoints = await self._connection.run(find_endpoints, abandon_on_cancel=True)
        before = {endpoint: now - self._keep_s.get(endpoint, UNKNOWN_ENDPOINT_KEEP_S) for endpoint in endpoints}
        numbers = await self._connection.run(partial(find_expired, before), abandon_on_cancel=True)
        if numbers:
            await self._write(partial(delete_sessions, numbers, max(before.values())))
        return len(numbers)

    async def aclose(self) -> None:
        """Close its connection."""
        await self._connection.aclose()


def move_pages(connection: sqlite3.Connection) -> int:
    """Run a checkpoint. If the -wal file is long and little of it is left to move, the file begins anew afterwards.

    Returns how many pages of the -wal file are in their places.
    """
    _, written, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if written > RESTART_PAGES and written - moved <= RESTART_REST_PAGES:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    return max(0, int(moved))  # -1: another connection runs a checkpoint
