"""A gateway's files: its configuration, a token, and what it has logged."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

from attrs import evolve, field, frozen

from pg_trio.store.token_file import PREFIX_CHARS, hash_token, open_tokens
from pg_trio.store.transaction import transaction
from scripts.bench.harness.processes import HOST
from scripts.bench.harness.target import MODEL, SYSTEM_PROMPT, Target

PROJECT = "6f1c2a54-0d3e-4b7a-9c68-2f5b8e1d7a90"
# A credential of this name serves the endpoint that is called to see whether the gateway is ready; without it, the
# first endpoint is called.
READY = "ready"
SWITCHED_ON = (
    "token, both rate limits, monthly budget, four guardrails (eight kinds of personal data, prompt injection, three "
    "keywords, length), input schema, system prompt, deadline, every call logged to SQLite"
)
_FIELDS = {"message": {"type": "string", "minLength": 1, "maxLength": 20000}, "stream": {"type": "boolean"}}
_SCHEMA = {"type": "object", "required": ["message"], "properties": _FIELDS, "additionalProperties": False}
# Every stage works. The limits are checked and counted at every call, and never reached.
ALL_STAGES: Mapping[str, Any] = {
    "prompt": SYSTEM_PROMPT,
    "rate_limit_per_minute": 100_000_000,
    "rate_limit_per_hour": 100_000_000,
    "monthly_budget_usd": 1_000_000,
    "estimated_cost_per_1k_tokens_usd": 0.0001,
    "max_output_tokens": 256,
    "deadline_ms": 20_000,
    "input_schema": json.dumps(_SCHEMA),
    "guardrails": {
        "pii_filter": {"enabled": True},
        "prompt_injection": {"enabled": True},
        "keyword_blocklist": {"words": ["project nightfall", "internal only", "do not forward"]},
        "content_length": {"min": 1, "max": 20_000},
    },
}
# Streams that are kept whole, however long a bench makes them.
RESUMABLE: Mapping[str, Any] = {"resumable_streams": True, "resume_bytes": 64 * 1024 * 1024}
KEEPS_ALL: Mapping[str, Any] = {"max_kept_bytes": 8 * 1024 * 1024 * 1024, "max_kept_answers": 100_000}
# The same with room for a body of megabytes, and for chats.
_WIDE_FILE = "wide.json"
_MESSAGES = {"type": "array", "items": {"type": "object", "required": ["role", "content"]}}
_WIDE_SCHEMA = {"type": "object", "properties": {"message": {"type": "string", "minLength": 1}, "messages": _MESSAGES}}
_WIDE_STAGES = {
    **ALL_STAGES,
    "deadline_ms": 60_000,
    "input_schema": f"file:{_WIDE_FILE}",
    "guardrails": {**ALL_STAGES["guardrails"], "content_length": {"max": 100_000_000}},
}
# The same for OpenAI's body.
_CHAT_SCHEMA = {"type": "object", "required": ["model", "messages"], "properties": {"messages": _MESSAGES}}
_CHAT_STAGES = {**ALL_STAGES, "input_schema": json.dumps(_CHAT_SCHEMA)}
BINARIES = Path(sys.executable).parent
PG_TRIO = str(BINARIES / "pg-trio")
_BUSY_LIMIT_S = 60.0
# Beyond the numbers of the tokens that a bench inserts.
_OWN_TOKEN = 10**12


@frozen(slots=True)
class Endpoint:
    """An endpoint: the model of each candidate by its credential, in order, and its settings by their names.

    The model tells a simulated provider how to behave.
    """

    slug: str
    candidates: Mapping[str, str]
    settings: Mapping[str, object] = field(factory=dict)

    def as_toml(self) -> str:
        (credential, model), *others = self.candidates.items()
        failover = ", ".join(f'{{ credential = "{name}", model = "{other}" }}' for name, other in others)
        table = {"slug": self.slug, "credential": credential, "model": model, "streaming_enabled": True}
        return f"[[projects.endpoints]]\n{_as_lines(table)}failover = [{failover}]\n{_as_lines(self.settings)}"


@frozen(slots=True)
class GatewayFiles:
    """A configuration file and a token for it. `ready_body`: what is asked of `ready` to see whether all is ready."""

    configuration: Path
    token: str
    ready: str
    ready_body: Mapping[str, object] = field(factory=lambda: {"message": "Hello"})

    @property
    def data_dir(self) -> Path:
        return self.configuration.with_name("data")

    def target(self, port: int, slug: str, body: Mapping[str, object], token: str = "") -> Target:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return Target(port, f"/api/{PROJECT}/{slug}", headers, json.dumps(body))

    def openai_target(self, port: int, question: str, slug: str = "openai") -> Target:
        """OpenAI's request to that endpoint."""
        body = {"model": slug, "messages": [{"role": "user", "content": question}]}
        return evolve(self.target(port, slug, body), path=f"/api/{PROJECT}/v1/chat/completions")

    def make_lane_command(self, port: int, workers: int = 1) -> tuple[str, ...]:
        bind = ("--bind", f"{HOST}:{port}", "--workers", str(workers), "--admin-bind", "")
        return (PG_TRIO, "serve", "--config", str(self.configuration), *bind)

    def read_log(self, what: str) -> int:
        """An SQL expression over all rows of the log; the gateway has stopped, so that all are written."""
        with closing(sqlite3.connect(self.data_dir / "log.db")) as log:
            (found,) = log.execute(f"SELECT coalesce({what}, 0) FROM gateway_logs").fetchone()
        return int(found)


def set_up(
    folder: Path,
    addresses: Mapping[str, str],
    endpoints: Sequence[Endpoint],
    *,
    gateway: Mapping[str, object] | None = None,
    limits: Mapping[str, Mapping[str, object]] | None = None,
) -> GatewayFiles:
    """A gateway that can be started, in `folder`.

    `addresses`: a credential and its base URL each. `gateway`: settings of that table. `limits`: settings of
    credentials.
    """
    if READY in addresses:
        endpoints = [Endpoint(READY, {READY: "sim"}), *endpoints]
    parts = [f"[gateway]\n{_as_lines({'data_dir': 'data', **(gateway or {})})}"]
    for name, url in addresses.items():
        table = {"name": name, "provider": "openai", "api_key": "sk-upstream", "base_url": url}
        parts.append(f"[[credentials]]\n{_as_lines({**table, **(limits or {}).get(name, {})})}")
    parts.append(f"[[projects]]\n{_as_lines({'uuid': PROJECT, 'name': 'Bench', 'slug': 'bench'})}")
    configuration = folder / "gateway.toml"
    configuration.write_text("\n".join([*parts, *(endpoint.as_toml() for endpoint in endpoints)]))
    files = GatewayFiles(configuration, name_token(_OWN_TOKEN), endpoints[0].slug)
    files.data_dir.mkdir()
    insert_tokens(files.data_dir, range(_OWN_TOKEN, _OWN_TOKEN + 1))
    return files


def set_up_full(folder: Path, upstream_url: str, *, plain: bool = False, resumable: bool = False) -> GatewayFiles:
    """A gateway with two endpoints where every stage works: `support`, and `openai` for requests to `/v1`.

    `plain`: no stage does more than it must. `resumable`: their streams are kept.
    """
    kept = RESUMABLE if resumable else {}
    stages = {"support": ALL_STAGES, "openai": _CHAT_STAGES}
    made = [
        Endpoint(slug, {"upstream": MODEL}, {**({} if plain else settings), **kept})
        for slug, settings in stages.items()
    ]
    return set_up(folder, {"upstream": upstream_url}, made, gateway=KEEPS_ALL if resumable else None)


def set_up_wide(folder: Path, upstream_url: str, *, endpoints: int = 1, tokens: int = 0) -> GatewayFiles:
    """A gateway with endpoints `e0`, `e1`, … that take bodies of megabytes, and so many tokens beside its own."""
    (folder / _WIDE_FILE).write_text(json.dumps(_WIDE_SCHEMA))
    made = [Endpoint(f"e{number}", {"upstream": MODEL}, _WIDE_STAGES) for number in range(endpoints)]
    files = set_up(folder, {"upstream": upstream_url}, made)
    insert_tokens(files.data_dir, range(tokens))
    return files


def name_token(number: int) -> str:
    """The plaintext of the inserted token of that number."""
    return f"pg_live_bench{number:030d}"


def insert_tokens(data_dir: Path, numbers: range) -> None:
    """The tokens of these numbers are in the database, in one transaction."""
    project, names = UUID(PROJECT).bytes, map(name_token, numbers)
    rows = ((project, "bench", name[:PREFIX_CHARS], hash_token(name), "live", "chat models", 0.0) for name in names)
    columns = "project_uuid, name, prefix, digest, env, scopes, created_at"
    with closing(open_tokens(data_dir, _BUSY_LIMIT_S)) as connection, transaction(connection):
        connection.executemany(f"INSERT INTO tokens ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _as_lines(table: Mapping[str, object]) -> str:
    return "".join(f"{name} = {_as_toml(value)}\n" for name, value in table.items())


def _as_toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_as_toml(item)}" for name, item in value.items()) + " }"
    # JSON's numbers, booleans, strings and lists of those are TOML's.
    return json.dumps(value)
