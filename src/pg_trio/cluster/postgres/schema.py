"""The tables in PostgreSQL: numbered steps (`migrations/NNN_….sql`), made under an advisory lock.

Rules:
1. All of ours is in the schema `pgtrio` (PostgreSQL reserves names with pg_). Another application may use the same
   database.
2. A step is one transaction with its number in `pgtrio.schema_versions`. Several nodes that start at once migrate one
   after the other, and the later ones find nothing to do.
3. A step keeps what the release before it needs, so an old node works next to a new one. A database that is further
   ahead is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from attrs import frozen

from pg_trio.cluster.postgres.trio_connection import TrioConnection
from pg_trio.errors import StoreError

# "pgtrio" in ASCII: no other application has it.
LOCK_KEY = 0x706774_72696F
# A database this many steps ahead is the next release's.
AHEAD_STEPS = 1
OLDEST_POSTGRES = 140000


@frozen(slots=True)
class MigrationStep:
    """One step: its number, its name, its statements."""

    number: int
    name: str
    statements: str


def read_steps() -> list[MigrationStep]:
    """All steps, in order."""
    folder = resources.files("pg_trio.cluster.postgres").joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [
        MigrationStep(int(file.name[:3]), file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in files
    ]


async def migrate_schema(connection: TrioConnection, steps: Sequence[MigrationStep]) -> list[str]:
    """Make the steps that are missing. Returns their names. Raises StoreError, psycopg.Error."""
    check_server(connection)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        await connection.execute("CREATE SCHEMA IF NOT EXISTS pgtrio")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS pgtrio.schema_versions"
            " (number integer PRIMARY KEY, name text NOT NULL, made_at timestamptz NOT NULL DEFAULT now())"
        )
    made = [step.name for step in steps if await _make_step(connection, step)]
    await read_ahead(connection, steps)
    return made


def check_server(connection: TrioConnection) -> None:
    """Raises StoreError if the server is too old."""
    if connection.info.server_version < OLDEST_POSTGRES:
        raise StoreError("cluster.postgres_url: PostgreSQL 14 or later is needed")


async def read_missing(connection: TrioConnection, steps: Sequence[MigrationStep]) -> list[str]:
    """The names of the steps that are missing. Raises psycopg.Error."""
    row = await (await connection.execute("SELECT to_regclass('pgtrio.schema_versions')")).fetchone()
    if row is None or row[0] is None:
        return [step.name for step in steps]
    made = await (await connection.execute("SELECT number FROM pgtrio.schema_versions")).fetchall()
    return [step.name for step in steps if (step.number,) not in made]


async def _make_step(connection: TrioConnection, step: MigrationStep) -> bool:
    """Whether it was missing."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        known = await connection.execute("SELECT FROM pgtrio.schema_versions WHERE number = %s", (step.number,))
        if await known.fetchone() is not None:
            return False
        # Several statements: without parameters psycopg sends them as they are.
        await connection.execute(step.statements.encode())
        await connection.execute(
            "INSERT INTO pgtrio.schema_versions (number, name) VALUES (%s, %s)", (step.number, step.name)
        )
    return True


async def read_ahead(connection: TrioConnection, steps: Sequence[MigrationStep]) -> int:
    """How many steps the database is ahead of ours. Raises StoreError if that is too far; psycopg.Error."""
    row = await (await connection.execute("SELECT max(number) FROM pgtrio.schema_versions")).fetchone()
    ours = steps[-1].number
    found = ours if row is None or row[0] is None else int(row[0])
    if found > ours + AHEAD_STEPS:
        raise StoreError(
            f"cluster.postgres_url: the database has step {found}, this release knows {ours}; run the newer release"
        )
    return max(0, found - ours)
