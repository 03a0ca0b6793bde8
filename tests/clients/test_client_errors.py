"""Each client raises an error of its own types for every row of the table of errors (docs/surfaces.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from tests.clients.declared import ROOT, Client, client_id, ways_with
from tests.clients.talking import ClientProgram, Raised
from tests.clients.world import KEY, LEAVE_LIMIT_S, World, open_world, wire_endpoint
from tests.support.gateway import OTHER_PROJECT, PROJECT, endpoint, project


@frozen
class Row:
    """A row of the table: how a request comes to it, and what the client then knows."""

    told: str
    status: int
    type: str
    code: str | None
    model: str = "openai"
    asks: Mapping[str, Any] = {}
    token: str = ""
    project: str = str(PROJECT)


ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
MAX_BODY_BYTES = 16_384
# `told` is the row's first column in docs/surfaces.md.
TOKEN, DENIED = "token missing, malformed, unknown", "other project, scope, inactive project"
WRONG, BUDGET = "malformed, wrong field", "token cap, budget"
SCHEMA, SHED = "input schema, output schema", "overloaded, provider switched off"
ROWS: Mapping[str, Row] = {
    "malformed token": Row(TOKEN, 401, "invalid_request_error", "invalid_api_key", token="nonsense"),
    "unknown token": Row(TOKEN, 401, "invalid_request_error", "invalid_api_key", token="unknown"),
    "other project": Row(DENIED, 403, "permission_error", "permission_denied", token="foreign"),
    "scope": Row(DENIED, 403, "permission_error", "permission_denied", token="scope"),
    "inactive project": Row(
        DENIED, 403, "permission_error", "permission_denied", project=str(OTHER_PROJECT), token="foreign"
    ),
    "wrong field": Row(WRONG, 400, "invalid_request_error", None),
    "no such model": Row("no such model", 404, "invalid_request_error", "model_not_found", model="opnai"),
    "rate limit": Row("rate limit", 429, "rate_limit_error", "rate_limit_exceeded", model="limited"),
    "token cap": Row(BUDGET, 422, "insufficient_quota", "budget_exceeded", model="capped"),
    "budget": Row(BUDGET, 422, "insufficient_quota", "budget_exceeded", model="poor"),
    "guardrail": Row(
        "guardrail", 422, "invalid_request_error", "content_policy_violation", asks={"content": "a forbidden word"}
    ),
    "input schema": Row(SCHEMA, 422, "invalid_request_error", "schema_violation", model="strict"),
    "output schema": Row(SCHEMA, 502, "api_error", "schema_violation", model="shaped"),
    "provider failed": Row("provider failed", 502, "api_error", "upstream_error", model="broken"),
    "deadline": Row("deadline", 504, "timeout_error", "deadline_exceeded", model="stalled"),
    "overloaded": Row(SHED, 503, "api_error", "overloaded", model="full"),
    "provider switched off": Row(SHED, 503, "api_error", "provider_disabled", model="off"),
    "too large": Row("any other", 413, "invalid_request_error", None, asks={"content": "x" * 2 * MAX_BODY_BYTES}),
}
SCHEMA_OF_NO_BODY = {"type": "object", "required": ["never"]}
SETTINGS: Mapping[str, dict[str, object]] = {
    "openai": {},
    "limited": {"rate_limit_per_minute": 1},
    "capped": {"usage_hard_limit_tokens": 1},
    "poor": {"monthly_budget_usd": 0.000001, "estimated_cost_per_1k_tokens_usd": 1},
    "strict": {"input_schema": SCHEMA_OF_NO_BODY},
    "shaped": {"output_schema": SCHEMA_OF_NO_BODY},
    "stalled": {"deadline_ms": 200, "stream_deadline_ms": 200},
    "broken": {},
}
MORE = f"""
[gateway]
max_body_bytes = {MAX_BODY_BYTES}

[[credentials]]
name = "narrow"
provider = "openai_compatible"
api_key = "{KEY}"
base_url = "URL"
max_concurrent = 1
max_waiting = 0

[[credentials]]
name = "off"
provider = "cohere"
api_key = "{KEY}"
base_url = "URL"

[providers.cohere]
enabled = false

"""


def settings_of(slug: str) -> dict[str, object]:
    given = SETTINGS[slug]
    return given if "output_schema" in given else {"streaming_enabled": True, **given}


@pytest.fixture
async def refusing(nursery: trio.Nursery, tmp_path: Path) -> World:
    """A gateway with an endpoint for each row that needs one, in the state that the row needs."""
    endpoints = [wire_endpoint(slug, "openai", **settings_of(slug)) for slug in SETTINGS]
    endpoints = [each.replace('"gpt-4o"', f'"{slug}"') for slug, each in zip(SETTINGS, endpoints, strict=True)]
    endpoints += [
        endpoint(name, name, streaming_enabled=True).replace('"sim"', f'"{at}"')
        for name, at in (("full", "narrow"), ("off", "off"))
    ]
    inactive = project(OTHER_PROJECT, name="Inactive", is_active=False) + wire_endpoint("openai", "openai")
    world = await open_world(
        nursery,
        tmp_path,
        "\n".join(endpoints),
        credentials=MORE,
        more=inactive,
        guardrails={"keyword_blocklist": {"words": ["forbidden"]}},
    )
    world.provider.behave("broken", "fault=status:401")
    world.provider.behave("stalled", "fault=stall")
    world.provider.behave("full", "fault=stall")
    nursery.start_soon(world.gateway.call, "full")
    await world.gateway.call("limited")
    with trio.fail_after(LEAVE_LIMIT_S):
        await world.provider.wait_request(2)
    return world


def question(world: World, row: Row, client: Client) -> dict[str, Any]:
    make = world.gateway.make_token
    tokens: Mapping[str, Callable[[], str]] = {
        "": lambda: world.gateway.token,
        "nonsense": lambda: "nonsense",
        "unknown": lambda: flip(world.gateway.token),
        "foreign": lambda: make(OTHER_PROJECT),
        "scope": lambda: make(scopes=("admin",)),
    }
    base = world.base.replace(str(PROJECT), row.project)
    asks = {"options": client.wrong_option} if row.told == WRONG else row.asks
    return {**world.ask(row.model, **asks), "token": tokens[row.token](), "base": base}


def flip(token: str) -> str:
    """A token of the same form that does not exist."""
    return token[:-1] + ("a" if token[-1] != "a" else "b")


def expected(client: Client, row: Row) -> tuple[str, int, str | None]:
    """The class, the status and the code or type of the error that a client is to raise."""
    status = 529 if client.path == "messages" and row.code == "overloaded" else row.status
    if client.path == "messages":
        return client.errors[status], status, ANTHROPIC_TYPES[status]
    return client.errors[status], status, row.code


def seen(client: Client, row: Row, raised: Raised) -> tuple[str, int | None, str | None]:
    """The same of the error that it raised. What its errors do not tell is taken for right."""
    name, _, word = expected(client, row)
    if client.path == "messages":
        word = raised.fields["type"] or word
    elif client.tells_codes:
        word = raised.code
    return name if name in raised.classes else raised.name, raised.status_code, word


# All rows in one test: each needs another state of the gateway, and making all of them takes longer than the rest.
@pytest.mark.parametrize(
    ("client", "scenario"), ways_with("errors", {"chat": "chat", "stream": "stream"}), ids=client_id
)
async def test_errors_are_of_the_client_s_own_types(
    refusing: World, program: ClientProgram, client: Client, scenario: str
) -> None:
    raised = {
        told: seen(client, row, await program.ask_raised(scenario, **question(refusing, row, client)))
        for told, row in ROWS.items()
    }

    assert {told: expected(client, row) for told, row in ROWS.items()} == raised


def test_every_row_of_the_table_is_here() -> None:
    section = (ROOT / "docs" / "surfaces.md").read_text(encoding="utf-8").split("\n## Errors\n")[1].split("\n## ")[0]
    table = set(re.findall(r"^\| ([a-z][^|]+) \| (?!status)", section, re.M))

    assert table == {row.told for row in ROWS.values()}
