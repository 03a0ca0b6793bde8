"""What all nodes have spent of budgets, for people to see."""

from __future__ import annotations

from collections.abc import Sequence

from pg_trio.cluster.postgres.postgres_pool import PostgresPool
from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.ledger.protocols import Spend

SPENT = (
    "SELECT b.endpoint, coalesce(sum(l.settled), 0), b.leased FROM pgtrio.budgets b"
    " LEFT JOIN pgtrio.budget_leases l ON l.endpoint = b.endpoint AND l.month = b.month"
    " WHERE b.month = %s AND b.endpoint = ANY(%s) GROUP BY b.endpoint, b.leased"
)


async def read_spends(pool: PostgresPool, keys: Sequence[bytes], month: int) -> dict[bytes, Spend]:
    """(settled, reserved) of each key, in billionths of a US dollar. Raises EngineAway, psycopg.Error.

    What nodes have leased and not spent counts as reserved, and the spend of the last second may still count so.
    """

    async def read(connection: TrioConnection) -> dict[bytes, Spend]:
        rows = await (await connection.execute(SPENT, (month, list(keys)))).fetchall()
        return {bytes(key): (int(settled), int(leased - settled)) for key, settled, leased in rows}

    found = await pool.use(read)
    return {key: found.get(key, (0, 0)) for key in keys}
