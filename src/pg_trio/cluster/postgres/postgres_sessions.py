"""The sessions of all nodes (contract: stages/open_session.py, SessionBook).

Rules:
1. `append` returns once both messages of the turn are committed, with the database's `synchronous_commit`. A turn is
   one statement, so it is stored completely or not at all. Its session's row is locked meanwhile: turns of several
   nodes have consecutive positions, in the order of their commits.
2. A turn has an id. If its answer was lost and the database works again soon, the turn is sent once more with its id,
   and is not stored twice.
3. Without the database every method raises StoreError: a session's call is a 503, others go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.postgres_pool import PostgresPool, Work, say_away
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.domain.chat import Json
from pg_trio.domain.session import StoredSession, Turn
from pg_trio.errors import StoreError
from pg_trio.store.outage import Outage
from pg_trio.store.session_file import MOST_TOKENS, session_of, shapes_of

logger = logging.getLogger("pg_trio.cluster")

READ = (
    "SELECT endpoint, token, holder, created_at, last_active_at, message_count, token_count, byte_count,"
    " ARRAY(SELECT body FROM pgtrio.messages WHERE session = id ORDER BY position)"
    " FROM pgtrio.sessions WHERE id = %s"
)
APPEND = "SELECT pgtrio.append_turn(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
FORGET = "DELETE FROM pgtrio.sessions WHERE id = %s AND last_active_at <= %s"
PURGE = (
    "DELETE FROM pgtrio.sessions WHERE id IN (SELECT id FROM pgtrio.sessions"
    " WHERE endpoint = %s AND last_active_at < %s LIMIT %s FOR UPDATE SKIP LOCKED)"
)
# Every minute, at most so many sessions of each endpoint in one statement, as on one machine.
PURGE_EVERY_S = 60.0
PURGE_SESSIONS = 200
# A connection that was lost alone is replaced within milliseconds.
RESEND_WITHIN_S = 0.5


@define(eq=False)
class PostgresSessions:
    """See the rules. `run` deletes sessions without a turn for `keep_s` (by endpoint)."""

    pool: PostgresPool
    keep_s: Mapping[UUID, float]
    _outage: Outage = field(factory=lambda: Outage(logger, "cannot use sessions"))

    @property
    def is_up(self) -> bool:
        """Whether the database could be used the last time."""
        return self.pool.is_up and not self._outage.is_on

    async def load(self, session_id: UUID) -> StoredSession | None:
        """See SessionBook."""

        async def read(connection: TrioConnection) -> tuple[Any, ...] | None:
            return await (await connection.execute(READ, (session_id,))).fetchone()

        row = await self._use(read)
        return None if row is None else session_of(session_id, row, _decode_shapes, "PostgreSQL")

    async def append(self, turn: Turn) -> bool:
        """See SessionBook."""
        values = _values_of(turn)

        async def write(connection: TrioConnection) -> bool:
            row = await (await connection.execute(APPEND, values)).fetchone()
            return row is not None and bool(row[0])

        end_at = trio.current_time() + self.pool.limit_s
        try:
            is_kept: bool = await self._use(write)
        except StoreError:
            # Both tries have the limit of one. What ran out of time met a lock, or a server that is stopped.
            left_s = end_at - trio.current_time()
            if left_s <= 0 or not await self.pool.wait_until_up(min(RESEND_WITHIN_S, left_s)):
                raise
            left_s = max(end_at - trio.current_time(), 0.001)
            is_kept = await self._use(write, left_s)
        return is_kept

    async def forget(self, session: StoredSession) -> None:
        """See SessionBook."""

        async def delete(connection: TrioConnection) -> None:
            await connection.execute(FORGET, (session.id, session.last_active_at))

        try:
            await self._use(delete)
        except StoreError:
            # The outage is logged, and a purge deletes it later.
            return

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await trio.sleep(PURGE_EVERY_S)
            await self.purge(time.time())

    async def purge(self, now_s: float) -> int:
        """Delete what is too old. Returns how many sessions; 0 if the database is away."""
        deleted = 0

        async def delete(connection: TrioConnection) -> int:
            count = 0
            for endpoint, keep_s in self.keep_s.items():
                count += (await connection.execute(PURGE, (endpoint, now_s - keep_s, PURGE_SESSIONS))).rowcount
            return count

        try:
            deleted = await self.pool.use(delete)
        except (EngineAway, psycopg.Error) as away:
            logger.debug("old sessions could not be deleted: %s", away)
        return deleted

    async def _use(self, work: Work[Any], limit_s: float | None = None) -> Any:
        try:
            result = await self.pool.use(work, limit_s)
        except (EngineAway, psycopg.Error) as away:
            error = StoreError(say_away(away))
            self._outage.failed(error)
            raise error from away
        self._outage.succeeded()
        return result


def _values_of(turn: Turn) -> tuple[object, ...]:
    bodies = [orjson.dumps(shape).decode("utf-8") for shape in shapes_of(turn)]
    # As on one machine: the size of all messages as one JSON array.
    size = sum(len(body.encode("utf-8")) + 1 for body in bodies) + 1
    tokens = min(turn.token_count, MOST_TOKENS)
    owner = (turn.session_id, turn.is_first, turn.endpoint, turn.token_id, turn.at)
    return (uuid4(), *owner, bodies, size, tokens, turn.holder)


def _decode_shapes(bodies: Sequence[str]) -> list[dict[str, Json]]:
    return [orjson.loads(body) for body in bodies]
