"""Whole nodes of a cluster: `pg-trio serve` with two workers each, real engines, the simulator as their provider."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import UUID

import trio
from attrs import define, field

from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from pg_trio.domain.project import TokenLimits
from pg_trio.simulator import Behaviours, Simulator, serve_simulator
from scripts.bench.harness.processes import find_free_port
from tests.cluster.callers import Caller
from tests.support.engines import PostgresServer, RedisServer, children_of
from tests.support.gateway import CREDENTIALS, PROJECT, project, toml_value
from tests.support.processes import PG_TRIO, run_command

NODES, WORKERS = 3, 2
# A start takes seconds of a core, and three nodes share the machine with their load.
START_LIMIT_S = 60.0
# More than any test sends.
KEEP_REQUESTS = 1_000_000
SERVE = ("--admin-bind", "", "--workers", str(WORKERS))


@define(eq=False)
class ServedNode:
    """One node: its files, and its processes while it runs. `prefix` and `environ` change where it runs."""

    folder: Path
    name: str
    port: int
    host: str = "127.0.0.1"
    prefix: Sequence[str] = ()
    environ: Mapping[str, str] = field(factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def configuration(self) -> Path:
        return self.folder / "pg.toml"

    def start(self) -> None:
        """Start it. It may take seconds until it serves."""
        command = [*self.prefix, *PG_TRIO, "serve", "--config", str(self.configuration), *SERVE]
        with (self.folder / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--bind", f"{self.host}:{self.port}"],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environ},
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """The whole node at once: its supervisor first, then its workers."""
        if self.process is not None:
            for pid in (self.process.pid, *children_of(self.process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            self.process.wait(START_LIMIT_S)
            self.process = None

    def output(self) -> str:
        return (self.folder / "output.log").read_text("utf-8", "replace")


@define(eq=False)
class ServedCluster:
    """The nodes, and what is around them. `token` calls every endpoint. `credential`: more lines of the provider's."""

    folder: Path
    redis: RedisServer
    postgres: PostgresServer
    postgres_url: str
    simulator: Simulator
    nodes: list[ServedNode] = field(factory=list)
    token: str = ""
    credential: str = ""

    def query(self, statement: str) -> str:
        """What PostgreSQL has."""
        return self.postgres.query(statement, self.postgres_url)

    def add(self, endpoints: str, port: int, cluster: Mapping[str, object], **options: object) -> ServedNode:
        """A node's files. `cluster`: what its `[cluster]` has beside the default; `options`: see ServedNode."""
        name = f"gw-{len(self.nodes) + 1}"
        folder = self.folder / name
        folder.mkdir()
        settings = {"redis_url": self.redis.url, "postgres_url": self.postgres_url, "node": name, **cluster}
        section = "".join(f"{key} = {toml_value(value)}\n" for key, value in settings.items())
        credentials = CREDENTIALS.format(base_url=self.simulator.base_url) + self.credential
        node = ServedNode(folder, name, port, **options)  # type: ignore[arg-type]
        node.configuration.write_text("[cluster]\n" + section + credentials + project() + endpoints)
        self.nodes.append(node)
        return node

    async def start(self, limits: TokenLimits | None = None) -> None:
        """Start all nodes, make the token, and wait until each node serves."""
        assert 0 == (await run_command("migrate", "--config", str(self.nodes[0].configuration)))[0]
        with PostgresTokenAdmin(self.postgres_url) as admin:
            self.token = admin.create(PROJECT, "test", "live", ("chat", "models", "admin", "mint"), limits)[1]
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            await self.wait_serving(node)

    async def wait_serving(self, node: ServedNode) -> None:
        """Until a node answers its list of models."""
        async with Caller(self.token) as caller:
            with trio.move_on_after(START_LIMIT_S):
                while (await caller.list_models(node)).status != 200:  # noqa: ASYNC110
                    await trio.sleep(0.05)
                return
        raise AssertionError(f"{node.name} does not serve:\n{node.output()}")

    async def stop(self) -> None:
        """Stop all nodes in order: then all rows of the log are in PostgreSQL."""
        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                nursery.start_soon(trio.to_thread.run_sync, node.kill, signal.SIGTERM)


@asynccontextmanager
async def served_cluster(
    folder: Path,
    redis: RedisServer,
    postgres: PostgresServer,
    behaviours: Behaviours | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[ServedCluster]:
    """A cluster without nodes, its provider (at `host`), and an empty database. Its nodes are killed at the end."""
    serve = partial(serve_simulator, behaviours or Behaviours(keep_requests=KEEP_REQUESTS), host=host)
    async with trio.open_nursery() as nursery:
        simulator: Simulator = await nursery.start(serve)
        cluster = ServedCluster(folder, redis, postgres, postgres.create_database(), simulator)
        try:
            yield cluster
        finally:
            for node in cluster.nodes:
                node.kill()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def running_cluster(
    folder: Path,
    redis: RedisServer,
    postgres: PostgresServer,
    endpoints: str,
    *,
    limits: TokenLimits | None = None,
    cluster: Mapping[str, object] | None = None,
    behaviours: Behaviours | None = None,
    credential: str = "",
) -> AsyncIterator[ServedCluster]:
    """Three nodes that serve these endpoints (TOML). `cluster`: see ServedCluster.add; `credential`: ServedCluster."""
    async with served_cluster(folder, redis, postgres, behaviours) as served:
        served.credential = credential
        for port in free_ports(NODES):
            served.add(endpoints, port, cluster or {})
        await served.start(limits)
        yield served


def free_ports(count: int) -> list[int]:
    """So many different free ports."""
    return [find_free_port() for _ in range(count)]


def stored_ids(cluster: ServedCluster) -> list[UUID]:
    """The request ids of all rows of the log in PostgreSQL, duplicates included."""
    return [UUID(line) for line in cluster.query("SELECT request_id FROM pgtrio.gateway_logs").split()]
