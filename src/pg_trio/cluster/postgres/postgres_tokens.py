"""The tokens of all nodes, as one worker looks them up (contract: stores/store_protocols.py, Tokens).

Rules:
1. A hit touches neither a checkpoint nor the database. A miss is one query; several callers may ask at once.
2. A change by any node is notified, with a poll as fallback (changes.py), and both name the tokens that have changed:
   these are forgotten, and all if names are missing (token_changes.py). So a revocation holds in every worker within a
   second, and costs no other token its place. A worker that was stopped looks before it serves a token from memory
   (store/polls.py). While PostgreSQL is away, remembered tokens stay valid; `find` raises for others. So one that
   was changed just before is a 503.
3. The keys that sign client tokens are in the database as they are, because every node must sign and verify. A worker
   reads them with the revision, and has them also while PostgreSQL is away. When they change, client tokens are checked
   again. Its start makes a new key if the newest is too old (store/token_file.py, rule 3). A worker that has never
   reached the database knows no key, and `signing_keys` raises: a client token then gets a 503, not a 401.
4. `last_used_at` is collected in memory and written for all tokens at once.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import trio
from attrs import define, field, frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.postgres.changes import POLL_S, ChangeWatch
from pg_trio.cluster.postgres.postgres_pool import PostgresPool, say_away
from pg_trio.cluster.postgres.token_changes import TokenChanges, read_token_changes
from pg_trio.cluster.postgres.token_rows import SELECT_TOKENS, token_of
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.project import Token
from pg_trio.domain.signing_key import SigningKey
from pg_trio.errors import StoreError
from pg_trio.store.outage import Outage
from pg_trio.store.polls import Polls
from pg_trio.store.token_cache import TokenCache, Unseen
from pg_trio.store.token_file import KEY_AGE_S, KEY_BYTES, KEY_REST_S

logger = logging.getLogger("pg_trio.cluster")

FIND = f"{SELECT_TOKENS} WHERE digest = %s"
FIND_BY_ID = f"{SELECT_TOKENS} WHERE id = %s"
LIST = f"{SELECT_TOKENS} WHERE project_uuid = %s ORDER BY id"
NOTE_USED = (
    "UPDATE pgtrio.tokens AS t SET last_used_at = greatest(coalesce(t.last_used_at, 0), u.at)"
    " FROM unnest(%s::bigint[], %s::double precision[]) AS u (id, at) WHERE t.id = u.id"
)
READ_KEYS = "SELECT id, secret, created_at FROM pgtrio.signing_keys ORDER BY id DESC"
RENEW_KEYS = "SELECT pgtrio.renew_signing_keys(%s, %s, %s)"
CLOSE_LIMIT_S = 5.0


@frozen(slots=True)
class _SharedState:
    """What a worker knows of the database besides its tokens."""

    revision: int
    keys: tuple[SigningKey, ...]


@define(eq=False)
class PostgresTokens:
    """See the rules. `begin` before the first request; `run` watches for changes and writes `last_used_at`."""

    pool: PostgresPool
    settings: GatewaySettings
    now_s: Callable[[], float] = time.time
    _cache: TokenCache = field(init=False)
    _polled: Polls = field(init=False)
    _used: dict[int, float] = field(factory=dict)
    # None until the database was reached.
    _state: _SharedState | None = None
    _failures: Outage = field(factory=lambda: Outage(logger, "cannot look up tokens, unknown ones get a 503"))

    def __attrs_post_init__(self) -> None:
        self._cache = TokenCache(self.settings.token_cache_entries)
        self._polled = Polls(self._cache, self._look, POLL_S, (EngineAway, psycopg.Error), self.now_s)

    @property
    def is_up(self) -> bool:
        """Whether unknown tokens can be looked up."""
        return self.pool.is_up

    def recall(self, digest: bytes, at: float) -> Token | None:
        """See TokenDirectory."""
        return self._cache.recall(digest, at)

    async def find(self, digest: bytes) -> Token | None:
        """See TokenDirectory."""
        await self._polled.catch_up()
        found = self._cache.get(digest)
        if not isinstance(found, Unseen):
            return found
        generation = self._cache.generation
        token = await self._read_one(FIND, digest)
        self._cache.keep(digest, token, generation)
        return token

    @property
    def generation(self) -> int:
        """See ParentTokens."""
        return self._cache.generation

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """See ParentTokens. Raises StoreError until the database was reached once."""
        if self._state is None:
            raise StoreError("PostgreSQL: the keys of client tokens could not be read yet")
        return self._state.keys

    async def catch_up(self) -> None:
        """See ParentTokens."""
        await self._polled.catch_up()

    def poll_after(self, catch_up: Callable[[], Awaitable[None]]) -> None:
        """See Tokens."""
        self._polled.poll_after(catch_up)

    async def find_by_id(self, token_id: int) -> Token | None:
        """See ParentTokens."""
        await self._polled.catch_up()
        found = self._cache.get_by_id(token_id)
        if not isinstance(found, Unseen):
            return found
        generation = self._cache.generation
        token = await self._read_one(FIND_BY_ID, token_id)
        self._cache.keep_by_id(token_id, token, generation)
        return token

    def keep_verified(self, digest: bytes, token: Token, generation: int) -> None:
        """See ParentTokens."""
        self._cache.keep_verified(digest, token, generation)

    def recall_verified(self, digest: bytes, at: float) -> Token | None:
        """See ParentTokens."""
        return self._cache.recall_verified(digest, at)

    def note_used(self, token_id: int, at: float) -> None:
        """See TokenDirectory."""
        self._used[token_id] = at

    async def list_tokens(self, project_uuid: UUID) -> list[Token]:
        """See Tokens."""
        return [token_of(row) for row in await self._read(LIST, project_uuid)]

    async def begin(self) -> None:
        """Note which changes were there before anything is remembered, and renew the keys of client tokens.

        Does nothing while the database is away: `run` does it then.
        """
        with suppress(EngineAway, psycopg.Error):
            await self._polled.poll()

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ChangeWatch(self.pool.conninfo, "tokens", self._polled.poll, self._forget_named).run)
            while True:
                await trio.sleep(self.settings.token_used_flush_ms / 1000)
                await self._flush_used()

    async def aclose(self) -> None:
        """Write the noted times. Works under cancellation too, for at most CLOSE_LIMIT_S."""
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True), suppress(EngineAway, psycopg.Error, OSError):
            if self._used:
                await self.pool.reach()
                await self._flush_used()

    async def _look(self) -> None:
        if self._state is None:
            await self.pool.use(_renew_keys)
        known = self._state
        changes, state = await self.pool.use(partial(_read_state, known))
        if state is known:
            return
        self._state = state
        if known is None or changes.is_all:
            self._cache.clear()
            return
        if changes.token_ids:
            self._cache.forget(changes.token_ids, changes.digests)
        if state.keys != known.keys:
            self._cache.forget_verified()

    def _forget_named(self, words: Sequence[str]) -> None:
        """Forget tokens at once, by their ids. The look that follows finds the rest."""
        self._cache.forget({int(word) for word in words if word.isascii() and word.isdigit()})

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

    async def _read_one(self, query: str, value: object) -> Token | None:
        try:
            rows = await self._read(query, value)
        except StoreError as error:
            self._failures.failed(error)
            raise
        self._failures.succeeded()
        return token_of(rows[0]) if rows else None

    async def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return await self.pool.fetch(query, *values)
        except (EngineAway, psycopg.Error) as away:
            raise StoreError(say_away(away)) from away


async def _renew_keys(connection: TrioConnection) -> None:
    values = (KEY_AGE_S, KEY_REST_S, secrets.token_bytes(KEY_BYTES))
    await connection.execute(RENEW_KEYS, values)


async def _read_state(known: _SharedState | None, connection: TrioConnection) -> tuple[TokenChanges, _SharedState]:
    """What has changed, and the state; `known` itself if nothing has."""
    # The revision first: a change in between is found at the next look.
    changes = await read_token_changes(connection, None if known is None else known.revision)
    if known is not None and known.revision == changes.revision:
        return changes, known
    rows = await (await connection.execute(READ_KEYS)).fetchall()
    keys = tuple([SigningKey(key, bytes(secret), at) for key, secret, at in rows])
    return changes, _SharedState(changes.revision, keys)
