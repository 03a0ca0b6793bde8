"""Creates and revokes the operators of all nodes (stores/administration.py, OperatorAdministration). Synchronous."""

from __future__ import annotations

import secrets
import time
from types import TracebackType
from typing import Self

from attrs import evolve

from pg_trio.cluster.postgres.command_connection import connect_command, explained
from pg_trio.cluster.postgres.operator_rows import INSERT_AUDIT, SELECT_OPERATORS, audit_values, operator_of
from pg_trio.domain.operator import Change, Operator, Role
from pg_trio.store.operator_admin import (
    CONSOLE,
    LINK_S,
    RANDOM_BYTES,
    NewOperator,
    creation_of,
    revocation_of,
    the_only_operator,
)
from pg_trio.store.token_file import column_of, hash_token

INSERT = (
    "INSERT INTO pgtrio.operators (name, prefix, digest, role, created_at) VALUES (%s, %s, %s, %s, %s) RETURNING id"
)


class PostgresOperatorAdmin:
    """See OperatorAdmin (store/operator_admin.py) for each method's errors. Use it in a `with` block."""

    def __init__(self, url: str) -> None:
        """Connects. Raises StoreError."""
        self._connection = connect_command(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def create(self, name: str, role: Role = "operator", by: Operator = CONSOLE) -> tuple[Operator, str]:
        """See OperatorAdmin."""
        new = NewOperator.invent(name, role)
        with explained(), self._connection.transaction():
            row = self._connection.execute(INSERT, new.values).fetchone()
            assert row is not None
            (operator,) = self._read("id = %s", row[0])
            self._connection.execute(INSERT_AUDIT, audit_values(creation_of(operator, by)))
        return operator, new.key

    def list_operators(self) -> list[Operator]:
        """See OperatorAdmin."""
        with explained():
            return self._read("true")

    def revoke(self, reference: str, by: Operator = CONSOLE) -> Operator:
        """See OperatorAdmin."""
        with explained(), self._connection.transaction():
            operator = self._resolve(reference)
            self._connection.execute("UPDATE pgtrio.operators SET is_active = false WHERE id = %s", (operator.id,))
            self._connection.execute("DELETE FROM pgtrio.page_sessions WHERE operator_id = %s", (operator.id,))
            self._connection.execute(INSERT_AUDIT, audit_values(revocation_of(operator, by)))
        return evolve(operator, is_active=False)

    def note(self, change: Change) -> None:
        """See OperatorAdmin."""
        with explained():
            self._connection.execute(INSERT_AUDIT, audit_values(change))

    def make_link(self, operator: Operator) -> str:
        """See OperatorAdmin."""
        secret = secrets.token_urlsafe(RANDOM_BYTES)
        with explained():
            self._connection.execute(
                "INSERT INTO pgtrio.login_links VALUES (%s, %s, %s)",
                (hash_token(secret), operator.id, time.time() + LINK_S),
            )
        return secret

    def _resolve(self, reference: str) -> Operator:
        column, value = column_of(reference)
        return the_only_operator(self._read(f"{column} = %s", value), reference, "the cluster")

    def _read(self, condition: str, *values: object) -> list[Operator]:
        query = f"{SELECT_OPERATORS} WHERE {condition} ORDER BY id"
        return [operator_of(row) for row in self._connection.execute(query.encode(), values)]
