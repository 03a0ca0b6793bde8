"""A configuration on disk with the simulator as its provider, a token, and `pg-trio serve` over it."""

from __future__ import annotations

import json
from pathlib import Path

import trio
from attrs import define

from pg_trio.simulator import Simulator, serve_simulator
from pg_trio.store.token_admin import TokenAdmin
from tests.support.gateway import CREDENTIALS, PROJECT, project
from tests.support.processes import PG_TRIO, Served, start
from tests.support.wire import HttpResponse, bearer, post, send_raw


@define
class Site:
    """What a test of a served gateway needs."""

    folder: Path
    simulator: Simulator
    token: str = ""

    @property
    def config(self) -> Path:
        return self.folder / "gateway.toml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def write(self, endpoints: str, server: str = "") -> None:
        """Replace the configuration."""
        head = f'[server]\nbind = "127.0.0.1:0"\n{server}\n' + CREDENTIALS.format(base_url=self.simulator.base_url)
        self.config.write_text(head + project() + endpoints, encoding="utf-8")

    async def serve(self, nursery: trio.Nursery, *options: str) -> Served:
        """A running gateway."""
        return await start(nursery, [*PG_TRIO, "serve", "--config", str(self.config), *options])

    def call(self, slug: str) -> bytes:
        """The bytes of one call."""
        return post(f"/api/{PROJECT}/{slug}", {"message": "Hi"}, bearer(self.token))

    async def ask(self, served: Served, slug: str = "ok") -> HttpResponse:
        """One call."""
        return await send_raw(served.port, self.call(slug))

    def status(self) -> dict[str, object]:
        """What the supervisor wrote last."""
        known: dict[str, object] = json.loads((self.data / "serve.json").read_text())
        return known

    def workers(self) -> list[int]:
        """Pids of the running workers."""
        pids = self.status()["workers"]
        assert isinstance(pids, list)
        return pids


async def make_site(nursery: trio.Nursery, folder: Path, endpoints: str, server: str = "") -> Site:
    """A site whose configuration is written and whose token is made."""
    site = Site(folder, await nursery.start(serve_simulator))
    site.write(endpoints, server)
    with TokenAdmin(site.data) as admin:
        _, site.token = admin.create(PROJECT, "test", "live", ("chat", "models", "admin"))
    return site
