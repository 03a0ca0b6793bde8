"""`pg-trio serve --demo`: a complete gateway without a key and without a file.

A simulated provider on a loopback port answers. A real provider that is available (a key in the environment, an Ollama
on its usual port) is asked first, and the simulator is its failover. The data is in a temporary folder that is deleted
at the end.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import trio
from attrs import evolve, frozen

from pg_trio.cli.fork_workers import fork_workers
from pg_trio.config import read_configuration
from pg_trio.config.settings import Settings
from pg_trio.errors import ConfigError, StoreError, WorkersFailed
from pg_trio.server.fork_server import ForkServer

if TYPE_CHECKING:
    from pg_trio.simulator import Simulator

PROJECT = UUID("6f1c6e2d-5d0c-4f3b-9c7e-0d2f5a3b9e10")
SIMULATED = "simulated"
SIMULATED_MODEL = "simulated-chat"
# A local Ollama answers in a few milliseconds; the start must not wait for one that is not there.
OLLAMA_PROBE_S = 0.3

# If the variable is set, this provider's small model is asked.
KEYS = {
    "OPENAI_API_KEY": ("openai", "gpt-4o-mini"),
    "MISTRAL_API_KEY": ("mistral", "mistral-small-latest"),
    "GROQ_API_KEY": ("groq", "llama-3.1-8b-instant"),
    "TOGETHER_API_KEY": ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
}


@frozen
class FoundProvider:
    """A real provider that can be asked without configuration; `key_variable` is None if it needs no key."""

    name: str
    model: str
    key_variable: str | None


def run_demo(bind: str | None, workers: int | None, admin_bind: str | None = None) -> int:
    """Serve the demonstration until SIGINT or SIGTERM."""
    try:
        temporary = tempfile.TemporaryDirectory(prefix="pg-trio-demo-")
    except OSError as error:
        raise ConfigError(
            "pg-trio serve --demo", [f"no temporary directory can be made ({error.strerror}); set TMPDIR to one"]
        ) from error
    with temporary as folder:
        path = Path(folder) / "gateway.toml"
        # Before there is an event loop. What the demonstration's configuration says is known later.
        trio.run(_serve, path, fork_workers(path), bind, workers, admin_bind)
    return 0


async def _serve(
    path: Path, forks: ForkServer | None, bind: str | None, workers: int | None, admin_bind: str | None
) -> None:
    # After the fork: workers do not need these.
    from pg_trio.cli.supervise import supervise
    from pg_trio.simulator import serve_simulator
    from pg_trio.store.operator_admin import OperatorAdmin
    from pg_trio.store.token_admin import TokenAdmin

    # Settings in the environment are for the real gateway, not for this one.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PG_TRIO_")}
    async with trio.open_nursery() as nursery:
        simulator: Simulator = await nursery.start(serve_simulator)
        found = find_keys(environ) + await find_ollama(environ)
        write(path, write_configuration(simulator.base_url, found, bind, workers or 1))
        configuration = read_configuration(path, environ)
        settings = configuration.settings
        if admin_bind is not None:
            settings = evolve(settings, server=evolve(settings.server, admin_bind=admin_bind))
        with OperatorAdmin(settings.gateway.data_dir) as operators:
            operator, _ = operators.create("demo")
            link = operators.make_link(operator)
        with TokenAdmin(settings.gateway.data_dir) as admin:
            _, plaintext = admin.create(PROJECT, "demo", "test", ("chat", "models", "admin"))

        def announce(addresses: list[str], admin: str | None) -> None:
            pages = "" if admin is None else f"The pages, with a link that logs in once: {admin}/login?link={link}\n\n"
            print(describe(addresses[0], plaintext, found, settings, pages), flush=True)

        failure: Exception | None = None
        try:
            await supervise(path, evolve(configuration, settings=settings), announce, forks)
        except (ConfigError, StoreError, WorkersFailed) as error:
            failure = error
        nursery.cancel_scope.cancel(reason="served")
    if failure is not None:
        raise failure


def write(path: Path, text: str) -> None:
    """Write the configuration."""
    path.write_text(text, encoding="utf-8")


def find_keys(environ: Mapping[str, str]) -> list[FoundProvider]:
    """The providers whose usual key variable is set."""
    return [FoundProvider(name, model, key) for key, (name, model) in KEYS.items() if environ.get(key)]


async def find_ollama(environ: Mapping[str, str]) -> list[FoundProvider]:
    """An Ollama on its usual port (or $OLLAMA_BASE_URL) with its first model; nothing if there is none."""
    import httpx

    base_url = environ.get("OLLAMA_BASE_URL") or "http://localhost:11434/v1"
    try:
        async with httpx.AsyncClient(timeout=OLLAMA_PROBE_S, trust_env=False) as client:
            models = (await client.get(f"{base_url}/models")).raise_for_status().json()["data"]
        return [FoundProvider("ollama", str(models[0]["id"]), None)]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError):
        return []


def write_configuration(base_url: str, found: list[FoundProvider], bind: str | None, workers: int) -> str:
    """The demonstration's configuration, as a user would write it."""
    lines = ["[server]", f"workers = {workers}"]
    if bind is not None:
        lines.append(f"bind = {json.dumps(bind)}")
    lines.append("")
    lines += _credential(SIMULATED, "openai", base_url=base_url, api_key="sk-simulated")
    for provider in found:
        key = {"api_key": f"env:{provider.key_variable}"} if provider.key_variable else {}
        lines += _credential(provider.name, provider.name, **key)
    candidates = [(provider.name, provider.model) for provider in found] + [(SIMULATED, SIMULATED_MODEL)]
    lines += ["[[projects]]", f'uuid = "{PROJECT}"', 'name = "Demo"', 'env = "dev"', ""]
    lines += _endpoint("assistant", candidates, prompt="You are a helpful assistant. Answer in one short paragraph.")
    lines += _endpoint(
        "guarded",
        candidates,
        prompt="You are a careful support agent.",
        rate_limit_per_minute=60,
        guardrails={"pii_filter": {"enabled": True}, "prompt_injection": {"enabled": True}},
    )
    return "\n".join(lines)


def _credential(name: str, provider: str, **settings: str) -> list[str]:
    rows = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return ["[[credentials]]", f'name = "{name}"', f'provider = "{provider}"', *rows, ""]


def _endpoint(
    slug: str,
    candidates: list[tuple[str, str]],
    *,
    prompt: str,
    rate_limit_per_minute: int | None = None,
    guardrails: Mapping[str, Mapping[str, bool]] | None = None,
) -> list[str]:
    (credential, model), *rest = candidates
    failover = ", ".join(f"{{ credential = {json.dumps(c)}, model = {json.dumps(m)} }}" for c, m in rest)
    rows = [
        "[[projects.endpoints]]",
        f'slug = "{slug}"',
        f"credential = {json.dumps(credential)}",
        f"model = {json.dumps(model)}",
        f"failover = [{failover}]",
        f"prompt = {json.dumps(prompt)}",
        "streaming_enabled = true",
    ]
    if rate_limit_per_minute is not None:
        rows.append(f"rate_limit_per_minute = {rate_limit_per_minute}")
    for name, rule in (guardrails or {}).items():
        rows += [f"[projects.endpoints.guardrails.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in rule.items())]
    return [*rows, ""]


def describe(address: str, token: str, found: list[FoundProvider], settings: Settings, pages: str = "") -> str:
    """The text for the terminal once the gateway listens."""
    asked = ", ".join(f"{provider.name} ({provider.model})" for provider in found)
    who = f"{asked}; the simulator if they fail" if found else "a simulated provider (no key was found)"
    slugs = ", ".join(settings.projects[PROJECT].endpoints)
    return f"""
pg_trio demo · {address} · endpoints: {slugs}
Answers come from {who}.

Try it in another terminal:

curl -sw '\\n' {address}/api/{PROJECT}/assistant -H 'Authorization: Bearer {token}' \\
  -H 'Content-Type: application/json' -d '{{"message": "Hello! What can you do?"}}'

The same as a live stream:

curl -sN {address}/api/{PROJECT}/assistant -H 'Authorization: Bearer {token}' \\
  -H 'Content-Type: application/json' -d '{{"message": "Hello! What can you do?", "stream": true}}'

OpenAI's and Anthropic's clients work as well, with the token as their key and an endpoint as the model:

OPENAI_BASE_URL={address}/api/{PROJECT}/v1  ANTHROPIC_BASE_URL={address}/api/{PROJECT}

curl -sw '\\n' {address}/api/{PROJECT}/v1/chat/completions -H 'Authorization: Bearer {token}' \\
  -d '{{"model": "assistant", "messages": [{{"role": "user", "content": "Hello! What can you do?"}}]}}'

{pages}Ctrl-C stops it; nothing is kept.
"""
