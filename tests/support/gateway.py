"""A whole gateway in the test's own process: real sockets, real SQLite, the simulator as its provider."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import trio
from attrs import define, field, frozen
from hypercorn.trio import serve
from quart_trio import QuartTrio

from pg_trio.app import create_app, make_admin_app
from pg_trio.config import parse_settings
from pg_trio.config.settings import Settings
from pg_trio.domain.operator import ROLES
from pg_trio.domain.project import TokenLimits
from pg_trio.recorder import LiveSubscriber
from pg_trio.server.http1 import ASGIApplication
from pg_trio.server.serving import serve_app
from pg_trio.server.stock import make_hypercorn_config
from pg_trio.simulator import Simulator, serve_simulator
from pg_trio.store.operator_admin import OperatorAdmin
from pg_trio.store.token_admin import TokenAdmin
from pg_trio.stores.store_protocols import Engines
from pg_trio.surfaces import SURFACES, Surface
from tests.support.wire import HttpResponse, bearer, post, send_raw

PROJECT = UUID("6f1c0000-0000-4000-8000-000000000001")
OTHER_PROJECT = UUID("6f1c0000-0000-4000-8000-000000000002")
STOP_LIMIT_S = 20

CREDENTIALS = """
[[credentials]]
name = "sim"
provider = "openai"
api_key = "sk-simulated-key-0000"
base_url = "{base_url}"
"""

Server = Callable[..., Awaitable[None]]


@define
class Gateway:
    """A running gateway and what a test needs of it."""

    app: QuartTrio
    settings: Settings
    simulator: Simulator
    port: int = 0
    token: str = ""
    stopping: trio.Event = field(factory=trio.Event)
    stopped: trio.Event = field(factory=trio.Event)

    def make_token(
        self,
        project: UUID = PROJECT,
        scopes: tuple[str, ...] = ("chat", "models", "admin"),
        limits: TokenLimits | None = None,
    ) -> str:
        """The plaintext of a new token."""
        with TokenAdmin(self.settings.gateway.data_dir) as admin:
            _, plaintext = admin.create(project, "test", "live", scopes, limits)
        return plaintext

    async def call(self, slug: str, body: object = None, *headers: tuple[str, str]) -> HttpResponse:
        """POST to an endpoint of the project with the gateway's token."""
        body = {"message": "Hello there"} if body is None else body
        return await send_raw(self.port, post(f"/api/{PROJECT}/{slug}", body, bearer(self.token), *headers))

    async def stop(self) -> None:
        """Stop as SIGTERM would, and wait until everything is closed: the log is on disk then."""
        self.stopping.set()
        with trio.fail_after(STOP_LIMIT_S):
            await self.stopped.wait()

    def log_rows(self) -> list[dict[str, Any]]:
        """The rows of the log file, oldest first (after `stop`)."""
        with closing(sqlite3.connect(self.settings.gateway.data_dir / "log.db")) as file:
            file.row_factory = sqlite3.Row
            rows = [dict(row) for row in file.execute("SELECT * FROM gateway_logs ORDER BY rowid")]
        return [{**row, "request_id": str(UUID(bytes=row["request_id"]))} for row in rows]


async def start_gateway(
    nursery: trio.Nursery,
    folder: Path,
    configuration: str,
    server: str = "lane",
    *,
    surfaces: Sequence[Surface] = SURFACES,
    live: Sequence[LiveSubscriber] = (),
    engines: Engines | None = None,
) -> Gateway:
    """A gateway with this configuration (TOML; credential `sim` is the simulator), ready for requests.

    `server` is `lane` (what `pg-trio serve` uses) or `hypercorn` (the stock server). `engines`: see create_app.
    """
    simulator: Simulator = await nursery.start(serve_simulator)
    text = CREDENTIALS.format(base_url=simulator.base_url) + configuration
    settings = parse_settings(text, "test.toml", folder, {})
    gateway = Gateway(create_app(settings, surfaces, live, engines), settings, simulator)
    gateway.token = gateway.make_token()
    binds: list[str] = await nursery.start(_serve, gateway, server)
    gateway.port = int(binds[0].rpartition(":")[2])
    return gateway


async def start_pages(nursery: trio.Nursery, gateway: Gateway) -> Operators:
    """The admin address of a running gateway, with an operator and a viewer."""
    config = make_hypercorn_config(gateway.settings.server)
    config.bind = ["127.0.0.1:0"]
    pages = make_admin_app(gateway.app)
    binds: list[str] = await nursery.start(partial(serve, pages, config, shutdown_trigger=gateway.stopping.wait))
    with OperatorAdmin(gateway.settings.gateway.data_dir) as admin:
        keys = [admin.create(name, role)[1] for name, role in (("Olga", ROLES[1]), ("Vera", ROLES[0]))]
    return Operators(int(binds[0].rpartition(":")[2]), *keys)


@frozen
class Operators:
    """The admin address of a gateway, and the keys for it."""

    port: int
    operator: str
    viewer: str

    async def call(self, method: str, path: str, body: object = None, key: str | None = None) -> HttpResponse:
        """A call of the admin API, by the operator unless another key is given; "" for none."""
        key = self.operator if key is None else key
        headers = [("authorization", f"Bearer {key}")] if key else []
        data = post(f"/admin/api/v1/{path}", body if body is not None else {}, *headers)
        return await send_raw(self.port, data.replace(b"POST", method.encode(), 1))


async def start_worker(nursery: trio.Nursery, gateway: Gateway, engines: Engines | None = None) -> Gateway:
    """One more worker of a gateway, with a port of its own, ready for requests."""
    worker = Gateway(
        create_app(gateway.settings, engines=engines), gateway.settings, gateway.simulator, token=gateway.token
    )
    binds: list[str] = await nursery.start(_serve, worker, "lane")
    worker.port = int(binds[0].rpartition(":")[2])
    return worker


async def _serve(gateway: Gateway, server: str, *, task_status: trio.TaskStatus[list[str]]) -> None:
    config = make_hypercorn_config(gateway.settings.server)
    config.bind = ["127.0.0.1:0"]
    try:
        if server == "hypercorn":
            await serve(gateway.app, config, shutdown_trigger=gateway.stopping.wait, task_status=task_status)
        else:
            # As `pg-trio serve` mounts it.
            app = cast(ASGIApplication, gateway.app.asgi_app)
            limits = gateway.settings.server
            await serve_app(app, config, limits, shutdown=gateway.stopping, task_status=task_status)
    finally:
        gateway.stopped.set()


def endpoint(slug: str, model: str = "", **settings: object) -> str:
    """TOML of an endpoint of the project above it; its model is its slug unless given."""
    lines = [f"{name} = {toml_value(value)}" for name, value in settings.items()]
    head = ["[[projects.endpoints]]", f'slug = "{slug}"', 'credential = "sim"', f'model = "{model or slug}"']
    return "\n".join([*head, *lines, ""])


def project(uuid: UUID = PROJECT, *, name: str = "Test", **settings: object) -> str:
    """TOML of a project; its endpoints follow."""
    lines = [f"{key} = {toml_value(value)}" for key, value in settings.items()]
    return "\n".join(["[[projects]]", f'uuid = "{uuid}"', f'name = "{name}"', *lines, ""])


def toml_value(value: object) -> str:
    """A Python value as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(value)
