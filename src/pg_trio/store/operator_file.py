"""`operators.db`: operators, their pages' sessions, overrides of the configuration file, and the audit.

Rules:
1. Keys and sessions are stored as SHA-256 of 256 random bits, as tokens are (token_file.py).
2. `operator_revision` counts every change of operators and overrides. Triggers do it, so that every writer's changes
   count. Workers watch it.
3. A change and its audit row are written in one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pg_trio.domain.operator import AuditRow, Operator, Override
from pg_trio.store.database import open_database
from pg_trio.store.migrations import Schema

FILE_NAME = "operators.db"

_BUMP = "UPDATE operator_revision SET revision = revision + 1"
_WATCHED = ("operators", "overrides")

SCHEMA = Schema(
    application_id=0x70676F01,  # "pgo" and 1
    steps=(
        (
            """
            CREATE TABLE operators (
                id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: the audit keeps ids
                name TEXT NOT NULL,
                prefix TEXT NOT NULL,
                digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
                role TEXT NOT NULL CHECK (role IN ('viewer', 'operator')),
                is_active INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
                created_at REAL NOT NULL
            )
            """,
            """
            CREATE TABLE page_sessions (
                digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
                operator_id INTEGER NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
                created_at REAL NOT NULL,
                expires_at REAL NOT NULL
            ) WITHOUT ROWID
            """,
            "CREATE INDEX page_sessions_by_end ON page_sessions (expires_at)",
            """
            CREATE TABLE login_links (
                digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
                operator_id INTEGER NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
                expires_at REAL NOT NULL
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE overrides (
                target TEXT NOT NULL,
                field TEXT NOT NULL,
                value TEXT NOT NULL,  -- JSON
                PRIMARY KEY (target, field)
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE audit (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                at REAL NOT NULL,
                operator_id INTEGER,
                operator TEXT NOT NULL,
                action TEXT NOT NULL,
                target TEXT NOT NULL,
                change TEXT NOT NULL,  -- JSON
                address TEXT
            )
            """,
            "CREATE TABLE operator_revision (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL)",
            "INSERT INTO operator_revision VALUES (1, 0)",
            *[
                f"CREATE TRIGGER {table}_{verb.lower()}d AFTER {verb} ON {table} BEGIN {_BUMP}; END"
                for table in _WATCHED
                for verb in ("INSERT", "DELETE", "UPDATE")
            ],
        ),
    ),
)

_COLUMNS = "id, name, prefix, digest, role, is_active, created_at"


def open_operators(data_dir: Path, busy_limit_s: float) -> sqlite3.Connection:
    """A connection to the data directory's operators; a missing file is made.

    `synchronous=FULL`: an acknowledged change must survive a power failure.
    """
    return open_database(data_dir / FILE_NAME, SCHEMA, synchronous="FULL", busy_limit_s=busy_limit_s)


def read_operators(connection: sqlite3.Connection, condition: str, *parameters: object) -> list[Operator]:
    """Operators for which the SQL `condition` holds, by id. The condition is a constant."""
    query = f"SELECT {_COLUMNS} FROM operators WHERE {condition} ORDER BY id"  # noqa: S608
    return [_operator_of(row) for row in connection.execute(query, parameters)]


def _operator_of(row: tuple[Any, ...]) -> Operator:
    each_id, name, prefix, digest, role, is_active, created_at = row
    return Operator(each_id, name, prefix, digest, role, bool(is_active), created_at)


def read_overrides(connection: sqlite3.Connection) -> list[Override]:
    """All overrides, by target and field."""
    rows = connection.execute("SELECT target, field, value FROM overrides ORDER BY target, field")
    return [Override(target, field, json.loads(value)) for target, field, value in rows]


def read_audit(connection: sqlite3.Connection, before: int, limit: int) -> Iterator[AuditRow]:
    """The newest rows with a smaller id than `before`, newest first."""
    query = "SELECT id, at, operator, action, target, change, address FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?"
    for each_id, at, operator, action, target, change, address in connection.execute(query, (before, limit)):
        yield AuditRow(each_id, at, operator, action, target, json.loads(change), address)


def read_operator_revision(connection: sqlite3.Connection) -> int:
    """The count of changes to operators and overrides so far."""
    return int(connection.execute("SELECT revision FROM operator_revision").fetchone()[0])
