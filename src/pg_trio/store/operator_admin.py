"""Creates and revokes operators, keeps overrides, and writes the audit. Synchronous; workers see changes through the
file's revision. A change and its audit row are one transaction."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import evolve, field, frozen

from pg_trio.domain.operator import KEY_PREFIX, ROLES, Change, Operator, Override, Role
from pg_trio.errors import StoreError
from pg_trio.store.database import BUSY_LIMIT_S, explained
from pg_trio.store.operator_file import FILE_NAME, open_operators, read_operators
from pg_trio.store.token_file import PREFIX_CHARS, column_of, hash_token
from pg_trio.store.transaction import transaction

# 32 bytes: 256 bits, as a token's.
RANDOM_BYTES = 32
NAME_CHARS = 200
# Enough to click a link in the terminal.
LINK_S = 600.0
# The audit of a change made at the command line names the machine's own user in place of an operator.
CONSOLE = Operator(0, "command line", "", bytes(32), "operator", True, 0.0)


class OperatorAdmin:
    """The operators, for administration. Use it in a `with` block. Raises StoreError if the file cannot be used."""

    def __init__(self, data_dir: Path, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self._path = data_dir / FILE_NAME
        self._connection = open_operators(data_dir, busy_limit_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def create(self, name: str, role: Role = "operator", by: Operator = CONSOLE) -> tuple[Operator, str]:
        """A new operator and the key, which exists nowhere else. Raises: ValueError for a name that none can have."""
        new = NewOperator.invent(name, role)
        with explained(self._path), transaction(self._connection):
            cursor = self._connection.execute(
                "INSERT INTO operators (name, prefix, digest, role, created_at) VALUES (?, ?, ?, ?, ?)", new.values
            )
            (operator,) = read_operators(self._connection, "id = ?", cursor.lastrowid)
            write_audit(self._connection, creation_of(operator, by))
        return operator, new.key

    def list_operators(self) -> list[Operator]:
        """All operators, revoked ones included."""
        with explained(self._path):
            return read_operators(self._connection, "true")

    def revoke(self, reference: str, by: Operator = CONSOLE) -> Operator:
        """Revoke an operator for good; pages' sessions end with it. `reference` is the id, the prefix or the key.

        Raises: StoreError if there is no such operator, or several.
        """
        with explained(self._path), transaction(self._connection):
            operator = self._resolve(reference)
            self._connection.execute("UPDATE operators SET is_active = 0 WHERE id = ?", (operator.id,))
            self._connection.execute("DELETE FROM page_sessions WHERE operator_id = ?", (operator.id,))
            write_audit(self._connection, revocation_of(operator, by))
        return evolve(operator, is_active=False)

    def note(self, change: Change) -> None:
        """Write the audit's row of a change that was made elsewhere."""
        with explained(self._path), transaction(self._connection):
            write_audit(self._connection, change)

    def make_link(self, operator: Operator) -> str:
        """A secret that logs the operator in at the pages, once, within LINK_S."""
        secret = secrets.token_urlsafe(RANDOM_BYTES)
        with explained(self._path):
            self._connection.execute(
                "INSERT INTO login_links VALUES (?, ?, ?)", (hash_token(secret), operator.id, time.time() + LINK_S)
            )
        return secret

    def _resolve(self, reference: str) -> Operator:
        column, value = column_of(reference)
        return the_only_operator(read_operators(self._connection, f"{column} = ?", value), reference, str(self._path))


@frozen(slots=True)
class NewOperator:
    """An operator to be stored: `values` are its name, prefix, digest, role and time. Nothing else has the key."""

    key: str = field(repr=False)
    values: tuple[str, str, bytes, str, float]

    @classmethod
    def invent(cls, name: str, role: Role) -> Self:
        """With a new key. Raises: ValueError for a name or a role that none can have."""
        check_operator_name(name)
        if role not in ROLES:
            raise ValueError(f"a role is one of {', '.join(ROLES)}")
        key = KEY_PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        return cls(key, (name, key[:PREFIX_CHARS], hash_token(key), role, time.time()))


def creation_of(operator: Operator, by: Operator) -> Change:
    """What the audit has of it."""
    said = {"name": operator.name, "role": operator.role}
    return Change(by, "operator.create", f"operator:{operator.id}", None, said)


def revocation_of(operator: Operator, by: Operator) -> Change:
    """What the audit has of it."""
    return Change(by, "operator.revoke", f"operator:{operator.id}", None)


def the_only_operator(matches: Sequence[Operator], reference: str, place: str) -> Operator:
    """The operator that a reference found in a place. Raises StoreError if it found none, or several."""
    if len(matches) == 1:
        return matches[0]
    # Cut, because the reference may be a whole key.
    shown = reference[:PREFIX_CHARS] + ("…" if len(reference) > PREFIX_CHARS else "")
    how_many = "Several operators have" if matches else "No operator has"
    raise StoreError(f"{how_many} {shown!r} in {place}; `pg-trio operator list` shows ids and prefixes.")


def write_audit(connection: sqlite3.Connection, change: Change) -> None:
    """One row of the audit, in the caller's transaction."""
    connection.execute(
        "INSERT INTO audit (at, operator_id, operator, action, target, change, address) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            time.time(),
            change.operator.id or None,
            change.operator.name,
            change.action,
            change.target,
            json.dumps(change.change),
            change.address,
        ),
    )


def write_overrides(connection: sqlite3.Connection, overrides: Iterable[Override], change: Change) -> None:
    """Set these overrides, and take back those whose value is None, with one audit row."""
    with transaction(connection):
        for override in overrides:
            if override.value is None:
                connection.execute(
                    "DELETE FROM overrides WHERE target = ? AND field = ?", (override.target, override.field)
                )
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO overrides VALUES (?, ?, ?)",
                    (override.target, override.field, json.dumps(override.value)),
                )
        write_audit(connection, change)


def check_operator_name(name: str) -> str:
    """Return the name if an operator may have it: 1 to 200 printable characters. Raises: ValueError if not."""
    if not 0 < len(name) <= NAME_CHARS or not name.isprintable() or not name.strip():
        raise ValueError(f"an operator's name has 1 to {NAME_CHARS} printable characters, not all spaces")
    return name
