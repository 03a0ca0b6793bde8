"""The sessions of one worker: read before a call, written after it, deleted when idle for too long.

Rules:
1. `append` returns only once the turn is on disk (`synchronous=FULL`). Turns that wait together are written together,
   with one transaction and one wait for the disk.
2. One writer a process; SQLite allows one writing process at a time. The queue is bounded by the requests under way
   (`max_concurrent_requests`): each request waits for its single turn.
3. A request that is cancelled while its turn waits takes the turn back. A turn that is being written is stored
   completely, never half of it.
4. Behind another process's lock a turn is tried LOCKED_TRIES times: the provider is paid already, and a worker that is
   paused inside its transaction holds the lock as long. Between two tries, rule 3 holds. Any other failure is not tried
   again: the client gets the error at once, while it still listens.
5. Reading has its own connection, so it never waits for a writer. The background work (session_upkeep.py) also has its
   own; its deletions go through the writer's, in parts.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import trio
from attrs import define, field, frozen

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.session import StoredSession, Turn
from pg_trio.errors import StoreError
from pg_trio.store.database import (
    BUSY_LIMIT_S,
    SerialConnection,
    check_is_there,
    explained,
    is_busy,
    take_turns,
    write_in_turn,
)
from pg_trio.store.outage import Outage
from pg_trio.store.session_file import (
    BATCH_TURNS,
    FILE_NAME,
    UNSTORABLE,
    TurnRow,
    delete_idle,
    open_sessions,
    read_session,
    write_turns,
)
from pg_trio.store.session_upkeep import SessionUpkeep

_log = logging.getLogger(__name__)
T = TypeVar("T")

# 10 s, each try is BUSY_LIMIT_S: common pauses (a stopped process, a machine that moves) are seconds. Tries are counted
# and not their time, because a pause of our own says nothing about the lock.
LOCKED_TRIES = 5
# 5 s: more than two waits for a lock; a drain (`server.drain_ms`) is longer.
CLOSE_LIMIT_S = 5.0


@define(eq=False)
class _Waiting:
    """A turn on its way to the disk."""

    row: TurnRow
    tries: int = 0
    has_left: bool = False
    is_gone: bool = False
    failure: Exception | None = None
    done: trio.Event = field(factory=trio.Event)

    def end(self, *, is_gone: bool = False, failure: Exception | None = None) -> None:
        self.is_gone = is_gone
        self.failure = failure
        self.done.set()


@frozen(slots=True)
class _Connections:
    """One connection for each kind of work, so that none waits for another's thread."""

    reader: SerialConnection
    writer: SerialConnection
    upkeep: SerialConnection


class SessionStore:
    """Open with `await SessionStore.open(…)`, run `write` and `upkeep.run`, close with `aclose`."""

    def __init__(
        self, settings: GatewaySettings, keep_s: Mapping[UUID, float], connections: _Connections, busy_limit_s: float
    ) -> None:
        self._path = settings.data_dir / FILE_NAME
        self._file = self._path.stat()
        self._reader = connections.reader
        self._writer = connections.writer
        self._busy_limit_s = busy_limit_s
        self.upkeep = SessionUpkeep(settings.data_dir, keep_s, connections.upkeep, self._write)
        self._waiting: dict[_Waiting, None] = {}
        self._wake = trio.Event()
        self._is_closed = False
        self._reads = Outage(_log, "cannot read sessions")
        self._writes = Outage(_log, "cannot store sessions")
        self._deletions = Outage(_log, "cannot delete an expired session")

    @property
    def is_up(self) -> bool:
        """Whether the file could be used the last time."""
        return not (self._reads.is_on or self._writes.is_on)

    @classmethod
    async def open(
        cls, settings: GatewaySettings, keep_s: Mapping[UUID, float], *, busy_limit_s: float = BUSY_LIMIT_S
    ) -> Self:
        """An open store; a missing `data_dir` or `sessions.db` is made.

        `keep_s`: for each endpoint with sessions, how long a session without a turn stays in the file. This is longer
        than its TTL, because a running call's session must not be deleted before the call ends.
        Raises: StoreError if either cannot be used.
        """
        return await trio.to_thread.run_sync(
            partial(cls._open, settings, keep_s, busy_limit_s), limiter=trio.CapacityLimiter(1)
        )

    @classmethod
    def _open(cls, settings: GatewaySettings, keep_s: Mapping[UUID, float], busy_limit_s: float) -> Self:
        path = settings.data_dir / FILE_NAME
        with ExitStack() as opened:
            reader, writer, upkeep = (
                opened.enter_context(closing(open_sessions(settings.data_dir, busy_limit_s))) for _ in range(3)
            )
            with explained(path):
                take_turns(writer)
                take_turns(upkeep)
            opened.pop_all()
        serial = [SerialConnection(path, connection) for connection in (reader, writer, upkeep)]
        return cls(settings, keep_s, _Connections(*serial), busy_limit_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def waiting(self) -> int:
        """The number of turns that wait for the writer."""
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
            waiting.has_left = True
            self._waiting.pop(waiting, None)
        if waiting.failure is not None:
            raise waiting.failure
        return not waiting.is_gone

    async def forget(self, session: StoredSession) -> None:
        """Delete the session, unless it had a turn since it was read. If that fails, a purge does it later."""
        try:
            await self._write(partial(delete_idle, session.id, session.last_active_at), abandon_on_cancel=True)
        except StoreError as exc:
            self._deletions.failed(exc)
        else:
            self._deletions.succeeded()

    async def write(self) -> None:
        """Write turns until cancelled. Never fails: each turn's request gets its own error."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._waiting:
                await self._write_batch()

    async def aclose(self) -> None:
        """Close the file. Waiting turns are not stored, and their requests get an error."""
        self._is_closed = True
        for waiting in list(self._waiting):
            waiting.end(failure=StoreError(f"{self._path}: the gateway is shutting down."))
        self._waiting.clear()
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await self._writer.aclose()
            await self._reader.aclose()
            await self.upkeep.aclose()

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            result = await self._reader.run(work, abandon_on_cancel=True)
        except StoreError as exc:
            self._reads.failed(exc)
            raise
        self._reads.succeeded()
        return result

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, abandon_on_cancel: bool = False) -> T:
        return await self._writer.run(partial(self._write_here, work), abandon_on_cancel=abandon_on_cancel)

    def _write_here(self, work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
        """Write, if the path still names the open file. A deleted file accepts writes and loses them when it is
        closed."""
        check_is_there(self._path, self._file)
        return write_in_turn(work, self._busy_limit_s, connection)

    async def _write_batch(self) -> None:
        batch = list(islice(self._waiting, BATCH_TURNS))
        for waiting in batch:
            del self._waiting[waiting]
        try:
            await self._write_together(batch)
        finally:
            for waiting in batch:
                # Cancelled before the write began.
                if not waiting.done.is_set() and waiting not in self._waiting:
                    waiting.end(failure=StoreError(f"{self._path}: the gateway is shutting down."))

    async def _write_together(self, batch: list[_Waiting]) -> None:
        try:
            gone = await self._write(partial(write_turns, [waiting.row for waiting in batch]))
        except StoreError as exc:
            self._writes.failed(exc)
            if is_busy(exc.__cause__):
                self._try_again(batch, exc)
                return
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

    def _try_again(self, batch: list[_Waiting], locked: StoreError) -> None:
        """Put the batch back in front of the turns that wait. The try counts for these, too: they met the same lock."""
        tried = [*batch, *self._waiting]
        self._waiting.clear()
        for waiting in tried:
            waiting.tries += 1
            if waiting.has_left or waiting.tries >= LOCKED_TRIES:
                waiting.end(failure=locked)
            else:
                self._waiting[waiting] = None
