"""Sentinels of a real Redis: its primary dies, or is stopped, and nodes go on with the replica that follows it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from tests.cluster.waiting import wait_for
from tests.cluster.world import ClusterWorld, ask, wait_for_sum
from tests.support.engines import EngineProcess, PostgresServer, RedisServer, running_redis, running_sentinels
from tests.support.gateway import endpoint, project

pytestmark = pytest.mark.slow

MASTER = "limits"
LIMIT, USED = 40, 10
CONFIGURATION = (
    "[observe]\nmetrics_public = true\n" + project() + endpoint("open") + endpoint("narrow", rate_limit_per_hour=LIMIT)
)
# Down after 1 s, then a vote, and the promotion.
FAILOVER_LIMIT_S = 30.0


@pytest.mark.parametrize("fault", [EngineProcess.kill, EngineProcess.freeze], ids=["killed", "frozen"])
async def test_failover_of_the_primary_is_survived(
    nursery: trio.Nursery,
    tmp_path: Path,
    postgres_server: PostgresServer,
    postgres_url: str,
    fault: Callable[[EngineProcess], None],
) -> None:
    with (
        running_redis() as primary,
        running_redis("--replicaof", "127.0.0.1", str(primary.port)) as replica,
        running_sentinels(primary, MASTER) as sentinels,
    ):
        # A replica that the sentinels know, and that has all.
        await wait_for(lambda: all("slave" in one.command("SENTINEL", "REPLICAS", MASTER) for one in sentinels))
        await wait_for(lambda: all(len(others_of(one)) == 2 for one in sentinels))
        await wait_for(lambda: "master_link_status:up" in replica.command("INFO", "replication"))
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
        world = ClusterWorld(nursery, tmp_path, primary, postgres_server, postgres_url)
        url = f"redis://{hosts}/0?sentinel={MASTER}"
        nodes = await world.start(CONFIGURATION, 2, redis_url=url, redis_ms=200)
        # Each knows of the other: after an absence it goes by its share at first.
        await wait_for_sum(nodes, "pg_trio_cluster_nodes", 4)
        token = world.make_token()
        before = [(await ask(nodes[number % 2], token, "narrow")).status for number in range(USED)]
        assert "1" == primary.command("WAIT", "1", "5000")

        fault(primary)
        during: list[int] = []
        with trio.fail_after(FAILOVER_LIMIT_S):
            while clients_of(replica) < 2:
                during.append((await ask(nodes[len(during) % 2], token, "open")).status)
                await trio.sleep(0.05)
        after = [(await ask(nodes[number % 2], token, "narrow")).status for number in range(LIMIT)]
        await world.stop()

    assert USED * [200] == before
    assert {200} == set(during)
    assert (LIMIT - USED) * [200] + USED * [429] == after


def others_of(sentinel: RedisServer) -> list[str]:
    """The names of the other sentinels that it knows."""
    lines = sentinel.command("SENTINEL", "SENTINELS", MASTER).splitlines()
    return [value for name, value in pairwise(lines) if name == "name"]


def clients_of(redis: RedisServer) -> int:
    """The workers that use this Redis as their primary."""
    try:
        if "role:master" not in redis.command("INFO", "replication"):
            return 0
        return redis.command("CLIENT", "LIST").count("name=pg_trio ")
    except subprocess.CalledProcessError:
        # A promoted replica ends all connections, also ours.
        return 0
