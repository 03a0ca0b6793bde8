"""A worker's connections to PostgreSQL.

Rules:
1. A use of a connection has `limit_s` for everything: waiting for a connection, and the statements. The caller's own
   deadline and cancellation end it earlier.
2. A connection whose use was cancelled, ran out of time or failed is never used again: it may be in the middle of a
   reply, or of a transaction. The server is asked to stop the query, and the connection is closed.
3. While the server is away, a use raises EngineAway at once. `run` tries again until it answers. A use that ran out of
   time may have met a lock, or a server that is stopped: `run` asks on a connection of its own which one it is, and
   until it knows, uses are refused. So a frozen server costs the uses under way their limit, and later ones nothing.
4. Whether a use that failed has been committed is not known. Statements are written so that they can be repeated.
5. At the end, when `run` has ended, those who have something left to write `reach` the server first. One that does not
   answer costs the first of them `limit_s`, and the others nothing: a gateway stops in time also without it.
6. An idle connection that was closed (a restart, a pooler's or a firewall's idle limit) is no outage: another one is
   opened. It is seen by what the server has said or by its end, which wait to be read.
7. A server that takes no writes (a primary that was demoted) is read all the same. A use that it refuses for this ends
   the idle connections, because the next ones may find the new primary, and `run` asks until writes are taken.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.names import resolve_hosts
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.errors import StoreError

logger = logging.getLogger("pg_trio.cluster")

T = TypeVar("T")
Work = Callable[[TrioConnection], Awaitable[T]]

# Connections of a worker. Sessions are two statements a turn, the rest are tasks: 4 carry some 10,000 statements a
# second. PostgreSQL's default `max_connections` is 100.
POOL_CONNECTIONS = 4
# Between two tries while the server is away.
RETRY_S = 0.25
PROBE_PAUSE_S = 0.01
# For connecting and an answer to SELECT 1. A SYN is sent again after 1 s.
PROBE_LIMIT_S = 2.0
# For a migration, once the server has answered: it waits for other nodes' migrations.
WORK_LIMIT_S = 60.0
READ_ONLY = "takes no writes: it is a standby, or `default_transaction_read_only` is on"
# FATAL errors that pass.
PASSING = (
    "starting up",
    "accepting connections",
    "shutting down",
    "recovery mode",
    "too many",
    "remaining connection slots",
)
# For asking the server to stop a query. It is closed then in any case.
CANCEL_LIMIT_S = 2.0
# Cancelled queries that wait to be stopped. More are only closed.
MOST_CANCELS = 64


@define(eq=False)
class PostgresPool:
    """See the rules. `run` keeps it."""

    conninfo: str = field(repr=False)
    limit_s: float
    size: int = POOL_CONNECTIONS
    # False: another pool of this worker says in the log when the server is away.
    tells_outages: bool = True
    # Awaited with the first connection of `run`, before any use: the server was away when the gateway started.
    prepare: Work[object] | None = None
    is_up: bool = field(default=False, init=False)
    is_read_only: bool = field(default=False, init=False)
    _idle: list[TrioConnection] = field(factory=list, init=False)
    _all: set[TrioConnection] = field(factory=set, init=False)
    _free: trio.Semaphore = field(init=False)
    _to_probe: trio.Event = field(factory=trio.Event, init=False)
    _is_told_away: bool = field(default=False, init=False)
    _is_closed: bool = field(default=False, init=False)
    _is_running: bool = field(default=False, init=False)
    _is_lost: bool = field(default=False, init=False)
    _broken: tuple[trio.MemorySendChannel[TrioConnection], trio.MemoryReceiveChannel[TrioConnection]] = field(
        init=False
    )

    def __attrs_post_init__(self) -> None:
        self._free = trio.Semaphore(self.size)
        self._broken = trio.open_memory_channel(MOST_CANCELS)

    @property
    def can_write(self) -> bool:
        """Whether the server can be used for everything."""
        return self.is_up and not self.is_read_only

    async def use(self, work: Work[T], limit_s: float | None = None) -> T:
        """The result of `work` with a connection, which commits each statement by itself.

        Raises EngineAway; psycopg.Error for a statement that the server refuses.
        """
        if not self.is_up:
            raise EngineAway("PostgreSQL is away")
        with trio.move_on_after(limit_s or self.limit_s):
            async with self._free:
                return await self._use_one(work)
        self._suspect()
        raise EngineAway("PostgreSQL does not answer in time")

    async def fetch(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of one statement. Raises as `use`."""

        async def fetch(connection: TrioConnection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement.encode(), values)).fetchall()

        return await self.use(fetch)

    async def _use_one(self, work: Work[T]) -> T:
        try:
            connection = self._take_idle() or await self._open()
        except (psycopg.Error, OSError) as lost:
            self._suspect()
            raise EngineAway(f"PostgreSQL: {say(lost)}") from lost
        is_whole = False
        try:
            result = await work(connection)
            is_whole = not connection.closed
            return result
        except (psycopg.OperationalError, psycopg.InterfaceError) as lost:
            if not connection.closed and lost.sqlstate is not None and not lost.sqlstate.startswith("57P"):
                raise
            self._suspect()
            raise EngineAway(f"PostgreSQL: {say(lost)}") from lost
        except psycopg.errors.ReadOnlySqlTransaction:
            self.is_read_only = True
            self._close_idle()
            self._to_probe.set()
            raise
        except psycopg.Error:
            is_whole = not connection.closed and connection.info.transaction_status == 0
            raise
        finally:
            if is_whole and self.is_up:
                self._idle.append(connection)
            else:
                self._discard(connection)

    def _take_idle(self) -> TrioConnection | None:
        """An idle connection that the server, or what is in between, has not closed meanwhile."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.has_unread:
                return connection
            self._finish(connection)
            # The next one may find another server, such as a standby.
            self._to_probe.set()
        return None

    async def check(self, work: Work[object] | None = None, work_limit_s: float = WORK_LIMIT_S) -> None:
        """Connect once, and await `work` with the connection: a server that does not answer costs no more than
        PROBE_LIMIT_S or `limit_s`, whichever is longer, and the work `work_limit_s`.

        Raises EngineAway and OSError if the server is away; psycopg.Error if it refuses us (a password, a database),
        and what `work` raises.
        """
        try:
            await self._check_one(work, work_limit_s)
        except psycopg.errors.ReadOnlySqlTransaction as refused:
            raise EngineAway(READ_ONLY) from refused
        except psycopg.OperationalError as lost:
            if is_refusal(lost):
                raise
            raise EngineAway(say(lost)) from lost

    async def _check_one(self, work: Work[object] | None, work_limit_s: float) -> None:
        connection = None
        try:
            with _in_time(PROBE_LIMIT_S if work is None else max(PROBE_LIMIT_S, self.limit_s)):
                connection = await self._open()
                self.is_read_only = await takes_no_writes(connection)
            if work is not None:
                with _in_time(work_limit_s):
                    await work(connection)
        finally:
            if connection is not None:
                self._finish(connection)
        # Until `run` knows better: requests may come before its first probe.
        self.is_up = self.prepare is None and not self._is_closed

    async def reach(self) -> None:
        """Ask the server once more (rule 5). Raises EngineAway, psycopg.Error and OSError if it does not answer."""
        if self._is_lost:
            raise EngineAway("PostgreSQL is away")
        # Until it has answered, also where the caller's patience ends first.
        self._is_lost = True
        if self.is_up:
            await self.fetch("SELECT 1")
        else:
            with trio.move_on_after(self.limit_s) as limit:
                await self.check()
            if limit.cancelled_caught:
                raise EngineAway("PostgreSQL does not answer in time")
        self._is_lost = False

    async def run(self) -> None:
        """Find out whether the server answers, and stop the queries of cancelled uses. Until cancelled."""
        self._is_running = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_queries)
                while True:
                    self._to_probe = trio.Event()
                    self._note(await self._probe())
                    if self.can_write:
                        await self._to_probe.wait()
                    else:
                        await trio.sleep(RETRY_S)
        finally:
            # Nothing will stop these queries. While they were open, their transactions would hold up those that follow.
            self._is_running = False
            self._finish_broken()

    async def aclose(self) -> None:
        """Close what is idle. Uses have ended by now."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """The same, at once: every connection is closed."""
        self.is_up, self._is_closed = False, True
        self._close_idle()
        self._broken[0].close()
        for connection in list(self._all):
            self._finish(connection)

    async def wait_until_up(self, limit_s: float) -> bool:
        """Wait until the server can be used, for a while; whether it can."""
        with trio.move_on_after(limit_s):
            # A poll: a change of state is rare, and so are those who wait for one.
            while not self.is_up:  # noqa: ASYNC110
                await trio.sleep(PROBE_PAUSE_S)
        return self.is_up

    def _suspect(self) -> None:
        """Something failed: use nothing until `run` has asked the server."""
        self.is_up = False
        self._close_idle()
        self._to_probe.set()

    def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            self._finish(connection)

    async def _open(self) -> TrioConnection:
        connection = await TrioConnection.open(await resolve_hosts(self.conninfo))
        self._all.add(connection)
        return connection

    def _finish(self, connection: TrioConnection) -> None:
        self._all.discard(connection)
        connection.pgconn.finish()

    async def _probe(self) -> str | None:
        """What is wrong, if anything is."""
        try:
            await self.check()
            if self.prepare is not None:
                await self.check(self.prepare)
                self.prepare = None
        except (psycopg.Error, EngineAway, OSError, StoreError) as away:
            return say(away)
        return None

    def _note(self, away: str | None) -> None:
        wrong = READ_ONLY if away is None and self.is_read_only else away
        if wrong is None and self._is_told_away and self.tells_outages:
            logger.warning("PostgreSQL works again")
        if wrong is not None and not self._is_told_away and self.tells_outages:
            logger.error("PostgreSQL: %s. Trying again until it works", wrong)
        self.is_up, self._is_told_away = away is None and not self._is_closed, wrong is not None

    def _discard(self, connection: TrioConnection) -> None:
        if not self._is_running or connection.closed or connection.info.transaction_status == 0:
            self._finish(connection)
            return
        try:
            self._broken[0].send_nowait(connection)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self._finish(connection)

    def _finish_broken(self) -> None:
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                self._finish(self._broken[1].receive_nowait())

    async def _stop_queries(self) -> None:
        async for connection in self._broken[1]:
            try:
                with trio.move_on_after(CANCEL_LIMIT_S):
                    await connection.cancel_query()
            except psycopg.Error:
                # Closing is all that is left.
                continue
            finally:
                self._finish(connection)


async def takes_no_writes(connection: TrioConnection) -> bool:
    """Whether the server refuses writes: READ_ONLY. Raises psycopg.Error."""
    row = await (await connection.execute("SELECT current_setting('transaction_read_only')")).fetchone()
    return row is not None and row[0] == "on"


@contextmanager
def _in_time(limit_s: float) -> Iterator[None]:
    """Raises EngineAway if the block takes longer."""
    with trio.move_on_after(limit_s) as limit:
        yield
    if limit.cancelled_caught:
        raise EngineAway("does not answer in time")


def is_refusal(error: psycopg.OperationalError) -> bool:
    """Whether the server answered, and does not want us: a wrong password, a missing database. Not: it is starting."""
    text = str(error)
    return "FATAL" in text and not any(word in text for word in PASSING)


def say(error: BaseException) -> str:
    """The first line of an error's text, without what follows."""
    return str(error).strip().partition("\n")[0].strip() or type(error).__name__


def say_away(error: BaseException) -> str:
    """The same, and that it is PostgreSQL's. A use says so itself (EngineAway)."""
    said = say(error)
    return said if said.startswith("PostgreSQL") else f"PostgreSQL: {said}"
