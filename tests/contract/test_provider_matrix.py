"""Every provider of the table, whole and streamed, in every case of the contract: the client sees the same each time.

A gateway over sockets, and the simulator in the place of each provider. The adapters alone are in test_provider_wires.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from pg_trio.domain.provider import PROVIDERS
from pg_trio.simulator import Received, Simulator, serve_simulator
from tests.support.gateway import Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse

WAYS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
CREDENTIAL = '[[credentials]]\nname = "{name}"\nprovider = "{name}"\napi_key = "key-of-{name}"\nbase_url = "{url}"\n'
SETTINGS = {"streaming_enabled": True, "max_attempts": 1, "deadline_ms": 20_000}

PIXEL = "data:image/png;base64,bm90IGEgcGljdHVyZQ=="
CITY = '{"city":"Ulm"}'
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
HELLO: dict[str, Any] = {"message": "Hello there"}
IMAGE: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
        }
    ]
}


@frozen
class Case:
    """What the client asks, how the provider behaves, what the client sees, and what the provider was told.

    `seen` is (status, text, calls, finish reason) of a whole and of a streamed answer. `told` is in the request's JSON,
    whichever wire it is on.
    """

    body: Mapping[str, Any]
    behaviour: str
    seen: tuple[object, ...]
    streamed: tuple[object, ...] | None = None
    told: str = ""


SAID = "Provider call failed: "
CASES = {
    "text": Case(HELLO, "content=%C3%87a%20va%3F", (200, "Ça va?", [], "stop"), told="Hello there"),
    "tools": Case(
        {**HELLO, "tools": [TOOL], "tool_choice": "required"},
        f"tool=get_weather:{CITY}",
        (200, "", [("get_weather", {"city": "Ulm"})], "tool_calls"),
        told="get_weather",
    ),
    "image": Case(IMAGE, "content=A%20picture", (200, "A picture", [], "stop"), told="bm90IGEgcGljdHVyZQ=="),
    "json_schema": Case(
        {**HELLO, "response_format": FORMAT},
        "content=%7B%22score%22: 1%7D",
        (200, '{"score": 1}', [], "stop"),
        told="score",
    ),
    "error": Case(HELLO, "fault=status:503", (502, SAID + "HTTP 503: Simulated failure with status 503.", [], "")),
    "truncated": Case(
        HELLO,
        "tokens=10&fault=truncate",
        (502, SAID + "connection closed before the answer was whole", [], ""),
        streamed=(200, "cut", [], "error"),
    ),
    "error inside the stream": Case(
        HELLO,
        "content=Once%20upon%20a%20time,%20there%20was&fault=stream_error:3",
        (200, "Once upon a time, there was", [], "stop"),
        streamed=(200, "cut", [], "error"),
    ),
    "error in a good answer": Case(HELLO, "fault=error200", (502, SAID + "error", [], "")),
    "slow drip": Case(HELLO, "content=Hello%20there,%20Ulm&fault=drip:0", (200, "Hello there, Ulm", [], "stop")),
}


@frozen
class Site:
    """A gateway with an endpoint for each provider, whose model has the provider's name, and what stands in for all."""

    gateway: Gateway
    simulator: Simulator

    async def call(self, provider: str, body: Mapping[str, Any] = HELLO) -> HttpResponse:
        return await self.gateway.call(slug_of(provider), dict(body))

    def sent(self) -> dict[str, Received]:
        """The last request to each provider."""
        return {str(request.model): request for request in self.simulator.requests}


def slug_of(provider: str) -> str:
    return provider.replace("_", "-")


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    simulator: Simulator = await nursery.start(serve_simulator)
    parts = [CREDENTIAL.format(name=name, url=simulator.url_of(row.wire)) for name, row in PROVIDERS.items()]
    parts.append(project())
    parts += [endpoint(slug_of(name), name, **SETTINGS).replace('"sim"', f'"{name}"') for name in PROVIDERS]
    return Site(await start_gateway(nursery, tmp_path, "\n".join(parts)), simulator)


def outcome(response: HttpResponse, stream: bool) -> tuple[object, ...]:
    """(status, text, calls, finish reason), as a client that reads OpenAI's shapes sees them."""
    if not stream or response.status != 200:
        answer = response.json()
        calls = [call["function"] for call in answer.get("tool_calls") or []]
        shown = [(call["name"], json.loads(call["arguments"])) for call in calls]
        return (
            response.status,
            answer.get("content") or answer.get("error") or "",
            shown,
            answer.get("finish_reason", ""),
        )
    lines = response.body.decode().split("\n")
    choices = [
        choice
        for line in lines
        if line.startswith("data: {")
        for choice in json.loads(line.removeprefix("data: ")).get("choices", [])
    ]
    text = "".join([choice["delta"].get("content") or "" for choice in choices])
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert response.body.endswith(b"data: [DONE]\n\n")
    return response.status, text, calls_of(choices), reasons[0]


def calls_of(choices: list[dict[str, Any]]) -> list[tuple[str, object]]:
    """The calls of a stream, put together by their index."""
    calls: dict[int, list[str]] = {}
    for choice in choices:
        for piece in choice["delta"].get("tool_calls") or []:
            call = calls.setdefault(piece["index"], ["", ""])
            call[0] += piece["function"].get("name") or ""
            call[1] += piece["function"].get("arguments") or ""
    return [(name, json.loads(arguments)) for name, arguments in calls.values()]


def rough(seen: tuple[object, ...]) -> tuple[object, ...]:
    """The outcome without what may differ between wires: how much of a broken stream came, and the words around an
    error in an answer with status 200."""
    status, text, calls, reason = seen
    if reason == "error":
        text = "cut" if text else "nothing"
    elif str(text).endswith("Simulated error behind a status of 200."):
        text = SAID + "error"
    return status, text, calls, reason


@WAYS
@pytest.mark.parametrize("name", CASES)
async def test_client_sees_the_same(site: Site, name: str, stream: bool) -> None:
    case = CASES[name]
    expected = case.streamed if stream and case.streamed is not None else case.seen
    seen: dict[str, object] = {}
    for provider in PROVIDERS:
        site.simulator.behave(provider, case.behaviour)
        response = await site.call(provider, {**case.body, "stream": stream})
        seen[provider] = rough(outcome(response, stream))
    told = {provider: json.dumps(request.body, ensure_ascii=False) for provider, request in site.sent().items()}

    assert dict.fromkeys(PROVIDERS, expected) == seen
    assert list(PROVIDERS) == [provider for provider, text in told.items() if case.told in text]


async def test_every_provider_gets_its_key_in_its_header(site: Site) -> None:
    for provider in PROVIDERS:
        await site.call(provider)

    sent = {name: request.headers for name, request in site.sent().items()}
    expected = {name: f"{row.key_prefix}key-of-{name}" for name, row in PROVIDERS.items()}
    assert expected == {name: sent[name].get(row.key_header.lower()) for name, row in PROVIDERS.items()}
    assert [] == [request.path for request in site.simulator.requests if "key-of" in request.path]
