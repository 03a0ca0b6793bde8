"""The supervisor over workers that do nothing but die: when another is there."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import trio

from pg_trio.config.settings import ServerSettings
from pg_trio.server.status_file import StatusFile
from pg_trio.server.supervisor import Supervisor
from tests.support.processes import is_running, wait_until

# Ready where its file of starts is shorter than the first argument or longer than the second; else killed before it is.
WORKER = """
import os, signal, socket, sys
name, first, last, *options = sys.argv[1:]
with open(name, "ab", buffering=0) as starts:
    starts.write(b".")
    number = starts.tell()
if int(first) < number <= int(last):
    os.kill(os.getpid(), signal.SIGKILL)
control = socket.socket(fileno=int(options[options.index("--control") + 1]))
control.sendall(b"ready")
while control.recv(10):
    pass
"""


def make(folder: Path, *killed_starts: int) -> Supervisor:
    command = [sys.executable, "-S", "-c", WORKER, str(folder / "starts"), *map(str, killed_starts)]
    settings = ServerSettings(workers=1, drain_ms=100)
    return Supervisor(command, settings, [], "", str, StatusFile(folder), lambda: None)


def pid_of(supervisor: Supervisor) -> int | None:
    """The pid of the one worker, once it is ready."""
    known = supervisor._workers
    return known[0].pid if known and known[0].ready.is_set() and is_running(known[0].pid) else None


async def kill_again_and_again(supervisor: Supervisor, times: int) -> None:
    """Kill the worker as often, each time once it is ready, and wait until one is ready again."""
    for _ in range(times):
        await wait_until(lambda: pid_of(supervisor) is not None)
        os.kill(pid_of(supervisor) or 0, signal.SIGKILL)
        await wait_until(lambda: pid_of(supervisor) is None)
    await wait_until(lambda: pid_of(supervisor) is not None)


async def test_worker_that_served_is_back_at_once(tmp_path: Path) -> None:
    supervisor = make(tmp_path, 1, 1)

    async with trio.open_nursery() as running:
        running.start_soon(supervisor.run)
        # With pauses that double it would be 51 s.
        with trio.fail_after(20):
            await kill_again_and_again(supervisor, times=12)
        signal.raise_signal(signal.SIGTERM)

    assert 13 == (tmp_path / "starts").stat().st_size


async def test_killed_starts_are_survived(tmp_path: Path) -> None:
    # More of them in a row than failed starts would be.
    supervisor = make(tmp_path, 1, 7)

    async with trio.open_nursery() as running:
        running.start_soon(supervisor.run)
        await kill_again_and_again(supervisor, times=1)
        signal.raise_signal(signal.SIGTERM)

    assert 8 == (tmp_path / "starts").stat().st_size
