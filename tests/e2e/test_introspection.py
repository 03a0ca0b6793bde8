"""Introspection over a socket: who may look, what is shown, and what never is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
import trio

from pg_trio.config.tables import EndpointTable
from pg_trio.store.token_admin import TokenAdmin
from pg_trio.web import introspection
from tests.support.gateway import OTHER_PROJECT, PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import HttpResponse, bearer, get, post, read_response, send_raw

CONFIGURATION = "\n".join(
    [
        "[[credentials]]",
        'name = "off"',
        'provider = "groq"',
        'api_key = "gsk_0123456789abcdef"',
        "[providers.groq]",
        "enabled = false",
        project(slug="test", env="staging", metadata={"team": "support"}),
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

    expected = {
        "uuid": str(PROJECT),
        "name": "Test",
        "slug": "test",
        "project_type": "ai_gateway",
        "env": "staging",
        "is_active": True,
        "endpoints_count": 2,
        "tokens_count": 1,
        "metadata": {"team": "support"},
    }
    assert (200, {"ok": True, "data": expected}) == (response.status, response.json())
    assert "x-request-id" in response.headers


async def test_revoked_tokens_count_as_they_are_listed(gateway: Gateway) -> None:
    gateway.make_token()
    with TokenAdmin(gateway.settings.gateway.data_dir) as admin:
        admin.revoke(admin.list_tokens(PROJECT)[-1].prefix)

    counted = (await look(gateway, "info")).json()["data"]["tokens_count"]
    listed = (await look(gateway, "tokens")).json()["data"]

    assert (2, [True, False]) == (counted, sorted((row["is_active"] for row in listed), reverse=True))


async def test_a_bug_is_logged_under_the_requests_id(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(introspection, "describe_project", fail)

    response = await look(gateway, "info")

    assert (500, "Internal error.") == (response.status, response.json()["error"])
    (logged,) = [record for record in caplog.records if response.headers["x-request-id"] in record.getMessage()]
    assert logged.exc_info is not None
    assert ZeroDivisionError is logged.exc_info[0]


@pytest.mark.parametrize("what", ["info", "endpoints", "candidates", "tokens", "models", "nothing"])
async def test_nothing_is_stored_on_its_way(gateway: Gateway, what: str) -> None:
    for token in (gateway.token, "pg_live_wrong"):
        assert "no-store" == (await look(gateway, what, token)).headers["cache-control"]


async def test_endpoints_show_settings_not_keys(gateway: Gateway) -> None:
    response = await look(gateway, "endpoints")

    assert response.json()["ok"]
    shown: list[dict[str, Any]] = response.json()["data"]
    assert [("ask", True), ("asleep", False)] == [(row["slug"], row["is_active"]) for row in shown]
    assert ("ask", False) == (shown[0]["name"], shown[0]["expose_as_mcp_tool"])
    assert str(UUID(shown[0]["uuid"])) == shown[0]["uuid"]
    assert ("sim", "openai", "25.00", "Be kind.") == tuple(
        shown[0][name] for name in ("credential", "provider", "monthly_budget_usd", "prompt")
    )
    assert b"sk-simulated" not in response.body
    assert b"gsk_" not in response.body
    assert b"secret-endpoint" not in response.body


async def test_endpoints_show_every_setting_and_nothing_else(nursery: trio.Nursery, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}}
    priced = '[[prices]]\nprovider = "openai"\nmodel = "*"\ninput_usd_per_1m = 2\noutput_usd_per_1m = 8'
    shaped = endpoint("ask", output_schema=schema, enforce_output_schema=True)
    gateway = await start_gateway(nursery, tmp_path, "\n".join([priced, project(), shaped]))

    response = await look(gateway, "endpoints")

    assert 200 == response.status, response.body
    (shown,) = response.json()["data"]
    assert (schema, True) == (shown["output_schema"], shown["enforce_output_schema"])
    settings = {setting.name for setting in attrs.fields(EndpointTable)}
    assert settings | {"provider", "expose_as_mcp_tool"} == set(shown)


async def test_candidates_show_how_they_fare(gateway: Gateway) -> None:
    gateway.simulator.behave("gpt-4o-mini", "fault=status:500")
    for _ in range(3):
        await gateway.call("ask")

    response = await look(gateway, "candidates")

    shown: list[dict[str, Any]] = response.json()["data"]
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

    [shown] = response.json()["data"]
    assert ("test", ["chat", "models", "admin"], True) == (shown["name"], shown["scopes"], shown["is_active"])
    assert (int, "live") == (type(shown["id"]), shown["env"])
    assert "last_used_at" in shown
    assert gateway.token.startswith(shown["prefix"])
    assert gateway.token.encode() not in response.body
    assert "digest" not in shown


async def test_models_are_active_and_enabled_ones(nursery: trio.Nursery, tmp_path: Path) -> None:
    before = int(time.time())
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    response = await look(gateway, "models")

    body = response.json()
    assert ("list", ["openai/gpt-4o-mini", "openai/gpt-4o"]) == (body["object"], [row["id"] for row in body["data"]])
    created = body["data"][1]["created"]
    assert {"id": "openai/gpt-4o", "object": "model", "created": created, "owned_by": "openai"} == body["data"][1]
    assert before <= created <= time.time()
    assert {"object", "data"} == body.keys()


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


@pytest.mark.parametrize("server", ["lane", "hypercorn"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/", 404),
        ("/nothing/here", 404),
        ("//healthz", 404),
        ("/healthz/", 404),
        ("/%68ealthz", 404),
        (f"//api/{PROJECT}/info", 404),
        (f"/api//{PROJECT}/info", 404),
        (f"/%61pi/{PROJECT}/info", 404),
        (f"/api%2F{PROJECT}/info", 404),
        (f"/api/{PROJECT}%2Finfo", 404),
        (f"/api/{PROJECT}/%69nfo", 404),
        (f"/api/{PROJECT}/info%3F", 404),
        (f"/api/{PROJECT}/info?a=%2F//", 200),
    ],
)
async def test_paths_mean_what_they_say(
    nursery: trio.Nursery, tmp_path: Path, server: str, path: str, status: int
) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, server)

    response = await send_raw(gateway.port, get(path, bearer(gateway.token)))

    assert (status, status == 200) == (response.status, response.json()["ok"])
    assert "x-request-id" in response.headers


@pytest.mark.parametrize("server", ["lane", "hypercorn"])
@pytest.mark.parametrize(
    "path",
    [f"/api/{PROJECT}/%61sk", f"/api/{PROJECT}%2Fask", f"//api/{PROJECT}/ask", f"/api/{PROJECT}/chat%2Fcompletions"],
)
async def test_calls_to_encoded_paths_reach_no_provider(
    nursery: trio.Nursery, tmp_path: Path, server: str, path: str
) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, server)

    response = await send_raw(gateway.port, post(path, {"message": "a", "endpoint": "ask"}, bearer(gateway.token)))

    assert (404, {"ok": False, "error": "Not found."}) == (response.status, response.json())
    assert {} == gateway.simulator.counts


@pytest.mark.parametrize("server", ["lane", "hypercorn"])
@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("//healthz", 404)])
async def test_head_has_no_body(nursery: trio.Nursery, tmp_path: Path, server: str, path: str, status: int) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, server)

    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(get(path).replace(b"GET", b"HEAD", 1))
        response = await read_response(stream, "HEAD")

    assert (status, b"") == (response.status, response.body)


@pytest.mark.parametrize("server", ["lane", "hypercorn"])
@pytest.mark.parametrize("path", ["/healthz", "/nothing", f"/api/{PROJECT}/info"])
async def test_connection_goes_on_after_a_body_that_nothing_reads(
    nursery: trio.Nursery, tmp_path: Path, server: str, path: str
) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION, server)
    asked = post(path, {"message": "Hello"})

    with trio.fail_after(10):
        async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
            statuses = []
            for _ in range(3):
                await stream.send_all(asked[:-5])
                await trio.sleep(0.02)
                await stream.send_all(asked[-5:])
                statuses.append((await read_response(stream)).status)

    assert [statuses[0]] * 3 == statuses
    assert statuses[0] in (404, 405)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("ask", "POST"),
        ("chat/completions", "POST"),
        ("v1/chat/completions", "POST"),
        ("v1/messages/count_tokens", "POST"),
        ("v1/models", "GET"),
        ("v1/models/ask", "GET"),
        ("info", "GET"),
        ("models", "GET"),
        ("client-tokens", "POST"),
        ("candidates", "GET, POST"),
        ("v1", None),
        ("v1/", None),
        ("v1/models/", None),
        ("v1/nope", None),
        ("mcp", None),
        ("ask/more", None),
    ],
)
async def test_methods_of_a_path(gateway: Gateway, path: str, allowed: str | None) -> None:
    """Not those that a framework's routes happen to have. A word that is no route is a 404 whatever the method is."""
    answers = [
        await send_raw(gateway.port, f"{method} /api/{PROJECT}/{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        for method in ("PUT", "PATCH", "TRACE", "OPTIONS")
    ]
    looked = await send_raw(gateway.port, get(f"/api/{PROJECT}/{path}"))

    told = [(answer.status, answer.headers.get("allow")) for answer in answers]
    refused = (404, None) if allowed is None else (405, allowed)
    assert [refused] * 3 + [refused if allowed is None else (200, f"{allowed}, OPTIONS")] == told
    assert {"GET": 401, "GET, POST": 401, "POST": 405, None: 404}[allowed] == looked.status
