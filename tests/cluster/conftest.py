"""What tests of several nodes share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.cluster.world import ClusterWorld
from tests.support.engines import PostgresServer, RedisServer


@pytest.fixture
async def world(
    nursery: trio.Nursery, tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer, postgres_url: str
) -> ClusterWorld:
    """Nodes over the common servers. A test stops them at its end."""
    return ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is open until the test's end: files that workers share."""
    with ExitStack() as opened:
        yield opened
