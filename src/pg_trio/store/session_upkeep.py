"""What is done to `sessions.db` beside the requests: written pages are moved into it, expired sessions leave it, and
their space goes back to the disk.

Rules:
1. One worker does it for all that share the directory; a lock of the kernel's says who, and goes with its process.
2. A commit only appends to the -wal file. Moving its pages to their places (a checkpoint: random writes, and a wait for
   the disk) is done here, on a connection and a thread of its own: PASSIVE, so that nobody waits for it.
3. A -wal file begins anew only when all of it was moved, and among steady writers there is always one more turn. So
   past RESTART_PAGES the little that is left is moved while the writers wait (RESTART).
4. Where nobody does all this (its worker was killed, the disk refused), commits do from `BACKSTOP_PAGES` on.
5. What is deleted goes through the store's writer, in parts with pauses between them: the requests' turns come first.
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
# The shortest TTL is a minute: a session that nobody can use any more is on disk for about another.
PURGE_EVERY_S = 60.0
# Between two batches of a purge, and two steps of giving pages back.
PURGE_PAUSE_S = 0.1
# Sessions of endpoints that are no longer configured, or have sessions switched off: the longest TTL that can be set.
UNKNOWN_ENDPOINT_KEEP_S = 604_800.0
# 0.25 s: without turns it is a look at a counter. After one that moved MANY_PAGES (as many as SQLite's own commits wait
# for) the next comes at once: turns are many.
CHECKPOINT_EVERY_S = 0.25
MANY_PAGES = 1_000
CHECKPOINT_PAUSE_S = 0.01
# 32 MiB, half of what commits bear (session_file.BACKSTOP_PAGES); so much is written by some thousand turns.
RESTART_PAGES = 8_192
# What is left to move while the writers wait: a few milliseconds. A backup's long read leaves more, and is waited out.
RESTART_REST_PAGES = 1_024


class Write(Protocol):
    """One transaction on the store's writer, after those that wait already."""

    def __call__(self, work: Callable[[sqlite3.Connection], T]) -> Awaitable[T]: ...


class SessionUpkeep:
    """Run `run`, for as long as the store is open."""

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
        """What was committed is in its place in the file, but for what readers or writers are at just now."""
        while await self._move_pages() >= MANY_PAGES:  # noqa: ASYNC110 - a pause, nothing is waited for
            await trio.sleep(CHECKPOINT_PAUSE_S)

    async def _move_pages(self) -> int:
        before, self._moved = self._moved, await self._connection.run(move_pages, abandon_on_cancel=True)
        # Fewer than before: the -wal file began anew meanwhile.
        return self._moved - before if self._moved >= before else self._moved

    async def purge(self) -> None:
        """No expired session is left, nor more free pages than are kept."""
        while await self.purge_batch() == PURGE_SESSIONS:  # noqa: ASYNC110 - a pause, nothing is waited for
            await trio.sleep(PURGE_PAUSE_S)
        while await self._write(give_back_pages):  # noqa: ASYNC110
            await trio.sleep(PURGE_PAUSE_S)

    async def purge_batch(self) -> int:
        """Delete at most PURGE_SESSIONS expired sessions: how many that were. Writes nothing where none are."""
        now = self._now_s()
        endpoints = await self._connection.run(find_endpoints, abandon_on_cancel=True)
        before = {endpoint: now - self._keep_s.get(endpoint, UNKNOWN_ENDPOINT_KEEP_S) for endpoint in endpoints}
        numbers = await self._connection.run(partial(find_expired, before), abandon_on_cancel=True)
        if numbers:
            await self._write(partial(delete_sessions, numbers, max(before.values())))
        return len(numbers)

    async def aclose(self) -> None:
        """Its connection is closed."""
        await self._connection.aclose()


def move_pages(connection: sqlite3.Connection) -> int:
    """A checkpoint; where the -wal file is long and little of it is left to move, one after which it begins anew.

    How many pages of the -wal file are in their places.
    """
    _, written, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if written > RESTART_PAGES and written - moved <= RESTART_REST_PAGES:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    return max(0, int(moved))  # -1: somebody else is at it
