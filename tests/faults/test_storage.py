"""Disks and files that fail under a running gateway: answers go on or are honest, nothing acknowledged is lost."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.config import SOUND
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.processes import PG_TRIO, run_command, wait_until
from tests.support.wire import bearer, get, send_raw

CONFIGURATION = "\n".join(
    [
        # Tokens are remembered for the whole test: no look for revocations clears them meanwhile.
        "[gateway]\ntoken_poll_ms = 86400000\ntoken_used_flush_ms = 86400000",
        project(),
        endpoint("plain"),
        endpoint("wordy", log_bodies="full"),
        endpoint("talk", sessions_enabled=True),
    ]
)
LONG = "x" * 15_000
# Longer than the store waits for a lock (BUSY_LIMIT_S), so that it has failed once.
PATIENCE_S = 30
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MiB; the shared memory takes 4 of them, and the metrics of a worker 4."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """A file that takes all space that was left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            with pytest.raises(OSError, match="No space left on device"):  # noqa: PT012
                while True:
                    file.write(b"x" * size)
    return ballast


def said(caplog: pytest.LogCaptureFixture, text: str) -> Callable[[], bool]:
    return lambda: any(text in record.getMessage() for record in caplog.records)


def stored_messages(gateway: Gateway) -> list[str]:
    """The messages in the sessions' file, as JSON, in their order."""
    with closing(sqlite3.connect(gateway.settings.gateway.data_dir / "sessions.db")) as file:
        return [str(row[0]) for row in file.execute("SELECT body FROM messages ORDER BY place")]


async def status_of(gateway: Gateway, slug: str, **body: Any) -> int:
    return (await gateway.call(slug, {"message": "Hello", **body})).status


@needs_root
async def test_full_disk_stops_sessions_and_nothing_else(
    nursery: trio.Nursery, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    gateway = await start_gateway(nursery, disk, CONFIGURATION)
    first = (await gateway.call("talk", {"message": "kept"})).json()["meta"]["session_id"]
    other_token = gateway.make_token()
    ballast = fill_up(disk)

    # Bodies, so that the log needs room that the disk does not have.
    statuses = [await status_of(gateway, "wordy", message=LONG) for _ in range(40)]
    await wait_until(said(caplog, "log.db: the disk is full; free some space"))
    session = [(await gateway.call("talk", {"message": LONG, "session_id": first})) for _ in range(3)][-1]
    remembered = await status_of(gateway, "plain")
    gateway.token, own_token = other_token, gateway.token
    looked_up = await status_of(gateway, "plain")
    gateway.token = own_token
    ballast.unlink()
    await wait_until(said(caplog, "cannot write the log: works again."))
    resumed = await status_of(gateway, "talk", message="again", session_id=first)
    await gateway.stop()

    assert [200] * 40 == statuses
    assert (503, "Session storage is unavailable.") == (session.status, session.json()["error"])
    assert (200, 200, 200) == (remembered, looked_up, resumed)
    # 40 with bodies, 5 conversations, 2 plain: a row for each, as nothing was dropped.
    assert 47 == len(gateway.log_rows())
    messages = stored_messages(gateway)
    assert "kept" in messages[0]
    assert "again" in messages[-2]


@needs_root
async def test_read_only_disk_is_refused_at_start(disk: Path) -> None:
    (disk / "data").mkdir(mode=0o700)
    (disk / "pg.toml").write_text('[gateway]\ndata_dir = "data"\n')
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)  # noqa: ASYNC221

    status, _, errors = await run_command("serve", "--config", str(disk / "pg.toml"), "--bind", "127.0.0.1:0")

    assert 1 == status
    assert "data_dir is not writable; the gateway's user must own it, and its disk not be read-only." in errors


# What a container with a read-only root has: one folder to write to, and no /tmp.
READ_ONLY_ROOT = """
set -e
mount --make-rprivate /
mount --bind "$0" "$0"
# A folder that holds the disk or this very installation stays, read-only as the root is.
for folder in /tmp /var/tmp /dev/shm; do
    case "$0:$INSTALLED:" in $folder/*|*:$folder/*) ;; *) mount -t tmpfs -o ro none $folder;; esac
done
mount -o remount,ro,bind /
cd /
if touch "/written-$$" 2>/dev/null; then exit 77; fi
exec "$@"
"""


@needs_root
def test_read_only_root_without_tmp(disk: Path) -> None:
    (disk / "pg.toml").write_text(SOUND)
    stop = ["timeout", "--preserve-status", "--signal=TERM", "5"]

    def run(*command: str, own: list[str] | None = None) -> tuple[int, str]:
        done = subprocess.run(
            ["unshare", "--mount", "bash", "-c", READ_ONLY_ROOT, str(disk), *(own or []), *PG_TRIO, *command],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ
            | {"PG_TRIO_CONFIG": str(disk / "pg.toml"), "PYTHONDONTWRITEBYTECODE": "1", "INSTALLED": sys.prefix},
            timeout=PATIENCE_S,
        )
        assert 77 != done.returncode, "the root is not read-only"
        return done.returncode, done.stdout + done.stderr

    wanted = {
        "pg_trio serves on": run("serve", "--bind", "127.0.0.1:0", own=stop),
        "no mistakes": run("check"),
        "pg_live_": run("token", "create", "--project", "support", "--name", "ro"),
        "  ro": run("token", "list"),
        "TIME  ": run("logs"),
        "tokens.db, ": run("backup", str(disk / "saved.tar")),
    }
    # A disk of 12 MiB is too small for it, and that alone is what it finds.
    _, examined = run("doctor")
    demo, told = run("serve", "--demo", "--bind", "127.0.0.1:0", own=stop)

    assert dict.fromkeys(wanted, (0, True)) == {text: (done[0], text in done[1]) for text, done in wanted.items()}
    assert (1, True) == (demo, "no temporary directory can be made" in told and "set TMPDIR to one" in told)
    assert [True, True] == [text in examined for text in ("tokens.db: sound", "log.db: sound")]
    assert 1 == sum(line.startswith("problem ") for line in examined.splitlines()), examined
    assert "Traceback" not in examined + told + "".join(output for _, output in wanted.values())


@needs_root
async def test_doctor_reads_a_read_only_disk(nursery: trio.Nursery, disk: Path) -> None:
    gateway = await start_gateway(nursery, disk, CONFIGURATION)
    await status_of(gateway, "plain")
    await gateway.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)  # noqa: ASYNC221

    status, output, _ = await run_command("doctor", "--data-dir", str(disk / "data"))

    assert 1 == status
    assert "log.db: sound" in output
    assert "not writable for this user" in output


async def test_locked_log_delays_nobody(
    nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    with closing(lock(gateway, "log.db")) as holder:
        statuses = [await status_of(gateway, "plain") for _ in range(5)]
        await wait_until(said(caplog, "log.db: locked by another process for too long"))
        holder.execute("ROLLBACK")
    await gateway.stop()

    assert [200] * 5 == statuses
    assert 5 == len(gateway.log_rows())


async def test_locked_sessions_are_a_503(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pg_trio.store.sessions.LOCKED_TRIES", 1)
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    first = (await gateway.call("talk", {"message": "kept"})).json()["meta"]["session_id"]
    with closing(lock(gateway, "sessions.db")) as holder:
        refused = await gateway.call("talk", {"message": "lost", "session_id": first})
        stateless = await status_of(gateway, "plain")
        holder.execute("ROLLBACK")
    resumed = await status_of(gateway, "talk", message="again", session_id=first)
    await gateway.stop()

    assert (503, "Session storage is unavailable.") == (refused.status, refused.json()["error"])
    assert (200, 200) == (stateless, resumed)
    messages = "\n".join(stored_messages(gateway))
    assert "kept" in messages
    assert "again" in messages
    assert "lost" not in messages


def lock(gateway: Gateway, name: str) -> sqlite3.Connection:
    holder = sqlite3.connect(gateway.settings.gateway.data_dir / name, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return holder


async def test_damaged_tokens_let_remembered_ones_go_on(
    nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    before = await status_of(gateway, "plain")
    remembered, unseen = gateway.token, gateway.make_token()
    damage(gateway.settings.gateway.data_dir / "tokens.db")

    gateway.token = unseen
    refused = await gateway.call("plain")
    listing = await send_raw(gateway.port, get(f"/api/{PROJECT}/info", bearer(unseen)))
    gateway.token = remembered
    after = await status_of(gateway, "plain")
    await gateway.stop()

    assert (200, 200) == (before, after)
    assert (503, "Token storage is unavailable.") == (refused.status, refused.json()["error"])
    assert "retry-after" in refused.headers
    assert (503, refused.json()) == (listing.status, listing.json())
    assert said(caplog, "tokens.db: the file is damaged; move it away")() or said(caplog, "tokens.db: not a database")()
    assert [200, 503, 200] == [row["status"] for row in gateway.log_rows()]


async def test_damaged_log_is_named_at_start(tmp_path: Path, nursery: trio.Nursery) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    await status_of(gateway, "plain")
    await gateway.stop()
    data_dir = gateway.settings.gateway.data_dir
    damage(data_dir / "log.db")
    (tmp_path / "pg.toml").write_text(f'[gateway]\ndata_dir = "{data_dir}"\n')

    status, _, errors = await run_command("serve", "--config", str(tmp_path / "pg.toml"), "--bind", "127.0.0.1:0")

    assert 1 == status
    assert "log.db: the file is damaged; move it away with its -wal and -shm files, and restore a backup" in errors


def damage(path: Path) -> None:
    """Overwrite every page but the first. The -wal file was merged before, so no reader can avoid the damage."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as raw:
        raw.seek(4096)
        raw.write(os.urandom(size - 4096))
