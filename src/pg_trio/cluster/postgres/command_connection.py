"""A command's connection: synchronous, each statement with a limit, errors as StoreError.

The server keeps the limit of a statement. One that is stopped keeps none and sends nothing, so the connection has a
limit of its own, a little longer; after that it is closed.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg

from pg_trio.cluster.postgres.postgres_pool import is_refusal, say
from pg_trio.errors import StoreAway, StoreError

# For connecting, and for each statement.
COMMAND_LIMIT_S = 10
# Beyond the server's own limit: then it is the server that does not answer.
ANSWER_MARGIN_S = 2.0
# A lost connection has no state, or one of the server's end (57P) or of the connection itself (08).
LOST_STATES = ("57P", "08")


class CommandConnection(psycopg.Connection[tuple[Any, ...]]):
    """psycopg's connection, whose every wait for the server has a limit. `limit_s` may be changed at any time."""

    limit_s: float = COMMAND_LIMIT_S + ANSWER_MARGIN_S

    @classmethod
    def open(cls, conninfo: str, **options: Any) -> Self:
        """A connection that commits each statement by itself. Raises psycopg.Error."""
        return cls.connect(conninfo, autocommit=True, connect_timeout=COMMAND_LIMIT_S, **options)

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """psycopg's hook: the result of one of its generators."""
        try:
            return super().wait(_limit(gen, self.limit_s), *arguments, **options)
        except TimeoutError:
            # It is in the middle of a reply. Closed, it is not asked to take anything back.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"has not answered for {self.limit_s:g} s") from None


def _limit(generator: Generator[Any, Any, Any], limit_s: float) -> Generator[Any, Any, Any]:
    """The generator, until it has waited too long. The waiting function comes back several times a second without news.

    Raises TimeoutError.
    """
    deadline = time.monotonic() + limit_s
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline:
                raise TimeoutError
            if ready:
                # The limit is of silence: a large answer may take longer.
                deadline = time.monotonic() + limit_s
            wanted = generator.send(ready)
    except StopIteration as end:
        return end.value


def connect_command(url: str) -> CommandConnection:
    """A connection that commits each statement by itself. Raises StoreError."""
    with explained():
        return CommandConnection.open(url, options=f"-c statement_timeout={COMMAND_LIMIT_S * 1000}")


@contextmanager
def explained() -> Iterator[None]:
    """An error of psycopg becomes a StoreError."""
    try:
        yield
    except psycopg.Error as error:
        raise store_error_of(error) from error


def store_error_of(error: psycopg.Error, advice: str = "") -> StoreError:
    """It as a StoreError; as a StoreAway, if the server could not be asked, and may be later."""
    kind = StoreAway if _is_away(error) else StoreError
    return kind(f"PostgreSQL: {say(error)} (cluster.postgres_url){advice}")


def _is_away(error: psycopg.Error) -> bool:
    """Not: the server refuses us, or the statement."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    if error.sqlstate is None:
        return not (isinstance(error, psycopg.OperationalError) and is_refusal(error))
    return error.sqlstate.startswith(LOST_STATES)
