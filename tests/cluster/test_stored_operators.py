"""Operators, overrides and the audit of all nodes in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import trio

from pg_trio.cluster.postgres.postgres_operator_admin import PostgresOperatorAdmin
from pg_trio.cluster.postgres.postgres_operators import PostgresOperators
from pg_trio.cluster.postgres.postgres_pool import PostgresPool
from pg_trio.domain.operator import Change, Override
from pg_trio.errors import StoreError
from tests.cluster.waiting import LIMIT_S, wait_for
from tests.cluster.world import ClusterWorld, ask
from tests.support.engines import PostgresServer, RedisServer
from tests.support.gateway import PROJECT, endpoint, project
from tests.support.postgres_ledger import migrated_pool

TARGET = f"endpoint:{PROJECT}/open"


@pytest.fixture
async def pool(nursery: trio.Nursery, postgres_url: str) -> AsyncIterator[PostgresPool]:
    opened = await migrated_pool(nursery, postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def admin(pool: PostgresPool, postgres_url: str) -> Iterator[PostgresOperatorAdmin]:
    with PostgresOperatorAdmin(postgres_url) as opened:
        yield opened


async def test_operator_is_found_until_revoked(pool: PostgresPool, admin: PostgresOperatorAdmin) -> None:
    operators = PostgresOperators(pool)
    olga, key = admin.create("Olga")
    viewer, _ = admin.create("Vera", "viewer")
    session = await operators.open_session(olga)

    assert [olga, viewer] == admin.list_operators()
    assert olga == await operators.find(key) == await operators.find_by_session(session)
    assert await operators.find("pg_op_unknown") is None
    admin.revoke(key)
    assert (None, None) == (await operators.find(key), await operators.find_by_session(session))
    actions = [(row.action, row.operator) for row in await operators.read_audit(10, 10)]
    assert [("operator.revoke", "command line"), *[("operator.create", "command line")] * 2] == actions


async def test_link_logs_in_once(pool: PostgresPool, admin: PostgresOperatorAdmin) -> None:
    operators = PostgresOperators(pool)
    olga, _ = admin.create("Olga")
    link = admin.make_link(olga)

    assert (olga, None) == (await operators.use_link(link), await operators.use_link(link))
    session = await operators.open_session(olga)
    await operators.end_session(session)
    assert await operators.find_by_session(session) is None


async def test_overrides_are_told_to_every_worker(
    pool: PostgresPool, admin: PostgresOperatorAdmin, nursery: trio.Nursery
) -> None:
    here, there = PostgresOperators(pool), PostgresOperators(pool)
    olga, _ = admin.create("Olga")
    seen: list[Sequence[Override]] = []
    nursery.start_soon(there.watch, seen.append)
    await wait_for(lambda: bool(seen))

    off = Override(TARGET, "is_active", False)
    await here.override([off], Change(olga, "endpoint.change", TARGET, "127.0.0.1", {"is_active": False}))
    await wait_for(lambda: [off] in seen)
    await here.override([Override(TARGET, "is_active", None)], Change(olga, "endpoint.change", TARGET, None))
    await wait_for(lambda: seen[-1] == [])

    assert [None, {"is_active": False}] == [row.change for row in await here.read_audit(10**9, 2)]


async def test_without_postgres_nothing_is_found(pool: PostgresPool) -> None:
    operators = PostgresOperators(pool)
    pool.close()

    with pytest.raises(StoreError, match="PostgreSQL is away"):
        await operators.find("pg_op_x")
    # A worker starts all the same.
    assert [] == await operators.read_overrides()


async def test_switch_of_one_node_holds_on_the_others(
    nursery: trio.Nursery, tmp_path: Path, redis: RedisServer, postgres_server: PostgresServer, postgres_url: str
) -> None:
    world = ClusterWorld(nursery, tmp_path, redis, postgres_server, postgres_url)
    nodes = await world.start(project() + endpoint("open"), 2)
    token = world.make_token()
    with PostgresOperatorAdmin(postgres_url) as admin:
        olga, _ = admin.create("Olga")
    pool = await migrated_pool(nursery, postgres_url)
    assert 200 == (await ask(nodes[1], token, "open")).status

    change = Change(olga, "endpoint.change", TARGET, None)
    await PostgresOperators(pool).override([Override(TARGET, "is_active", False)], change)

    with trio.fail_after(LIMIT_S):
        while 200 == (await ask(nodes[1], token, "open")).status:  # noqa: ASYNC110
            await trio.sleep(0.02)
    pool.close()
    await world.stop()
