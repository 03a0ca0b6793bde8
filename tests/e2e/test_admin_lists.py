"""The admin API's lists of the configuration, its tokens and its overview, over sockets."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from pg_trio.app import make_admin_app
from pg_trio.domain.project import TokenLimits
from pg_trio.errors import ConfigError
from tests.support.gateway import (
    OTHER_PROJECT,
    PROJECT,
    Gateway,
    Operators,
    endpoint,
    project,
    start_gateway,
    start_pages,
)

CONFIGURATION = "\n".join(
    [
        """
[[credentials]]
name = "hidden"
provider = "openai_compatible"
api_key = "sk-hidden-key-0000"
base_url = "http://127.0.0.1:9/v1"
headers = { "x-secret" = "secret-header-value" }
""",
        project(),
        endpoint("ask", monthly_budget_usd="2.5", estimated_cost_per_1k_tokens_usd="1"),
        endpoint("hedged", "first", failover=[{"credential": "sim", "model": "second"}], hedge_after_ms=30),
        endpoint("broken"),
        endpoint("late", deadline_ms=30),
        endpoint("off", is_active=False),
        endpoint("spare", failover=[{"credential": "hidden", "model": "local"}]),
    ]
)
PATIENCE_S = 20
READ_PATHS = ["overview", "requests", "providers", "endpoints", "tokens", "budgets", "audit", "config"]


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    gateway.simulator.behave("broken", "fault=status:500")
    gateway.simulator.behave("first", "fault=stall")
    gateway.simulator.behave("late", "fault=stall")
    return gateway


@pytest.fixture
async def operators(nursery: trio.Nursery, gateway: Gateway) -> Operators:
    return await start_pages(nursery, gateway)


async def read(operators: Operators, path: str) -> Any:
    answer = await operators.call("GET", path)
    assert 200 == answer.status, answer.body
    return answer.json()["data"]


async def read_until(operators: Operators, path: str, is_so: Callable[[Any], bool]) -> Any:
    with trio.fail_after(PATIENCE_S):
        while not is_so(found := await read(operators, path)):
            await trio.lowlevel.checkpoint()
    return found


@pytest.mark.parametrize("path", READ_PATHS)
async def test_viewers_read_and_others_do_not(gateway: Gateway, operators: Operators, path: str) -> None:
    keys = [operators.viewer, "", gateway.token, "pg_op_wrong"]

    answers = [await operators.call("GET", path, key=key) for key in keys]

    assert [200, 401, 401, 401] == [answer.status for answer in answers]
    assert "no-store" == answers[0].headers["cache-control"]


@pytest.mark.parametrize("path", READ_PATHS)
async def test_no_answer_has_a_secret(gateway: Gateway, operators: Operators, path: str) -> None:
    await gateway.call("ask")

    text = (await operators.call("GET", path)).body.decode()

    secrets = ["sk-simulated-key-0000", "sk-hidden-key-0000", "secret-header-value", gateway.token, operators.operator]
    assert [] == [secret for secret in secrets if secret in text]
    assert "digest" not in text


# ── providers, endpoints, budgets ────────────────────────────────────────────────────────────────────────────────────


async def test_providers_have_their_candidates(gateway: Gateway, operators: Operators) -> None:
    await gateway.call("ask")
    await gateway.call("broken")
    await operators.call("PATCH", "providers/openai_compatible", {"is_active": False})
    await read_until(operators, "requests", lambda rows: len(rows) == 2)

    providers = {one["name"]: one for one in await read(operators, "providers")}

    assert {"openai": True, "openai_compatible": False} == {name: one["is_active"] for name, one in providers.items()}
    assert {"is_active": False} == providers["openai_compatible"]["overrides"]
    candidates = {one["model"]: one for one in providers["openai"]["candidates"]}
    assert [{"project": str(PROJECT), "slug": "ask"}] == candidates["ask"]["endpoints"]
    assert "closed" == candidates["ask"]["model_breaker"]["state"]
    assert (1, 0.0) == (candidates["ask"]["recent"]["won"], candidates["ask"]["recent"]["error_share"])
    assert candidates["ask"]["recent"]["p50_ms"] > 0
    assert 1.0 == candidates["broken"]["recent"]["error_share"]


async def test_endpoints_show_what_holds(gateway: Gateway, operators: Operators) -> None:
    await operators.call("PATCH", f"endpoints/{PROJECT}/ask", {"deadline_ms": 1234})
    await gateway.call("ask")

    endpoints = {one["slug"]: one for one in await read(operators, "endpoints")}

    assert ["ask", "hedged", "broken", "late", "off", "spare"] == list(endpoints)
    ask = endpoints["ask"]
    assert (str(PROJECT), True, {"deadline_ms": 1234}) == (ask["project"], ask["is_active"], ask["overrides"])
    assert 1234 == ask["settings"]["deadline_ms"]
    assert (2.5, 0.0) == (ask["spend"]["budget_usd"], ask["spend"]["reserved_usd"])
    assert ask["spend"]["spent_usd"] > 0
    assert not endpoints["off"]["is_active"]


async def test_limits_show_what_is_left(gateway: Gateway, operators: Operators) -> None:
    await operators.call("PATCH", f"endpoints/{PROJECT}/broken", {"rate_limit_per_minute": 50})
    gateway.token = gateway.make_token(limits=TokenLimits(rate_limit_per_minute=40))
    await gateway.call("broken")

    endpoints = {one["slug"]: one["limits"] for one in await read(operators, "endpoints")}
    tokens = [one["limits"] for one in await read(operators, "tokens")]

    assert [{"scope": "minute", "limit": 50, "window_s": 60, "remaining": 49}] == endpoints["broken"]
    assert [] == endpoints["ask"]
    assert [[{"scope": "token_minute", "limit": 40, "window_s": 60, "remaining": 39}], []] == tokens


async def test_budgets_agree_with_the_log(gateway: Gateway, operators: Operators) -> None:
    await gateway.call("ask")
    rows = await read_until(operators, "requests", bool)

    (budget,) = await read(operators, "budgets")

    assert pytest.approx(rows[0]["cost_usd"]) == budget["spent_usd"]
    assert ("ask", 2.5) == (budget["slug"], budget["budget_usd"])


@pytest.mark.parametrize("path", ["endpoints", "tokens", "audit", "requests"])
async def test_lists_are_paged(gateway: Gateway, operators: Operators, path: str) -> None:
    for _ in range(2):
        gateway.make_token()
        await gateway.call("ask")
        await operators.call("PATCH", f"endpoints/{PROJECT}/ask", {"deadline_ms": 9_000})
    whole = await read_until(operators, path, lambda found: len(found) >= 2)

    first = (await operators.call("GET", f"{path}?limit=1")).json()
    second = (await operators.call("GET", f"{path}?limit=1&cursor={first['next']}")).json()
    last = (await operators.call("GET", f"{path}?limit=1000")).json()

    assert whole[:2] == [*first["data"], *second["data"]]
    assert (whole, None) == (last["data"], last["next"])


@pytest.mark.parametrize("path", ["endpoints", "tokens", "audit", "providers", "budgets"])
@pytest.mark.parametrize("query", ["limit=0", "cursor=zz", "cursor=WzEuNV0", "cursor=Wy0xXQ"])
async def test_bad_page_is_refused(operators: Operators, path: str, query: str) -> None:
    assert 400 == (await operators.call("GET", f"{path}?{query}")).status


async def test_audit_says_who_changed_what(operators: Operators) -> None:
    before = time.time()
    await operators.call("PATCH", "providers/openai", {"is_active": False})

    row = (await read(operators, "audit"))[0]

    assert ("Olga", "provider.change", "provider:openai", {"is_active": False}, "127.0.0.1") == tuple(
        row[name] for name in ("operator", "action", "target", "change", "address")
    )
    assert before - 1 <= row["at"] <= time.time() + 1


async def test_configuration_is_shown_with_its_overrides(operators: Operators) -> None:
    await operators.call("PATCH", f"endpoints/{PROJECT}/ask", {"deadline_ms": 1234})

    found = await read(operators, "config")

    assert {f"endpoint:{PROJECT}/ask": {"deadline_ms": 1234}} == found["overrides"]
    assert ["sim", "hidden"] == [one["name"] for one in found["credentials"]]
    assert ["x-secret"] == found["credentials"][1]["headers"]
    assert 4_194_304 == found["gateway"]["max_body_bytes"]
    assert [str(PROJECT)] == [one["uuid"] for one in found["projects"]]


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_created_token_works_and_is_shown_once(gateway: Gateway, operators: Operators) -> None:
    wanted = {"project": str(PROJECT), "name": "ci", "scopes": ["chat"], "rate_limit_per_minute": 9}

    created = await operators.call("POST", "tokens", wanted)

    assert 201 == created.status
    made = created.json()["data"]
    assert {"id", "token"} == set(made)
    assert made["token"].startswith("pg_live_")
    gateway.token = made["token"]
    assert 200 == (await gateway.call("ask")).status
    newest = (await read(operators, "tokens"))[0]
    assert (made["id"], "ci", ["chat"], True, str(PROJECT), 9) == tuple(
        newest[name] for name in ("id", "name", "scopes", "is_active", "project", "rate_limit_per_minute")
    )
    (row,) = [row for row in await read(operators, "audit") if row["action"] == "token.create"]
    assert ("Olga", f"token:{made['id']}") == (row["operator"], row["target"])
    assert {**wanted, "env": "live"} == row["change"]
    assert made["token"] not in json.dumps(row)


async def test_rotation_that_the_audit_cannot_keep_changes_nothing(gateway: Gateway, operators: Operators) -> None:
    (token,) = await read(operators, "tokens")
    file = gateway.settings.gateway.data_dir / "operators.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as saboteur:
        saboteur.execute("ALTER TABLE audit RENAME TO hidden")

        refused = await operators.call("POST", f"tokens/{token['id']}/rotate")

    (same,) = await read(operators, "tokens")
    assert (503, token["prefix"]) == (refused.status, same["prefix"])
    assert 200 == (await gateway.call("ask")).status


async def test_rotated_and_revoked_tokens_are_refused(gateway: Gateway, operators: Operators) -> None:
    old = gateway.token
    (token,) = await read(operators, "tokens")

    rotated = await operators.call("POST", f"tokens/{token['id']}/rotate")

    assert 200 == rotated.status
    gateway.token = rotated.json()["data"]["token"]
    assert old != gateway.token
    assert 200 == (await gateway.call("ask")).status
    revoked = await operators.call("DELETE", f"tokens/{token['id']}")
    assert (200, {"id": token["id"], "is_active": False}) == (revoked.status, revoked.json()["data"])
    with trio.fail_after(PATIENCE_S):
        while (await gateway.call("ask")).status != 401:
            await trio.lowlevel.checkpoint()
    assert 400 == (await operators.call("POST", f"tokens/{token['id']}/rotate")).status
    assert ["token.revoke", "token.rotate"] == [
        row["action"] for row in await read(operators, "audit") if row["action"].startswith("token")
    ]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"project": str(OTHER_PROJECT)}, 404),
        ({"project": "x"}, 400),
        ({"project": 1}, 400),
        ({"project": None}, 400),
        ({"name": None}, 400),
        ({"name": ""}, 400),
        ({"name": "a" * 201}, 400),
        ({"name": "a\nb"}, 400),
        ({"scopes": []}, 400),
        ({"scopes": ["everything"]}, 400),
        ({"scopes": "chat"}, 400),
        ({"scopes": [["chat"]]}, 400),
        ({"env": "prod"}, 400),
        ({"env": []}, 400),
        ({"max_concurrent": 0}, 400),
        ({"max_concurrent": True}, 400),
        ({"max_concurrent": 10**30}, 400),
        ({"is_active": True}, 400),
    ],
)
async def test_bad_token_is_not_made(operators: Operators, change: dict[str, object], status: int) -> None:
    wanted = {"project": str(PROJECT), "name": "ci", "scopes": ["chat"]} | change

    answer = await operators.call("POST", "tokens", wanted)

    assert (status, False) == (answer.status, answer.json()["ok"])
    assert 1 == len(await read(operators, "tokens"))


@pytest.mark.parametrize("token", ["99", "0", "x", "-1", "9" * 30, "pg_live_"])
async def test_unknown_token_is_not_found(operators: Operators, token: str) -> None:
    statuses = [
        (await operators.call("DELETE", f"tokens/{token}")).status,
        (await operators.call("POST", f"tokens/{token}/rotate")).status,
    ]

    assert [404, 404] == statuses


async def test_viewer_changes_no_token(gateway: Gateway, operators: Operators) -> None:
    wanted = {"project": str(PROJECT), "name": "ci", "scopes": ["chat"]}
    calls = [("POST", "tokens"), ("POST", "tokens/1/rotate"), ("DELETE", "tokens/1"), ("POST", "config/reload")]

    statuses = [(await operators.call(*call, wanted, operators.viewer)).status for call in calls]

    assert [403] * 4 == statuses
    assert 200 == (await gateway.call("ask")).status


# ── the overview ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_overview_sums_the_requests(gateway: Gateway, operators: Operators) -> None:
    answers = [await gateway.call(slug) for slug in ("ask", "ask", "broken", "late", "hedged", "nothing")]
    assert [200, 200, 502, 504, 200, 404] == [answer.status for answer in answers]
    rows = await read_until(operators, "requests", lambda rows: len(rows) == 6)

    found = await read(operators, "overview?range=15m")

    total = found["total"]
    assert (6, 3, 1) == (total["requests"], total["errors"], total["deadline_misses"])
    latencies = sorted(row["latency_ms"] for row in rows)
    assert (latencies[2], latencies[5]) == (total["p50_ms"], total["p99_ms"])
    assert sum(row["usage"]["total_tokens"] for row in rows if row["usage"]) == total["total_tokens"]
    assert pytest.approx(sum(row["cost_usd"] or 0 for row in rows)) == total["cost_usd"]
    assert (1, 1) == (total["hedges"]["started"], total["hedges"]["won"])
    assert 60 == len(found["steps"])
    assert 6 == sum(step["requests"] for step in found["steps"])
    assert {"ask": 2, "broken": 1, "late": 1, "hedged": 1, None: 1} == {
        one["endpoint"]: one["requests"] for one in found["endpoints"]
    }
    assert {"openai": 3, None: 3} == {one["provider"]: one["requests"] for one in found["providers"]}
    assert 2.5 == found["budget"]["budget_usd"]
    assert found["budget"]["spent_usd"] > 0


async def test_overview_is_filtered(gateway: Gateway, operators: Operators) -> None:
    for slug in ("ask", "broken"):
        await gateway.call(slug)
    await read_until(operators, "requests", lambda rows: len(rows) == 2)

    totals = [
        (await read(operators, f"overview?{query}"))["total"]["requests"]
        for query in ("filter=endpoint:ask", "filter=status:5xx", f"project={OTHER_PROJECT}", "until=1000000000")
    ]

    assert [1, 1, 0, 0] == totals


@pytest.mark.parametrize("query", ["range=2h", "since=5&until=5", "since=x", "until=1e12", "filter=a***"])
async def test_bad_overview_is_refused(operators: Operators, query: str) -> None:
    assert 400 == (await operators.call("GET", f"overview?{query}")).status


# ── reloading ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_reload_without_a_supervisor_says_so(operators: Operators) -> None:
    assert 503 == (await operators.call("POST", "config/reload")).status


@pytest.mark.parametrize(("mistakes", "status"), [([], 200), (["server.bind: nonsense"], 400)])
async def test_reload_is_asked_for(gateway: Gateway, mistakes: list[str], status: int) -> None:
    asked = []

    def ask_reload() -> None:
        asked.append(True)
        if mistakes:
            raise ConfigError("test.toml", mistakes)

    with_key = make_key(gateway)
    client = make_admin_app(gateway.app, ask_reload).test_client()

    answer = await client.post("/admin/api/v1/config/reload", headers={"authorization": f"Bearer {with_key}"})

    assert ([True], status) == (asked, answer.status_code)
    assert (mistakes or [""])[0] in await answer.get_data(as_text=True)


def make_key(gateway: Gateway) -> str:
    from pg_trio.store.operator_admin import OperatorAdmin

    with OperatorAdmin(gateway.settings.gateway.data_dir) as admin:
        return admin.create("Olga")[1]
