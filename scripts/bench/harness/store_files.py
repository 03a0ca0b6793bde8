"""Databases of any size, filled as they grow under load.

Turns come round by round, so that a session's messages are written far apart; log rows come in the order of time, of
many projects.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from uuid import UUID, uuid4

from attrs import evolve, frozen

from pg_trio.domain.chat import Message
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.domain.session import Turn
from pg_trio.store.log_file import BATCH_ROWS, open_log, write_rows
from pg_trio.store.session_file import TurnRow, open_sessions, write_turns
from pg_trio.store.transaction import transaction

ENDPOINTS = [UUID(int=number) for number in range(1, 21)]
PROJECTS = [UUID(int=number) for number in range(101, 121)]
_STARTED_AT = 1_700_000_000.0
_TURNS_AT_ONCE = 2_000
_COMMITTED_AT_ONCE = 100_000
_ROWS_A_SECOND = 100
_STAGES = '{"rate_limit":0.010,"budget":0.020,"guardrails":0.100,"prompt":0.010,"provider_call":410.250}'


@frozen(slots=True)
class Talk:
    """What sessions are made of: turns of a question and an answer, so many characters each."""

    turns: int
    asked: int
    answered: int

    def turn(self, number: int, turn: int) -> Turn:
        """A turn of the session of this number, its first for 0."""
        messages = (Message("user", "x" * self.asked), Message("assistant", "y" * self.answered))
        tokens, endpoint = (self.asked + self.answered) // 4, ENDPOINTS[number % len(ENDPOINTS)]
        return Turn(id_of(number), turn == 0, endpoint, 1, _STARTED_AT + turn, messages, tokens)


def id_of(number: int) -> UUID:
    """An id as random as a session's."""
    return UUID(bytes=hashlib.sha256(str(number).encode()).digest()[:16])


def fill_sessions(data_dir: Path, numbers: range, talk: Talk) -> None:
    """The sessions of these numbers are in the file, with all their turns."""
    with closing(open_sessions(data_dir, 1)) as connection:
        for turn in range(talk.turns):

            def write(some: range, turn: int = turn) -> None:
                write_turns([TurnRow.of(talk.turn(number, turn)) for number in some], connection)

            _fill(connection, numbers, _TURNS_AT_ONCE, write)


def fill_log(data_dir: Path, count: int, *, until: float | None = None) -> None:
    """`until`: the time of the last row; else they are years old, and retention may remove them."""
    begin = _STARTED_AT if until is None else until - count / _ROWS_A_SECOND
    with closing(open_log(data_dir, 1)) as connection:
        _fill(connection, range(count), BATCH_ROWS, lambda some: write_rows(list(make_rows(some, begin)), connection))


def _fill(connection: Connection, numbers: range, size: int, write: Callable[[range], object]) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -1000000")
    for many in _split(numbers, _COMMITTED_AT_ONCE):
        with transaction(connection):
            for some in _split(many, size):
                write(some)


def _split(numbers: range, size: int) -> Iterator[range]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def make_row() -> LogRow:
    """A row as a successful call leaves it."""
    return LogRow(
        request_id=uuid4(),
        at=time.time(),
        status=200,
        latency_ms=412.5,
        project_uuid=PROJECTS[0],
        endpoint_uuid=ENDPOINTS[0],
        endpoint_slug="summarize",
        token_id=1,
        provider="openai",
        model="gpt-4o-mini",
        prompt_tokens=380,
        completion_tokens=87,
        cost_nano_usd=120_000,
        stages=_STAGES,
        attempts=(AttemptRow("openai", "gpt-4o-mini", "main", 0.5, 410.0, "won"),),
    )


def make_rows(numbers: range, begin: float = _STARTED_AT) -> Iterator[LogRow]:
    """Rows of many projects, in the order of time."""
    row = make_row()
    for number in numbers:
        project, endpoint = random.choice(PROJECTS), random.choice(ENDPOINTS)
        request_id, at = UUID(bytes=os.urandom(16)), begin + number / _ROWS_A_SECOND
        yield evolve(row, request_id=request_id, at=at, project_uuid=project, endpoint_uuid=endpoint)
