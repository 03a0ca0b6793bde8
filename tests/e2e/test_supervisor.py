"""The supervisor with workers that do not serve: they die, hang, or stay, and it must react."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from pg_trio.config.settings import ServerSettings
from pg_trio.errors import WorkersFailed
from pg_trio.server import supervisor as limits
from pg_trio.server.status_file import StatusFile
from pg_trio.server.supervisor import Supervisor, Worker
from pg_trio.server.worker_files import GO, LEAVING
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

# Each start does as its letter says: r is ready and goes when told to; s is ready and stays; h hangs, never ready;
# k is ready and is killed right then; x ends at once.
WORKER_OF_A_PLAN = """
import os, signal, socket, sys
name, plan, *options = sys.argv[1:]
with open(name, "a") as starts:
    starts.write(f"{os.getpid()}\\n")
with open(name) as starts:
    act = plan[len(starts.readlines()) - 1]
if act == "x":
    sys.exit("cannot start")
if act != "r":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
control = socket.socket(fileno=int(options[options.index("--control") + 1]))
if act != "h":
    control.sendall(b"ready")
if act == "k":
    os.kill(os.getpid(), signal.SIGKILL)
while control.recv(10):
    pass
"""


def make(folder: Path, *killed_starts: int) -> Supervisor:
    command = [sys.executable, "-S", "-c", WORKER, str(folder / "starts"), *map(str, killed_starts)]
    settings = ServerSettings(workers=1, drain_ms=100)
    return Supervisor(command, settings, [], "", str, StatusFile(folder), lambda: None)


def make_planned(folder: Path, plan: str, **changes: int) -> Supervisor:
    command = [sys.executable, "-S", "-c", WORKER_OF_A_PLAN, str(folder / "starts"), plan]
    settings = ServerSettings(**{"workers": 1, "drain_ms": 100, **changes})  # type: ignore[arg-type]
    return Supervisor(command, settings, [], "", str, StatusFile(folder), lambda: None)


def pids(folder: Path) -> list[int]:
    """Of every worker that was started."""
    return [int(line) for line in (folder / "starts").read_text().split()]


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


@pytest.mark.slow
async def test_killed_starts_are_survived(tmp_path: Path) -> None:
    # More of them in a row than failed starts would be.
    supervisor = make(tmp_path, 1, 7)

    async with trio.open_nursery() as running:
        running.start_soon(supervisor.run)
        await kill_again_and_again(supervisor, times=1)
        signal.raise_signal(signal.SIGTERM)

    assert 8 == (tmp_path / "starts").stat().st_size


async def test_signal_to_stop_may_come_with_the_word_to_accept(tmp_path: Path) -> None:
    supervisor = make(tmp_path, 1, 1)
    ours, theirs = trio.socket.socketpair()
    process = await trio.lowlevel.open_process([sys.executable, "-S", "-c", ""])
    worker = Worker(process, trio.SocketStream(ours))

    with theirs:
        async with worker.control, trio.open_nursery() as nursery:
            nursery.start_soon(supervisor._tell, worker, GO)
            nursery.start_soon(supervisor._tell, worker, LEAVING)
        told = await theirs.recv(10)
    await process.wait()

    assert GO + LEAVING == bytes(sorted(told))


async def test_old_worker_that_stays_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "KILL_AFTER_DRAIN_S", 0.1)
    supervisor = make_planned(tmp_path, "sr")

    async with trio.open_nursery() as running:
        running.start_soon(supervisor.run)
        await wait_until(lambda: pid_of(supervisor) is not None)
        signal.raise_signal(signal.SIGHUP)
        await wait_until(lambda: supervisor.status_file._known["reloads"] == 1)
        old, new = pids(tmp_path)
        await wait_until(lambda: not is_running(old))
        stays = is_running(new)
        signal.raise_signal(signal.SIGTERM)

    assert stays
    # Its going is no death.
    assert "ended with status" not in caplog.text


@pytest.mark.slow
async def test_new_worker_that_hangs_leaves_the_old_one(tmp_path: Path) -> None:
    supervisor = make_planned(tmp_path, "rh")

    async with trio.open_nursery() as running:
        running.start_soon(supervisor.run)
        await wait_until(lambda: pid_of(supervisor) is not None)
        supervisor.start_limit_s = 2.0
        signal.raise_signal(signal.SIGHUP)
        await wait_until(lambda: supervisor.status_file._known["refusals"] == 1)
        old, new = pids(tmp_path)
        await wait_until(lambda: not is_running(new))
        still = is_running(old)
        signal.raise_signal(signal.SIGTERM)

    assert still
    assert "new worker 1 of 1 did not get ready" in supervisor.status_file._known["said"]
    assert 0 == supervisor.status_file._known["reloads"]


async def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    supervisor = make_planned(tmp_path, "s", drain_ms=3_600_000)

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(supervisor.run)
            await wait_until(lambda: pid_of(supervisor) is not None)
            signal.raise_signal(signal.SIGTERM)
            await wait_until(lambda: supervisor._stopping)
            signal.raise_signal(signal.SIGTERM)

    assert [False] == [is_running(pid) for pid in pids(tmp_path)]


async def test_too_many_deaths_end_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEATHS_PER_MINUTE", 3)
    supervisor = make_planned(tmp_path, "rrrrr")
    said: list[str] = []

    async def run() -> None:
        try:
            await supervisor.run()
        except WorkersFailed as error:
            said.append(str(error))

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(run)
            await kill_again_and_again(supervisor, times=3)
            os.kill(pid_of(supervisor) or 0, signal.SIGKILL)

    assert ["workers died 4 times within a minute; giving up"] == said
    assert [False] * 4 == [is_running(pid) for pid in pids(tmp_path)]


async def test_failed_starts_do_not_end_who_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STILLBIRTHS", 2)
    supervisor = make_planned(tmp_path, "rrxxr", workers=2)

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(supervisor.run)
            await wait_until(lambda: pid_of(supervisor) is not None)
            os.kill(pid_of(supervisor) or 0, signal.SIGKILL)
            await wait_until(lambda: (tmp_path / "starts").read_text().count("\n") == 5)
            await wait_until(lambda: pid_of(supervisor) is not None)
            signal.raise_signal(signal.SIGTERM)


async def test_ready_worker_ends_the_row_of_failed_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STILLBIRTHS", 2)
    supervisor = make_planned(tmp_path, "rxrxr")

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(supervisor.run)
            await kill_again_and_again(supervisor, times=2)
            signal.raise_signal(signal.SIGTERM)

    assert 5 == len(pids(tmp_path))


async def test_no_reload_while_stopping(tmp_path: Path) -> None:
    supervisor = make_planned(tmp_path, "s")
    checks: list[str] = []

    def check() -> str:
        checks.append("asked")
        return ""

    supervisor.check = check

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(supervisor.run)
            await wait_until(lambda: pid_of(supervisor) is not None)
            signal.raise_signal(signal.SIGTERM)
            await wait_until(lambda: supervisor._stopping)
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)

    assert [] == checks


async def test_ready_worker_that_dies_served(tmp_path: Path) -> None:
    # Dead before the supervisor looks whether it is ready: at the start, and later.
    supervisor = make_planned(tmp_path, "kkr")

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(supervisor.run)
            await wait_until(lambda: (tmp_path / "starts").is_file() and 3 == len(pids(tmp_path)))
            await wait_until(lambda: pid_of(supervisor) is not None)
            failed = supervisor._stillbirths
            signal.raise_signal(signal.SIGTERM)

    assert 0 == failed


async def test_hundred_signals_are_two_reloads(tmp_path: Path) -> None:
    supervisor = make_planned(tmp_path, "rrr")
    checks: list[str] = []
    go_on = threading.Event()

    def check() -> str:
        checks.append("asked")
        go_on.wait(30)
        return ""

    supervisor.check = check

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(supervisor.run)
            await wait_until(lambda: pid_of(supervisor) is not None)
            signal.raise_signal(signal.SIGHUP)
            await wait_until(lambda: checks == ["asked"])
            for _ in range(99):
                signal.raise_signal(signal.SIGHUP)
                await trio.lowlevel.checkpoint()
            go_on.set()
            await wait_until(lambda: supervisor.status_file._known["reloads"] == 2)
            signal.raise_signal(signal.SIGTERM)

    assert (2, 3) == (len(checks), len(pids(tmp_path)))


async def test_death_during_reload_leaves_one_worker_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = make_planned(tmp_path, "rrr")
    start, begun, go_on = Supervisor._start, trio.Event(), trio.Event()

    async def start_slowly(self: Supervisor, nursery: trio.Nursery, slot: int) -> Worker:
        if len(pids(tmp_path)) == 1 and not begun.is_set():
            begun.set()
            await go_on.wait()
        return await start(self, nursery, slot)

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(supervisor.run)
            await wait_until(lambda: pid_of(supervisor) is not None)
            monkeypatch.setattr(Supervisor, "_start", start_slowly)
            os.kill(pid_of(supervisor) or 0, signal.SIGKILL)
            await begun.wait()
            signal.raise_signal(signal.SIGHUP)
            # The reload is done, or waits for the restart that has begun.
            known, place = supervisor.status_file._known, supervisor._places[0]
            await wait_until(lambda: known["reloads"] == 1 or place.statistics().tasks_waiting == 1)
            go_on.set()
            # The restarted worker may be told to end before it has noted its process: the supervisor knows of it.
            await wait_until(lambda: known["reloads"] == 1 and supervisor._living == {supervisor._workers[0]})
            signal.raise_signal(signal.SIGTERM)

    assert not any(is_running(pid) for pid in pids(tmp_path))


async def test_stop_during_reload_ends_the_new_worker_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KILL_AFTER_DRAIN_S", 0.1)
    supervisor = make_planned(tmp_path, "rh")

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(supervisor.run)
            await wait_until(lambda: pid_of(supervisor) is not None)
            signal.raise_signal(signal.SIGHUP)
            await wait_until(lambda: 2 == len(pids(tmp_path)))
            signal.raise_signal(signal.SIGTERM)

    assert [False] * 2 == [is_running(pid) for pid in pids(tmp_path)]


async def test_stop_during_start_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KILL_AFTER_DRAIN_S", 0.1)
    supervisor = make_planned(tmp_path, "h")

    with trio.fail_after(30):
        async with trio.open_nursery() as running:
            running.start_soon(supervisor.run)
            await wait_until(lambda: (tmp_path / "starts").is_file() and 1 == len(pids(tmp_path)))
            signal.raise_signal(signal.SIGTERM)

    assert [False] == [is_running(pid) for pid in pids(tmp_path)]
