"""The tables of budgets are lost: the month's budgets begin with what the log has."""

from __future__ import annotations

from pathlib import Path

import trio

from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from tests.cluster.waiting import wait_for
from tests.cluster.world import ClusterWorld, ask
from tests.support.engines import PostgresServer, RedisServer
from tests.support.gateway import PROJECT, endpoint, project
from tests.support.wire import bearer, post, send_raw

CONFIGURATION = project() + endpoint("ask", estimated_cost_per_1k_tokens_usd=1, monthly_budget_usd=25)
TABLES = ("budgets", "budget_leases", "budget_lease_ids", "holders")


async def test_lost_budgets_begin_with_the_log(
    nursery: trio.Nursery, tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer, postgres_url: str
) -> None:
    def query(statement: str) -> str:
        return postgres_server.query(statement, postgres_url)

    world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
    (node,) = await world.start(CONFIGURATION, 1)
    token = world.make_token()
    minter = bearer(node_token(world))
    terms = {"ttl_seconds": 600, "endpoints": ["ask"], "subject": "ada", "monthly_budget_usd": "5"}
    minted = (await send_raw(node.port, post(f"/api/{PROJECT}/client-tokens", terms, minter))).json()["data"]["token"]
    answers = [await ask(node, one, "ask") for one in (token, token, minted)]
    await wait_for(lambda: query("SELECT count(cost_nano_usd) FROM pgtrio.gateway_logs") == "3")
    spent = query("SELECT sum(cost_nano_usd) FROM pgtrio.gateway_logs")
    of_ada = query("SELECT sum(cost_nano_usd) FROM pgtrio.gateway_logs WHERE subject = 'ada'")
    await world.stop()
    query(f"TRUNCATE {', '.join(f'pgtrio.{table}' for table in TABLES)}")

    await world.start(CONFIGURATION, 2)

    kept = "SELECT length(endpoint), leased FROM pgtrio.budgets ORDER BY 1"
    assert [200] * 3 == [answer.status for answer in answers]
    assert [f"16|{spent}", f"17|{of_ada}"] == query(kept).splitlines()
    assert 200 == (await ask(world.nodes[-1], token, "ask")).status
    await wait_for(lambda: int(query("SELECT sum(settled) FROM pgtrio.budget_leases")) > int(spent) + int(of_ada))
    await world.stop()


def node_token(world: ClusterWorld) -> str:
    """A token that mints client tokens."""
    with PostgresTokenAdmin(world.postgres_url) as admin:
        return admin.create(PROJECT, "minter", "live", ("mint",), None)[1]
