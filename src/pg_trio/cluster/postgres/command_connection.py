"""A command's connection: synchronous, each statement with a limit, errors as StoreError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from pg_trio.cluster.postgres.postgres_pool import say
from pg_trio.errors import StoreError

# For connecting, and for each statement.
COMMAND_LIMIT_S = 10


def connect_command(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection that commits each statement by itself. Raises StoreError."""
    with explained():
        return psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=COMMAND_LIMIT_S,
            options=f"-c statement_timeout={COMMAND_LIMIT_S * 1000}",
        )


@contextmanager
def explained() -> Iterator[None]:
    """An error of psycopg becomes a StoreError."""
    try:
        yield
    except psycopg.Error as error:
        raise StoreError(f"PostgreSQL: {say(error)} (cluster.postgres_url)") from error
