"""Introspection over a socket: who may look, what is shown, and what never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, get, send_raw

CONFIGURATION = "\n".join(
    [
        "[[credentials]]",
        'name = "off"',
        'provider = "groq"',
        'api_key = "gsk_0123456789abcdef"',
        "[providers.groq]",
        "enabled = false",
        project(metadata={"team": "support"}),
        endpoint(
            "ask",
            model="gpt-4o-mini",
            failover=[{"credential": "sim", "model": "gpt-4o"}, {"credential": "off", "model": "llama"}],
            monthly_budget_usd="25.00",
            prompt="Be kind.",
        ),
        endpoint("asleep", model="hidden", is_active=False),
        project(OTHER_PROJECT, name="Other"),
        endpoint("secret-endpoint", model="other-model"),
    ]
)


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


async def look(gateway: Gateway, what: str, token: str | None = None) -> HttpResponse:
    return await send_raw(gateway.port, get(f"/api/{PROJECT}/{what}", bearer(token or gateway.token)))


async def test_info(gateway: Gateway) -> None:
    response = await look(gateway, "info")

    shown = response.json()["project"]
    assert (200, str(PROJECT), "Test", {"team": "support"}, 2) == (
        response.status,
        shown["uuid"],
        shown["name"],
        shown["metadata"],
        shown["endpoint_count"],
    )
    assert "x-request-id" in response.headers


async def test_endpoints_show_settings_not_keys(gateway: Gateway) -> None:
    response = await look(gateway, "endpoints")

    shown: list[dict[str, Any]] = response.json()["endpoints"]
    assert ["ask", "asleep"] == [row["slug"] for row in shown]
    assert ("sim", "openai", "25.00", "Be kind.") == tuple(
        shown[0][name] for name in ("credential", "provider", "monthly_budget_usd", "prompt")
    )
    assert b"sk-simulated" not in response.body
    assert b"gsk_" not in response.body
    assert b"secret-endpoint" not in response.body


async def test_candidates_show_how_they_fare(gateway: Gateway) -> None:
    gateway.simulator.behave("gpt-4o-mini", "fault=status:500")
    for _ in range(3):
        await gateway.call("ask")

    response = await look(gateway, "candidates")

    shown: list[dict[str, Any]] = response.json()["candidates"]
    assert [("sim", "gpt-4o-mini"), ("sim", "gpt-4o"), ("off", "llama"), ("sim", "hidden")] == [
        (row["credential"], row["model"]) for row in shown
    ]
    assert ("open", "target") == (shown[0]["model_breaker"]["state"], shown[0]["model_breaker"]["why"])
    assert shown[0]["line"].startswith("model open by target, next in ")
    assert shown[1]["line"].startswith("model closed, 0 failed and 0 slow of ")
    assert [True, True, False, True] == [row["is_enabled"] for row in shown]
    assert (["ask"], None) == (shown[1]["endpoints"], shown[1]["slots"])
    assert b"sk-simulated" not in response.body
    assert b"other-model" not in response.body


async def test_tokens_show_no_plaintext(gateway: Gateway) -> None:
    gateway.make_token(OTHER_PROJECT)

    response = await look(gateway, "tokens")

    [shown] = response.json()["tokens"]
    assert ("test", ["chat", "models", "admin"], True) == (shown["name"], shown["scopes"], shown["is_active"])
    assert gateway.token.startswith(shown["prefix"])
    assert gateway.token.encode() not in response.body
    assert "digest" not in shown


async def test_models_are_active_and_enabled_ones(gateway: Gateway) -> None:
    response = await look(gateway, "models")

    body = response.json()
    assert ("list", ["openai/gpt-4o-mini", "openai/gpt-4o"]) == (body["object"], [row["id"] for row in body["data"]])
    assert {"id": "openai/gpt-4o", "object": "model", "created": 0, "owned_by": "openai"} == body["data"][1]


@pytest.mark.parametrize(
    ("what", "scopes", "error"),
    [
        ("info", ("chat", "models"), "Missing required scope: 'admin'. Token has: chat, models."),
        ("endpoints", ("chat",), "Missing required scope: 'admin'. Token has: chat."),
        ("candidates", ("chat", "models"), "Missing required scope: 'admin'. Token has: chat, models."),
        ("tokens", ("models",), "Missing required scope: 'admin'. Token has: models."),
        ("models", ("admin",), "Missing required scope: 'models'. Token has: admin."),
    ],
)
async def test_scope_is_needed(gateway: Gateway, what: str, scopes: tuple[str, ...], error: str) -> None:
    response = await look(gateway, what, gateway.make_token(scopes=scopes))

    assert (403, {"ok": False, "error": error}) == (response.status, response.json())


@pytest.mark.parametrize("what", ["info", "endpoints", "candidates", "tokens", "models"])
async def test_other_project_is_closed(gateway: Gateway, what: str) -> None:
    response = await look(gateway, what, gateway.make_token(OTHER_PROJECT))

    assert (403, "Token does not belong to this project.") == (response.status, response.json()["error"])


async def test_missing_token_is_401(gateway: Gateway) -> None:
    response = await send_raw(gateway.port, get(f"/api/{PROJECT}/info"))

    assert (401, {"ok": False, "error": "Missing Bearer token."}) == (response.status, response.json())


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/readyz", 200), ("/", 404), ("/nothing/here", 404)])
async def test_health_and_unknown_paths(gateway: Gateway, path: str, status: int) -> None:
    response = await send_raw(gateway.port, get(path))

    assert (status, status == 200) == (response.status, response.json()["ok"])
    assert "x-request-id" in response.headers
