"""Real servers of Redis and PostgreSQL, one of each for the whole run, empty for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engines import PostgresServer, RedisServer, running_postgres, running_redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """An empty Redis. A test that stops it starts one of its own."""
    redis_server.command("FLUSHALL")
    return redis_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """A new empty database."""
    return postgres_server.create_database()
