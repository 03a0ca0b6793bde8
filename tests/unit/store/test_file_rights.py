"""Who may read, write and replace what is in data_dir."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pg_trio.errors import StoreError
from pg_trio.server.status_file import StatusFile
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.store import database
from pg_trio.store.database import make_data_dir, open_reader
from pg_trio.store.log_file import open_log
from pg_trio.store.session_file import open_sessions
from pg_trio.store.sweep_lock import SweepLock
from pg_trio.store.token_file import open_tokens


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_are_their_owners_alone(tmp_path: Path, umask: int) -> None:
    make_data_dir(tmp_path)
    for open_file in (open_tokens, open_sessions, open_log):
        connection = open_file(tmp_path, 1.0)
        connection.execute("CREATE TABLE IF NOT EXISTS things (text TEXT)")
        connection.close()
    status = StatusFile(tmp_path)
    status.hold()
    status.write(workers=[1])
    open_segment(tmp_path / "shared.mem", slots=16).close()
    sweep = SweepLock(tmp_path / "log.sweep.lock")
    sweep.try_hold()
    sweep.close()
    assert status._lock is not None
    status._lock.close()

    wide = {path.name: oct(mode(path)) for path in tmp_path.iterdir() if mode(path) & 0o177}
    assert {} == wide


@pytest.mark.parametrize("before", [0o777, 0o770, 0o2775, 0o702])
def test_directory_of_ours_is_closed_to_others(tmp_path: Path, before: int, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(before)

    make_data_dir(folder)

    assert 0o700 == mode(folder) & 0o777
    assert f"others could write to data_dir (mode {before:04o}); it is 0700 now" in caplog.text


def test_readable_directory_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o755)

    make_data_dir(tmp_path)

    assert (0o755, "") == (mode(tmp_path), caplog.text)


@pytest.mark.parametrize("why", ["another's", "sticky"])
def test_other_directories_are_warned_about_once(
    tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "_told", set())
    tmp_path.chmod(0o1777 if why == "sticky" else 0o777)
    if why == "another's":
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

    for _ in range(3):
        make_data_dir(tmp_path)

    assert 0o777 == mode(tmp_path) & 0o777
    assert 1 == caplog.text.count("others can write to data_dir")


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("open_file", [open_tokens, open_sessions, open_log])
def test_linked_database_is_refused(tmp_path: Path, open_file: object, ending: str) -> None:
    names = {open_tokens: "tokens.db", open_sessions: "sessions.db", open_log: "log.db"}
    target = tmp_path / "elsewhere"
    link = tmp_path / f"{names[open_file]}{ending}"  # type: ignore[index]
    link.symlink_to(target)

    with pytest.raises(StoreError, match=rf"{link.name}: a symbolic link"):
        open_file(tmp_path, 1.0)  # type: ignore[operator]
    assert not target.exists()


def test_linked_database_is_not_read(tmp_path: Path) -> None:
    open_tokens(tmp_path, 1.0).close()
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "tokens.db")

    with pytest.raises(StoreError, match="a symbolic link"):
        open_reader(link, None)


@pytest.mark.parametrize("name", ["shared.mem", "shared.mem.lock"])
def test_linked_segment_is_refused(tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"precious")
    (tmp_path / name).symlink_to(target)

    with pytest.raises(StoreError, match="symbolic link"):
        open_segment(tmp_path / "shared.mem", slots=16)
    assert b"precious" == target.read_bytes()


def test_linked_lock_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"precious")
    (tmp_path / "serve.lock").symlink_to(target)

    with pytest.raises(StoreError, match=r"serve\.lock: cannot be used \(a symbolic link"):
        StatusFile(tmp_path).hold()
    assert b"precious" == target.read_bytes()


@pytest.mark.parametrize("name", ["serve.json", "serve.json.new", "log.sweep.lock"])
def test_links_are_never_written_through(tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"precious")
    (tmp_path / name).symlink_to(target)

    StatusFile(tmp_path).write(workers=[1])
    held = SweepLock(tmp_path / "log.sweep.lock")
    held.try_hold()
    held.close()

    assert b"precious" == target.read_bytes()
    assert not (tmp_path / "serve.json").is_symlink()
