"""A Redis, or a proxy in its place, whose replies are none of Redis's: it costs what one that is away does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from pg_trio.domain.project import TokenLimits
from tests.cluster.waiting import LIMIT_S
from tests.cluster.world import ClusterWorld, ask
from tests.support.engine_relay import EngineRelay, engine_relay
from tests.support.engines import RedisServer
from tests.support.gateway import PROJECT, endpoint, project
from tests.support.wire import bearer, post, send_raw

CONFIGURATION = project() + endpoint("ask", rate_limit_per_minute=1800) + endpoint("plain")
# Of the right form and the wrong shape, of the wrong form, and errors.
LIES = {
    "empty": b"*0\r\n",
    "nulls": b"*3\r\n$-1\r\n$-1\r\n$-1\r\n",
    "numbers": b"*3\r\n:1\r\n:-1\r\n:7\r\n",
    "texts": b"*6\r\n" + b"$2\r\n\xff\xfe\r\n" * 6,
    "nested": b"*2\r\n*1\r\n:1\r\n*0\r\n",
    "status": b"+OK\r\n",
    "error": b"-ERR unknown command\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}
# More than each kind of standing work asks, and what requests ask beside it.
ENOUGH = 24


@pytest.fixture
async def relay(redis: RedisServer) -> AsyncIterator[EngineRelay]:
    async with engine_relay(redis.port) as relay:
        yield relay


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_lies_fail_no_request(world: ClusterWorld, relay: EngineRelay, lie: bytes) -> None:
    (node,) = await world.start(CONFIGURATION, 1, redis_port=relay.port, redis_ms=50)
    token, statuses = world.make_token(TokenLimits(max_concurrent=1000)), set[int]()

    async def call() -> None:
        statuses.add((await ask(node, token, "ask")).status)
        key = ("idempotency-key", str(relay.lies_told))
        keyed = post(f"/api/{PROJECT}/plain", {"message": "Hi"}, bearer(token), key)
        statuses.add((await send_raw(node.port, keyed)).status)

    await call()
    relay.lie = lie
    with trio.fail_after(LIMIT_S):
        while relay.lies_told < ENOUGH:
            await call()
    relay.lie = None
    relay.cut()
    await call()
    await world.stop()

    assert {200} == statuses
