"""Creates, changes and revokes tokens for `pg-trio token`. Synchronous; workers see changes through the file's
revision."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

from attrs import astuple, evolve

from pg_trio.domain.project import SCOPES, Token, TokenEnv, TokenLimits
from pg_trio.errors import StoreError
from pg_trio.store.database import BUSY_LIMIT_S, explained
from pg_trio.store.token_file import (
    FILE_NAME,
    LIMIT_COLUMNS,
    PREFIX_CHARS,
    column_of,
    hash_token,
    open_tokens,
    read_tokens,
)
from pg_trio.store.transaction import transaction

# 32 bytes: 256 bits, as many as the digest has; 43 characters.
RANDOM_BYTES = 32
NAME_CHARS = 200
# A billion, as for an endpoint's limits: far above any useful limit.
MAX_LIMIT = 1_000_000_000


class TokenAdmin:
    """The tokens, for administration. Use it in a `with` block."""

    def __init__(self, data_dir: Path, *, busy_limit_s: float = BUSY_LIMIT_S, create: bool = True) -> None:
        """Opens `tokens.db`. With `create=False` a missing file is an error.

        Raises: StoreError if the directory or the file cannot be used.
        """
        self._path = data_dir / FILE_NAME
        if not create and not self._path.exists():
            raise StoreError(f"{self._path}: not there, so no token was ever created here; is data_dir the right one?")
        self._connection = open_tokens(data_dir, busy_limit_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        self._connection.close()

    def create(
        self,
        project_uuid: UUID,
        name: str,
        env: TokenEnv = "live",
        scopes: Sequence[str] = ("chat", "models"),
        limits: TokenLimits | None = None,
    ) -> tuple[Token, str]:
        """A new active token and its plaintext, which exists nowhere else.

        Raises: ValueError for a name, scopes or limits that no token can have; StoreError if the file cannot be
        written.
        """
        check_name(name)
        limit_places = limit_values(limits or TokenLimits())
        ordered = order_scopes(scopes)
        plaintext = invent_plaintext(env)
        with explained(self._path), transaction(self._connection):
            cursor = self._connection.execute(
                f"INSERT INTO tokens (project_uuid, name, prefix, digest, env, scopes, created_at, {LIMIT_COLUMNS})"  # noqa: S608
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    project_uuid.bytes,
                    name,
                    plaintext[:PREFIX_CHARS],
                    hash_token(plaintext),
                    env,
                    " ".join(ordered),
                    time.time(),
                    *limit_places,
                ),
            )
            return self._read_one("id = ?", cursor.lastrowid), plaintext

    def list_tokens(self, project_uuid: UUID | None = None) -> list[Token]:
        """The tokens of a project, or all, by id; revoked ones included."""
        with explained(self._path):
            if project_uuid is None:
                return read_tokens(self._connection, "true")
            return read_tokens(self._connection, "project_uuid = ?", project_uuid.bytes)

    def rotate(self, reference: str) -> tuple[Token, str]:
        """Give the token a new plaintext, and return both; the old plaintext stops working. `reference`: see `revoke`.

        Raises: StoreError if there is no such token or it is revoked.
        """
        with explained(self._path), transaction(self._connection):
            token = self._resolve(reference)
            if not token.is_active:
                raise StoreError(f"Token {token.id} ({token.prefix}…) is revoked and stays so; create a new one.")
            plaintext = invent_plaintext(token.env)
            self._connection.execute(
                "UPDATE tokens SET prefix = ?, digest = ? WHERE id = ?",
                (plaintext[:PREFIX_CHARS], hash_token(plaintext), token.id),
            )
            return self._read_one("id = ?", token.id), plaintext

    def revoke(self, reference: str) -> Token:
        """Revoke the token permanently and return it. Revoking again changes nothing.

        `reference` is the token's id, its prefix, or its whole text (for a leaked token).
        Raises: StoreError if there is no such token, or several.
        """
        with explained(self._path), transaction(self._connection):
            token = self._resolve(reference)
            self._connection.execute("UPDATE tokens SET is_active = 0 WHERE id = ? AND is_active", (token.id,))
            return self._read_one("id = ?", token.id)

    def set_limits(self, reference: str, **changes: int | None) -> Token:
        """Change these limits, by the field names of `TokenLimits`, and return the token; None removes a limit.

        Raises: ValueError for a limit that no token can have; StoreError if there is no such token, or several.
        """
        with explained(self._path), transaction(self._connection):
            token = self._resolve(reference)
            limits = evolve(token.limits or TokenLimits(), **changes)
            self._connection.execute(
                f"UPDATE tokens SET ({LIMIT_COLUMNS}) = (?, ?, ?) WHERE id = ?",  # noqa: S608
                (*limit_values(limits), token.id),
            )
            return self._read_one("id = ?", token.id)

    def _resolve(self, reference: str) -> Token:
        return the_only_token(self._read_matches(reference), reference, str(self._path))

    def _read_matches(self, reference: str) -> list[Token]:
        column, value = column_of(reference)
        return read_tokens(self._connection, f"{column} = ?", value)

    def _read_one(self, condition: str, *parameters: object) -> Token:
        (token,) = read_tokens(self._connection, condition, *parameters)
        return token


def the_only_token(matches: Sequence[Token], reference: str, place: str) -> Token:
    """The token that a reference found in a place. Raises StoreError if it found none, or several."""
    if len(matches) == 1:
        return matches[0]
    # Cut, because the reference may be a whole token.
    shown = reference[:PREFIX_CHARS] + ("…" if len(reference) > PREFIX_CHARS else "")
    if not matches:
        raise StoreError(f"No token {shown!r} in {place}; `pg-trio token list` shows ids and prefixes.")
    ids = ", ".join(str(token.id) for token in matches)
    raise StoreError(f"Several tokens begin with {shown!r}; use an id: {ids}.")


def check_name(name: str) -> str:
    """Return the name if a token may have it: 1 to 200 characters that a terminal can show.

    Raises: ValueError if not.
    """
    if not 0 < len(name) <= NAME_CHARS or not name.isprintable() or not name.strip():
        raise ValueError(f"a token's name has 1 to {NAME_CHARS} printable characters, not all spaces")
    return name


def check_limit(limit: int) -> int:
    """Return the limit if a token may have it: 1 to a billion, as an endpoint's. Raises: ValueError if not."""
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"a limit is 1 to {MAX_LIMIT}, not {limit}")
    return limit


def limit_values(limits: TokenLimits) -> tuple[int | None, ...]:
    """The limits in the order of their columns. Raises: ValueError for a limit that no token can have."""
    values: tuple[int | None, ...] = astuple(limits)
    for value in values:
        if value is not None:
            check_limit(value)
    return values


def order_scopes(scopes: Sequence[str]) -> list[str]:
    """Each scope once, in the order of SCOPES. Raises: ValueError for none, or for one that is unknown."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ValueError(f"scopes are one or more of {', '.join(SCOPES)}; got {', '.join(unknown) or 'none'}")
    return [scope for scope in SCOPES if scope in scopes]


def invent_plaintext(env: TokenEnv) -> str:
    """A new token's text, of RANDOM_BYTES random bytes."""
    return f"pg_{env}_{secrets.token_urlsafe(RANDOM_BYTES)}"
