"""Looks tokens up, in memory if possible, otherwise in `tokens.db`. Changes take effect within one poll.

Rules:
1. A hit touches no thread and no checkpoint (but see 2). A miss reads the file, one miss at a time.
2. `watch` polls the file's revision. When it has changed, the cache is cleared, reads in progress included. So a
   revocation holds in every worker one poll after its commit. A worker that has not polled for a second, because it was
   stopped, polls before it serves a token from memory (polls.py).
3. `last_used_at` is collected in memory and written for all tokens at once. Writing it, and listing, use a separate
   connection: waiting for another writer, or reading a thousand rows, must not delay look-ups and polls.
4. While the file cannot be read, remembered tokens stay valid: a full disk must not stop the traffic. For other tokens
   `find` raises, because their state is not known.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

import trio
from attrs import frozen

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.project import Token
from pg_trio.domain.signing_key import SigningKey
from pg_trio.errors import StoreError
from pg_trio.store.database import BUSY_LIMIT_S, SerialConnection, explained
from pg_trio.store.outage import Outage
from pg_trio.store.polls import Polls
from pg_trio.store.token_cache import TokenCache, Unseen
from pg_trio.store.token_file import (
    FILE_NAME,
    open_tokens,
    read_revision,
    read_signing_keys,
    read_tokens,
    renew_signing_keys,
)

_log = logging.getLogger(__name__)

# 5 s: more than two waits for a lock; a drain (`server.drain_ms`) is longer.
CLOSE_LIMIT_S = 5.0


@frozen(slots=True)
class _FileState:
    """What a worker knows of the file besides its tokens."""

    revision: int
    keys: tuple[SigningKey, ...]


def _read_state(connection: sqlite3.Connection) -> _FileState:
    # The revision first: a change in between is found at the next poll.
    revision = read_revision(connection)
    return _FileState(revision, read_signing_keys(connection))


def _renew_keys(path: Path, connection: sqlite3.Connection) -> None:
    try:
        with explained(path):
            renew_signing_keys(connection, time.time())
    except StoreError as exc:
        # A full disk must not stop the traffic. Without any key, client tokens cannot be minted.
        _log.error("cannot renew the keys of client tokens: %s", exc)


class TokenStore:
    """The tokens of one worker. Open with `await TokenStore.open(…)`, run `watch`, close with `aclose`."""

    def __init__(
        self,
        settings: GatewaySettings,
        lookups: SerialConnection,
        chores: SerialConnection,
        state: _FileState,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._poll_s = settings.token_poll_ms / 1000
        self._flush_s = settings.token_used_flush_ms / 1000
        self._lookups = lookups
        self._chores = chores
        self._state = state
        self._cache = TokenCache(settings.token_cache_entries)
        self._polled = Polls(self._cache, self._poll_once, self._poll_s, (StoreError,), now_s)
        # The token of a digest, if it is remembered and active. After None, ask `find`.
        self.recall = self._cache.recall
        self.recall_verified = self._cache.recall_verified
        self.catch_up = self._polled.catch_up
        self.poll_after = self._polled.poll_after
        self._miss_lock = trio.Lock()
        self._used: dict[int, float] = {}
        self._failures = Outage(_log, "cannot look up tokens, unknown ones get a 503")
        self._polls = Outage(_log, "cannot look for revoked tokens, remembered ones stay good")
        self._flushes = Outage(_log, "cannot write when tokens were last used")

    @property
    def is_up(self) -> bool:
        """Whether the file could be used the last time."""
        return not (self._failures.is_on or self._polls.is_on)

    @classmethod
    async def open(
        cls, settings: GatewaySettings, *, busy_limit_s: float = BUSY_LIMIT_S, now_s: Callable[[], float] = time.time
    ) -> Self:
        """An open store; a missing `data_dir` or `tokens.db` is made.

        Raises: StoreError if either cannot be used.
        """
        return await trio.to_thread.run_sync(
            partial(cls._open, settings, busy_limit_s, now_s), limiter=trio.CapacityLimiter(1)
        )

    @classmethod
    def _open(cls, settings: GatewaySettings, busy_limit_s: float, now_s: Callable[[], float]) -> Self:
        path = settings.data_dir / FILE_NAME
        with ExitStack() as opened:
            lookups = opened.enter_context(closing(open_tokens(settings.data_dir, busy_limit_s)))
            chores = opened.enter_context(closing(open_tokens(settings.data_dir, busy_limit_s)))
            _renew_keys(path, lookups)
            at = now_s()
            with explained(path):
                state = _read_state(lookups)
            opened.pop_all()
        store = cls(settings, SerialConnection(path, lookups), SerialConnection(path, chores), state, now_s)
        store._polled.began(at)
        return store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def find(self, digest: bytes) -> Token | None:
        """The token of this digest (`hash_token`), active or not; None if there is none.

        Not a checkpoint if the token is remembered.
        Raises: StoreError if the file must be read and cannot be.
        """
        await self._polled.catch_up()
        found = self._cache.get(digest)
        return await self._find_in_file(digest) if isinstance(found, Unseen) else found

    async def _find_in_file(self, digest: bytes) -> Token | None:
        # One at a time, as the connection works anyway. A second caller for the same token then finds it remembered.
        async with self._miss_lock:
            found = self._cache.get(digest)
            if not isinstance(found, Unseen):
                return found
            generation = self._cache.generation
            token = await self._read_one("digest = ?", digest)
            self._cache.keep(digest, token, generation)
            return token

    async def _read_one(self, condition: str, parameter: object) -> Token | None:
        try:
            tokens = await self._lookups.run(
                lambda connection: read_tokens(connection, condition, parameter), abandon_on_cancel=True
            )
        except StoreError as exc:
            self._failures.failed(exc)
            raise
        self._failures.succeeded()
        return tokens[0] if tokens else None

    @property
    def generation(self) -> int:
        """Changes whenever tokens may have changed: for `keep_verified`."""
        return self._cache.generation

    @property
    def signing_keys(self) -> tuple[SigningKey, ...]:
        """The keys for client tokens, the newest first; none where the file could not be written yet."""
        return self._state.keys

    async def find_by_id(self, token_id: int) -> Token | None:
        """The token of this id, active or not; None if there is none.

        Not a checkpoint if the token is remembered. Raises: StoreError if the file must be read and cannot be.
        """
        await self._polled.catch_up()
        found = self._cache.get_by_id(token_id)
        if not isinstance(found, Unseen):
            return found
        async with self._miss_lock:
            found = self._cache.get_by_id(token_id)
            if isinstance(found, Unseen):
                generation = self._cache.generation
                found = await self._read_one("id = ?", token_id)
                self._cache.keep_by_id(token_id, found, generation)
            return found

    def keep_verified(self, digest: bytes, token: Token, generation: int) -> None:
        """Let `recall_verified` give this client token until tokens change. `generation` is from before it was
        verified."""
        self._cache.keep_verified(digest, token, generation)

    def note_used(self, token_id: int, at: float) -> None:
        """Note that the token was used at `at` (Unix seconds). The file has it within `token_used_flush_ms`."""
        self._used[token_id] = at

    async def list_tokens(self, project_uuid: UUID) -> list[Token]:
        """A project's tokens by id, inactive ones included. `last_used_at` lags by up to `token_used_flush_ms`."""
        return await self._chores.run(
            lambda connection: read_tokens(connection, "project_uuid = ?", project_uuid.bytes), abandon_on_cancel=True
        )

    async def watch(self) -> None:
        """Follow revocations and write `last_used_at`, until cancelled. Failures are logged and tried again."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._poll_forever)
            nursery.start_soon(self._flush_forever)

    async def aclose(self) -> None:
        """Write the noted times and close the file. Works under cancellation too, for at most CLOSE_LIMIT_S."""
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            try:
                await self._flush_used(abandon_on_cancel=True)
            except StoreError as exc:
                self._flushes.failed(exc)
            await self._chores.aclose()
            await self._lookups.aclose()

    async def _poll_forever(self) -> None:
        while True:
            await trio.sleep(self._poll_s)
            try:
                await self._polled.poll()
            except StoreError as exc:
                self._polls.failed(exc)
            else:
                self._polls.succeeded()

    async def _poll_once(self) -> None:
        revision = await self._lookups.run(read_revision, abandon_on_cancel=True)
        if revision != self._state.revision:
            self._state = await self._lookups.run(_read_state, abandon_on_cancel=True)
            self._cache.clear()

    async def _flush_forever(self) -> None:
        while True:
            await trio.sleep(self._flush_s)
            try:
                await self._flush_used()
            except StoreError as exc:
                self._flushes.failed(exc)
            else:
                self._flushes.succeeded()

    async def _flush_used(self, *, abandon_on_cancel: bool = False) -> None:
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._chores.run(partial(_write_used, used), abandon_on_cancel=abandon_on_cancel)
        except BaseException:
            # Also when cancelled: writing the same again changes nothing. Times noted meanwhile are newer.
            self._used = used | self._used
            raise


def _write_used(used: dict[int, float], connection: sqlite3.Connection) -> None:
    # One statement: it holds the write lock for milliseconds, even if a busy event loop would delay this thread between
    # two statements. `max`: another worker may have written a later time.
    connection.execute(
        "UPDATE tokens SET last_used_at = max(coalesce(last_used_at, 0), used.value)"
        " FROM json_each(?) AS used WHERE tokens.id = CAST(used.key AS INTEGER)",
        (json.dumps(used),),
    )
