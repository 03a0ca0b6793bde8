"""The tokens of all nodes, as one worker looks them up (contract: stores/store_protocols.py, Tokens).

Rules:
1. A hit touches neither a checkpoint nor the database. A miss is one query; several callers may ask at once.
2. A change by any node empties the cache: it is notified, with a poll as fallback (changes.py). So a revocation holds
   in every worker within a second. While PostgreSQL is away, remembered tokens stay valid; `find` raises for others.
3. `last_used_at` is collected in memory and written for all tokens at once.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.changes import ChangeWatch
from pg_trio.cluster.postgres.postgres_pool import PostgresPool, say
from pg_trio.cluster.postgres.token_rows import READ_REVISION, SELECT_TOKENS, token_of
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.project import Token
from pg_trio.errors import StoreError
from pg_trio.store.outage import Outage
from pg_trio.store.token_cache import TokenCache, Unseen

logger = logging.getLogger("pg_trio.cluster")

FIND = f"{SELECT_TOKENS} WHERE digest = %s"
LIST = f"{SELECT_TOKENS} WHERE project_uuid = %s ORDER BY id"
NOTE_USED = (
    "UPDATE pgtrio.tokens AS t SET last_used_at = greatest(coalesce(t.last_used_at, 0), u.at)"
    " FROM unnest(%s::bigint[], %s::double precision[]) AS u (id, at) WHERE t.id = u.id"
)
CLOSE_LIMIT_S = 5.0


@define(eq=False)
class PostgresTokens:
    """See the rules. `run` watches for changes and writes `last_used_at`."""

    pool: PostgresPool
    settings: GatewaySettings
    _cache: TokenCache = field(init=False)
    _used: dict[int, float] = field(factory=dict)
    _revision: int = -1
    _failures: Outage = field(factory=lambda: Outage(logger, "cannot look up tokens, unknown ones get a 503"))

    def __attrs_post_init__(self) -> None:
        self._cache = TokenCache(self.settings.token_cache_entries)

    @property
    def is_up(self) -> bool:
        """Whether unknown tokens can be looked up."""
        return self.pool.is_up

    def recall(self, digest: bytes) -> Token | None:
        """See TokenDirectory."""
        found = self._cache.get(digest)
        return found if isinstance(found, Token) and found.is_active else None

    async def find(self, digest: bytes) -> Token | None:
        """See TokenDirectory."""
        found = self._cache.get(digest)
        if not isinstance(found, Unseen):
            return found
        generation = self._cache.generation
        try:
            rows = await self._read(FIND, digest)
        except StoreError as error:
            self._failures.failed(error)
            raise
        self._failures.succeeded()
        token = token_of(rows[0]) if rows else None
        self._cache.keep(digest, token, generation)
        return token

    def note_used(self, token_id: int, at: float) -> None:
        """See TokenDirectory."""
        self._used[token_id] = at

    async def list_tokens(self, project_uuid: UUID) -> list[Token]:
        """See Tokens."""
        return [token_of(row) for row in await self._read(LIST, project_uuid)]

    async def begin(self) -> None:
        """Note which changes were there before anything is remembered. Does nothing while the database is away."""
        with suppress(EngineAway, psycopg.Error):
            await self._look()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ChangeWatch(self.pool.conninfo, "tokens", self._look).run)
            while True:
                await trio.sleep(self.settings.token_used_flush_ms / 1000)
                await self._flush_used()

    async def aclose(self) -> None:
        """Write the noted times. Works under cancellation too, for at most CLOSE_LIMIT_S."""
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await self._flush_used()

    async def _look(self) -> None:
        async def read(connection: TrioConnection) -> int:
            row = await (await connection.execute(READ_REVISION)).fetchone()
            return int(row[0]) if row is not None else 0

        revision = await self.pool.use(read)
        if revision != self._revision:
            self._revision = revision
            self._cache.clear()

    async def _flush_used(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return

        async def write(connection: TrioConnection) -> None:
            await connection.execute(NOTE_USED, (list(used), list(used.values())))

        try:
            await self.pool.use(write)
        except (EngineAway, psycopg.Error) as away:
            logger.debug("the times of tokens' last use could not be written: %s", away)
            self._used = used | self._used
        except BaseException:
            # Writing the same again changes nothing.
            self._used = used | self._used
            raise

    async def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        async def read(connection: TrioConnection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(query.encode(), values)).fetchall()

        try:
            return await self.pool.use(read)
        except (EngineAway, psycopg.Error) as away:
            raise StoreError(f"PostgreSQL: {say(away)}") from away
