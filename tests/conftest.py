"""What holds for every test of the suite."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from functools import cache
from inspect import iscoroutinefunction

import pytest
from hypothesis import HealthCheck, settings

from pg_trio.transport.tls import client_context
from tests.support.engines import PostgresServer, RedisServer, running_postgres, running_redis
from tests.support.limits import within
from tests.support.strays import without_strays

MEMORY = "/dev/shm"
# A run of everything keeps some hundred megabytes at a time.
ROOM_BYTES = 4 * 1024**3

# No test stands still: the limit of a test on Trio, and of one marked slow. What these cannot end, such as a waiting
# thread, `faulthandler_timeout` ends (pyproject.toml).
TEST_LIMIT_S = 300.0
SLOW_LIMIT_S = 900.0

# The same examples everywhere, and no verdict by the time of a step: on a loaded machine any may take a second.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("project", UNTIMED, derandomize=True)
# `pytest --hypothesis-profile explore`: other examples each time, and more of them.
settings.register_profile("explore", UNTIMED, max_examples=1_500)
settings.load_profile("project")


def pytest_configure() -> None:
    """Keep the tests' files in memory where there is room, unless told where to.

    A thousand gateways flush their new databases, which takes as long as all else; no test cuts the power.
    """
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


@pytest.fixture(scope="session", autouse=True)
def one_trust_store() -> Iterator[None]:
    """Gateways in the tests' own process share one TLS context: loading the platform's trust store takes 18 ms."""
    with pytest.MonkeyPatch.context() as patch:
        shared = cache(client_context)
        for module in ("pg_trio.transport.connect", "pg_trio.transports"):
            patch.setattr(f"{module}.client_context", shared)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None, None, None]:
    """Fail an async test that does not end, or ends by a cancellation of its own: pytest-trio would let it pass."""
    limit_s = SLOW_LIMIT_S if item.get_closest_marker("slow") else TEST_LIMIT_S
    hypothesis = getattr(item.obj, "hypothesis", None)
    if hypothesis is None:
        item.obj = _checked(item.obj, limit_s)
    else:
        hypothesis.inner_test = _checked(hypothesis.inner_test, limit_s)
    return (yield)


def _checked(test: object, limit_s: float) -> object:
    return without_strays(within(limit_s, test)) if iscoroutinefunction(test) else test


# ── servers of Redis and PostgreSQL, one of each for a whole run, empty for each test ────────────────────────────────


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
