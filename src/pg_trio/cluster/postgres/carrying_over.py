"""Carries what a single machine has stored over to PostgreSQL.

Rules:
1. Everything is one transaction: all of it, or nothing. Into tables with tokens, operators or sessions nothing is
   carried: ids stay as they are, because the log and the audit have them.
2. The month's spend counts as settled, by a lease of its own: that of endpoints, and that of holders of client tokens.
   Each request counts once, whether its row is on the machine, in PostgreSQL, or in both (a node may have sent its log
   already). What budgets have of it already (lost_budgets.py) is not added again.
3. The keys of client tokens replace the cluster's: without tokens there, no client token is good. So what was minted on
   the machine stays good.
4. The log is not carried here: a node that starts with the data directory sends it (log_forwarding.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import psycopg
from attrs import astuple, frozen

from pg_trio.cluster.postgres.command_connection import connect_command, explained
from pg_trio.cluster.postgres.lost_budgets import LOCK_KEY
from pg_trio.domain.client_grant import sum_by_holder
from pg_trio.domain.operator import Operator, Override
from pg_trio.domain.project import Token, TokenLimits
from pg_trio.domain.signing_key import SigningKey
from pg_trio.errors import StoreError
from pg_trio.store.token_file import COLUMNS

Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]

SESSION_COLUMNS = "id, endpoint, token, created_at, last_active_at, message_count, token_count, byte_count, holder"
OTHERS = (
    "pgtrio.gateway_logs g WHERE at >= %s AND cost_nano_usd > 0"
    " AND NOT EXISTS (SELECT FROM carried_requests c WHERE c.id = g.request_id)"
)
OF_ENDPOINTS = (
    "SELECT uuid_send(endpoint_uuid), sum(cost_nano_usd)"  # noqa: S608
    f" FROM {OTHERS} AND endpoint_uuid IS NOT NULL GROUP BY endpoint_uuid"
)
OF_HOLDERS = (
    "SELECT token_id, subject, CASE WHEN subject IS NULL THEN client_token ELSE '' END, sum(cost_nano_usd)"  # noqa: S608
    f" FROM {OTHERS} AND client_token IS NOT NULL GROUP BY 1, 2, 3"
)
SETTLED = "SELECT endpoint, sum(settled) FROM pgtrio.budget_leases WHERE month = %s GROUP BY endpoint"
RAISE_BUDGET = (
    "INSERT INTO pgtrio.budgets AS b (endpoint, month, leased) VALUES (%s, %s, %s)"
    " ON CONFLICT (endpoint, month) DO UPDATE SET leased = b.leased + excluded.leased"
)
ADD_LEASE = "INSERT INTO pgtrio.budget_leases (endpoint, month, holder, granted, settled) VALUES (%s, %s, %s, %s, %s)"
# Copying gigabytes of messages takes minutes.
STATEMENT_LIMIT = "SET statement_timeout = 0"
# Without a sign of the server meanwhile.
SILENCE_LIMIT_S = 600.0


@frozen(slots=True)
class SpentMonth:
    """What the machine has spent in a month (of a ledger), which began at `since`.

    `spend`: billionths of a US dollar by key of a ledger. `requests`: the ids of its requests that cost something.
    """

    month: int
    since: float
    spend: Mapping[bytes, int]
    requests: Iterable[UUID]


@frozen(slots=True)
class SingleMachine:
    """What there is to carry over."""

    tokens: Sequence[Token]
    signing_keys: Sequence[SigningKey]
    operators: Sequence[Operator]
    overrides: Sequence[Override]
    sessions: Iterable[tuple[Any, ...]]
    messages: Iterable[tuple[Any, ...]]
    spent: SpentMonth


def carry_over(url: str, machine: SingleMachine) -> dict[str, int]:
    """Write all of it. Returns how many rows of what. Raises StoreError."""
    with explained(), connect_command(url) as connection:
        connection.execute(STATEMENT_LIMIT)
        connection.limit_s = SILENCE_LIMIT_S
        with connection.transaction(), connection.cursor() as cursor:
            _check_empty(cursor)
            counts = {
                "tokens": _copy(cursor, f"tokens ({COLUMNS})", map(_token_row, machine.tokens)),
                "operators": _copy(
                    cursor,
                    "operators (id, name, prefix, digest, role, is_active, created_at)",
                    map(_operator_row, machine.operators),
                ),
                "overrides": _copy(cursor, "overrides (target, field, value)", map(_override_row, machine.overrides)),
                "sessions": _copy(
                    cursor,
                    f"sessions ({SESSION_COLUMNS})",
                    machine.sessions,
                ),
                "messages": _copy(cursor, "messages (session, position, at, body)", machine.messages),
                "budgets": _add_spend(cursor, machine.spent),
            }
            _replace_signing_keys(cursor, machine.signing_keys)
            for table in ("tokens", "operators", "signing_keys"):
                cursor.execute(
                    f"SELECT setval(pg_get_serial_sequence('pgtrio.{table}', 'id'), max(id))"  # noqa: S608
                    f" FROM pgtrio.{table} HAVING max(id) IS NOT NULL".encode()
                )
    return counts


def _check_empty(cursor: Cursor) -> None:
    for table in ("tokens", "operators", "sessions"):
        row = cursor.execute(f"SELECT EXISTS (SELECT FROM pgtrio.{table})".encode()).fetchone()  # noqa: S608
        if row is not None and row[0]:
            raise StoreError(f"The cluster has {table} already; nothing was carried over.")


def _copy(cursor: Cursor, target: str, rows: Iterable[tuple[Any, ...]]) -> int:
    count = 0
    with cursor.copy(f"COPY pgtrio.{target} FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def _token_row(token: Token) -> tuple[Any, ...]:
    limits: tuple[Any, ...] = astuple(token.limits or TokenLimits())
    return (
        *(token.id, token.project_uuid, token.name, token.prefix, token.digest, token.env, " ".join(token.scopes)),
        *(token.is_active, token.created_at, token.last_used_at, *limits),
    )


def _replace_signing_keys(cursor: Cursor, keys: Sequence[SigningKey]) -> None:
    if keys:
        cursor.execute("DELETE FROM pgtrio.signing_keys")
        # The oldest first, as they were made.
        _copy(cursor, "signing_keys (id, secret, created_at)", map(astuple, reversed(keys)))


def _operator_row(one: Operator) -> tuple[Any, ...]:
    return one.id, one.name, one.prefix, one.digest, one.role, one.is_active, one.created_at


def _override_row(one: Override) -> tuple[Any, ...]:
    return one.target, one.field, json.dumps(one.value)


def _add_spend(cursor: Cursor, spent: SpentMonth) -> int:
    """Raise the budgets to what was spent. Returns how many there are of it."""
    # So that no node that starts meanwhile takes them for lost.
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
    wanted = dict(spent.spend)
    for key, amount in _sum_others(cursor, spent).items():
        wanted[key] = wanted.get(key, 0) + amount
    settled = {bytes(key): int(amount) for key, amount in cursor.execute(SETTLED, (spent.month,)).fetchall()}
    missing = {key: amount - settled.get(key, 0) for key, amount in sorted(wanted.items())}
    added = [(key, spent.month, amount) for key, amount in missing.items() if amount > 0]
    holder = uuid4()
    for key, month, amount in added:
        cursor.execute(RAISE_BUDGET, (key, month, amount))
        cursor.execute(ADD_LEASE, (key, month, holder, amount, amount))
    return len(wanted)


def _sum_others(cursor: Cursor, spent: SpentMonth) -> dict[bytes, int]:
    """What requests have cost whose rows are in PostgreSQL, and not on the machine."""
    cursor.execute("CREATE TEMPORARY TABLE carried_requests (id uuid) ON COMMIT DROP")
    with cursor.copy("COPY carried_requests FROM STDIN") as copy:
        for request in spent.requests:
            copy.write_row((request,))
    cursor.execute("ANALYZE carried_requests")
    endpoints = cursor.execute(OF_ENDPOINTS.encode(), (spent.since,)).fetchall()
    holders = cursor.execute(OF_HOLDERS.encode(), (spent.since,)).fetchall()
    return {bytes(key): int(amount) for key, amount in endpoints} | sum_by_holder(
        (token, subject, client_token, int(amount)) for token, subject, client_token, amount in holders
    )
