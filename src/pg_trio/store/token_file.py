"""`tokens.db`: its schema, and a row of it as a `Token`.

Rules:
1. The plaintext is never stored. The file has its SHA-256, and its first 16 characters, which people see in lists. A
   plain SHA-256 is enough. Passwords need a slow hash; 256 random bits cannot be guessed.
2. `token_revision` counts every change except `last_used_at`. Triggers do it, so that every writer's changes count.
   Workers watch it.
3. The keys that sign client tokens are here as they are, because every worker must sign and verify. A reader of the
   file can forge client tokens of the tokens in it, so only its owner can read it. Every start of a worker makes a
   new key if the newest is older than KEY_AGE_S, and deletes those that no valid token was signed with.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from pathlib import Path
from typing import Any
from uuid import UUID

from pg_trio.domain.project import Token, TokenLimits
from pg_trio.domain.signing_key import CLIENT_TOKEN_MOST_S, SigningKey
from pg_trio.store.database import open_database
from pg_trio.store.migrations import Schema
from pg_trio.store.transaction import transaction

FILE_NAME = "tokens.db"
# 16: `pg_live_` and 8 of the 43 random characters; a list leaves 208 random bits unknown.
PREFIX_CHARS = 16
# 32 bytes: HMAC-SHA-256's own output (RFC 2104 section 3).
KEY_BYTES = 32
# 30 days: a key signs for a month at most, as of many identity providers (Okta: 90 days, Auth0: on demand).
KEY_AGE_S = 30 * 86_400.0
# The longest life of a client token, twice: clocks may be set.
KEY_REST_S = 2.0 * CLIENT_TOKEN_MOST_S

_BUMP = "UPDATE token_revision SET revision = revision + 1"

SCHEMA = Schema(
    application_id=0x70677401,  # "pgt" and 1
    steps=(
        (
            """
            CREATE TABLE tokens (
                id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: the log keeps ids of deleted tokens
                project_uuid BLOB NOT NULL CHECK (length(project_uuid) = 16),
                name TEXT NOT NULL,
                prefix TEXT NOT NULL,
                digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
                env TEXT NOT NULL CHECK (env IN ('live', 'test')),
                scopes TEXT NOT NULL,  -- separated by single spaces
                is_active INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
                created_at REAL NOT NULL,
                last_used_at REAL
            )
            """,
            "CREATE INDEX tokens_by_project ON tokens (project_uuid, id)",
            "CREATE TABLE token_revision (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL)",
            "INSERT INTO token_revision VALUES (1, 0)",
            f"CREATE TRIGGER tokens_inserted AFTER INSERT ON tokens BEGIN {_BUMP}; END",
            f"CREATE TRIGGER tokens_deleted AFTER DELETE ON tokens BEGIN {_BUMP}; END",
            f"""
            CREATE TRIGGER tokens_changed
            AFTER UPDATE OF id, project_uuid, name, prefix, digest, env, scopes, is_active, created_at ON tokens
            BEGIN {_BUMP}; END
            """,
        ),
        # 2: limits of a token; NULL means no limit.
        (
            "ALTER TABLE tokens ADD COLUMN rate_limit_per_minute INTEGER CHECK (rate_limit_per_minute > 0)",
            "ALTER TABLE tokens ADD COLUMN tokens_per_minute INTEGER CHECK (tokens_per_minute > 0)",
            "ALTER TABLE tokens ADD COLUMN max_concurrent INTEGER CHECK (max_concurrent > 0)",
            f"""
            CREATE TRIGGER token_limits_changed
            AFTER UPDATE OF rate_limit_per_minute, tokens_per_minute, max_concurrent ON tokens
            BEGIN {_BUMP}; END
            """,
        ),
        # 3: keys that sign client tokens.
        (
            """
            CREATE TABLE signing_keys (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                secret BLOB NOT NULL CHECK (length(secret) = 32),
                created_at REAL NOT NULL
            )
            """,
            f"CREATE TRIGGER signing_keys_inserted AFTER INSERT ON signing_keys BEGIN {_BUMP}; END",
            f"CREATE TRIGGER signing_keys_deleted AFTER DELETE ON signing_keys BEGIN {_BUMP}; END",
        ),
    ),
)

LIMIT_COLUMNS = "rate_limit_per_minute, tokens_per_minute, max_concurrent"
COLUMNS = f"id, project_uuid, name, prefix, digest, env, scopes, is_active, created_at, last_used_at, {LIMIT_COLUMNS}"


def open_tokens(data_dir: Path, busy_limit_s: float) -> sqlite3.Connection:
    """A connection to the data directory's tokens; a missing file is made.

    `synchronous=FULL`: an acknowledged revocation must survive a power failure.
    """
    return open_database(data_dir / FILE_NAME, SCHEMA, synchronous="FULL", busy_limit_s=busy_limit_s)


def hash_token(plaintext: str) -> bytes:
    """The digest of a token in the file: SHA-256 of its text, 32 bytes. Every text has one."""
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).digest()


def column_of(reference: str) -> tuple[str, int | bytes | str]:
    """The column by which an administrator refers to a token or an operator, and the value in it: the id, the prefix,
    or the digest of the whole text (of a leaked token)."""
    # 18 digits fit into an SQL integer; no id is longer.
    if reference.isascii() and reference.isdigit() and len(reference) <= 18:
        return "id", int(reference)
    if len(reference) > PREFIX_CHARS:
        return "digest", hash_token(reference)
    return "prefix", reference


def read_tokens(connection: sqlite3.Connection, condition: str, *parameters: object) -> list[Token]:
    """Tokens for which the SQL `condition` holds, by id. The condition is a constant; the parameters may be a client's
    text."""
    query = f"SELECT {COLUMNS} FROM tokens WHERE {condition} ORDER BY id"  # noqa: S608
    return [_token_of(row) for row in connection.execute(query, parameters)]


def read_signing_keys(connection: sqlite3.Connection) -> tuple[SigningKey, ...]:
    """The keys for client tokens, the newest first."""
    rows = connection.execute("SELECT id, secret, created_at FROM signing_keys ORDER BY id DESC")
    return tuple([SigningKey(*row) for row in rows])


def renew_signing_keys(connection: sqlite3.Connection, now_s: float) -> None:
    """Make a key if there is none that is new enough, and delete those that no valid token was signed with (rule 3)."""
    if not _needs_new_key(connection, now_s):
        return
    with transaction(connection):
        # Asked again under the write lock: several workers start at once.
        if _needs_new_key(connection, now_s):
            new = (secrets.token_bytes(KEY_BYTES), now_s)
            connection.execute("INSERT INTO signing_keys (secret, created_at) VALUES (?, ?)", new)
        # A key rests once the next one signs.
        connection.execute(
            "DELETE FROM signing_keys WHERE id < (SELECT max(id) FROM signing_keys WHERE created_at < ?)",
            (now_s - KEY_REST_S,),
        )


def _needs_new_key(connection: sqlite3.Connection, now_s: float) -> bool:
    newest = connection.execute("SELECT max(created_at) FROM signing_keys").fetchone()[0]
    return newest is None or newest < now_s - KEY_AGE_S


def read_revision(connection: sqlite3.Connection) -> int:
    """The count of changes to tokens so far."""
    return int(connection.execute("SELECT revision FROM token_revision").fetchone()[0])


def _token_of(row: tuple[Any, ...]) -> Token:
    token_id, project, name, prefix, digest, env, scopes, is_active, created_at, last_used_at, *limits = row
    return Token(
        id=token_id,
        project_uuid=UUID(bytes=project),
        name=name,
        prefix=prefix,
        digest=digest,
        env="live" if env == "live" else "test",
        scopes=tuple(scopes.split(" ")) if scopes else (),
        is_active=bool(is_active),
        created_at=created_at,
        last_used_at=last_used_at,
        limits=None if limits == [None] * len(limits) else TokenLimits(*limits),
    )
