"""A Redis that answers, and refuses commands, is away: a demoted primary, a disk that is full, rights that were taken.

Nodes go by their shares until it takes commands again, and what was admitted meanwhile counts afterwards.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from attrs import frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.dialing import connect_to, greet_for
from pg_trio.config.cluster_settings import RedisAddress
from pg_trio.stores.clustered import SCRIPTS
from tests.cluster.test_redis_answers import begin_answer, opened
from tests.cluster.test_redis_limits import KEY, SMALL, remaining, take_all
from tests.cluster.waiting import wait_for
from tests.support.engines import RedisServer, running_redis
from tests.support.kept import read_all
from tests.support.redis_ledger import LIMIT_S, open_redis_ledger

NOWHERE = "1"


@frozen
class Refusal:
    """What makes a server refuse, what mends it, and what the log says."""

    name: str
    begin: Sequence[Sequence[str]]
    end: Sequence[Sequence[str]]
    says: str


REFUSALS = (
    Refusal(
        "demoted",
        [["REPLICAOF", "127.0.0.1", NOWHERE]],
        [["REPLICAOF", "NO", "ONE"]],
        "is a replica, and takes no writes",
    ),
    Refusal(
        "master down",
        [["CONFIG", "SET", "replica-serve-stale-data", "no"], ["REPLICAOF", "127.0.0.1", NOWHERE]],
        [["REPLICAOF", "NO", "ONE"]],
        "replica",
    ),
    Refusal(
        "too few replicas",
        [["CONFIG", "SET", "min-replicas-to-write", "1"]],
        [["CONFIG", "SET", "min-replicas-to-write", "0"]],
        "min-replicas-to-write",
    ),
    Refusal(
        "no right to scripts",
        [["ACL", "SETUSER", "default", "-evalsha"]],
        [["ACL", "SETUSER", "default", "+@all"]],
        "refuses us: NOPERM",
    ),
    Refusal(
        "no right to a command of a script",
        [["ACL", "SETUSER", "default", "-get"]],
        [["ACL", "SETUSER", "default", "+@all"]],
        "can't run",
    ),
    Refusal(
        "no right to our keys",
        [["ACL", "SETUSER", "default", "resetkeys", "~other:*"]],
        [["ACL", "SETUSER", "default", "~*"]],
        "refuses us: NOPERM",
    ),
)
each_refusal = pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


def tell(server: RedisServer, commands: Sequence[Sequence[str]]) -> None:
    for command in commands:
        assert "OK" == server.command(*command)


def refuse_writes_to_disk(server: RedisServer) -> None:
    """A snapshot that cannot be written: MISCONF from then on."""
    server.command("CONFIG", "SET", "save", "3600 1")
    # A folder in place of the snapshot's file cannot be replaced.
    (server.folder / "dump.rdb").mkdir()
    (server.folder / "dump.rdb" / "full").touch()
    server.command("BGSAVE")


@each_refusal
async def test_limits_are_shares_and_exact_afterwards(
    nursery: trio.Nursery,
    server: RedisServer,
    stack: ExitStack,
    tmp_path: Path,
    refusal: Refusal,
    caplog: pytest.LogCaptureFixture,
) -> None:
    node, _ = [await open_redis_ledger(nursery, server, stack, tmp_path, name=name) for name in ("gw-1", "gw-2")]
    await wait_for(lambda: node.node.live_nodes == 2)
    tell(server, refusal.begin)
    await wait_for(lambda: not node.client.is_up)

    admitted = await take_all(node, KEY, SMALL, 20)
    permits = sum([await node.permits.acquire(KEY, 5) for _ in range(4)])
    tell(server, refusal.end)
    await wait_for(lambda: bool(remaining(server)))
    (held,) = await node.buckets.peek(KEY, SMALL, 0.0)

    assert (10, 2) == (admitted, permits)
    assert 10 == held.remaining
    assert refusal.says in caplog.text


@each_refusal
async def test_call_that_is_refused_falls_back(
    nursery: trio.Nursery, server: RedisServer, stack: ExitStack, tmp_path: Path, refusal: Refusal
) -> None:
    node, _ = [await open_redis_ledger(nursery, server, stack, tmp_path, name=name) for name in ("gw-1", "gw-2")]
    await wait_for(lambda: node.node.live_nodes == 2)
    tell(server, refusal.begin)

    assert 10 == await take_all(node, KEY, SMALL, 20)


@each_refusal
async def test_answer_that_was_kept_before_goes_on_afterwards(server: RedisServer, refusal: Refusal) -> None:
    async with opened(server.port) as store, opened(server.port) as other:
        writer, reader = await begin_answer(store, other)
        tell(server, refusal.begin)
        writer.add([b"2"])
        await wait_for(lambda: not store.client.is_up)
        tell(server, refusal.end)
        writer.end("whole", 60)

        assert [b"2"] == await read_all(reader)
        reader.close()
        assert writer.is_kept


async def test_disk_that_takes_no_snapshot(
    nursery: trio.Nursery, server: RedisServer, stack: ExitStack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = await open_redis_ledger(nursery, server, stack, tmp_path)

    refuse_writes_to_disk(server)

    await wait_for(lambda: not node.client.is_up)
    assert 20 == await take_all(node, KEY, SMALL, 30)
    assert "MISCONF" in caplog.text
    server.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    await wait_for(lambda: node.client.is_up)


async def test_server_without_a_free_connection_says_so(server: RedisServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        server.command("CONFIG", "SET", "maxclients", "1")

        with pytest.raises(EngineAway, match=r"no connection left.*maxclients"):
            await client_of(server).check()


@pytest.mark.parametrize("refusal", REFUSALS[3:], ids=lambda refusal: refusal.name)
async def test_rights_that_are_missing_at_the_start_are_told(server: RedisServer, refusal: Refusal) -> None:
    tell(server, refusal.begin)
    client = client_of(server)
    with pytest.raises(EngineAway, match=r"refuses us: .* docs/scaling.md"):
        await client.check()


async def test_right_to_load_scripts_that_is_missing_is_told(server: RedisServer) -> None:
    server.command("ACL", "SETUSER", "default", "-script")

    with pytest.raises(EngineAway, match=r"refuses us: NOPERM .*script.* docs/scaling.md"):
        await client_of(server).check()


def client_of(server: RedisServer) -> RedisClient:
    address = RedisAddress((("127.0.0.1", server.port),))
    return RedisClient(connect_to(address), LIMIT_S, SCRIPTS, [greet_for(address)])


def test_server_says_why(server: RedisServer) -> None:
    """Redis's own words, which the link reads."""
    server.command("REPLICAOF", "127.0.0.1", NOWHERE)

    said = subprocess.run(
        ["redis-cli", "-p", str(server.port), "EVAL", "return redis.call('SET', KEYS[1], '1')", "1", "a"],
        capture_output=True,
        check=False,
    )

    assert (said.stdout + said.stderr).startswith(b"READONLY ")
