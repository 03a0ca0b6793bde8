"""Rows of `pgtrio.tokens` as tokens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pg_trio.domain.project import Token, TokenLimits
from pg_trio.store.token_file import COLUMNS

SELECT_TOKENS = f"SELECT {COLUMNS} FROM pgtrio.tokens"  # noqa: S608


def token_of(row: tuple[Any, ...]) -> Token:
    """The token of a row of COLUMNS."""
    token_id, project, name, prefix, digest, env, scopes, is_active, created_at, last_used_at, *limits = row
    assert isinstance(project, UUID)
    return Token(
        id=token_id,
        project_uuid=project,
        name=name,
        prefix=prefix,
        digest=bytes(digest),
        env="live" if env == "live" else "test",
        scopes=tuple(scopes.split(" ")) if scopes else (),
        is_active=is_active,
        created_at=created_at,
        last_used_at=last_used_at,
        limits=None if limits == [None] * len(limits) else TokenLimits(*limits),
    )
