"""A worker's view of `operators.db`: who an operator is, and which overrides hold. Changes take effect within one poll.

Rules:
1. An operator's key is looked up in the file each time: the pages and the admin API are not the hot path.
2. `watch` polls the file's revision. When it has changed, the new overrides are handed to `on_overrides`. `catch_up`
   polls too, if the last poll is too long ago (polls.py): a worker that was stopped may have requests before its tasks.
3. While the file cannot be read, the overrides that were read last hold.
"""

from __future__ import annotations

import logging
import math
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import trio

from pg_trio.domain.operator import AuditRow, Change, Operator, Override
from pg_trio.errors import StoreError
from pg_trio.store.database import BUSY_LIMIT_S, SerialConnection, explained
from pg_trio.store.operator_admin import write_overrides
from pg_trio.store.operator_file import (
    FILE_NAME,
    open_operators,
    read_audit,
    read_operator_revision,
    read_operators,
    read_overrides,
)
from pg_trio.store.outage import Outage
from pg_trio.store.polls import Polls
from pg_trio.store.token_file import hash_token
from pg_trio.store.transaction import transaction

logger = logging.getLogger("pg_trio.store")

# The promise is one second in every worker.
POLL_S = 0.25
CLOSE_LIMIT_S = 5.0
# A working day; a session that is not ended must not last for ever.
SESSION_S = 12 * 3600.0


class OperatorStore:
    """The operators of one worker. Open with `await OperatorStore.open(…)`, run `watch`, close with `aclose`."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        poll: sqlite3.Connection,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._file = SerialConnection(path, connection)
        # Its own connection: waiting for a writer must not delay the poll.
        self._poll = SerialConnection(path, poll)
        self._revision = -1
        self._on_overrides: Callable[[Sequence[Override]], None] | None = None
        # The overrides that were handed over are known to hold until then. Before `watch` there are none.
        self.good_until = math.inf
        self._polled = Polls(self, self._look, POLL_S, (StoreError,), now_s)
        self.catch_up = self._polled.catch_up
        self._polls = Outage(logger, "cannot look for operators' changes, those that were read last hold")

    @classmethod
    async def open(cls, data_dir: Path, now_s: Callable[[], float] = time.time) -> Self:
        """An open store; a missing file is made. Raises: StoreError."""
        return await trio.to_thread.run_sync(cls._open, data_dir, now_s, limiter=trio.CapacityLimiter(1))

    @classmethod
    def _open(cls, data_dir: Path, now_s: Callable[[], float]) -> Self:
        path = data_dir / FILE_NAME
        with explained(path):
            return cls(path, open_operators(data_dir, BUSY_LIMIT_S), open_operators(data_dir, BUSY_LIMIT_S), now_s)

    async def find(self, key: str) -> Operator | None:
        """The active operator of this key; None if there is none. Raises StoreError."""
        return await self._one("digest = ? AND is_active", hash_token(key))

    async def find_by_session(self, session: str) -> Operator | None:
        """The active operator of a page's session that has not ended."""
        condition = "is_active AND id = (SELECT operator_id FROM page_sessions WHERE digest = ? AND expires_at > ?)"
        return await self._one(condition, hash_token(session), time.time())

    async def open_session(self, operator: Operator) -> str:
        """A new page session's secret, for the cookie."""
        session = secrets.token_urlsafe(32)
        now = time.time()

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.execute("DELETE FROM page_sessions WHERE expires_at <= ?", (now,))
                connection.execute(
                    "INSERT INTO page_sessions VALUES (?, ?, ?, ?)",
                    (hash_token(session), operator.id, now, now + SESSION_S),
                )

        await self._file.run(write)
        return session

    async def end_session(self, session: str) -> None:
        """The session is no more."""
        await self._file.run(
            lambda connection: connection.execute("DELETE FROM page_sessions WHERE digest = ?", (hash_token(session),))
        )

    async def use_link(self, secret: str) -> Operator | None:
        """The operator of a link, which is used up by that."""

        def take(connection: sqlite3.Connection) -> list[Operator]:
            with transaction(connection):
                row = connection.execute(
                    "DELETE FROM login_links WHERE digest = ? AND expires_at > ? RETURNING operator_id",
                    (hash_token(secret), time.time()),
                ).fetchone()
                connection.execute("DELETE FROM login_links WHERE expires_at <= ?", (time.time(),))
                return [] if row is None else read_operators(connection, "id = ? AND is_active", row[0])

        found = await self._file.run(take)
        return found[0] if found else None

    async def read_overrides(self) -> list[Override]:
        """All overrides. Raises StoreError."""
        return await self._file.run(read_overrides, abandon_on_cancel=True)

    async def override(self, overrides: Sequence[Override], change: Change) -> None:
        """Set these overrides (a value of None takes one back), with an audit row. Raises StoreError."""
        await self._file.run(lambda connection: write_overrides(connection, overrides, change))

    async def read_audit(self, before: int, limit: int) -> list[AuditRow]:
        """Rows of the audit with a smaller id than `before`, newest first."""
        return await self._file.run(
            lambda connection: list(read_audit(connection, before, limit)), abandon_on_cancel=True
        )

    async def watch(self, on_overrides: Callable[[Sequence[Override]], None]) -> None:
        """Hand over the overrides, now and after each change, until cancelled. Failures are logged and tried again."""
        self._on_overrides = on_overrides
        while True:
            try:
                await self._polled.poll()
            except StoreError as error:
                self._polls.failed(error)
            else:
                self._polls.succeeded()
            await trio.sleep(POLL_S)

    async def _look(self) -> None:
        revision = await self._poll.run(read_operator_revision, abandon_on_cancel=True)
        if revision != self._revision and self._on_overrides is not None:
            self._on_overrides(await self._poll.run(read_overrides, abandon_on_cancel=True))
            self._revision = revision

    async def aclose(self) -> None:
        """Close the file. Works under cancellation too, for at most CLOSE_LIMIT_S."""
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await self._poll.aclose()
            await self._file.aclose()

    async def _one(self, condition: str, *parameters: object) -> Operator | None:
        found = await self._file.run(
            lambda connection: read_operators(connection, condition, *parameters), abandon_on_cancel=True
        )
        return found[0] if found else None
