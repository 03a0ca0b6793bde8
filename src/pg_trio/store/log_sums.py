"""SQL over `log.db` for budgets and for retention: what was spent, and which rows go. Synchronous.

Deleted rows are summed by quarters of an hour (log_file.py, the schema).
"""

from __future__ import annotations

import sqlite3
from itertools import chain
from uuid import UUID

from pg_trio.domain.client_grant import sum_by_holder
from pg_trio.store.log_file import QUARTER_S


def sum_spend(at: float, connection: sqlite3.Connection) -> dict[UUID, int]:
    """The cost of each endpoint's requests since `at` (inclusive), in billionths of a dollar, deleted rows included.

    Deleted rows are summed by quarters of an hour, so `at` should begin one.
    """
    query = f"""
        SELECT endpoint_uuid, sum(cost_nano_usd) FROM (
            SELECT endpoint_uuid, cost_nano_usd FROM gateway_logs
            WHERE at >= ?1 AND endpoint_uuid IS NOT NULL AND cost_nano_usd IS NOT NULL
            UNION ALL
            SELECT endpoint_uuid, cost_nano_usd FROM deleted_spend WHERE quarter_hour >= ?1 / {QUARTER_S}
        )
        GROUP BY endpoint_uuid
    """  # noqa: S608
    return {UUID(bytes=endpoint): nano_usd for endpoint, nano_usd in connection.execute(query, (at,))}


def sum_holder_spend(at: float, tokens_at: float, connection: sqlite3.Connection) -> dict[bytes, int]:
    """The cost of each holder's requests since `at` (inclusive), by its key in a ledger, deleted rows included.

    Rows without a subject count from `tokens_at` on: older ones are of client tokens that have expired.
    """
    rows = connection.execute(
        """
        SELECT token_id, subject, client_token, sum(cost_nano_usd) FROM gateway_logs
        WHERE client_token IS NOT NULL AND at >= ?1 AND cost_nano_usd IS NOT NULL
            AND (subject IS NOT NULL OR at >= ?2)
        GROUP BY token_id, subject, iif(subject IS NULL, client_token, '')
        """,
        (at, tokens_at),
    )
    deleted = connection.execute(
        f"""
        SELECT token_id, subject, '', sum(cost_nano_usd) FROM deleted_holder_spend
        WHERE quarter_hour >= ? / {QUARTER_S} GROUP BY token_id, subject
        """,  # noqa: S608
        (at,),
    )
    return sum_by_holder(chain(rows, deleted))


def count_rows_over(max_bytes: int, used_bytes: int, connection: sqlite3.Connection) -> int:
    """The approximate number of rows (of average size) beyond `max_bytes`; 0 if the limit is not exceeded."""
    if used_bytes <= max_bytes:
        return 0
    # Two look-ups, because one query for both ends would read all rows between them. Only deletions leave gaps in ids.
    ends = "SELECT (SELECT max(id) FROM gateway_logs) - (SELECT min(id) FROM gateway_logs) + 1"
    rows = connection.execute(ends).fetchone()[0] or 0
    return int(-(-rows * (used_bytes - max_bytes) // used_bytes))


def delete_oldest(before: float, limit: int, connection: sqlite3.Connection) -> int:
    """Delete the oldest rows from before that time (Unix seconds), at most `limit`, in one transaction. Returns their
    number."""
    query = "DELETE FROM gateway_logs WHERE id IN (SELECT id FROM gateway_logs WHERE at < ? ORDER BY at LIMIT ?)"
    return connection.execute(query, (before, limit)).rowcount


def forget_spend(before: float, connection: sqlite3.Connection) -> None:
    """Forget the cost of rows deleted before that time."""
    for table in ("deleted_spend", "deleted_holder_spend"):
        connection.execute(f"DELETE FROM {table} WHERE quarter_hour < ?", (before / QUARTER_S,))  # noqa: S608
