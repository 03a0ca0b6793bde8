"""Gateways of a cluster in the test's own process, over real servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio
from attrs import define, field

from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from pg_trio.domain.project import TokenLimits
from tests.cluster.waiting import LIMIT_S
from tests.support.engines import PostgresServer, RedisServer
from tests.support.gateway import PROJECT, Gateway, start_gateway
from tests.support.metrics_text import scrape
from tests.support.wire import HttpResponse, bearer, post, send_raw

CLUSTER = """
[cluster]
redis_url = "{redis_url}"
postgres_url = "{postgres_url}"
node = "{node}"
when_redis_is_away = "{away}"
redis_timeout_ms = {redis_ms}
postgres_timeout_ms = {postgres_ms}
"""


@define
class ClusterWorld:
    """Opens nodes of one cluster. A test that stops an engine gives its own."""

    nursery: trio.Nursery
    folder: Path
    redis: RedisServer
    postgres: PostgresServer
    postgres_url: str
    nodes: list[Gateway] = field(factory=list)
    # Of each node: its data's folder, and its configuration.
    _made: list[tuple[Path, str]] = field(factory=list)

    async def start(self, configuration: str, count: int, **options: object) -> list[Gateway]:
        """So many nodes with this configuration (TOML), each with its own data directory."""
        for _ in range(count):
            self.nodes.append(await self._start_one(configuration, options))
        return self.nodes

    async def _start_one(self, configuration: str, options: Mapping[str, object]) -> Gateway:
        node = f"gw-{len(self.nodes) + 1}"
        folder = self.folder / node
        folder.mkdir()
        places = {
            "redis_url": f"redis://127.0.0.1:{options.get('redis_port', self.redis.port)}/0",
            "postgres_url": self.postgres_url,
            "node": node,
            "away": "local",
            "redis_ms": 2000,
            "postgres_ms": 5000,
            **options,
        }
        self._made.append((folder, CLUSTER.format(**places) + configuration))
        return await start_gateway(self.nursery, *self._made[-1])

    async def start_again(self, number: int) -> Gateway:
        """A node that was stopped, over the data that it has left."""
        self.nodes[number] = await start_gateway(self.nursery, *self._made[number])
        return self.nodes[number]

    def make_token(self, limits: TokenLimits | None = None) -> str:
        """The plaintext of a new token of the cluster."""
        with PostgresTokenAdmin(self.postgres_url) as admin:
            return admin.create(PROJECT, "test", "live", ("chat", "models", "admin"), limits)[1]

    async def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            await node.stop()


async def ask(gateway: Gateway, token: str, slug: str, body: object = None) -> HttpResponse:
    """One call of a node."""
    data = {"message": "Hello there"} if body is None else body
    return await send_raw(gateway.port, post(f"/api/{PROJECT}/{slug}", data, bearer(token)))


async def statuses_of(nodes: list[Gateway], token: str, slug: str, count: int) -> Counter[int]:
    """The statuses of so many calls at once, spread over the nodes."""
    got: Counter[int] = Counter()

    async def call(number: int) -> None:
        got[(await ask(nodes[number % len(nodes)], token, slug)).status] += 1

    async with trio.open_nursery() as calls:
        for number in range(count):
            calls.start_soon(call, number)
    return got


async def wait_for_sum(nodes: Sequence[Gateway], name: str, wanted: float) -> None:
    """Until the nodes' metrics, which must be public, have this sum."""
    with trio.fail_after(LIMIT_S):
        while wanted != sum([(await scrape(node.port)).sum(name) for node in nodes]):  # noqa: ASYNC110
            await trio.sleep(0.05)
