"""Creates, changes and revokes the tokens of all nodes (stores/administration.py, TokenAdministration). Synchronous."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from attrs import evolve

from pg_trio.cluster.postgres.command_connection import connect_command, explained
from pg_trio.cluster.postgres.token_rows import SELECT_TOKENS, token_of
from pg_trio.domain.project import Token, TokenEnv, TokenLimits
from pg_trio.errors import StoreError
from pg_trio.store.token_admin import check_name, invent_plaintext, limit_values, order_scopes, the_only_token
from pg_trio.store.token_file import LIMIT_COLUMNS, PREFIX_CHARS, column_of, hash_token

INSERT = (
    f"INSERT INTO pgtrio.tokens (project_uuid, name, prefix, digest, env, scopes, created_at, {LIMIT_COLUMNS})"  # noqa: S608
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id"
)
SET_LIMITS = f"UPDATE pgtrio.tokens SET ({LIMIT_COLUMNS}) = (%s, %s, %s) WHERE id = %s"  # noqa: S608


class PostgresTokenAdmin:
    """See TokenAdmin (store/token_admin.py) for each method's errors. Use it in a `with` block."""

    def __init__(self, url: str) -> None:
        """Connects. Raises StoreError."""
        self._connection = connect_command(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def create(
        self,
        project_uuid: UUID,
        name: str,
        env: TokenEnv = "live",
        scopes: Sequence[str] = ("chat", "models"),
        limits: TokenLimits | None = None,
    ) -> tuple[Token, str]:
        """See TokenAdministration."""
        check_name(name)
        limit_places = limit_values(limits or TokenLimits())
        ordered, plaintext = order_scopes(scopes), invent_plaintext(env)
        values = (
            *(project_uuid, name, plaintext[:PREFIX_CHARS], hash_token(plaintext), env),
            *(" ".join(ordered), time.time(), *limit_places),
        )
        with explained():
            row = self._connection.execute(INSERT.encode(), values).fetchone()
            assert row is not None
            return self._read_one(row[0]), plaintext

    def list_tokens(self, project_uuid: UUID | None = None) -> list[Token]:
        """See TokenAdministration."""
        with explained():
            return self._read("true") if project_uuid is None else self._read("project_uuid = %s", project_uuid)

    def rotate(self, reference: str) -> tuple[Token, str]:
        """See TokenAdministration."""
        with explained(), self._connection.transaction():
            token = self._resolve(reference)
            if not token.is_active:
                raise StoreError(f"Token {token.id} ({token.prefix}…) is revoked and stays so; create a new one.")
            plaintext = invent_plaintext(token.env)
            self._connection.execute(
                "UPDATE pgtrio.tokens SET prefix = %s, digest = %s WHERE id = %s",
                (plaintext[:PREFIX_CHARS], hash_token(plaintext), token.id),
            )
            return self._read_one(token.id), plaintext

    def revoke(self, reference: str) -> Token:
        """See TokenAdministration."""
        with explained(), self._connection.transaction():
            token = self._resolve(reference)
            self._connection.execute(
                "UPDATE pgtrio.tokens SET is_active = false WHERE id = %s AND is_active", (token.id,)
            )
            return self._read_one(token.id)

    def set_limits(self, reference: str, **changes: int | None) -> Token:
        """See TokenAdministration."""
        with explained(), self._connection.transaction():
            token = self._resolve(reference)
            limits = evolve(token.limits or TokenLimits(), **changes)
            self._connection.execute(SET_LIMITS.encode(), (*limit_values(limits), token.id))
            return self._read_one(token.id)

    def _resolve(self, reference: str) -> Token:
        return the_only_token(self._read_matches(reference), reference, "the cluster")

    def _read_matches(self, reference: str) -> list[Token]:
        column, value = column_of(reference)
        return self._read(f"{column} = %s", value)

    def _read_one(self, token_id: int) -> Token:
        (token,) = self._read("id = %s", token_id)
        return token

    def _read(self, condition: str, *values: Any) -> list[Token]:
        query = f"{SELECT_TOKENS} WHERE {condition} ORDER BY id"
        return [token_of(row) for row in self._connection.execute(query.encode(), values)]
