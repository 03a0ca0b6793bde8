"""Copies a data directory's databases into one tar file while gateways write them. Synchronous.

Rules:
1. Each database is copied by SQLite's online backup in one read transaction, so the copy shows one moment. Writers do
   not wait for it, and do not make it begin anew; their changes stay in the -wal file meanwhile. Two databases' moments
   differ.
2. A copy is checked before it goes into the archive, and is a plain file that needs no -wal beside it.
3. The archive gets its name only when it is complete and on the disk. Only its owner can read it.
"""

from __future__ import annotations

import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from pg_trio.errors import StoreError
from pg_trio.store.database import explained, open_reader
from pg_trio.store.databases import DATABASES

# 8 MiB between two reports of progress.
_STEP_PAGES = 2_048

# A progress report: the file's name, the pages copied so far, and all its pages.
Progress = Callable[[str, int, int], None]


def back_up(data_dir: Path, archive: Path, progress: Progress, *, replace: bool = False) -> list[str]:
    """Write the archive and return the names of its databases; `tar -xf` in an empty data_dir restores them.

    Raises: StoreError if there is nothing to copy, a database is damaged or cannot be read, the archive is there
    already (unless `replace`), or cannot be written.
    """
    names = [database.file_name for database in DATABASES if (data_dir / database.file_name).exists()]
    if not names:
        raise StoreError(f"{data_dir}: no database of a gateway in it; is data_dir the right one?")
    if archive.exists() and not (replace and archive.is_file()):
        raise StoreError(f"{archive}: there already; choose another name, or --force to replace it.")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{archive.name}.", dir=archive.parent) as folder:
            unfinished = Path(folder) / archive.name
            _write_archive(data_dir, names, unfinished, progress)
            unfinished.replace(archive)
            _sync(archive.parent)
    except OSError as exc:
        raise StoreError(f"{archive}: cannot be written ({exc.strerror}); nothing is left of it.") from exc
    return names


def _write_archive(data_dir: Path, names: Sequence[str], unfinished: Path, progress: Progress) -> None:
    # 0600 from the beginning: the archive holds the content of private files.
    with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz" if unfinished.suffix in (".gz", ".tgz") else "w") as tar:
            for name in names:
                copy = unfinished.with_name(name)
                _copy_database(data_dir / name, copy, progress)
                tar.add(copy, arcname=name)
                copy.unlink()
        file.flush()
        os.fsync(file.fileno())


def _copy_database(source: Path, copy: Path, progress: Progress) -> None:
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    # The copy first: the inner of the two contexts explains an error, and most errors are the source's.
    with explained(copy), closing(sqlite3.connect(copy, isolation_level=None)) as target:
        with explained(source), closing(open_reader(source, None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            _copy_pages(reader, target, source.name, copy, progress)
        if (found := target.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StoreError(f"{source}: damaged ({found}); nothing was backed up. `pg-trio doctor` says more.")
        target.execute("PRAGMA journal_mode = DELETE")


def _copy_pages(
    reader: sqlite3.Connection, target: sqlite3.Connection, name: str, copy: Path, progress: Progress
) -> None:
    def tell(_: int, remaining: int, total: int) -> None:
        progress(name, total - remaining, total)

    with explained(copy):
        reader.backup(target, pages=_STEP_PAGES, progress=tell, sleep=0)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
