"""`sessions.db`: its schema, and sessions and turns as rows of it.

Rules:
1. A message's `place` is its session's number × 2^20 + its position. So a session's messages lie side by side in the
   file and are read together, whenever they were written. A session has at most 2^20 messages; settings allow 500.
2. A batch of turns is one statement, so one transaction and one wait for the disk. It inserts into the view `turns`,
   and the view's trigger assigns positions. SQLite allows one writer at a time, so concurrent turns of any process get
   consecutive positions. (Why one statement: log_file.py, rule 3. A session is read as one row for the same reason.)
3. A turn of a deleted session stores nothing: only a first turn makes a session.
4. `last_active_at` never goes back, even if the clocks of two workers differ.
5. `holder` is the owner beside the token; empty for a stored token's session (domain.client_grant).
6. A message's JSON may have a `tag`, the name of an answer. A client refers to the answer by it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import orjson
from attrs import frozen

from pg_trio.domain.chat import Json
from pg_trio.domain.message_json import message_from_json, message_to_json
from pg_trio.domain.session import StoredSession, Turn
from pg_trio.errors import StoreError
from pg_trio.store.database import open_database
from pg_trio.store.migrations import Schema

FILE_NAME = "sessions.db"

SCHEMA = Schema(
    application_id=0x70677301,  # "pgs" and 1
    steps=(
        (
            """
            CREATE TABLE sessions (
                number INTEGER PRIMARY KEY,
                id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
                endpoint BLOB NOT NULL,
                token INTEGER NOT NULL,
                created_at REAL NOT NULL,
                last_active_at REAL NOT NULL,
                message_count INTEGER NOT NULL DEFAULT 0,
                token_count INTEGER NOT NULL DEFAULT 0,
                byte_count INTEGER NOT NULL DEFAULT 0
            )
            """,
            "CREATE INDEX sessions_by_activity ON sessions (endpoint, last_active_at)",
            """
            CREATE TABLE messages (
                place INTEGER PRIMARY KEY,  -- sessions.number << 20 | position
                at REAL NOT NULL,
                body TEXT NOT NULL,  -- JSON, in OpenAI's shape
                session INTEGER GENERATED ALWAYS AS (place >> 20) VIRTUAL,
                position INTEGER GENERATED ALWAYS AS (place & 1048575) VIRTUAL
            )
            """,
            """
            CREATE TRIGGER sessions_deleted AFTER DELETE ON sessions BEGIN
                DELETE FROM messages WHERE place BETWEEN OLD.number << 20 AND OLD.number << 20 | 1048575;
            END
            """,
            """
            CREATE VIEW turns (session_id, is_first, endpoint, token, at, messages, bytes, tokens)
            AS SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE 0
            """,
            """
            CREATE TRIGGER turns_inserted INSTEAD OF INSERT ON turns BEGIN
                INSERT INTO sessions (id, endpoint, token, created_at, last_active_at)
                SELECT NEW.session_id, NEW.endpoint, NEW.token, NEW.at, NEW.at WHERE NEW.is_first;

                INSERT INTO messages (place, at, body)
                SELECT (sessions.number << 20) + sessions.message_count + added.key, NEW.at, added.value
                FROM sessions, json_each(NEW.messages) AS added
                WHERE sessions.id = NEW.session_id;

                UPDATE sessions SET
                    last_active_at = max(last_active_at, NEW.at),
                    message_count = message_count + json_array_length(NEW.messages),
                    token_count = token_count + NEW.tokens,
                    byte_count = byte_count + NEW.bytes
                WHERE id = NEW.session_id;
            END
            """,
        ),
        # 2: the holder of a client token. The view's trigger goes with it.
        (
            "ALTER TABLE sessions ADD COLUMN holder TEXT NOT NULL DEFAULT ''",
            "DROP VIEW turns",
            """
            CREATE VIEW turns (session_id, is_first, endpoint, token, at, messages, bytes, tokens, holder)
            AS SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE 0
            """,
            """
            CREATE TRIGGER turns_inserted INSTEAD OF INSERT ON turns BEGIN
                INSERT INTO sessions (id, endpoint, token, created_at, last_active_at, holder)
                SELECT NEW.session_id, NEW.endpoint, NEW.token, NEW.at, NEW.at, NEW.holder WHERE NEW.is_first;

                INSERT INTO messages (place, at, body)
                SELECT (sessions.number << 20) + sessions.message_count + added.key, NEW.at, added.value
                FROM sessions, json_each(NEW.messages) AS added
                WHERE sessions.id = NEW.session_id;

                UPDATE sessions SET
                    last_active_at = max(last_active_at, NEW.at),
                    message_count = message_count + json_array_length(NEW.messages),
                    token_count = token_count + NEW.tokens,
                    byte_count = byte_count + NEW.bytes
                WHERE id = NEW.session_id;
            END
            """,
        ),
    ),
)

_READ = """
    SELECT endpoint, token, holder, created_at, last_active_at, message_count, token_count, byte_count,
        (SELECT group_concat('[' || position || ',' || body || ']') FROM messages
         WHERE place BETWEEN number << 20 AND number << 20 | 1048575)
    FROM sessions WHERE id = ?
"""

# 250 turns have 2,250 values; SQLite accepts 32,766 in a statement. A turn then waits for one batch of that size at
# most.
BATCH_TURNS = 250
# 64 MiB in the -wal file: beyond it commits move pages themselves (see session_upkeep.py, rule 4).
BACKSTOP_PAGES = 16_384
# 200 sessions of a hundred messages are deleted in some 20 ms; a turn waits no longer than that.
PURGE_SESSIONS = 200
# More tokens than any provider's answer has, and few enough that sums stay SQLite integers.
MOST_TOKENS = 10**12

_Values: TypeAlias = tuple[Any, ...]
_PLACES = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT = "INSERT INTO turns VALUES "

# The errors of a turn with wrong values: a bug, reported to its own request only.
UNSTORABLE = (
    OverflowError,
    TypeError,
    ValueError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


@frozen(slots=True, eq=False)
class TurnRow:
    """A turn as the values of a row of `turns`."""

    session_id: UUID
    is_first: bool
    values: _Values

    @classmethod
    def of(cls, turn: Turn) -> TurnRow:
        """The row of a turn."""
        messages = orjson.dumps(shapes_of(turn))
        tokens = min(turn.token_count, MOST_TOKENS)
        values = (
            turn.session_id.bytes,
            turn.is_first,
            turn.endpoint.bytes,
            turn.token_id,
            turn.at,
            messages.decode("utf-8"),
            len(messages),
            tokens,
            turn.holder,
        )
        return cls(turn.session_id, turn.is_first, values)


def open_sessions(data_dir: Path, busy_limit_s: float) -> sqlite3.Connection:
    """A connection to the data directory's sessions; a missing file is made.

    `synchronous=FULL`: a turn that a client received survives a power failure.
    """
    path = data_dir / FILE_NAME
    # Batches of each size have their own, large statement, so none is kept.
    connection = open_database(path, SCHEMA, synchronous="FULL", busy_limit_s=busy_limit_s, cached_statements=0)
    connection.execute(f"PRAGMA wal_autocheckpoint = {BACKSTOP_PAGES}")
    return connection


def write_turns(rows: Sequence[TurnRow], connection: sqlite3.Connection) -> set[UUID]:
    """Write the turns in one transaction, and return the ids of sessions that no longer exist; their turns are not
    stored."""
    values = [value for row in rows for value in row.values]
    connection.execute(_INSERT + ", ".join([_PLACES] * len(rows)), values)
    resumed = {row.session_id for row in rows if not row.is_first}
    return resumed - _find_present(resumed, connection)


def _find_present(ids: set[UUID], connection: sqlite3.Connection) -> set[UUID]:
    if not ids:
        return set()
    places = ", ".join("?" * len(ids))
    [found] = connection.execute(
        f"SELECT group_concat(hex(id)) FROM sessions WHERE id IN ({places})",  # noqa: S608
        [session_id.bytes for session_id in ids],
    ).fetchone()
    return {UUID(hex=text) for text in found.split(",")} if found else set()


def read_session(session_id: UUID, path: Path, connection: sqlite3.Connection) -> StoredSession | None:
    """The session with all its messages, in one read; None if there is none.

    Raises: StoreError if the file's content was not written by the gateway.
    """
    row = connection.execute(_READ, (session_id.bytes,)).fetchone()
    if row is None:
        return None
    return session_of(session_id, row, _decode_shapes, str(path))


def shapes_of(turn: Turn) -> list[dict[str, Json]]:
    """The messages of a turn as JSON, with their tags (rule 6)."""
    shapes = [message_to_json(message) for message in turn.messages]
    for place, tag in turn.tags.items():
        shapes[place]["tag"] = tag
    return shapes


def session_of(
    session_id: UUID, row: tuple[Any, ...], decode: Callable[[Any], list[dict[str, Json]]], place: str
) -> StoredSession:
    """The session of a row: its endpoint, token, holder, two times, three counts, and its messages, of which `decode`
    makes those of `shapes_of`.

    Raises: StoreError if the gateway did not write it.
    """
    endpoint, token, holder, created_at, last_active_at, message_count, token_count, byte_count, messages = row
    try:
        shapes = decode(messages)
        return StoredSession(
            id=session_id,
            endpoint=endpoint if isinstance(endpoint, UUID) else UUID(bytes=endpoint),
            token_id=token,
            holder=holder,
            created_at=created_at,
            last_active_at=last_active_at,
            message_count=message_count,
            token_count=token_count,
            byte_count=byte_count,
            messages=tuple([message_from_json(shape) for shape in shapes]),
            tags={str(shape["tag"]): number for number, shape in enumerate(shapes) if "tag" in shape},
        )
    except (ValueError, KeyError, TypeError) as exc:  # orjson's error is a ValueError
        raise StoreError(f"{place}: session {session_id} holds what was never written to it; delete it.") from exc


def delete_idle(session_id: UUID, since: float, connection: sqlite3.Connection) -> None:
    """Delete the session, unless it had a turn after `since`."""
    connection.execute("DELETE FROM sessions WHERE id = ? AND last_active_at <= ?", (session_id.bytes, since))


def find_endpoints(connection: sqlite3.Connection) -> list[bytes]:
    """Every endpoint that has a session. Costs one index look-up per endpoint, for any number of sessions."""
    query = """
        WITH RECURSIVE found (endpoint) AS (
            SELECT min(endpoint) FROM sessions
            UNION ALL
            SELECT (SELECT min(endpoint) FROM sessions WHERE endpoint > found.endpoint)
            FROM found WHERE endpoint IS NOT NULL
        )
        SELECT endpoint FROM found WHERE endpoint IS NOT NULL
    """
    return [endpoint for (endpoint,) in connection.execute(query)]


def find_expired(before: Mapping[bytes, float], connection: sqlite3.Connection) -> list[int]:
    """At most PURGE_SESSIONS sessions (their numbers) of these endpoints without a turn since the endpoint's time."""
    found: list[int] = []
    for endpoint, at in before.items():
        query = "SELECT number FROM sessions WHERE endpoint = ? AND last_active_at < ? LIMIT ?"
        found += [number for (number,) in connection.execute(query, (endpoint, at, PURGE_SESSIONS - len(found)))]
        if len(found) == PURGE_SESSIONS:
            break
    return found


def delete_sessions(numbers: Sequence[int], before: float, connection: sqlite3.Connection) -> None:
    """Delete these sessions with their messages, except those that had a turn since `before`."""
    connection.execute(
        "DELETE FROM sessions WHERE number IN (SELECT value FROM json_each(?)) AND last_active_at < ?",
        (orjson.dumps(list(numbers)).decode("ascii"), before),
    )


def _decode_shapes(text: str | None) -> list[dict[str, Json]]:
    # `group_concat` does not guarantee an order.
    placed = sorted(orjson.loads(f"[{text or ''}]"), key=lambda pair: int(pair[0]))
    return [shape for _, shape in placed]
