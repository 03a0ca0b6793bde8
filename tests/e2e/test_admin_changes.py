"""The admin API's changes: who may make them, what they change for the next request of every worker, the audit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import (
    OTHER_PROJECT,
    PROJECT,
    Gateway,
    Operators,
    endpoint,
    project,
    start_gateway,
    start_pages,
    start_worker,
)
from tests.support.wire import post, read_response

CONFIGURATION = "\n".join([project(), endpoint("ask"), endpoint("off", is_active=False)])
ASK = f"endpoints/{PROJECT}/ask"
# The promise is a second; a loaded machine may take longer to notice.
WITHIN_S = 10


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


@pytest.fixture
async def operators(nursery: trio.Nursery, gateway: Gateway) -> Operators:
    return await start_pages(nursery, gateway)


def audit_of(gateway: Gateway) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(gateway.settings.gateway.data_dir / "operators.db")) as file:
        file.row_factory = sqlite3.Row
        return [dict(row) for row in file.execute("SELECT * FROM audit WHERE action NOT LIKE 'operator%' ORDER BY id")]


async def test_switched_off_provider_is_off_at_once(gateway: Gateway, operators: Operators) -> None:
    off = await operators.call("PATCH", "providers/openai", {"is_active": False})
    refused = await gateway.call("ask")
    back = await operators.call("PATCH", "providers/openai", {"is_active": None})
    answered = await gateway.call("ask")

    assert [(200, False), (200, True)] == [(one.status, one.json()["data"]["is_active"]) for one in (off, back)]
    assert [503, 200] == [refused.status, answered.status]
    assert ["provider.change"] * 2 == [row["action"] for row in audit_of(gateway)]
    assert {("Olga", "provider:openai", "127.0.0.1")} == {
        (row["operator"], row["target"], row["address"]) for row in audit_of(gateway)
    }


async def test_change_reaches_the_other_workers(nursery: trio.Nursery, gateway: Gateway, operators: Operators) -> None:
    other = await start_worker(nursery, gateway)
    assert 200 == (await other.call("ask")).status

    await operators.call("PATCH", ASK, {"is_active": False})

    with trio.fail_after(WITHIN_S):
        while (await other.call("ask")).status != 404:
            await trio.lowlevel.checkpoint()


async def test_override_survives_a_restart(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    operators = await start_pages(nursery, gateway)
    await operators.call("PATCH", ASK, {"rate_limit_per_minute": 1})
    await gateway.stop()

    again = await start_gateway(nursery, tmp_path, CONFIGURATION)

    assert [200, 429] == [(await again.call("ask")).status for _ in range(2)]


async def test_refused_override_takes_no_other_with_it(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    operators = await start_pages(nursery, gateway)
    await operators.call("PATCH", ASK, {"is_active": False})
    await gateway.stop()
    with closing(sqlite3.connect(gateway.settings.gateway.data_dir / "operators.db", isolation_level=None)) as file:
        # As another release may have written it.
        file.execute("INSERT INTO overrides VALUES (?, 'deadline_ms', '-1')", (f"endpoint:{PROJECT}/ask",))

    again = await start_gateway(nursery, tmp_path, CONFIGURATION)

    assert 404 == (await again.call("ask")).status


async def test_endpoint_that_is_off_in_the_file_can_be_on(gateway: Gateway, operators: Operators) -> None:
    changed = await operators.call("PATCH", f"endpoints/{PROJECT}/off", {"is_active": True})

    assert {
        "project": str(PROJECT),
        "slug": "off",
        "is_active": True,
        "overrides": {"is_active": True},
    } == changed.json()["data"]
    assert 200 == (await gateway.call("off")).status


async def test_overrides_add_up_and_are_taken_back_one_by_one(gateway: Gateway, operators: Operators) -> None:
    await operators.call("PATCH", ASK, {"deadline_ms": 5_000, "rate_limit_per_hour": 9, "monthly_budget_usd": 1.25})
    await operators.call("PATCH", ASK, {"rate_limit_per_hour": None})

    left = await operators.call("PATCH", ASK, {"hedge_after_ms": 300})

    assert {"deadline_ms": 5_000, "monthly_budget_usd": 1.25, "hedge_after_ms": 300} == left.json()["data"]["overrides"]
    assert "ratelimit-policy" not in (await gateway.call("ask")).headers


async def test_newer_way_to_hedge_replaces_the_older(operators: Operators) -> None:
    await operators.call("PATCH", ASK, {"hedge_after": "p95", "deadline_ms": 5_000})

    milliseconds = await operators.call("PATCH", ASK, {"hedge_after_ms": 300})
    learned = await operators.call("PATCH", ASK, {"hedge_after": "p90"})

    assert [{"deadline_ms": 5_000, "hedge_after_ms": 300}, {"deadline_ms": 5_000, "hedge_after": "p90"}] == [
        one.json()["data"]["overrides"] for one in (milliseconds, learned)
    ]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (ASK, {"rate_limit_per_minute": 0}, 400),
        (ASK, {"rate_limit_per_minute": "many"}, 400),
        (ASK, {"deadline_ms": -1}, 400),
        (ASK, {"prompt": "x"}, 400),
        (ASK, {}, 400),
        (ASK, [1], 400),
        (ASK, {"hedge_after": "p95", "hedge_after_ms": 5}, 400),
        ("providers/openai", {"is_active": "no"}, 400),
        ("providers/openai", {"is_active": True, "more": 1}, 400),
        ("providers/acme", {"is_active": False}, 404),
        (f"endpoints/{PROJECT}/nope", {"is_active": False}, 404),
        (f"endpoints/{OTHER_PROJECT}/ask", {"is_active": False}, 404),
        ("endpoints/x/ask", {"is_active": False}, 404),
    ],
)
async def test_bad_change_changes_nothing(
    gateway: Gateway, operators: Operators, path: str, body: object, status: int
) -> None:
    response = await operators.call("PATCH", path, body)

    assert (status, False) == (response.status, response.json()["ok"])
    assert [] == audit_of(gateway)
    assert 200 == (await gateway.call("ask")).status


async def test_only_operators_change_anything(gateway: Gateway, operators: Operators) -> None:
    keys = ["", "pg_op_wrong", gateway.token, operators.viewer]

    statuses = [(await operators.call("PATCH", ASK, {"is_active": False}, key)).status for key in keys]

    assert [401, 401, 401, 403] == statuses
    assert [] == audit_of(gateway)


async def test_revoked_operator_is_refused(gateway: Gateway, operators: Operators) -> None:
    from pg_trio.store.operator_admin import OperatorAdmin

    with OperatorAdmin(gateway.settings.gateway.data_dir) as admin:
        admin.revoke(operators.operator)

    assert 401 == (await operators.call("PATCH", ASK, {"is_active": False})).status


async def test_guessing_is_limited(operators: Operators) -> None:
    tries = [(await operators.call("PATCH", ASK, {}, f"pg_op_{number}")).status for number in range(12)]
    right = await operators.call("PATCH", ASK, {"is_active": True})

    assert ([401] * 10 + [429] * 2, 429) == (tries, right.status)
    assert int(right.headers["retry-after"]) <= 60


async def test_connection_goes_on_after_a_body_that_nothing_reads(operators: Operators) -> None:
    refused = post(
        "/admin/api/v1/providers/openai", {"is_active": True}, ("authorization", f"Bearer {operators.viewer}")
    )

    with trio.fail_after(WITHIN_S):
        async with await trio.open_tcp_stream("127.0.0.1", operators.port) as stream:
            statuses = []
            for _ in range(3):
                # The head first: the answer must not come, or not count, before the body is here.
                await stream.send_all(refused[:-5])
                await trio.sleep(0.02)
                await stream.send_all(refused[-5:])
                statuses.append((await read_response(stream)).status)

    assert [405] * 3 == statuses
