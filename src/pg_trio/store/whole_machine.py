"""All that a single machine has stored, read row by row for another store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from pg_trio.domain.operator import Operator, Override
from pg_trio.domain.project import Token
from pg_trio.domain.signing_key import SigningKey
from pg_trio.store import log_file, log_sums, operator_file, session_file, token_file
from pg_trio.store.database import BUSY_LIMIT_S, explained

SESSIONS = (
    "SELECT id, endpoint, token, created_at, last_active_at, message_count, token_count, byte_count, holder"
    " FROM sessions"
)
MESSAGES = (
    "SELECT sessions.id, messages.position, messages.at, messages.body FROM messages"
    " JOIN sessions ON sessions.number = messages.session"
)
COSTLY = "SELECT request_id FROM gateway_logs WHERE at >= ? AND cost_nano_usd > 0"


def read_all_tokens(data_dir: Path) -> list[Token]:
    """The tokens, revoked ones included. Raises StoreError."""
    with _opened(data_dir, token_file.FILE_NAME, token_file.open_tokens) as connection:
        return [] if connection is None else token_file.read_tokens(connection, "true")


def read_all_signing_keys(data_dir: Path) -> list[SigningKey]:
    """The keys of client tokens. Raises StoreError."""
    with _opened(data_dir, token_file.FILE_NAME, token_file.open_tokens) as connection:
        return [] if connection is None else list(token_file.read_signing_keys(connection))


def read_all_operators(data_dir: Path) -> tuple[list[Operator], list[Override]]:
    """The operators, revoked ones included, and what they changed. Raises StoreError."""
    with _opened(data_dir, operator_file.FILE_NAME, operator_file.open_operators) as connection:
        if connection is None:
            return [], []
        return operator_file.read_operators(connection, "true"), operator_file.read_overrides(connection)


def read_all_sessions(data_dir: Path) -> Iterator[tuple[Any, ...]]:
    """(Id, endpoint, token, created at, last active at, messages, tokens, bytes, holder) of each session. Raises
    StoreError.
    """
    with _opened(data_dir, session_file.FILE_NAME, session_file.open_sessions) as connection:
        for session, endpoint, *values in () if connection is None else connection.execute(SESSIONS):
            yield (UUID(bytes=session), UUID(bytes=endpoint), *values)


def read_all_messages(data_dir: Path) -> Iterator[tuple[Any, ...]]:
    """(Session, position, at, JSON) of each message. Raises StoreError."""
    with _opened(data_dir, session_file.FILE_NAME, session_file.open_sessions) as connection:
        for session, *values in () if connection is None else connection.execute(MESSAGES):
            yield (UUID(bytes=session), *values)


def read_spend_since(data_dir: Path, at: float) -> dict[bytes, int]:
    """The spend since then by its key in a ledger, in billionths of a US dollar: of endpoints, and of the holders of
    client tokens. Raises StoreError.
    """
    with _opened(data_dir, log_file.FILE_NAME, log_file.open_log) as connection:
        if connection is None:
            return {}
        of_endpoints = {uuid.bytes: spent for uuid, spent in log_sums.sum_spend(at, connection).items()}
        return of_endpoints | log_sums.sum_holder_spend(at, at, connection)


def read_costly_requests(data_dir: Path, at: float) -> Iterator[UUID]:
    """The ids of the requests since then that have a cost. Raises StoreError."""
    with _opened(data_dir, log_file.FILE_NAME, log_file.open_log) as connection:
        for (request_id,) in () if connection is None else connection.execute(COSTLY, (at,)):
            yield UUID(bytes=request_id)


@contextmanager
def _opened(data_dir: Path, name: str, open_file: Any) -> Iterator[sqlite3.Connection | None]:
    """A connection to a file; None if there is no such file."""
    path = data_dir / name
    if not path.exists():
        yield None
        return
    with explained(path):
        connection: sqlite3.Connection = open_file(data_dir, BUSY_LIMIT_S)
        try:
            yield connection
        finally:
            connection.close()
