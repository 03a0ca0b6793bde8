"""`pg-trio doctor`: what it finds, what it mends, and that it mends nothing unasked."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.log_row import LogRow
from pg_trio.shared_memory.segment import Segment
from pg_trio.shared_memory.segment_file import open_existing, open_segment
from pg_trio.shared_memory.spend import SharedSpend, count_orphans
from pg_trio.store.log import LogStore
from pg_trio.store.token_admin import TokenAdmin
from tests.support.processes import run_command

ENDPOINT = UUID(int=3).bytes
MONTH = 24_000
DIE_RESERVED = """
import os, sys
from pathlib import Path
from pg_trio.shared_memory.segment import Segment
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend
spend = SharedSpend(open_segment(Path(sys.argv[1])))
spend.reserve(bytes.fromhex(sys.argv[2]), int(sys.argv[3]), 5, 1000)
os._exit(9)
"""


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    settings = GatewaySettings(data_dir=tmp_path / "data")
    with TokenAdmin(settings.data_dir):
        pass
    async with await LogStore.open(settings) as store:
        for number in range(500):
            store.record(LogRow(UUID(int=number), 1.0, 200, 1.0, error="x" * 300))
    with closing(open_segment(settings.data_dir / "shared.mem")) as segment:
        SharedSpend(segment).close()
    return settings.data_dir


async def doctor(data_dir: Path, *more: str) -> tuple[int, list[str]]:
    """Exit status, and the lines that are not ok."""
    status, output, errors = await run_command("doctor", "--data-dir", str(data_dir), *more)
    assert "" == errors
    return status, [line for line in output.splitlines() if not line.startswith(("ok", "note"))]


def contents(folder: Path) -> dict[str, bytes]:
    """What is in each file; the empty -wal and the -shm that SQLite makes for a reader hold nothing."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(("-wal", "-shm"))}


async def test_healthy_data(data_dir: Path) -> None:
    before = contents(data_dir)

    status, output, _ = await run_command("doctor", "--data-dir", str(data_dir))

    assert 0 == status
    for text in ("for its owner alone", "MiB free", "tokens.db: sound", "log.db: sound", "no orphaned reservations"):
        assert text in output
    assert before == contents(data_dir)


async def test_open_permissions_are_found_then_mended(data_dir: Path) -> None:
    os.chmod(data_dir, 0o755)
    os.chmod(data_dir / "tokens.db", 0o640)
    os.chmod(data_dir / "shared.mem", 0o606)

    status, found = await doctor(data_dir)
    fixed_status, fixed = await doctor(data_dir, "--fix")

    assert (1, 3) == (status, len(found))
    assert f"problem {data_dir}: mode 0755, others may use it; `chmod 700 {data_dir}`. (--fix does it.)" == found[0]
    assert (0, {"fixed"}) == (fixed_status, {line.split()[0] for line in fixed})
    assert (0, []) == await doctor(data_dir)
    assert 0o600 == (data_dir / "tokens.db").stat().st_mode & 0o777


async def test_orphaned_reservations_are_found_then_given_back(data_dir: Path) -> None:
    path = data_dir / "shared.mem"
    dead = subprocess.run([sys.executable, "-c", DIE_RESERVED, path, ENDPOINT.hex(), str(MONTH)], check=False)  # noqa: ASYNC221
    assert 9 == dead.returncode

    status, found = await doctor(data_dir)
    with closing(_open(path)) as segment:
        assert 1 == count_orphans(segment)
    fixed_status, _ = await doctor(data_dir, "--fix")

    assert 1 == status
    assert "1 reservations of dead workers block budgets" in found[0]
    assert 0 == fixed_status
    with closing(_open(path)) as segment:
        assert 0 == count_orphans(segment)
        spend = SharedSpend(segment)
        assert (0, 0) == spend.read(ENDPOINT, MONTH)
        spend.close()


async def test_reservations_of_the_living_are_left(data_dir: Path) -> None:
    with closing(open_segment(data_dir / "shared.mem")) as segment:
        spend = SharedSpend(segment)
        spend.reserve(ENDPOINT, MONTH, 5, 1000)

        assert (0, []) == await doctor(data_dir, "--fix")

        assert (0, 5) == spend.read(ENDPOINT, MONTH)
        spend.close()


def _open(path: Path) -> Segment:
    segment = open_existing(path)
    assert segment is not None
    return segment


async def test_damaged_page_is_found(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / "log.db")) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (data_dir / "log.db").open("r+b") as raw:
        raw.seek(15 * 4096)
        raw.write(os.urandom(4 * 4096))

    status, found = await doctor(data_dir, "--fix")

    assert (1, 1) == (status, len(found))
    assert found[0].startswith(f"problem {data_dir / 'log.db'}: ")
    assert "damaged" in found[0]
    assert "restore a backup" in found[0]


@pytest.mark.parametrize(("version", "text"), [(1, "written by an older pg_trio"), (99, "written by a newer pg_trio")])
async def test_schema_of_another_release_is_found(data_dir: Path, version: int, text: str) -> None:
    with closing(sqlite3.connect(data_dir / "log.db")) as file:
        file.execute(f"PRAGMA user_version = {version}")

    status, found = await doctor(data_dir)

    assert 1 == status
    assert text in found[0]


async def test_damaged_shared_memory_is_found_and_left(data_dir: Path) -> None:
    (data_dir / "shared.mem").write_bytes(b"nonsense")
    (data_dir / "shared.mem").chmod(0o600)

    status, found = await doctor(data_dir, "--fix")

    assert 1 == status
    assert "shared.mem: not a shared memory file of this gateway" in found[0]
    assert b"nonsense" == (data_dir / "shared.mem").read_bytes()


async def test_missing_directory_is_not_made(tmp_path: Path) -> None:
    status, found = await doctor(tmp_path / "typo", "--fix")

    assert (1, 1) == (status, len(found))
    assert "typo: not there" in found[0]
    assert [] == os.listdir(tmp_path)


async def test_configuration_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "pg.toml").write_text("[gateway]\ndata_dri = 1\n")

    status, output, _ = await run_command("doctor", "--config", str(tmp_path / "pg.toml"))

    assert 1 == status
    assert "data_dri" in output
    assert "Nothing else was looked at" in output
