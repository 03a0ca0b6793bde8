"""`pg-trio backup` as a process of its own, while a store writes; and what can be made of the archive."""

from __future__ import annotations

import os
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.log_row import LogRow
from pg_trio.store.log import LogStore
from pg_trio.store.token_admin import TokenAdmin
from tests.support.processes import run_command

# Python before 3.11.4 has no filters of archives.
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}

ROWS = 3_000


def make_row(number: int) -> LogRow:
    return LogRow(request_id=UUID(int=number), at=float(number), status=200, latency_ms=1.0, error="x" * 500)


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    settings = GatewaySettings(data_dir=tmp_path / "data")
    with TokenAdmin(settings.data_dir) as admin:
        admin.create(UUID(int=1), "kept")
    async with await LogStore.open(settings) as store:
        for number in range(ROWS):
            store.record(make_row(number))
    return settings.data_dir


async def back_up(data_dir: Path, archive: Path, *more: str) -> tuple[int, str]:
    """Exit status and standard error."""
    status, _, errors = await run_command("backup", "--data-dir", str(data_dir), str(archive), *more)
    return status, errors


def restore(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, **SAFELY)
    return folder


async def read_log(data_dir: Path) -> list[int]:
    async with await LogStore.open(GatewaySettings(data_dir=data_dir)) as store:
        return sorted(row.request_id.int for row in await store.recent(10 * ROWS))


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
async def test_archive_brings_everything_back(data_dir: Path, tmp_path: Path, name: str) -> None:
    assert (0, "") == await back_up(data_dir, tmp_path / name)

    restored = restore(tmp_path / name, tmp_path / "restored")
    assert list(range(ROWS)) == await read_log(restored)
    with TokenAdmin(restored) as admin:
        assert ["kept"] == [token.name for token in admin.list_tokens()]
    assert 0o600 == stat.S_IMODE((tmp_path / name).stat().st_mode)
    with tarfile.open(tmp_path / name) as tar:
        assert {0o600} == {stat.S_IMODE(member.mode) for member in tar}


async def test_copy_is_of_one_moment_while_rows_come(data_dir: Path, tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=data_dir, log_batch_ms=1)
    recorded = ROWS
    async with await LogStore.open(settings) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.write)

        async def record() -> None:
            nonlocal recorded
            while True:
                store.record(make_row(recorded))
                recorded += 1
                await trio.sleep(0.001)

        nursery.start_soon(record)
        assert (0, "") == await back_up(data_dir, tmp_path / "b.tar")
        nursery.cancel_scope.cancel()

    # Every row up to some moment, and none after it.
    copied = await read_log(restore(tmp_path / "b.tar", tmp_path / "restored"))
    assert list(range(len(copied))) == copied
    assert ROWS <= len(copied) < recorded


async def test_existing_file_is_kept(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("precious")

    status, errors = await back_up(data_dir, tmp_path / "b.tar")

    assert 1 == status
    assert "b.tar: there already; choose another name, or --force to replace it." in errors
    assert "precious" == (tmp_path / "b.tar").read_text()


async def test_force_replaces(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("old")

    assert (0, "") == await back_up(data_dir, tmp_path / "b.tar", "--force")

    assert list(range(ROWS)) == await read_log(restore(tmp_path / "b.tar", tmp_path / "restored"))


async def test_damaged_database_is_no_backup(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("the last good one")
    damage(data_dir / "log.db")

    status, errors = await back_up(data_dir, tmp_path / "b.tar", "--force")

    assert 1 == status
    assert "log.db: damaged" in errors
    assert "the last good one" == (tmp_path / "b.tar").read_text()
    assert ["b.tar", "data"] == sorted(os.listdir(tmp_path))


def damage(path: Path) -> None:
    """Overwrite some of its pages in the middle."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as raw:
        raw.seek(20 * 4096)
        raw.write(os.urandom(10 * 4096))


@pytest.mark.parametrize(
    ("folder", "archive", "text"),
    [
        ("typo", "b.tar", "no database of a gateway in it; is data_dir the right one?"),
        ("data", "nowhere/b.tar", "cannot be written (No such file or directory)"),
    ],
)
async def test_refusals_are_explained(data_dir: Path, tmp_path: Path, folder: str, archive: str, text: str) -> None:
    status, errors = await back_up(tmp_path / folder, tmp_path / archive)

    assert 1 == status
    assert text in errors
    assert ["data"] == sorted(os.listdir(tmp_path))
