"""Nodes whose clocks are 30 s ahead and 30 s behind: limits, permits, leases, sessions and client tokens hold.

Python's own clock is set off (clock_off/), which all of the gateway reads. With Debian's libfaketime, also without an
offset, calls of these processes stalled for up to a second.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import trio

from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from pg_trio.domain.project import TokenLimits
from pg_trio.simulator import Behaviours
from tests.cluster.callers import Asked, Caller
from tests.cluster.served import KEEP_REQUESTS, NODES, ServedCluster, ServedNode, free_ports, served_cluster
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.support.engines import PostgresServer, RedisServer
from tests.support.gateway import PROJECT, endpoint
from tests.support.wire import bearer, post

pytestmark = pytest.mark.slow

CLOCK_OFF = Path(__file__).parent / "clock_off"
OFF_S = (0, 30, -30)
LIMIT, AT_ONCE, TURNS = 20, 6, 12
# 40 a second, so that workers lease it; an hour of it would be more than is asked for here.
LEASED = 2400
COST_NANO, BUDGET_REQUESTS = 100_000_000, 30
ENDPOINTS = (
    endpoint("narrow", rate_limit_per_hour=LIMIT)
    + endpoint("leased", rate_limit_per_minute=LEASED)
    + endpoint("slow")
    + endpoint("talk", sessions_enabled=True)
    + endpoint(
        "budgeted",
        monthly_budget_usd=BUDGET_REQUESTS * COST_NANO / 1e9,
        estimated_cost_per_1k_tokens_usd=1,
        max_output_tokens=100,
    )
)
PROVIDER = {"slow": "latency=1s", "budgeted": "usage=50:50&latency=20ms"}


async def test_clocks_of_nodes_do_not_matter(
    tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer
) -> None:
    path = os.pathsep.join([str(CLOCK_OFF), *filter(None, [os.environ.get("PYTHONPATH")])])
    behaviours = Behaviours(by_model=PROVIDER, keep_requests=KEEP_REQUESTS)
    async with served_cluster(tmp_path, redis, postgres_server, behaviours) as cluster:
        for port, off_s in zip(free_ports(NODES), OFF_S, strict=True):
            environ = {"PYTHONPATH": path, "CLOCK_OFF_S": str(off_s)}
            cluster.add(ENDPOINTS, port, {"redis_timeout_ms": 2000}, environ=environ)
        await cluster.start(TokenLimits(max_concurrent=AT_ONCE))

        await assert_clocks_are_off(cluster)
        assert {200: LIMIT, 429: LIMIT} == await ask_all(cluster, "narrow", 2 * LIMIT)
        assert {200: AT_ONCE, 429: 2 * AT_ONCE} == await ask_all(cluster, "slow", 3 * AT_ONCE, at_once=3 * AT_ONCE)
        await wait_for(lambda: redis.command("KEYS", "pg_trio:permits:*") == "")
        await assert_leased_limit(cluster)
        await assert_session_in_order(cluster)
        await assert_client_tokens(cluster)
        budgeted = await ask_all(cluster, "budgeted", 2 * BUDGET_REQUESTS)
        await cluster.stop()

        assert budgeted[200] >= 0.9 * BUDGET_REQUESTS
        spent, leased = (
            int(cluster.query(f"SELECT sum({column}) FROM pgtrio.{table}"))
            for column, table in (
                ("cost_nano_usd", "gateway_logs WHERE endpoint_slug = 'budgeted'"),
                ("leased", "budgets"),
            )
        )
        assert spent == leased <= BUDGET_REQUESTS * COST_NANO
        assert "3" == cluster.query("SELECT count(DISTINCT node) FROM pgtrio.gateway_logs")


async def assert_clocks_are_off(cluster: ServedCluster) -> None:
    """By the `Date` of their answers."""
    async with Caller(cluster.token) as caller:
        dates = [parsedate_to_datetime((await caller.list_models(node)).headers["date"]) for node in cluster.nodes]
    for off_s, date in zip(OFF_S, dates, strict=True):
        assert abs((date - dates[0]).total_seconds() - off_s) <= 5


async def ask_all(cluster: ServedCluster, slug: str, count: int, at_once: int = NODES) -> Counter[int]:
    """The statuses of so many calls, over all nodes."""
    statuses: Counter[int] = Counter()

    async def ask(first: int) -> None:
        async with Caller(cluster.token) as caller:
            for number in range(first, count, at_once):
                statuses[(await caller.call(cluster.nodes[number % NODES], slug)).status] += 1

    async with trio.open_nursery() as clients:
        for first in range(at_once):
            clients.start_soon(ask, first)
    return statuses


async def assert_leased_limit(cluster: ServedCluster) -> None:
    started_at = trio.current_time()
    await ask_all(cluster, "leased", LEASED + 300, at_once=AT_ONCE)
    run_s = trio.current_time() - started_at
    received = [request for request in cluster.simulator.requests if request.model == "leased"]
    assert len(received) <= LEASED * (1 + run_s / 60)
    assert len(received) >= 0.97 * min(LEASED + 300, LEASED * (1 + run_s / 60))


async def assert_session_in_order(cluster: ServedCluster) -> None:
    """Turns that go to one node after the other are stored in the order in which they were said."""
    session, said = "", []
    async with Caller(cluster.token) as caller:
        for turn in range(TURNS):
            said.append(f"turn {turn}")
            body = {"message": said[-1], **({"session_id": session} if session else {})}
            asked = await caller.call(cluster.nodes[turn % NODES], "talk", body)
            assert 200 == asked.status
            session = asked.json()["meta"]["session_id"]
    stored = cluster.query(
        "SELECT body::json->>'content' FROM pgtrio.messages"
        f" WHERE session = '{session}' AND position % 2 = 0 ORDER BY position"
    )
    assert said == stored.splitlines()


async def assert_client_tokens(cluster: ServedCluster) -> None:
    """A client token of each node is good at every node, and counts; revoking its parent ends it.

    Its end is by the clock of the node that it calls: here they are a minute apart."""
    with PostgresTokenAdmin(cluster.postgres_url) as admin:
        parent = admin.create(PROJECT, "web", "live", ("mint",), None)[1]
    texts = [await mint(parent, node) for node in cluster.nodes]
    assert NODES * NODES * [200] == [(await use(text, node)).status for text in texts for node in cluster.nodes]
    # A subject has one limit, whichever node minted its token.
    limited = [await mint(parent, node, subject="ada", rate_limit_per_minute=4) for node in cluster.nodes]
    statuses = Counter([(await use(text, node)).status for text in limited for node in cluster.nodes])
    assert {200: 4, 429: 5} == statuses
    with PostgresTokenAdmin(cluster.postgres_url) as admin:
        admin.revoke(parent)
    with trio.fail_after(LIMIT_S):
        while {401} != {(await use(text, node)).status for text in texts for node in cluster.nodes}:  # noqa: ASYNC110
            await trio.sleep(0.05)


async def mint(parent: str, node: ServedNode, **terms: object) -> str:
    body = {"ttl_seconds": 120, "endpoints": ["talk"], **terms}
    async with Caller(parent) as caller:
        asked = await caller.send(node, "mint", post(f"/api/{PROJECT}/client-tokens", body, bearer(parent)))
    assert 201 == asked.status, asked.body
    text: str = json.loads(asked.body)["data"]["token"]
    return text


async def use(text: str, node: ServedNode) -> Asked:
    async with Caller(text) as caller:
        return await caller.call(node, "talk")
