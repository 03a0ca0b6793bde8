"""The sessions, as a worker sees them: read before a call, written after it, forgotten when idle for too long.

Rules:
1. `append` returns once the turn is on disk (`synchronous=FULL`), and not before. What waits at once is written
   together: one transaction and one wait for the disk, however many turns there are.
2. One writer a process; SQLite lets one process at a time write. The queue is bounded by the requests under way
   (`max_concurrent_requests`): each waits for its own turn, and has one.
3. Whoever is cancelled while its turn waits takes it back; one that is being written is stored whole. Never a half.
4. What cannot be written is not tried again: its client is told so at once, while it still listens.
5. Reading has a connection of its own: it never waits for a writer. What is purged goes through the writer's, in parts.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import trio
from attrs import define, field

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.session import StoredSession, Turn
from pg_trio.errors import StoreError
from pg_trio.store.database import BUSY_LIMIT_S, SerialConnection, explained, take_turns, write_in_turn
from pg_trio.store.outage import Outage
from pg_trio.store.session_file import (
    BATCH_TURNS,
    FILE_NAME,
    PURGE_SESSIONS,
    UNSTORABLE,
    TurnRow,
    delete_idle,
    delete_sessions,
    find_endpoints,
    find_expired,
    open_sessions,
    read_session,
    write_turns,
)

_log = logging.getLogger(__name__)
T = TypeVar("T")

# 5 s: two waits for a lock and some; a drain (`server.drain_ms`) is longer.
CLOSE_LIMIT_S = 5.0
# The shortest TTL is a minute: a session that nobody can use any more is on disk for about another.
PURGE_EVERY_S = 60.0
# Between two batches of a purge: the requests' turns come first.
PURGE_PAUSE_S = 0.1
# Sessions of endpoints that are no longer configured, or have sessions switched off: the longest TTL that can be set.
UNKNOWN_ENDPOINT_KEEP_S = 604_800.0


@define(eq=False)
class _Waiting:
    """A turn on its way to the disk."""

    row: TurnRow
    is_gone: bool = False
    failure: Exception | None = None
    done: trio.Event = field(factory=trio.Event)

    def end(self, *, is_gone: bool = False, failure: Exception | None = None) -> None:
        self.is_gone = is_gone
        self.failure = failure
        self.done.set()


class SessionStore:
    """Open with `await SessionStore.open(…)`, run `write` and `purge`, close with `aclose`."""

    def __init__(
        self,
        settings: GatewaySettings,
        keep_s: Mapping[UUID, float],
        reader: SerialConnection,
        writer: SerialConnection,
        *,
        busy_limit_s: float,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = settings.data_dir / FILE_NAME
        self._keep_s = {endpoint.bytes: keep for endpoint, keep in keep_s.items()}
        self._reader = reader
        self._writer = writer
        self._busy_limit_s = busy_limit_s
        self._now_s = now_s
        self._waiting: dict[_Waiting, None] = {}
        self._wake = trio.Event()
        self._is_closed = False
        self._reads = Outage(_log, "cannot read sessions")
        self._writes = Outage(_log, "cannot store sessions")
        self._purges = Outage(_log, "cannot delete expired sessions")

    @classmethod
    async def open(
        cls, settings: GatewaySettings, keep_s: Mapping[UUID, float], *, busy_limit_s: float = BUSY_LIMIT_S
    ) -> Self:
        """An open store; `data_dir` and `sessions.db` are made if they were not there.

        `keep_s`: for each endpoint with sessions, how long a session without a turn stays in the file. That is more
        than its TTL: the session of a call under way must not be deleted before the call ends.
        Raises: StoreError if either cannot be used.
        """
        return await trio.to_thread.run_sync(
            partial(cls._open, settings, keep_s, busy_limit_s), limiter=trio.CapacityLimiter(1)
        )

    @classmethod
    def _open(cls, settings: GatewaySettings, keep_s: Mapping[UUID, float], busy_limit_s: float) -> Self:
        path = settings.data_dir / FILE_NAME
        with ExitStack() as opened:
            reader = opened.enter_context(closing(open_sessions(settings.data_dir, busy_limit_s)))
            writer = opened.enter_context(closing(open_sessions(settings.data_dir, busy_limit_s)))
            with explained(path):
                take_turns(writer)
            opened.pop_all()
        connections = SerialConnection(path, reader), SerialConnection(path, writer)
        return cls(settings, keep_s, *connections, busy_limit_s=busy_limit_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def waiting(self) -> int:
        """Turns that wait for the writer."""
        return len(self._waiting)

    async def load(self, session_id: UUID) -> StoredSession | None:
        """The session with all its messages; None if there is none. Raises StoreError if the file cannot be read."""
        return await self._read(partial(read_session, session_id, self._path))

    async def append(self, turn: Turn) -> bool:
        """True: the turn is on disk. False: its session was deleted meanwhile, and nothing is stored.

        Raises: StoreError if the file cannot be written; nothing is stored then.
        """
        if self._is_closed:
            raise StoreError(f"{self._path}: the gateway is shutting down.")
        waiting = _Waiting(TurnRow.of(turn))
        self._waiting[waiting] = None
        self._wake.set()
        try:
            await waiting.done.wait()
        finally:
            self._waiting.pop(waiting, None)
        if waiting.failure is not None:
            raise waiting.failure
        return not waiting.is_gone

    async def forget(self, session: StoredSession) -> None:
        """The session is deleted, unless it had a turn since it was read. Where that fails, `purge` does it later."""
        try:
            await self._write(partial(delete_idle, session.id, session.last_active_at), abandon_on_cancel=True)
        except StoreError as exc:
            self._purges.failed(exc)

    async def write(self) -> None:
        """Write turns as they come, until cancelled. Never fails: each turn's own request learns what became of it."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._waiting:
                await self._write_batch()

    async def purge(self) -> None:
        """Delete what was idle for too long, until cancelled. Failures are logged and tried again."""
        while True:
            await trio.sleep(PURGE_EVERY_S)
            try:
                while await self.purge_batch() == PURGE_SESSIONS:  # noqa: ASYNC110 - a pause, nothing is waited for
                    await trio.sleep(PURGE_PAUSE_S)
            except StoreError as exc:
                self._purges.failed(exc)
            else:
                self._purges.succeeded()

    async def purge_batch(self) -> int:
        """Delete at most PURGE_SESSIONS expired sessions: how many that were. Writes nothing where none are."""
        now = self._now_s()
        endpoints = await self._reader.run(find_endpoints, abandon_on_cancel=True)
        before = {endpoint: now - self._keep_s.get(endpoint, UNKNOWN_ENDPOINT_KEEP_S) for endpoint in endpoints}
        numbers = await self._reader.run(partial(find_expired, before), abandon_on_cancel=True)
        if numbers:
            await self._write(partial(delete_sessions, numbers, max(before.values())))
        return len(numbers)

    async def aclose(self) -> None:
        """The file is closed; turns that still wait are not stored, and their requests told so."""
        self._is_closed = True
        for waiting in list(self._waiting):
            waiting.end(failure=StoreError(f"{self._path}: the gateway is shutting down."))
        self._waiting.clear()
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await self._writer.aclose()
            await self._reader.aclose()

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            result = await self._reader.run(work, abandon_on_cancel=True)
        except StoreError as exc:
            self._reads.failed(exc)
            raise
        self._reads.succeeded()
        return result

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, abandon_on_cancel: bool = False) -> T:
        in_turn = partial(write_in_turn, work, self._busy_limit_s)
        return await self._writer.run(in_turn, abandon_on_cancel=abandon_on_cancel)

    async def _write_batch(self) -> None:
        batch = list(islice(self._waiting, BATCH_TURNS))
        for waiting in batch:
            del self._waiting[waiting]
        try:
            await self._write_together(batch)
        finally:
            for waiting in batch:
                if not waiting.done.is_set():  # we were cancelled before it began
                    waiting.end(failure=StoreError(f"{self._path}: the gateway is shutting down."))

    async def _write_together(self, batch: list[_Waiting]) -> None:
        try:
            gone = await self._write(partial(write_turns, [waiting.row for waiting in batch]))
        except StoreError as exc:
            self._writes.failed(exc)
            for waiting in batch:
                waiting.end(failure=exc)
        except UNSTORABLE as exc:
            # The others are written without it.
            if len(batch) == 1:
                batch[0].end(failure=exc)
            else:
                for waiting in batch:
                    await self._write_together([waiting])
        else:
            self._writes.succeeded()
            for waiting in batch:
                waiting.end(is_gone=waiting.row.session_id in gone)
