"""A damaged -wal file is reported; one that a crash left, or that SQLite has used again, is not."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pg_trio.store.journal_check import find_damage, tell_damaged_journal

HEADER, FRAME = 32, 24 + 4096


def journal_of(folder: Path, *, rounds: int = 1) -> Path:
    """A database as a killed process leaves it: every round's changes written, those before the last moved into it."""
    live, left = folder / "live.db", folder / "left.db"
    with closing(sqlite3.connect(live, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE things (text TEXT)")
        for number in range(rounds):
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
            for _ in range(10 - 4 * number):
                connection.execute("INSERT INTO things VALUES (?)", ("x" * 3000,))
        shutil.copy(live, left)
        shutil.copy(f"{live}-wal", f"{left}-wal")
    return left


def read(database: Path) -> bytes:
    return Path(f"{database}-wal").read_bytes()


@pytest.mark.parametrize("rounds", [1, 2])
def test_whole_journal_is_fine(tmp_path: Path, rounds: int) -> None:
    data = read(journal_of(tmp_path, rounds=rounds))

    assert find_damage(data) is None
    # Cut in the middle of a page, as a crash may leave it.
    assert find_damage(data[: HEADER + 3 * FRAME + 100]) is None


@pytest.mark.parametrize("data", [b"", b"x" * 31])
def test_empty_journal_is_fine(data: bytes) -> None:
    assert find_damage(data) is None


@pytest.mark.parametrize(
    ("at", "said"),
    [
        pytest.param(0, "no header", id="magic"),
        pytest.param(14, "its header", id="sequence"),
        pytest.param(HEADER + FRAME + 24 + 99, "from page 2 on", id="a page's content"),
        pytest.param(HEADER + 2 * FRAME + 3, "from page 3 on", id="a page's number"),
        pytest.param(HEADER + 2 * FRAME + 9, "from page 3 on", id="a page's salt"),
        pytest.param(HEADER + 20, "from page 1 on", id="a sum"),
    ],
)
def test_damage_is_found(tmp_path: Path, at: int, said: str) -> None:
    data = bytearray(read(journal_of(tmp_path, rounds=2)))
    data[at] ^= 0xFF

    assert said == find_damage(bytes(data))


def test_damage_is_told_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = journal_of(tmp_path)
    journal = Path(f"{database}-wal")
    data = b"garbage" * 1000
    journal.write_bytes(data)

    tell_damaged_journal(database)

    assert "left.db-wal: damaged, no header" in caplog.text
    [aside] = tmp_path.glob("left.db-wal.bad-*")
    assert (data, 0o600) == (aside.read_bytes(), aside.stat().st_mode & 0o777)


def test_sound_and_missing_ones_are_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell_damaged_journal(journal_of(tmp_path))
    tell_damaged_journal(tmp_path / "missing.db")

    assert "" == caplog.text
