"""The fork server of `pg-trio serve`: whose child a worker is, and what its loss does to the gateway."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from tests.support.gateway import endpoint
from tests.support.processes import PG_TRIO, Served, is_running, start, wait_until
from tests.support.site import Site, make_site

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no fork server here")


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    return await make_site(nursery, tmp_path, endpoint("ok"), "workers = 2")


def parent_of(pid: int) -> int:
    """0 if it has just ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def children_of(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def descriptor_slots(pid: int) -> int:
    """How many descriptors the kernel's table of the process has room for."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("FDSize:"))


def fork_server_of(served: Served) -> int:
    (found,) = children_of(served.process.pid)
    return found


async def wait_replaced(site: Site, gone: int) -> None:
    await wait_until(lambda: gone not in site.workers())


async def test_workers_are_forked_and_all_end_together(nursery: trio.Nursery, site: Site) -> None:
    served = await site.serve(nursery)
    server, workers = fork_server_of(served), site.workers()

    parents = {parent_of(pid) for pid in workers}
    os.kill(workers[0], signal.SIGKILL)
    await wait_replaced(site, workers[0])
    again = {parent_of(pid) for pid in site.workers()}
    status = await served.stop()

    assert ({server}, {server}, 0) == (parents, again, status)
    assert not any(is_running(pid) for pid in (server, *workers))
    assert f"worker {workers[0]} ended with status -9" in served.output


async def test_forked_worker_has_nothing_of_its_parents(nursery: trio.Nursery, site: Site) -> None:
    """Beside its own: nothing of the supervisor's or of the fork server's is open, and it gets its signals."""
    served = await site.serve(nursery)
    server, worker = fork_server_of(served), site.workers()[0]

    def links(pid: int) -> set[str]:
        folder = Path(f"/proc/{pid}/fd")
        return {link for entry in folder.iterdir() if (link := os.readlink(entry)).startswith("socket:")}

    def masks(pid: int) -> dict[str, int]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {line[:6]: int(line[7:], 16) for line in lines if line[:6] in ("SigBlk", "SigIgn")}

    shared, masked = links(server) & links(worker), masks(worker)
    stdin = os.readlink(f"/proc/{worker}/fd/0")
    await served.stop()

    terminated = 1 << (signal.SIGTERM - 1)
    assert not shared
    assert (0, 0) == (masked["SigBlk"], masked["SigIgn"] & terminated)
    assert "/dev/null" == stdin


async def test_lost_fork_server_leaves_the_workers_alone(nursery: trio.Nursery, site: Site) -> None:
    served = await site.serve(nursery)
    server, (first, second) = fork_server_of(served), site.workers()

    os.kill(server, signal.SIGKILL)
    await served.wait_output("the fork server ended; workers are started as new programs from now on")
    # It does not stay as a zombie.
    await wait_until(lambda: server not in children_of(served.process.pid))
    answered = await site.ask(served)
    os.kill(first, signal.SIGKILL)
    await wait_replaced(site, first)
    new = next(pid for pid in site.workers() if pid != second)
    await wait_until(lambda: b"worker" in Path(f"/proc/{new}/cmdline").read_bytes().split(b"\0"))
    assert (200, served.process.pid) == (answered.status, parent_of(new))

    site.write(endpoint("ok") + endpoint("more"), "workers = 2")
    served.process.send_signal(signal.SIGHUP)
    await served.wait_output("reloaded: every worker is new")
    assert 200 == (await site.ask(served, "more")).status
    assert 0 == await served.stop()
    assert not is_running(second)


@pytest.mark.skipif(os.getuid() != 0, reason="a process namespace needs root")
async def test_first_process_of_a_container_leaves_no_zombies(nursery: trio.Nursery, site: Site) -> None:
    command = [*PG_TRIO, "serve", "--config", str(site.config)]
    served = await start(nursery, ["unshare", "-pf", "--kill-child", "--mount-proc", *command])
    (main,) = children_of(served.process.pid)
    (server,) = children_of(main)
    workers = children_of(server)

    os.kill(server, signal.SIGKILL)
    await served.wait_output("the fork server ended")
    await wait_until(lambda: sorted(workers) == sorted(children_of(main)))
    os.kill(workers[0], signal.SIGTERM)
    await served.wait_output("ended with status 0")
    await wait_until(lambda: workers[0] not in children_of(main) and 2 == len(children_of(main)))

    assert 200 == (await site.ask(served)).status
    os.kill(main, signal.SIGTERM)
    assert 0 == await served.process.wait()


async def test_reload_of_forked_workers_has_the_new_configuration(nursery: trio.Nursery, site: Site) -> None:
    served = await site.serve(nursery)
    server = fork_server_of(served)

    site.write(endpoint("ok") + endpoint("more"), "workers = 2")
    served.process.send_signal(signal.SIGHUP)
    await served.wait_output("reloaded: every worker is new")

    # Those that were replaced may just be ending.
    await wait_until(lambda: {server} == {parent_of(pid) for pid in site.workers() if is_running(pid)})
    assert 200 == (await site.ask(served, "more")).status
    await served.stop()


async def test_stopped_fork_server_is_given_up(nursery: trio.Nursery, site: Site) -> None:
    """A fork server that does not answer is killed, so that the worker is not started twice."""
    served = await site.serve(nursery)
    server, (first, _) = fork_server_of(served), site.workers()

    os.kill(server, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    await served.wait_output("the fork server does not answer")
    await wait_replaced(site, first)

    # Killed before the worker was started anew; its end may take a moment on a busy machine.
    await wait_until(lambda: not is_running(server))
    assert 200 == (await site.ask(served)).status
    await served.stop()


async def test_worker_has_room_for_all_its_descriptors(nursery: trio.Nursery, tmp_path: Path) -> None:
    """A table that grows while the worker has threads stops its event loop for milliseconds."""
    site = await make_site(nursery, tmp_path, endpoint("ok"), "max_connections = 1000")
    served = await site.serve(nursery)

    (worker,) = site.workers()
    slots = descriptor_slots(worker)
    await served.stop()

    assert slots >= 2 * 1000
