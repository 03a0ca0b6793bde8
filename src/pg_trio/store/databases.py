"""The list of all databases of a data directory. `backup` and `doctor` use it.

A new database is one more line here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from pg_trio.store import log_file, operator_file, session_file, token_file
from pg_trio.store.database import BUSY_LIMIT_S
from pg_trio.store.migrations import Schema


@frozen(slots=True)
class Database:
    """One file of the data directory and its schema."""

    file_name: str
    schema: Schema
    _open: Callable[[Path, float], sqlite3.Connection]

    def open(self, data_dir: Path) -> sqlite3.Connection:
        """A connection to it, made if there was none, of this release's schema. Raises StoreError."""
        return self._open(data_dir, BUSY_LIMIT_S)


DATABASES = (
    Database(token_file.FILE_NAME, token_file.SCHEMA, token_file.open_tokens),
    Database(session_file.FILE_NAME, session_file.SCHEMA, session_file.open_sessions),
    Database(log_file.FILE_NAME, log_file.SCHEMA, log_file.open_log),
    Database(operator_file.FILE_NAME, operator_file.SCHEMA, operator_file.open_operators),
)
