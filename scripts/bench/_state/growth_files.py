"""Files of sessions and of log rows, as large as wanted, filled as they grow under load: turns come round by round, so
that a session's messages are written far apart, and rows in the order of time, of many projects.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

from attrs import evolve

from pg_trio.domain.chat import Message
from pg_trio.domain.log_row import LogRow
from pg_trio.domain.session import Turn
from pg_trio.store.log_file import BATCH_ROWS, open_log, write_rows
from pg_trio.store.session_file import TurnRow, open_sessions, write_turns
from pg_trio.store.transaction import transaction
from scripts.bench.store import make_row

# Short messages, so that a million sessions are some gigabytes.
TURNS, ASKED, ANSWERED = 4, "x" * 60, "y" * 300
ENDPOINTS = [UUID(int=number) for number in range(1, 21)]
PROJECTS = [UUID(int=number) for number in range(101, 121)]
STARTED_AT = 1_700_000_000.0
TURNS_AT_ONCE = 2_000
COMMITTED_AT_ONCE = 100_000
ROWS_A_SECOND = 100


def fill_sessions(data_dir: Path, count: int) -> None:
    """A new file of so many sessions, of TURNS turns each."""
    with closing(open_sessions(data_dir, 1)) as connection:
        _hurry(connection)
        for turn in range(TURNS):
            for start in range(0, count, COMMITTED_AT_ONCE):
                with transaction(connection):
                    _add_turns(connection, range(start, min(count, start + COMMITTED_AT_ONCE)), turn)


def _add_turns(connection: sqlite3.Connection, numbers: range, turn: int) -> None:
    for start in range(0, len(numbers), TURNS_AT_ONCE):
        some = numbers[start : start + TURNS_AT_ONCE]
        write_turns([TurnRow.of(make_turn(number, turn)) for number in some], connection)


def fill_log(data_dir: Path, count: int) -> None:
    """A new file of so many rows."""
    with closing(open_log(data_dir, 1)) as connection:
        _hurry(connection)
        for start in range(0, count, COMMITTED_AT_ONCE):
            numbers = range(start, min(count, start + COMMITTED_AT_ONCE))
            with transaction(connection):
                for first in range(0, len(numbers), BATCH_ROWS):
                    write_rows(list(make_rows(numbers[first : first + BATCH_ROWS])), connection)


def _hurry(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -1000000")  # 1 GB


def id_of(number: int) -> UUID:
    """An id as random as a session's."""
    return UUID(bytes=hashlib.sha256(str(number).encode()).digest()[:16])


def make_turn(number: int, turn: int) -> Turn:
    """A session's turn, its first for 0."""
    endpoint = ENDPOINTS[number % len(ENDPOINTS)]
    messages = (Message("user", ASKED), Message("assistant", ANSWERED))
    return Turn(id_of(number), turn == 0, endpoint, 1, STARTED_AT + turn, messages, 100)


def make_rows(numbers: range) -> Iterator[LogRow]:
    """Rows as successful calls leave them."""
    row = make_row()
    for number in numbers:
        project, endpoint = random.choice(PROJECTS), random.choice(ENDPOINTS)
        at = STARTED_AT + number / ROWS_A_SECOND
        request_id = UUID(bytes=os.urandom(16))
        yield evolve(row, request_id=request_id, at=at, project_uuid=project, endpoint_uuid=endpoint)
