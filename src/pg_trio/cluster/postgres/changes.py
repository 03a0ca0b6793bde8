"""What others have changed in the database: told by PostgreSQL's NOTIFY at once, with a poll as fallback.

A worker has one connection that listens. Every POLL_S it looks in any case. A notification is a name, `tokens`, and may
say what has changed: `tokens 12 15`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import psycopg
import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.names import resolve_hosts
from pg_trio.cluster.postgres.trio_connection import TrioConnection

logger = logging.getLogger("pg_trio.cluster")

CHANNEL = "pgtrio"
# The promise is a second, also when a notification is lost.
POLL_S = 0.5
CONNECT_LIMIT_S = 2.0


@define(eq=False)
class ChangeWatch:
    """Calls `look` after each notification of `name`, and every POLL_S. It may raise EngineAway or psycopg.Error.

    `on_named` gets the words behind the name, before `look`: it needs no database.
    """

    conninfo: str = field(repr=False)
    name: str
    look: Callable[[], Awaitable[None]]
    on_named: Callable[[Sequence[str]], None] | None = None
    _told: trio.Event = field(factory=trio.Event)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen_forever)
            while True:
                with trio.move_on_after(POLL_S):
                    await self._told.wait()
                self._told = trio.Event()
                try:
                    await self.look()
                except (EngineAway, psycopg.Error) as away:
                    logger.debug("changes of %s could not be read: %s", self.name, away)

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError) as away:
                # The poll goes on meanwhile; the pool says that the server is away.
                logger.debug("cannot listen for changes: %s", away)
            await trio.sleep(POLL_S)

    async def _listen(self) -> None:
        connection = None
        with trio.move_on_after(CONNECT_LIMIT_S):
            connection = await TrioConnection.open(await resolve_hosts(self.conninfo))
        if connection is None:
            return
        try:
            with trio.move_on_after(CONNECT_LIMIT_S) as starting:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
            if not starting.cancelled_caught:
                await self._read_notices(connection)
        finally:
            connection.pgconn.finish()

    async def _read_notices(self, connection: TrioConnection) -> None:
        """Until the connection is lost (psycopg.Error)."""
        # What was told between two connections is not told again.
        self._told.set()
        while True:
            await trio.lowlevel.wait_readable(connection.pgconn.socket)
            connection.pgconn.consume_input()
            while (notice := connection.pgconn.notifies()) is not None:
                self._note(notice.extra.decode("utf-8", "replace"))

    def _note(self, told: str) -> None:
        name, *words = told.split(" ")
        if name == self.name:
            if words and self.on_named is not None:
                self.on_named(words)
            self._told.set()
