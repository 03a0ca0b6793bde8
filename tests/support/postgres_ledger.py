"""Budgets in PostgreSQL, as one worker of a node opens them, with its tasks running."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import trio
from attrs import frozen

from pg_trio.cluster.node import Node
from pg_trio.cluster.postgres.lease_term import LeaseTerm, holder_of
from pg_trio.cluster.postgres.leased_spend import LeasedSpend
from pg_trio.cluster.postgres.postgres_pool import PostgresPool
from pg_trio.cluster.postgres.schema import migrate_schema, read_steps
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend

LIMIT_S = 10.0


@frozen
class PostgresLedger:
    pool: PostgresPool
    node: Node
    shared: SharedSpend
    spend: LeasedSpend


async def migrated_pool(nursery: trio.Nursery, url: str, limit_s: float = LIMIT_S) -> PostgresPool:
    """A running pool over a database with all tables."""
    pool = PostgresPool(url, limit_s)

    async def migrate(connection: TrioConnection) -> None:
        await migrate_schema(connection, read_steps())

    await pool.check(migrate)
    nursery.start_soon(pool.run)
    with trio.fail_after(10):
        while not pool.is_up:  # noqa: ASYNC110
            await trio.sleep(0.001)
    return pool


async def open_postgres_ledger(
    nursery: trio.Nursery, url: str, stack: ExitStack, folder: Path, *, name: str = "gw-1", limit_s: float = LIMIT_S
) -> PostgresLedger:
    """A worker of a node. Workers of one name and folder share their memory."""
    pool = await migrated_pool(nursery, url, limit_s)
    # A test that closes it hears of connections that are left open.
    stack.callback(pool.close)
    node = Node(name, f"id of {name}")
    segment = stack.enter_context(closing(open_segment(folder / f"{name}.budgets", slots=1024)))
    shared = stack.enter_context(closing(SharedSpend(segment)))
    spend = LeasedSpend(pool, holder_of(segment, node), shared, LeaseTerm(node, silent_s=3600.0, spend_s=1800.0))
    nursery.start_soon(spend.run)
    return PostgresLedger(pool, node, shared, spend)
