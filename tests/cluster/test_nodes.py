"""Several gateways behave as one, and go on while an engine is away."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest
import trio

from pg_trio.cluster.postgres.postgres_token_admin import PostgresTokenAdmin
from pg_trio.domain.project import TokenLimits
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.cluster.world import ClusterWorld, ask, statuses_of
from tests.support.engine_relay import engine_relay
from tests.support.engines import running_postgres, running_redis
from tests.support.gateway import Gateway, endpoint, project
from tests.support.metrics_text import scrape

CONFIGURATION = "\n".join(
    [
        project(),
        endpoint("open"),
        endpoint("narrow", rate_limit_per_hour=20),
        endpoint("poor", monthly_budget_usd=0.5, estimated_cost_per_1k_tokens_usd=1, max_output_tokens=200),
        endpoint("session", sessions_enabled=True),
        endpoint("stall", streaming_enabled=True),
    ]
)


# ── as one ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_limit_counts_over_nodes(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 3)
    token = world.make_token()

    got = await statuses_of(nodes, token, "narrow", 40)

    assert {200: 20, 429: 20} == got
    assert 20 == sum(len(node.simulator.requests) for node in nodes)
    await world.stop()


async def test_token_s_limits_count_over_nodes(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = world.make_token(TokenLimits(rate_limit_per_minute=7, max_concurrent=50))

    got = await statuses_of(nodes, token, "open", 20)

    assert {200: 7, 429: 13} == got
    assert "" == world.redis.command("KEYS", "pg_trio:permits:*")
    await world.stop()


async def test_concurrent_calls_count_over_nodes(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = world.make_token(TokenLimits(max_concurrent=1))
    nodes[0].simulator.behave("stall", "fault=stall")

    async with trio.open_nursery() as clients:
        clients.start_soon(ask, nodes[0], token, "stall", {"message": "Hi", "stream": True})
        await wait_for(lambda: world.redis.command("KEYS", "pg_trio:permits:*") != "")
        refused = await ask(nodes[1], token, "open")
        clients.cancel_scope.cancel()
    # The client has left, and its permit is free.
    await wait_for(lambda: world.redis.command("KEYS", "pg_trio:permits:*") == "")

    assert (429, 200) == (refused.status, (await ask(nodes[1], token, "open")).status)
    await world.stop()


async def test_budget_is_one_over_nodes(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 3)
    token = world.make_token()

    got = await statuses_of(nodes, token, "poor", 60)
    await world.stop()

    # Each request reserves 0.203 of 0.5 dollars, and costs less.
    assert 2 <= got[200] < 60
    assert set(got) == {200, 422}
    spent, leased = (
        int(world.postgres.query(query, world.postgres_url) or 0)
        for query in (
            "SELECT sum(cost_nano_usd) FROM pgtrio.gateway_logs",
            "SELECT sum(leased) FROM pgtrio.budgets",
        )
    )
    assert spent == leased <= 500_000_000


async def test_session_goes_on_at_another_node(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = world.make_token()
    first = await ask(nodes[0], token, "session", {"message": "My name is Ada."})

    session = first.json()["meta"]["session_id"]
    second = await ask(nodes[1], token, "session", {"message": "And?", "session_id": session})

    assert (200, 200) == (first.status, second.status)
    sent = [message["content"] for message in nodes[1].simulator.requests[-1].body["messages"]]
    assert ("My name is Ada.", "And?", 3) == (sent[0], sent[2], len(sent))
    await world.stop()


async def test_revoked_token_is_refused_everywhere(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    took_s: list[float] = []
    # A machine that pauses spoils one try.
    while len(took_s) < 3 and min(took_s, default=inf) > 1.0:
        token = world.make_token()
        assert {200: 4} == await statuses_of(nodes, token, "open", 4)
        with PostgresTokenAdmin(world.postgres_url) as admin:
            admin.revoke(token)
        revoked_at = trio.current_time()
        with trio.fail_after(LIMIT_S):
            while {401} != set(await statuses_of(nodes, token, "open", 2)):  # noqa: ASYNC110
                await trio.sleep(0.02)
        took_s.append(trio.current_time() - revoked_at)

    assert min(took_s) <= 1.0
    await world.stop()


async def test_log_of_all_nodes_is_in_postgres(world: ClusterWorld) -> None:
    nodes = await world.start(CONFIGURATION, 2)
    token = world.make_token()
    await statuses_of(nodes, token, "open", 10)
    await world.stop()

    rows = world.postgres.query(
        "SELECT node, count(*) FROM pgtrio.gateway_logs GROUP BY 1 ORDER BY 1", world.postgres_url
    )
    assert "gw-1|5\ngw-2|5" == rows


# ── an engine is away ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_redis_away_each_node_has_its_share(world: ClusterWorld) -> None:
    async with engine_relay(world.redis.port) as relay:
        nodes = await world.start(CONFIGURATION, 2, redis_port=relay.port)
        token = world.make_token(TokenLimits(max_concurrent=10))
        # Each node has heard of the other with its next sign of life.
        await trio.sleep(1.1)
        relay.accepts = False
        relay.cut()

        narrow = await statuses_of(nodes, token, "narrow", 40)
        others = await statuses_of(nodes, token, "open", 20)
        await world.stop()

    assert 0 < narrow[200] <= 20
    assert set(narrow) | set(others) <= {200, 429}
    assert others[200] >= 10


async def test_redis_away_refused(world: ClusterWorld) -> None:
    async with engine_relay(world.redis.port) as relay:
        nodes = await world.start(CONFIGURATION, 1, redis_port=relay.port, away="refuse")
        token = world.make_token()
        relay.accepts = False
        relay.cut()

        got = [(await ask(nodes[0], token, slug)).status for slug in ("narrow", "open")]
        await world.stop()

    assert [503, 200] == got


async def test_postgres_away_what_is_refused(world: ClusterWorld) -> None:
    port = int(world.postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        url = world.postgres_url.replace(f":{port}/", f":{relay.port}/")
        await world.start(CONFIGURATION, 1)
        token, unknown = world.make_token(), world.make_token()
        # It knows no change that would empty its cache.
        _, node = await world.start(CONFIGURATION, 1, postgres_url=url, postgres_ms=500)
        assert 200 == (await ask(node, token, "open")).status
        relay.accepts = False
        relay.cut()

        got = {
            "stateless": (await ask(node, token, "open")).status,
            "session": (await ask(node, token, "session")).status,
            "unknown token": (await ask(node, unknown, "open")).status,
            "budget without a lease": (await ask(node, token, "poor")).status,
        }
        relay.accepts = True
        with trio.fail_after(LIMIT_S):
            while 200 != (await ask(node, token, "session")).status:  # noqa: ASYNC110
                await trio.sleep(0.05)
        await world.stop()

    assert {"stateless": 200, "session": 503, "unknown token": 503, "budget without a lease": 503} == got
    # No row of the log is lost, nor there twice.
    rows = world.postgres.query(
        "SELECT count(*), count(DISTINCT request_id) FROM pgtrio.gateway_logs", world.postgres_url
    )
    local = len(node.log_rows())
    assert f"{local}|{local}" == rows


async def test_change_of_one_token_costs_no_other_its_calls(world: ClusterWorld) -> None:
    port = int(world.postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        await world.start(CONFIGURATION, 1)
        kept, asked, unasked = world.make_token(), world.make_token(), world.make_token()
        url = world.postgres_url.replace(f":{port}/", f":{relay.port}/")
        _, node = await world.start(CONFIGURATION, 1, postgres_url=url, postgres_ms=500)
        before = [(await ask(node, token, "open")).status for token in (kept, asked, unasked)]
        with PostgresTokenAdmin(world.postgres_url) as admin:
            admin.revoke(unasked)
            admin.revoke(asked)
        with trio.fail_after(LIMIT_S):
            while (await ask(node, asked, "open")).status != 401:  # noqa: ASYNC110
                await trio.sleep(0.01)
        relay.accepts = False
        relay.cut()

        got = [(await ask(node, token, "open")).status for token in (kept, asked, unasked)]
        relay.accepts = True
        await world.stop()

    # What was read anew just before may have been forgotten once more.
    assert ([200, 200, 200], 200, 503) == (before, got[0], got[2])
    assert got[1] in (401, 503)


async def test_tables_are_made_when_postgres_comes_later(world: ClusterWorld) -> None:
    port = int(world.postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(port) as relay:
        relay.accepts = False
        url = world.postgres_url.replace(f":{port}/", f":{relay.port}/")
        (node,) = await world.start(CONFIGURATION, 1, postgres_url=url)
        relay.accepts = True
        made = "SELECT count(*) FROM pg_tables WHERE schemaname = 'pgtrio' AND tablename = 'token_changes'"
        await wait_for(lambda: world.postgres.query(made, world.postgres_url) == "1")
        token = world.make_token()

        with trio.fail_after(LIMIT_S):
            while (await ask(node, token, "session")).status != 200:  # noqa: ASYNC110
                await trio.sleep(0.01)
        await world.stop()


async def test_gateway_starts_without_its_engines(world: ClusterWorld) -> None:
    (node,) = await world.start(CONFIGURATION, 1, redis_port=1, postgres_url="postgresql://pg@127.0.0.1:1/pg")

    status = (await ask(node, "pg_live_unknown", "open")).status

    assert 503 == status
    await world.stop()


async def test_metrics_say_which_engine_is_away(world: ClusterWorld) -> None:
    port = int(world.postgres_url.rpartition(":")[2].partition("/")[0])
    async with engine_relay(world.redis.port) as redis, engine_relay(port) as postgres:
        url = world.postgres_url.replace(f":{port}/", f":{postgres.port}/")
        public = "[observe]\nmetrics_public = true\n" + CONFIGURATION
        await world.start(CONFIGURATION, 1)
        token = world.make_token()
        # It knows no change that would empty its cache.
        _, node = await world.start(public, 1, redis_port=redis.port, postgres_url=url)
        assert 200 == (await ask(node, token, "open")).status
        rows = "SELECT count(*) FROM pgtrio.gateway_logs"
        await wait_for(lambda: world.postgres.query(rows, world.postgres_url) == "1")
        # One node has heard of the other.
        well = await read_figures_until(node, nodes=2, unsent=0)
        for relay in (redis, postgres):
            relay.accepts = False
            relay.cut()
        assert 200 == (await ask(node, token, "open")).status
        away = await read_figures_until(node, redis=0, postgres=0, unsent=1)
        for relay in (redis, postgres):
            relay.accepts = True
        back = await read_figures_until(node, redis=1, postgres=1, unsent=0)
        await world.stop()

    assert {"redis": 1, "postgres": 1, "nodes": 2, "unsent": 0} == well == back
    assert {"redis": 0, "postgres": 0, "nodes": 2, "unsent": 1} == away


async def read_figures_until(node: Gateway, **wanted: float) -> dict[str, float]:
    """What `/metrics` says of the cluster, once it says what is wanted."""
    names = {"redis": "redis_up", "postgres": "postgres_up", "nodes": "cluster_nodes", "unsent": "log_unsent_rows"}
    with trio.fail_after(LIMIT_S):
        while True:
            scraped = await scrape(node.port)
            figures = {short: scraped.sum(f"pg_trio_{name}") for short, name in names.items()}
            if wanted.items() <= figures.items():
                return figures
            await trio.sleep(0.05)


@pytest.mark.slow
async def test_node_stops_in_time_while_engines_are_stopped(nursery: trio.Nursery, tmp_path: Path) -> None:
    with running_redis() as redis, running_postgres() as postgres:
        world = ClusterWorld(nursery, tmp_path, redis, postgres, postgres.create_database())
        (node,) = await world.start(CONFIGURATION, 1, postgres_ms=500)
        token = world.make_token()
        # Something to return, to tell, and to send.
        assert {200} == {(await ask(node, token, slug)).status for slug in ("poor", "open", "session")}
        for engine in (redis, postgres):
            engine.freeze()

        # Each of those that have last words for PostgreSQL waited for it: 7 s.
        with trio.fail_after(6.0):
            await world.stop()
        for engine in (redis, postgres):
            engine.thaw()


@pytest.mark.slow
async def test_frozen_engines_cost_the_requests_of_that_moment(
    nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_redis() as redis, running_postgres() as postgres:
        world = ClusterWorld(nursery, tmp_path, redis, postgres, postgres.create_database())
        await world.start(CONFIGURATION, 1)
        token = world.make_token(TokenLimits(max_concurrent=100))
        # They know no change that would empty their caches.
        _, *nodes = await world.start(CONFIGURATION, 2, redis_ms=50, postgres_ms=500)
        for node in nodes:
            # On a busy machine the first look-ups may take longer than their limit.
            with trio.fail_after(LIMIT_S):
                while 200 != (await ask(node, token, "open")).status:  # noqa: ASYNC110
                    await trio.sleep(0.05)
        redis.freeze()
        postgres.freeze()
        got = await statuses_of(nodes, token, "open", 40)
        started = trio.current_time()
        got += await statuses_of(nodes, token, "open", 40)
        second_s = trio.current_time() - started
        redis.thaw()
        postgres.thaw()
        with trio.fail_after(LIMIT_S):
            while 200 != (await ask(nodes[0], token, "session")).status:  # noqa: ASYNC110
                await trio.sleep(0.05)
        await world.stop()
        rows = postgres.query(
            "SELECT count(*), count(DISTINCT request_id) FROM pgtrio.gateway_logs", world.postgres_url
        )

    assert {200: 80} == got
    # 40 calls, each of which would have waited 50 ms twice if the engine had been asked.
    assert second_s < 10.0
    local = sum(len(node.log_rows()) for node in nodes)
    assert f"{local}|{local}" == rows
