"""Redis and PostgreSQL killed, stopped (SIGSTOP) and emptied under load, over three nodes.

What is asserted on is what clients were told, what the provider received, and what PostgreSQL has at the end.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
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

# All of them for another time: PG_TRIO_OUTAGE_S.
LONG_S, SHORT_S = 60.0, 8.0
WARM_S, BACK_WITHIN_S, WATCH_S = 6.0, 5.0, 6.0
LIMIT = 600
PER_S = LIMIT / 60
# Calls under way at either moment.
SLACK = LIMIT // 10
CLIENTS = {"open": 6, "narrow": 12, "budgeted": 3, "talk": 3}
REST_S, PAUSE_S = 0.05, 0.15
# Calls under way at either moment wait for their limit, 1 s (`postgres_timeout_ms`).
NOTICED_S = 3.0
ENDPOINTS = (
    endpoint("open")
    + endpoint("narrow", rate_limit_per_minute=LIMIT)
    # A lease is a hundredth of it, 10,000 requests.
    + endpoint("budgeted", monthly_budget_usd=1e6, estimated_cost_per_1k_tokens_usd=10, max_output_tokens=100)
    + endpoint("talk", sessions_enabled=True)
)
TOKEN_LIMITS = TokenLimits(max_concurrent=100)


@frozen
class Fault:
    """How an engine goes away, and for how long."""

    name: str
    away_s: float


@frozen
class Outage:
    """When an engine went away, and came back. Trio's time."""

    fault: str
    began_at: float
    ended_at: float


def begin(engine: EngineProcess, fault: str) -> None:
    if fault == "frozen":
        engine.freeze()
    else:
        engine.kill()


def end(engine: EngineProcess, fault: str) -> None:
    if fault == "frozen":
        engine.thaw()
        return
    if fault == "emptied":
        shutil.rmtree(engine.folder / "appendonlydir")
    engine.start()


async def load_through(
    cluster: ServedCluster, engine: EngineProcess, faults: Sequence[Fault]
) -> tuple[Load, list[Outage]]:
    """Clients of all nodes while the engine goes away again and again. Then all nodes stop."""
    load, outages = Load(cluster.token, PAUSE_S), []
    async with trio.open_nursery() as clients:
        for number, slug in enumerate(slug for slug, count in CLIENTS.items() for _ in range(count)):
            clients.start_soon(load.ask, partial(node_of, cluster, number), slug, REST_S)
        await trio.sleep(WARM_S)
        for fault in faults:
            away_s = float(os.environ.get("PG_TRIO_OUTAGE_S", fault.away_s))
            await trio.to_thread.run_sync(begin, engine, fault.name)
            began_at = trio.current_time()
            await trio.sleep(away_s)
            ended_at = trio.current_time()
            await trio.to_thread.run_sync(end, engine, fault.name)
            outages.append(Outage(fault.name, began_at, ended_at))
            await trio.sleep_until(ended_at + BACK_WITHIN_S + WATCH_S)
        load.is_over = True
    await cluster.stop()
    return load, outages


def node_of(cluster: ServedCluster, number: int) -> ServedNode:
    return cluster.nodes[number % len(cluster.nodes)]


async def test_redis_away_under_load(tmp_path: Path, postgres_server: PostgresServer) -> None:
    faults = [Fault("killed", SHORT_S), Fault("frozen", LONG_S), Fault("emptied", SHORT_S)]
    with running_redis("--appendonly", "yes") as redis:
        async with running_cluster(tmp_path, redis, postgres_server, ENDPOINTS, limits=TOKEN_LIMITS) as cluster:
            load, outages = await load_through(cluster, redis, faults)
            assert_log(cluster, load)

    for slug in ("open", "budgeted", "talk"):
        assert {200} == set(load.statuses(slug)), slug
    assert {200, 429} == set(load.statuses("narrow"))
    for outage in outages:
        assert_limit(cluster, load, outage)


async def test_postgres_away_under_load(tmp_path: Path, redis: RedisServer) -> None:
    faults = [Fault("killed", LONG_S), Fault("frozen", SHORT_S)]
    with running_postgres() as postgres:
        async with running_cluster(tmp_path, redis, postgres, ENDPOINTS, limits=TOKEN_LIMITS) as cluster:
            load, outages = await load_through(cluster, postgres, faults)
            assert_log(cluster, load)

    for slug in ("open", "budgeted"):
        assert {200} == set(load.statuses(slug)), slug
    assert {200, 429} == set(load.statuses("narrow"))
    assert {200, 503} == set(load.statuses("talk"))
    for outage in outages:
        away, back = outage.began_at, outage.ended_at
        assert {503} == set(load.statuses("talk", away + NOTICED_S, back - NOTICED_S)), outage.fault
        assert {200} == set(load.statuses("talk", back + BACK_WITHIN_S, back + BACK_WITHIN_S + WATCH_S)), outage.fault


def assert_limit(cluster: ServedCluster, load: Load, outage: Outage) -> None:
    """Each node has its share while Redis is away, and the limit is exact again after its return."""
    arrived = [request.arrived_at for request in cluster.simulator.requests if request.model == "narrow"]
    late_s = load.longest_s("narrow")
    away_s = outage.ended_at - outage.began_at
    for node in cluster.nodes:
        admitted = [one for one in load.asked if one.slug == "narrow" and one.status == 200 and one.port == node.port]
        there = [one for one in admitted if outage.began_at <= one.sent_at and one.ended_at <= outage.ended_at]
        assert len(there) <= (LIMIT + PER_S * (away_s + late_s)) / NODES, outage.fault
    # It is one limit from the first call on, however long Redis was away: a share is a part of it.
    until = outage.ended_at + BACK_WITHIN_S
    begun_at = min(one.sent_at for one in load.asked)
    admitted_by_then = sum(at < until for at in arrived)
    assert admitted_by_then <= LIMIT + PER_S * (until - begun_at) + SLACK, outage.fault
    watched_from = outage.ended_at + BACK_WITHIN_S
    watched = [at for at in arrived if watched_from <= at < watched_from + WATCH_S]
    assert abs(len(watched) - PER_S * WATCH_S) <= PER_S * late_s + 2, outage.fault


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
