"""Whole nodes killed under load: acknowledged turns are there, permits and money come back, and no budget is passed.

Real `pg-trio serve` processes with two workers each, real servers, the simulator as the provider.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field

from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from pg_trio.domain.project import TokenLimits
from pg_trio.simulator import serve_simulator
from tests.cluster.served_nodes import ServedNode
from tests.cluster.waiting import wait_for
from tests.support.engines import PostgresServer, RedisServer
from tests.support.gateway import CREDENTIALS, PROJECT, endpoint, project
from tests.support.processes import run_command
from tests.support.wire import bearer, post, send_raw

pytestmark = pytest.mark.slow

NODES, KILLS = 3, 4
CLIENTS = 12
START_LIMIT_S = 40.0
BUDGET_USD = 5
ENDPOINTS = endpoint(
    "talk", sessions_enabled=True, session_max_messages=400, deadline_ms=5000, stream_deadline_ms=5000
) + endpoint(
    "budgeted",
    monthly_budget_usd=BUDGET_USD,
    estimated_cost_per_1k_tokens_usd=1,
    max_output_tokens=100,
    deadline_ms=5000,
    stream_deadline_ms=5000,
)


@define(eq=False)
class Told:
    """What clients were told: the turns of each session, and how many calls of the budget were answered."""

    turns: dict[str, list[str]] = field(factory=dict)
    budgeted: int = 0
    failed: int = 0


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[ServedNode]]:
    made: list[ServedNode] = []
    yield made
    for node in made:
        node.kill()


async def start_nodes(
    nursery: trio.Nursery, nodes: list[ServedNode], folder: Path, redis: RedisServer, postgres_url: str
) -> str:
    """Nodes that serve, and a token for them."""
    simulator = await nursery.start(serve_simulator)
    for number in range(1, NODES + 1):
        section = f'[cluster]\nredis_url = "{redis.url}"\npostgres_url = "{postgres_url}"\nnode = "gw-{number}"\n'
        home = trio.Path(folder / f"gw-{number}")
        await home.mkdir()
        text = section + CREDENTIALS.format(base_url=simulator.base_url) + project() + ENDPOINTS
        await (home / "pg.toml").write_text(text)
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        await listener.aclose()
        nodes.append(ServedNode(Path(home), port))
    assert 0 == (await run_command("migrate", "--config", str(folder / "gw-1" / "pg.toml")))[0]
    with PostgresTokenAdmin(postgres_url) as admin:
        token = admin.create(PROJECT, "test", "live", ("chat",), TokenLimits(max_concurrent=CLIENTS))[1]
    for node in nodes:
        node.start()
    for node in nodes:
        await wait_serving(node, token)
    return token


async def wait_serving(node: ServedNode, token: str) -> None:
    with trio.fail_after(START_LIMIT_S):
        while await call(node, token, "talk", {"message": "Are you there?"}) is None:  # noqa: ASYNC110
            await trio.sleep(0.05)


async def call(node: ServedNode, token: str, slug: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """The answer's body; None if there was no whole answer of 200."""
    try:
        with trio.fail_after(10.0):
            answer = await send_raw(node.port, post(f"/api/{PROJECT}/{slug}", body, bearer(token)))
    except Exception:  # noqa: BLE001 # a node that is killed ends its connections in many ways
        return None
    return answer.json() if answer.status == 200 else None


async def talk(nodes: list[ServedNode], token: str, told: Told, number: int, stop: trio.Event) -> None:
    """One client: a session, whose turns go to one node after the other."""
    session, turn = "", 0
    while not stop.is_set():
        node = nodes[(number + turn) % len(nodes)]
        turn += 1
        text = f"client {number}, turn {turn}"
        body = {"message": text, **({"session_id": session} if session else {})}
        answer = await call(node, token, "talk", body)
        if answer is None:
            told.failed += 1
            await trio.sleep(0.05)
            continue
        session = answer["meta"]["session_id"]
        told.turns.setdefault(session, []).append(text)


async def spend(nodes: list[ServedNode], token: str, told: Told, number: int, stop: trio.Event) -> None:
    while not stop.is_set():
        answer = await call(nodes[number % len(nodes)], token, "budgeted", {"message": "Hello"})
        told.budgeted += answer is not None
        number += 1
        await trio.sleep(0.01)


async def test_killed_nodes_lose_nothing_acknowledged(
    nursery: trio.Nursery,
    nodes: list[ServedNode],
    tmp_path: Path,
    redis: RedisServer,
    postgres_server: PostgresServer,
    postgres_url: str,
) -> None:
    token = await start_nodes(nursery, nodes, tmp_path, redis, postgres_url)
    told, stop = Told(), trio.Event()

    async with trio.open_nursery() as clients:
        for number in range(CLIENTS // 2):
            clients.start_soon(talk, nodes, token, told, number, stop)
            clients.start_soon(spend, nodes, token, told, number, stop)
        for number in range(KILLS):
            await trio.sleep(1.5)
            victim = nodes[number % NODES]
            victim.kill()
            await trio.sleep(0.5)
            victim.start()
            await wait_serving(victim, token)
        await trio.sleep(1.0)
        stop.set()

    # Every acknowledged turn is there, in order, and each is a pair.
    assert sum(map(len, told.turns.values())) > 20
    for session, texts in told.turns.items():
        stored = postgres_server.query(
            f"SELECT body::json->>'content' FROM pgtrio.messages WHERE session = '{session}' ORDER BY position",
            postgres_url,
        ).splitlines()
        asked = stored[::2]
        assert [text for text in asked if text in set(texts)] == texts
        assert len(stored) % 2 == 0
    # Permits of killed nodes end, and reservations come back.
    await wait_for(lambda: redis.command("KEYS", "pg_trio:permits:*") == "")
    assert_money(postgres_server, postgres_url, told)
    for node in nodes:
        node.kill(signal.SIGTERM)


def assert_money(postgres: PostgresServer, url: str, told: Told) -> None:
    spent, rows, apart = postgres.query(
        "SELECT coalesce(sum(cost_nano_usd), 0), count(*), count(DISTINCT request_id) FROM pgtrio.gateway_logs", url
    ).split("|")
    leased = int(postgres.query("SELECT coalesce(sum(leased), 0) FROM pgtrio.budgets", url))
    assert told.budgeted > 0
    assert int(spent) <= BUDGET_USD * 10**9
    assert leased <= BUDGET_USD * 10**9
    assert rows == apart
