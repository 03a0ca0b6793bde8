"""Operators, overrides and the audit of all nodes, as one worker sees them (stores/store_protocols.py, Operators).

A change by any node is notified, with a poll as fallback (changes.py); the new overrides are handed to `on_overrides`.
While PostgreSQL is away, those that were read last hold; a worker that starts without it has the file's own settings
until it is back.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.changes import POLL_S, ChangeWatch
from pg_trio.cluster.postgres.operator_rows import (
    DELETE_OVERRIDE,
    INSERT_AUDIT,
    SELECT_AUDIT,
    SELECT_OPERATORS,
    SELECT_OVERRIDES,
    SET_OVERRIDE,
    audit_of,
    audit_values,
    operator_of,
    override_of,
)
from pg_trio.cluster.postgres.postgres_pool import PostgresPool, Work, say_away
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.domain.operator import AuditRow, Change, Operator, Override
from pg_trio.errors import StoreError
from pg_trio.store.operators import SESSION_S
from pg_trio.store.polls import Polls
from pg_trio.store.token_file import hash_token

logger = logging.getLogger("pg_trio.cluster")
T = TypeVar("T")

BY_KEY = f"{SELECT_OPERATORS} WHERE digest = %s AND is_active"
BY_SESSION = (
    f"{SELECT_OPERATORS} WHERE is_active"  # noqa: S608
    " AND id = (SELECT operator_id FROM pgtrio.page_sessions WHERE digest = %s AND expires_at > %s)"
)
USE_LINK = "DELETE FROM pgtrio.login_links WHERE digest = %s AND expires_at > %s RETURNING operator_id"
READ_REVISION = "SELECT coalesce(max(revision), 0) FROM pgtrio.revisions WHERE name = 'operators'"


@define(eq=False)
class PostgresOperators:
    """See OperatorStore (store/operators.py) for each method."""

    pool: PostgresPool
    _revision: int = -1
    _on_overrides: Callable[[Sequence[Override]], None] | None = None
    # See OperatorStore.
    good_until: float = math.inf
    _polled: Polls = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._polled = Polls(self, self._look, POLL_S, (StoreError,))

    async def find(self, key: str) -> Operator | None:
        """See OperatorStore."""
        return await self._one(BY_KEY, hash_token(key))

    async def find_by_session(self, session: str) -> Operator | None:
        """See OperatorStore."""
        return await self._one(BY_SESSION, hash_token(session), time.time())

    async def open_session(self, operator: Operator) -> str:
        """See OperatorStore."""
        session, now = secrets.token_urlsafe(32), time.time()

        async def write(connection: TrioConnection) -> None:
            async with connection.transaction():
                await connection.execute("DELETE FROM pgtrio.page_sessions WHERE expires_at <= %s", (now,))
                await connection.execute(
                    "INSERT INTO pgtrio.page_sessions VALUES (%s, %s, %s, %s)",
                    (hash_token(session), operator.id, now, now + SESSION_S),
                )

        await self._use(write)
        return session

    async def end_session(self, session: str) -> None:
        """See OperatorStore."""

        async def write(connection: TrioConnection) -> None:
            await connection.execute("DELETE FROM pgtrio.page_sessions WHERE digest = %s", (hash_token(session),))

        await self._use(write)

    async def use_link(self, secret: str) -> Operator | None:
        """See OperatorStore."""
        now = time.time()

        async def take(connection: TrioConnection) -> tuple[Any, ...] | None:
            async with connection.transaction():
                row = await (await connection.execute(USE_LINK, (hash_token(secret), now))).fetchone()
                await connection.execute("DELETE FROM pgtrio.login_links WHERE expires_at <= %s", (now,))
                return row

        row = await self._use(take)
        return None if row is None else await self._one(f"{SELECT_OPERATORS} WHERE id = %s AND is_active", row[0])

    async def read_overrides(self) -> list[Override]:
        """See OperatorStore. At the start, while the database is away: none, and `watch` brings them."""
        try:
            return [override_of(row) for row in await self._read(SELECT_OVERRIDES)]
        except StoreError as error:
            if self._revision >= 0:
                raise
            logger.error("overrides of operators are not known until PostgreSQL is back: %s", error)
            return []

    async def override(self, overrides: Sequence[Override], change: Change) -> None:
        """See OperatorStore."""

        async def write(connection: TrioConnection) -> None:
            async with connection.transaction():
                for one in overrides:
                    if one.value is None:
                        await connection.execute(DELETE_OVERRIDE, (one.target, one.field))
                    else:
                        await connection.execute(SET_OVERRIDE, (one.target, one.field, json.dumps(one.value)))
                await connection.execute(INSERT_AUDIT, audit_values(change))

        await self._use(write)

    async def read_audit(self, before: int, limit: int) -> list[AuditRow]:
        """See OperatorStore."""
        return [audit_of(row) for row in await self._read(SELECT_AUDIT, before, limit)]

    async def watch(self, on_overrides: Callable[[Sequence[Override]], None]) -> None:
        """See OperatorStore."""

        self._on_overrides = on_overrides

        async def look_quietly() -> None:
            try:
                await self._polled.poll()
            except StoreError as error:
                # Those that were read last hold; the pool says that the server is away.
                logger.debug("operators' changes could not be read: %s", error)

        await ChangeWatch(self.pool.conninfo, "operators", look_quietly).run()

    async def catch_up(self) -> None:
        """See OperatorStore."""
        await self._polled.catch_up()

    async def _look(self) -> None:
        rows = await self._read(READ_REVISION)
        if rows[0][0] != self._revision and self._on_overrides is not None:
            # Not `read_overrides`, which gives none while the database was never reached.
            self._on_overrides([override_of(row) for row in await self._read(SELECT_OVERRIDES)])
            self._revision = rows[0][0]

    async def _one(self, query: str, *values: object) -> Operator | None:
        rows = await self._read(query, *values)
        return operator_of(rows[0]) if rows else None

    async def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        async def read(connection: TrioConnection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(query.encode(), values)).fetchall()

        return await self._use(read)

    async def _use(self, work: Work[T]) -> T:
        try:
            return await self.pool.use(work)
        except (EngineAway, psycopg.Error) as away:
            raise StoreError(say_away(away)) from away
