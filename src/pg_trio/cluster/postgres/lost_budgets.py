"""The month's spend, from the log, for tables of budgets that were lost.

Rules:
1. It is done when a gateway starts and the table of budgets is empty, while the log has costs: never beside budgets
   that are in use. A new cluster has neither.
2. What was spent counts as a lease that is settled, as what a single machine is carried over with (carrying_over.py).
3. Rows that other nodes have not sent yet are missing, and those of days that were dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from uuid import uuid4

from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.domain.client_grant import sum_by_holder

# Gives for a time (Unix seconds) the spend since then by key of a ledger, in billionths of a US dollar.
SumSince: TypeAlias = Callable[[float], Awaitable[Mapping[bytes, int]]]
# Makes of it the spend by month.
SumMonths: TypeAlias = Callable[[SumSince], Awaitable[Mapping[int, Mapping[bytes, int]]]]

# "budgets" in ASCII, the last 6.
LOCK_KEY = 0x646765_747321
# Summing a month of 10 million rows takes some 10 s.
REBUILD_LIMIT_S = 60.0

IS_LOST = (
    "SELECT NOT EXISTS (SELECT FROM pgtrio.budgets)"
    " AND EXISTS (SELECT FROM pgtrio.gateway_logs WHERE cost_nano_usd IS NOT NULL)"
)
OF_ENDPOINTS = (
    "SELECT uuid_send(endpoint_uuid), sum(cost_nano_usd)::bigint FROM pgtrio.gateway_logs"
    " WHERE at >= %s AND endpoint_uuid IS NOT NULL AND cost_nano_usd > 0 GROUP BY endpoint_uuid"
)
# Rows without a subject count from the second time on: older ones are of client tokens that have expired.
OF_HOLDERS = (
    "SELECT token_id, subject, CASE WHEN subject IS NULL THEN client_token ELSE '' END, sum(cost_nano_usd)::bigint"
    " FROM pgtrio.gateway_logs WHERE client_token IS NOT NULL AND at >= %s AND cost_nano_usd > 0"
    " AND (subject IS NOT NULL OR at >= %s) GROUP BY 1, 2, 3"
)
SPENT = "unnest(%s::bytea[], %s::bigint[]) AS spent (key, amount)"
ADD_BUDGETS = f"INSERT INTO pgtrio.budgets (endpoint, month, leased) SELECT key, %s, amount FROM {SPENT}"  # noqa: S608
ADD_LEASES = (
    "INSERT INTO pgtrio.budget_leases (endpoint, month, holder, granted, settled)"  # noqa: S608
    f" SELECT key, %s, %s, amount, amount FROM {SPENT}"
)


async def rebuild_budgets(connection: TrioConnection, sum_months: SumMonths, tokens_at: float) -> int:
    """Write the spend of the months into lost tables. Returns the number of budgets. Raises psycopg.Error.

    Client tokens without a subject count from `tokens_at` on.
    """

    async def sum_since(at: float) -> dict[bytes, int]:
        endpoints = await (await connection.execute(OF_ENDPOINTS, (at,))).fetchall()
        holders = await (await connection.execute(OF_HOLDERS, (at, tokens_at))).fetchall()
        return {bytes(key): spent for key, spent in endpoints} | sum_by_holder(
            (token, subject, client_token, spent) for token, subject, client_token, spent in holders
        )

    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        is_lost = await (await connection.execute(IS_LOST)).fetchone()
        if is_lost is None or not is_lost[0]:
            return 0
        return sum([await _write(connection, month, spent) for month, spent in (await sum_months(sum_since)).items()])


async def _write(connection: TrioConnection, month: int, spent: Mapping[bytes, int]) -> int:
    keys = [key for key, amount in sorted(spent.items()) if amount > 0]
    amounts = [spent[key] for key in keys]
    await connection.execute(ADD_BUDGETS.encode(), (month, keys, amounts))
    await connection.execute(ADD_LEASES.encode(), (month, uuid4(), keys, amounts))
    return len(keys)
