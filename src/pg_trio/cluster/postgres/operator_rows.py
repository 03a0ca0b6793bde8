"""Statements and rows of operators, overrides and the audit, for workers and for commands."""

from __future__ import annotations

import json
import time
from typing import Any

from pg_trio.domain.operator import AuditRow, Change, Operator, Override

OPERATOR_COLUMNS = "id, name, prefix, digest, role, is_active, created_at"
SELECT_OPERATORS = f"SELECT {OPERATOR_COLUMNS} FROM pgtrio.operators"  # noqa: S608
SELECT_OVERRIDES = "SELECT target, field, value FROM pgtrio.overrides ORDER BY target, field"
SELECT_AUDIT = (
    "SELECT id, at, operator, action, target, change, address FROM pgtrio.audit WHERE id < %s ORDER BY id DESC LIMIT %s"
)
INSERT_AUDIT = (
    "INSERT INTO pgtrio.audit (at, operator_id, operator, action, target, change, address)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s)"
)
DELETE_OVERRIDE = "DELETE FROM pgtrio.overrides WHERE target = %s AND field = %s"
SET_OVERRIDE = (
    "INSERT INTO pgtrio.overrides (target, field, value) VALUES (%s, %s, %s)"
    " ON CONFLICT (target, field) DO UPDATE SET value = excluded.value"
)


def operator_of(row: tuple[Any, ...]) -> Operator:
    """The operator of a row of OPERATOR_COLUMNS."""
    each_id, name, prefix, digest, role, is_active, created_at = row
    return Operator(each_id, name, prefix, bytes(digest), role, is_active, created_at)


def override_of(row: tuple[Any, ...]) -> Override:
    """The override of a row of SELECT_OVERRIDES."""
    target, field, value = row
    return Override(target, field, json.loads(value))


def audit_of(row: tuple[Any, ...]) -> AuditRow:
    """A row of the audit, of SELECT_AUDIT."""
    each_id, at, operator, action, target, change, address = row
    return AuditRow(each_id, at, operator, action, target, json.loads(change), address)


def audit_values(change: Change) -> tuple[object, ...]:
    """The values of INSERT_AUDIT."""
    operator = change.operator
    said = (change.action, change.target, json.dumps(change.change), change.address)
    return (time.time(), operator.id or None, operator.name, *said)
