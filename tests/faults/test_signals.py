"""SIGHUP by the hundred, and before anything serves: how many reloads it makes, and that it ends nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from tests.support.gateway import endpoint
from tests.support.processes import PG_TRIO, Served, _collect, is_running, wait_until
from tests.support.site import Site, make_site

SIGNALS = 100


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    return await make_site(nursery, tmp_path, endpoint("ok"))


def catches_hangup(pid: int) -> bool:
    """Whether SIGHUP has a handler in the process: until then it is the system's, and ends it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGHUP - 1) & 1)


@pytest.mark.slow
async def test_signals_during_the_start_end_nothing(nursery: trio.Nursery, site: Site) -> None:
    process = await trio.lowlevel.open_process(
        [*PG_TRIO, "serve", "--config", str(site.config)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    served = Served(process)
    nursery.start_soon(_collect, served)
    await wait_until(lambda: catches_hangup(process.pid))
    # As early as can be: Python has just begun to load our modules.
    caught_at = "pg_trio serves on" in served.output
    while "pg_trio serves on" not in served.output:
        process.send_signal(signal.SIGHUP)
        await trio.sleep(0.01)
    served.port = int((await served.wait_output(r"http://127\.0\.0\.1:(\d+)"))[1])
    await served.wait_output("reloaded: every worker is new")

    assert not caught_at
    assert 200 == (await site.ask(served)).status
    assert 0 == await served.stop()


async def test_hundred_signals_make_two_reloads(nursery: trio.Nursery, site: Site) -> None:
    site.simulator.behave("ok", "latency=1s")
    served = await site.serve(nursery)
    before = site.workers()
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await site.ask(served)).status)

    async with trio.open_nursery() as asking:
        # The first reload lasts until the old worker has answered.
        asking.start_soon(ask)
        await site.simulator.wait_request(1)
        served.process.send_signal(signal.SIGHUP)
        for _ in range(SIGNALS - 1):
            served.process.send_signal(signal.SIGHUP)
            await trio.sleep(0.001)
    await wait_until(lambda: served.output.count("reloaded: every worker is new") == 2)
    # A third would have begun by now, and this would wait for it.
    os.kill(served.process.pid, signal.SIGHUP)
    await wait_until(lambda: site.status()["reloads"] == 3)
    after = site.workers()
    await served.stop()
    print(f"{SIGNALS} times SIGHUP: {served.output.count('reloaded: every worker is new') - 1} reloads")

    assert [200] == statuses
    assert before != after
    assert [False, False] == [is_running(pid) for pid in (*before, *after)]


async def test_closed_terminal_ends_no_worker(nursery: trio.Nursery, site: Site) -> None:
    served = await site.serve(nursery)
    [worker] = site.workers()

    os.kill(worker, signal.SIGHUP)

    assert 200 == (await site.ask(served)).status
    assert [worker] == site.workers()
    await served.stop()


async def test_damaged_journal_is_told_at_the_start(nursery: trio.Nursery, site: Site) -> None:
    served = await site.serve(nursery)
    assert 200 == (await site.ask(served)).status
    pids = [*site.workers(), served.process.pid]
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: not any(is_running(pid) for pid in pids))
    await served.process.wait()
    (site.data / "tokens.db-wal").write_bytes(b"garbage" * 1000)

    again = await site.serve(nursery)
    await again.stop()

    assert "tokens.db-wal: damaged, no header" in again.output
