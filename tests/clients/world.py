"""A gateway, and one simulated provider behind it that candidates of three wires call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from pg_trio.simulator import Simulator, serve_simulator
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway

WIRES = ("openai", "anthropic", "google")
# Models that take everything that is asked of them here.
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-flash"}
KEY = "key-of-a-simulator"
_CREDENTIAL = """
[[credentials]]
name = "{wire}"
provider = "{wire}"
api_key = "{key}"
base_url = "{url}"
send_deadline = {sends}
"""


@frozen
class World:
    """A running gateway, and the provider behind its endpoints."""

    gateway: Gateway
    provider: Simulator

    @property
    def base(self) -> str:
        """The project's address, behind which `/v1` stands."""
        return self.base_on(self.gateway.port)

    def base_on(self, port: int) -> str:
        """The same on another port."""
        return f"http://127.0.0.1:{port}/api/{PROJECT}"

    def ask(self, model: str, **question: Any) -> dict[str, Any]:
        """The fields of a question to an endpoint."""
        return {"base": self.base, "token": self.gateway.token, "model": model, **question}

    def behave(self, wire: str, behaviour: str = "", **changes: Any) -> None:
        """What the provider does for the endpoint of that wire."""
        self.provider.behave(MODELS[wire], behaviour, **changes)


def wire_endpoint(slug: str, wire: str, **settings: object) -> str:
    """TOML of an endpoint whose candidate speaks this wire."""
    return endpoint(slug, MODELS[wire], **settings).replace('"sim"', f'"{wire}"')


def wire_endpoints(**settings: object) -> str:
    """TOML of an endpoint for each wire, named after it."""
    return "\n".join(wire_endpoint(wire, wire, streaming_enabled=True, **settings) for wire in WIRES)


async def open_world(
    nursery: trio.Nursery,
    folder: Path,
    endpoints: str | None = None,
    *,
    credentials: str = "",
    more: str = "",
    **settings: Any,
) -> World:
    """Start both. `endpoints` is TOML; without it there is one for each wire. `settings` are the project's.

    `credentials` and `more` are TOML of more credentials (`URL` is the provider's on OpenAI's wire) and projects.
    """
    provider: Simulator = await nursery.start(serve_simulator)
    parts = [
        _CREDENTIAL.format(wire=wire, key=KEY, url=provider.url_of(wire), sends=str(wire == "openai").lower())
        for wire in WIRES
    ]
    parts += [credentials.replace("URL", provider.base_url), project(**settings)]
    parts += [wire_endpoints() if endpoints is None else endpoints, more]
    return World(await start_gateway(nursery, folder, "\n".join(parts)), provider)
