"""A file's schema in numbered steps, so that every release can open an older release's file.

Rules:
1. `PRAGMA user_version` is the number of steps the file has had. Step n takes it from n - 1 to n, in one transaction.
2. A step that was released never changes; a change of the schema is one more step at the end.
3. A file with more steps than this release knows is refused, because writing to it could break the newer release.
4. `PRAGMA application_id` names the kind of file, so that another program's database is never migrated into ours.
"""

from __future__ import annotations

import sqlite3

from attrs import frozen

from pg_trio.errors import StoreError
from pg_trio.store.transaction import snapshot, transaction


@frozen(slots=True)
class Schema:
    """One kind of file. `application_id` is 32 bits of our choice; `steps` are lists of SQL statements."""

    application_id: int
    steps: tuple[tuple[str, ...], ...]


def migrate(connection: sqlite3.Connection, schema: Schema, path: str) -> None:
    """Bring the file to the newest schema; a file that has it already is only read.

    Raises: StoreError if the file is another program's, of another kind, or newer than this release.
    """
    while _is_old(connection, schema, path):
        with transaction(connection):
            # Read again under the write lock, so that only one of several starting workers takes the step.
            step = _missing_step(connection, schema, path)
            if step is not None:
                _take_step(connection, schema, step)


def check_schema(connection: sqlite3.Connection, schema: Schema, path: str) -> None:
    """Return if the file has this release's schema; it is only read.

    Raises: StoreError if the file is another program's, of another kind, newer than this release, or older.
    """
    if _is_old(connection, schema, path):
        version = _read_int(connection, "PRAGMA user_version")
        raise StoreError(
            f"{path}: written by an older pg_trio (schema {version}; this one wants {len(schema.steps)})."
            " Nothing was changed; `pg-trio serve` brings it up to date when it starts."
        )


def _is_old(connection: sqlite3.Connection, schema: Schema, path: str) -> bool:
    # Both reads see one moment: between them another worker may take a step, and a mixture looks like a foreign file.
    with snapshot(connection):
        return _missing_step(connection, schema, path) is not None


def _take_step(connection: sqlite3.Connection, schema: Schema, step: int) -> None:
    # Not `executescript`: it commits first, and a crash would leave half a step.
    for statement in schema.steps[step - 1]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {schema.application_id}")
    connection.execute(f"PRAGMA user_version = {step}")


def _missing_step(connection: sqlite3.Connection, schema: Schema, path: str) -> int | None:
    version = _read_int(connection, "PRAGMA user_version")
    application_id = _read_int(connection, "PRAGMA application_id")
    known = len(schema.steps)
    is_empty = _read_int(connection, "SELECT count(*) FROM sqlite_master") == 0
    if application_id != schema.application_id and not (is_empty and application_id == version == 0):
        raise StoreError(
            f"{path}: another program's database, or another of our own files (application id {application_id:#x}"
            f" instead of {schema.application_id:#x}). Nothing was changed; move it away or choose another data_dir."
        )
    if version > known:
        raise StoreError(
            f"{path}: written by a newer pg_trio (schema {version}; this one knows {known})."
            " Nothing was changed; run that release or a later one."
        )
    return version + 1 if version < known else None


def _read_int(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
