"""Redis and PostgreSQL killed, stopped (SIGSTOP) and emptied under load, over three nodes.

What is asserted on is what clients were told, what the provider received, and what PostgreSQL has at the end.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
import trio
from attrs import frozen

from pg_trio.domain.project import TokenLimits
from tests.cluster.callers import Asked, Load
from tests.cluster.served import NODES, ServedCluster, ServedNode, running_cluster, stored_ids
from tests.support.engines import EngineProcess, PostgresServer, RedisServer, running_postgres, running_redis
from tests.support.gateway import endpoint

pytestmark = pytest.mark.slow

# For all of them another time: PG_TRIO_OUTAGE_S. An hour changes nothing that a minute does not show.
LONG_S, SHORT_S = 60.0, 15.0
WARM_S, BACK_WITHIN_S, WATCH_S = 8.0, 5.0, 10.0
LIMIT = 600
PER_S = LIMIT / 60
CLIENTS = {"open": 6, "narrow": 12, "budgeted": 3, "talk": 3}
REST_S, PAUSE_S = 0.05, 0.15
# A gateway's calls of that moment wait for their limit, 1 s (`postgres_timeout_ms`).
NOTICED_S = 3.0
ENDPOINTS = (
    endpoint("open")
    + endpoint("narrow", rate_limit_per_minute=LIMIT)
    # A lease is a hundredth of it, 10,000 requests.
    + endpoint("budgeted", monthly_budget_usd=1e6, estimated_cost_per_1k_tokens_usd=10, max_output_tokens=100)
    # Without history, so that a call stays as cheap as it is at first.
    + endpoint("talk", sessions_enabled=True)
)


@frozen
class Outage:
    """When the engine went away, and came back. Trio's time."""

    began_at: float
    ended_at: float


def kill(engine: EngineProcess) -> None:
    engine.kill()


def freeze(engine: EngineProcess) -> None:
    engine.freeze()


def thaw(engine: EngineProcess) -> None:
    engine.thaw()


def restart(engine: EngineProcess) -> None:
    engine.start()


Step = Callable[[EngineProcess], None]
FAULTS: dict[str, tuple[Step, Step]] = {"killed": (kill, restart), "frozen": (freeze, thaw), "emptied": (kill, restart)}


async def load_through(cluster: ServedCluster, engine: EngineProcess, fault: str, away_s: float) -> tuple[Load, Outage]:
    """Clients of all nodes while the engine is away for so long."""
    away_s = float(os.environ.get("PG_TRIO_OUTAGE_S", away_s))
    begin, end = FAULTS[fault]
    load = Load(cluster.token, PAUSE_S)
    async with trio.open_nursery() as clients:
        number = 0
        for slug, count in CLIENTS.items():
            for _ in range(count):
                clients.start_soon(load.ask, partial(node_of, cluster, number), slug, REST_S)
                number += 1
        await trio.sleep(WARM_S)
        await trio.to_thread.run_sync(begin, engine)
        began_at = trio.current_time()
        await trio.sleep_until(began_at + away_s)
        ended_at = trio.current_time()
        await trio.to_thread.run_sync(end, engine)
        await trio.sleep_until(ended_at + BACK_WITHIN_S + WATCH_S)
        load.is_over = True
    await cluster.stop()
    return load, Outage(began_at, ended_at)


def node_of(cluster: ServedCluster, number: int) -> ServedNode:
    return cluster.nodes[number % len(cluster.nodes)]


@pytest.mark.parametrize(("fault", "away_s"), [("killed", SHORT_S), ("frozen", LONG_S), ("emptied", SHORT_S)])
async def test_redis_away_under_load(
    tmp_path: Path, postgres_server: PostgresServer, fault: str, away_s: float
) -> None:
    options = ("--appendonly", "yes") if fault == "killed" else ()
    limits = TokenLimits(max_concurrent=100)
    with running_redis(*options) as redis:
        async with running_cluster(tmp_path, redis, postgres_server, ENDPOINTS, limits=limits) as cluster:
            load, outage = await load_through(cluster, redis, fault, away_s)

    assert {slug: {200} for slug in ("open", "budgeted", "talk")} == {
        slug: set(load.statuses(slug)) for slug in ("open", "budgeted", "talk")
    }
    assert {200, 429} == set(load.statuses("narrow"))
    assert_limit(cluster, load, outage)
    assert_log(cluster, load)


@pytest.mark.parametrize(("fault", "away_s"), [("killed", LONG_S), ("frozen", SHORT_S)])
async def test_postgres_away_under_load(tmp_path: Path, redis: RedisServer, fault: str, away_s: float) -> None:
    limits = TokenLimits(max_concurrent=100)
    with running_postgres() as postgres:
        async with running_cluster(tmp_path, redis, postgres, ENDPOINTS, limits=limits) as cluster:
            load, outage = await load_through(cluster, postgres, fault, away_s)
            assert_log(cluster, load)

    away, back = outage.began_at, outage.ended_at
    assert {200} == set(load.statuses("open")) == set(load.statuses("budgeted"))
    assert {200, 429} == set(load.statuses("narrow"))
    assert {200} == set(load.statuses("talk", until=away - NOTICED_S))
    assert {503} == set(load.statuses("talk", away + NOTICED_S, back))
    assert {200} == set(load.statuses("talk", back + BACK_WITHIN_S))
    assert {200, 503} == set(load.statuses("talk"))


def assert_limit(cluster: ServedCluster, load: Load, outage: Outage) -> None:
    """Each node has its share while Redis is away, and the limit is exact again after its return."""
    arrived = [request.arrived_at for request in cluster.simulator.requests if request.model == "narrow"]
    late_s = load.longest_s("narrow")
    away_s = outage.ended_at - outage.began_at
    for node in cluster.nodes:
        admitted = [one for one in load.asked if one.slug == "narrow" and one.status == 200 and one.port == node.port]
        there = [one for one in admitted if outage.began_at <= one.sent_at and one.ended_at <= outage.ended_at]
        assert len(there) <= (LIMIT + PER_S * (away_s + late_s)) / NODES
    watched_from = outage.ended_at + BACK_WITHIN_S
    watched = [at for at in arrived if watched_from <= at < watched_from + WATCH_S]
    assert abs(len(watched) - PER_S * WATCH_S) <= PER_S * late_s + 2


def assert_log(cluster: ServedCluster, load: Load) -> None:
    """Each row of each node's own log is in PostgreSQL once, and each answer that was heard has one."""
    stored = stored_ids(cluster)
    assert len(stored) == len(set(stored))
    assert set(stored) == {request_id for node in cluster.nodes for request_id in own_ids(node)}
    assert {request_id_of(asked) for asked in load.asked} <= set(stored)


def own_ids(node: ServedNode) -> set[UUID]:
    with closing(sqlite3.connect(node.folder / "data" / "log.db")) as file:
        return {UUID(bytes=row[0]) for row in file.execute("SELECT request_id FROM gateway_logs")}


def request_id_of(asked: Asked) -> UUID:
    return UUID(asked.headers["x-request-id"])
