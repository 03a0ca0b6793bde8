"""The checks of `pg-trio doctor` on databases. Synchronous and read-only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from pg_trio.errors import StoreError
from pg_trio.store.database import explained, open_reader
from pg_trio.store.databases import DATABASES, Database

# Complaints shown for one file; a damaged file may have thousands.
SHOWN_COMPLAINTS = 5
# Steps of SQLite's machine between two calls of `Working`: some milliseconds.
WORKING_STEPS = 100_000

# Is called again and again while a file is read, with the file's name.
Working: TypeAlias = Callable[[str], None]


def check_database(data_dir: Path, database: Database, working: Working) -> str:
    """One line about a sound database of this release.

    Raises: StoreError with the problem and what to do. An unfinished upgrade is a problem only until the next start.
    """
    path = data_dir / database.file_name
    with explained(path), closing(open_reader(path, database.schema)) as connection:
        connection.set_progress_handler(lambda: working(database.file_name), WORKING_STEPS)
        query = f"PRAGMA integrity_check({SHOWN_COMPLAINTS})"
        complaints = [str(row[0]) for row in connection.execute(query)]
        if complaints != ["ok"]:
            shown = "; ".join(complaint.replace("\n", " ") for complaint in complaints)
            raise StoreError(
                f"{path}: damaged: {shown}. Stop the gateway, move it away with its -wal and -shm files, and restore a"
                " backup; or try `sqlite3 FILE .recover`."
            )
    size_mib = path.stat().st_size / (1024 * 1024)
    return f"{path}: sound, schema {len(database.schema.steps)}, {size_mib:.1f} MiB"


def list_files(data_dir: Path) -> list[Path]:
    """Every existing file of every database, -wal and -shm included."""
    names = [f"{database.file_name}{ending}" for database in DATABASES for ending in ("", "-wal", "-shm")]
    return [data_dir / name for name in names if (data_dir / name).exists()]
