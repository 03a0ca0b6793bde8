"""The list of all databases of a data directory. `backup` and `doctor` use it.

A new database is one more line here.
"""

from __future__ import annotations

from attrs import frozen

from pg_trio.store import log_file, session_file, token_file
from pg_trio.store.migrations import Schema


@frozen(slots=True)
class Database:
    """One file of the data directory and its schema."""

    file_name: str
    schema: Schema


DATABASES = (
    Database(token_file.FILE_NAME, token_file.SCHEMA),
    Database(session_file.FILE_NAME, session_file.SCHEMA),
    Database(log_file.FILE_NAME, log_file.SCHEMA),
)
