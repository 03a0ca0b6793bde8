"""A gateway with endpoints for embeddings, and simulated providers of every wire behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import trio
from attrs import frozen

from pg_trio.simulator import Simulator, serve_simulator
from pg_trio.simulator.chat_completion import make_vector
from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, post, send_raw

WIRES = ("openai", "mistral", "together", "ollama", "cohere", "google")
# Credential `sim`, of every test's configuration, is the one of OpenAI.
CREDENTIAL = (
    '[[credentials]]\nname = "{name}"\nprovider = "{name}"\napi_key = "key-of-{name}-0000"\nbase_url = "{url}"\n'
)
MANY = [f"text {number}" for number in range(200)]
TEXTS = ["Hello", "Ça va? 🙂", "x" * 1_000]
# A dollar a token: 10**9 of the log's units.
PRICED = {"monthly_budget_usd": "1000", "estimated_cost_per_1k_tokens_usd": "1000"}
NANO = 10**9


def to(*names: str) -> list[dict[str, str]]:
    return [{"credential": name, "model": name} for name in names]


def embedder(slug: str, first: str, *others: str, **settings: object) -> str:
    """An endpoint whose candidates are these; each one's model has the name of its credential."""
    if others:
        settings["failover"] = to(*others)
    return endpoint(slug, first, **settings).replace('credential = "sim"', f'credential = "{first}"', 1)


ENDPOINTS = "\n".join(
    [
        project(),
        *[embedder(f"only-{wire}", wire) for wire in WIRES],
        embedder("chain", "openai", "mistral", "cohere", "google", model_names=["text-embedding-*"]),
        embedder("cohere-first", "cohere", "openai"),
        embedder("hedged", "openai", "cohere", hedge_after_ms=50),
        embedder("patient", "openai", "cohere", attempt_timeout_ms=400),
        embedder("brief", "openai", deadline_ms=300),
        embedder("groq", "groq"),
        embedder("groq-first", "groq", "openai"),
        embedder("together-cohere", "together", "cohere"),
        embedder("limited", "openai", rate_limit_per_minute=1),
        embedder("capped", "openai", usage_hard_limit_tokens=10),
        embedder("priced", "openai", prompt="p" * 4_000, **PRICED),
        embedder("priced-cohere", "cohere", **PRICED),
        embedder("priced-chain", "cohere", "openai", **PRICED),
        embedder("masked", "openai", guardrails={"pii_filter": {"enabled": True}}),
        embedder("words", "openai", guardrails={"keyword_blocklist": {"enabled": True, "words": ["forbidden"]}}),
        embedder("schema", "openai", input_schema={"properties": {"input": {"type": "string"}}}),
        embedder("chatty", "openai", prompt="Be kind.", sessions_enabled=True, streaming_enabled=True),
        embedder("passing", "openai", pass_unknown_fields=True),
        embedder("kept", "openai", log_bodies="full"),
        project(OTHER_PROJECT, name="Wrapper", project_type="ai_wrapper"),
        '[[projects.providers]]\ncredential = "openai"\n',
    ]
)


@frozen
class World:
    """A gateway and the providers behind it, by their names."""

    gateway: Gateway
    providers: dict[str, Simulator]

    def behave(self, name: str, behaviour: str) -> None:
        self.providers[name].behave(name, behaviour)

    def asked(self) -> list[str]:
        """Which providers were asked, each as often as it was."""
        return [name for name, provider in self.providers.items() for _ in provider.requests]

    def received(self, name: str = "openai") -> Any:
        """The body of the last request to this provider."""
        return self.providers[name].requests[-1].body

    async def embed(self, model: str, given: Any = "Hello", *headers: tuple[str, str], **fields: Any) -> HttpResponse:
        body = {"model": model, "input": given, **fields}
        path = f"/api/{PROJECT}/v1/embeddings"
        return await send_raw(self.gateway.port, post(path, body, bearer(self.gateway.token), *headers))

    def client(self, **settings: Any) -> openai.OpenAI:
        base_url = f"http://127.0.0.1:{self.gateway.port}/api/{PROJECT}/v1"
        return openai.OpenAI(**{"base_url": base_url, "api_key": self.gateway.token, "max_retries": 0, **settings})


async def start_world(nursery: trio.Nursery, folder: Path, server: str = "lane") -> World:
    names = (*WIRES, "groq")
    providers: dict[str, Simulator] = {name: await nursery.start(serve_simulator) for name in names}
    credentials = [CREDENTIAL.format(name=name, url=providers[name].url_of(name)) for name in names]
    configuration = "\n".join([*credentials, ENDPOINTS])
    return World(await start_gateway(nursery, folder, configuration, server), providers)


def vectors_of(answer: HttpResponse) -> list[Any]:
    return [one["embedding"] for one in answer.json()["data"]]


def error_of(answer: HttpResponse) -> Any:
    return answer.json()["error"]


def simulated(*texts: str, dimensions: int = 8) -> list[list[float]]:
    return [list(make_vector(text, dimensions)) for text in texts]
