"""Sentinels of a real Redis: its primary dies, or is stopped, and nodes go on with the replica that follows it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.dialing import connect_to, greet_for
from pg_trio.config.cluster_settings import parse_redis_url
from pg_trio.errors import StoreError
from tests.cluster.waiting import wait_for
from tests.cluster.world import ClusterWorld, ask, wait_for_sum
from tests.support.engines import (
    EngineProcess,
    PostgresServer,
    RedisServer,
    SentinelServer,
    running_redis,
    running_sentinels,
)
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


SENTINEL_PASSWORD, PASSWORD = "of the sentinels+&", "of redis"
# What a client of sentinels needs, and no more.
USERS = (
    f'requirepass "{SENTINEL_PASSWORD}"\n'
    f'user asker on "#{sha256(SENTINEL_PASSWORD.encode()).hexdigest()}" -@all +auth +sentinel|get-master-addr-by-name\n'
    f'user idle on "#{sha256(SENTINEL_PASSWORD.encode()).hexdigest()}" -@all +auth +ping\n'
    f'sentinel auth-pass {MASTER} "{PASSWORD}"\n'
)


@pytest.fixture
def guarded() -> Iterator[tuple[RedisServer, list[SentinelServer]]]:
    """A Redis and two sentinels, which have passwords of their own."""
    with running_redis("--requirepass", PASSWORD) as primary, running_sentinels(primary, MASTER, 2, USERS) as sentinels:
        yield primary, sentinels


@pytest.mark.parametrize("user", ["", "asker"])
async def test_sentinels_have_a_login_of_their_own(
    nursery: trio.Nursery,
    tmp_path: Path,
    postgres_server: PostgresServer,
    postgres_url: str,
    guarded: tuple[RedisServer, list[SentinelServer]],
    user: str,
) -> None:
    primary, sentinels = guarded
    world = ClusterWorld(nursery, tmp_path, primary, postgres_server, postgres_url)
    (node,) = await world.start(CONFIGURATION, 1, redis_url=url_of(sentinels, SENTINEL_PASSWORD, user))
    token = world.make_token()

    got = [(await ask(node, token, "narrow")).status for _ in range(LIMIT + 1)]
    buckets = primary.command("-a", PASSWORD, "--no-auth-warning", "KEYS", "pg_trio:bucket:*")
    await world.stop()

    assert LIMIT * [200] + [429] == got
    assert buckets


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        (
            "",
            "",
            r"the sentinel at 127\.0\.0\.1:\d+ demands a password: add sentinel_password=… \(cluster\.redis_url\)",
        ),
        ("", "wrong", "refuses us: WRONGPASS"),
        ("nobody", SENTINEL_PASSWORD, "refuses us: WRONGPASS"),
        ("idle", SENTINEL_PASSWORD, "refuses us: NOPERM"),
    ],
)
async def test_refused_login_is_told_without_the_password(
    guarded: tuple[RedisServer, list[SentinelServer]], user: str, password: str, said: str
) -> None:
    address = parse_redis_url(url_of(guarded[1], password, user))
    client = RedisClient(connect_to(address), 5.0, (), [greet_for(address)])

    with pytest.raises(StoreError, match=said) as refused:
        await client.check()

    assert not password or password not in str(refused.value)


async def test_sentinel_that_refuses_is_passed_over(guarded: tuple[RedisServer, list[SentinelServer]]) -> None:
    _, sentinels = guarded
    refusing, other = sentinels
    refusing.command("-a", SENTINEL_PASSWORD, "--no-auth-warning", "ACL", "DELUSER", "asker")

    async def check(asked: list[SentinelServer]) -> None:
        address = parse_redis_url(url_of(asked, SENTINEL_PASSWORD, "asker"))
        await RedisClient(connect_to(address), 5.0, (), [greet_for(address)]).check()

    await check([refusing, other])
    with pytest.raises(StoreError, match="WRONGPASS"):
        await check([refusing])


def url_of(sentinels: list[SentinelServer], password: str, user: str = "") -> str:
    hosts = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
    login = {"sentinel_username": user, "sentinel_password": password}
    query = "".join(f"&{name}={quote(value)}" for name, value in login.items() if value)
    return f"redis://:{quote(PASSWORD)}@{hosts}/0?sentinel={MASTER}{query}"


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
