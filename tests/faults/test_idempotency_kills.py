"""One key, a hundred requests at once, four workers; and the worker that answers is killed, or stopped for 5 s."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import h11
import pytest
import trio

from tests.faults.test_resumed_streams import find_socket, sockets_of
from tests.support.gateway import PROJECT, endpoint
from tests.support.processes import Served, wait_until
from tests.support.site import Site, make_site
from tests.support.wire import HttpResponse, bearer, post, read_response, send_raw

WORKERS = 4
REQUESTS = 100
PATIENCE_S = 60
# The promise is a second; the rest is a busy machine's.
FREE_WITHIN_S = 1.0 + 4.0
BODY: dict[str, Any] = {"message": "Hello there"}

# What a client meets whose worker is killed.
CUT = (ExceptionGroup, h11.RemoteProtocolError, trio.BrokenResourceError, OSError)

pytestmark = pytest.mark.slow


@pytest.fixture
async def site(nursery: trio.Nursery, tmp_path: Path) -> Site:
    endpoints = endpoint("ask", deadline_ms=50_000) + endpoint(
        "stream", streaming_enabled=True, stream_deadline_ms=50_000
    )
    return await make_site(nursery, tmp_path, endpoints, f"workers = {WORKERS}")


async def call(site: Site, served: Served, slug: str, body: dict[str, Any]) -> HttpResponse:
    path = f"/api/{PROJECT}/{slug}"
    return await send_raw(served.port, post(path, body, bearer(site.token), ("idempotency-key", "key-1")))


def owner_of_claim(site: Site) -> int | None:
    """The pid of the worker that makes the one answer that is under way."""
    kept = [file for file in (site.data / "idempotency").glob("answers/??/*") if not file.name.startswith("new-")]
    inodes = {str(file.stat().st_ino) for file in kept}
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] in inodes:
            return int(fields[4])
    return None


@pytest.mark.parametrize(("slug", "body"), [("ask", BODY), ("stream", {**BODY, "stream": True})])
async def test_hundred_at_once_are_one_call(site: Site, nursery: trio.Nursery, slug: str, body: dict[str, Any]) -> None:
    site.simulator.behave(slug, "latency=1s&tokens=30&pace=10ms")
    served = await site.serve(nursery)
    answers: list[HttpResponse] = []

    async def ask() -> None:
        answers.append(await call(site, served, slug, body))

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as asking:
            for _ in range(REQUESTS):
                asking.start_soon(ask)
        later = await call(site, served, slug, body)

    assert [200] * REQUESTS == [answer.status for answer in answers]
    # First of all: a store that failed would have made them all run as without a key.
    assert [] == [answer.headers for answer in answers if "idempotent-kept" in answer.headers]
    assert {later.body} == {answer.body for answer in answers}
    assert 1 == len({answer.headers["x-request-id"] for answer in (later, *answers)})
    assert REQUESTS - 1 == sum(answer.headers.get("idempotent-replayed") == "true" for answer in answers)
    assert 1 == len(site.simulator.requests)
    assert 0 == await served.stop()


async def test_killed_workers_key_is_free_within_a_second(site: Site, nursery: trio.Nursery) -> None:
    site.simulator.behave("ask", "latency=40s")
    served = await site.serve(nursery)
    answers: list[HttpResponse] = []

    async def ask() -> None:
        # Its connection may be the killed worker's; that may have taken all of them.
        while True:
            try:
                answers.append(await call(site, served, "ask", BODY))
                return
            except CUT:
                await trio.sleep(0.05)

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as asking:
            for _ in range(20):
                asking.start_soon(ask)
            await site.simulator.wait_request(1)
            await wait_until(lambda: owner_of_claim(site) is not None)
            owner = owner_of_claim(site)
            assert owner in site.workers()
            site.simulator.behave("ask", "latency=200ms")
            assert owner is not None
            os.kill(owner, signal.SIGKILL)
            killed_at = trio.current_time()
            await site.simulator.wait_request(2)
            took_s = trio.current_time() - killed_at

    assert took_s < FREE_WITHIN_S
    assert [200] * 20 == [answer.status for answer in answers]
    assert 1 == len({answer.body for answer in answers})
    assert 2 == len(site.simulator.requests)
    assert 0 == await served.stop()


async def test_later_request_finds_a_killed_workers_key_free(site: Site, nursery: trio.Nursery) -> None:
    site.simulator.behave("ask", "latency=40s")
    served = await site.serve(nursery)

    async def ask_in_vain() -> None:
        try:
            await call(site, served, "ask", BODY)
        except CUT:
            cut.set()

    with trio.fail_after(PATIENCE_S):
        cut = trio.Event()
        nursery.start_soon(ask_in_vain)
        await site.simulator.wait_request(1)
        await wait_until(lambda: owner_of_claim(site) is not None)
        site.simulator.behave("ask", "")
        owner = owner_of_claim(site)
        assert owner is not None
        os.kill(owner, signal.SIGKILL)
        await cut.wait()
        answers = [await call(site, served, "ask", BODY) for _ in range(2)]

    assert [200, 200] == [answer.status for answer in answers]
    assert [None, "true"] == [answer.headers.get("idempotent-replayed") for answer in answers]
    assert 0 == await served.stop()


@pytest.mark.parametrize("stopped", ["maker", "joiner"])
async def test_stopped_worker_makes_no_second_call(site: Site, nursery: trio.Nursery, stopped: str) -> None:
    """The first client leaves, and a request at another worker waits on; then one of both workers is stopped."""
    site.simulator.behave("ask", "latency=10s")
    served = await site.serve(nursery)
    data = post(f"/api/{PROJECT}/ask", BODY, bearer(site.token), ("idempotency-key", "key-1"))

    with trio.fail_after(PATIENCE_S):
        first = await trio.open_tcp_stream("127.0.0.1", served.port)
        await first.send_all(data)
        await site.simulator.wait_request(1)
        maker = worker_of(site, first)
        joined, joiner = await join_elsewhere(served, site, data, maker)
        # Until the maker knows that it waits, and then that the first one has left.
        await trio.sleep(1.5)
        await first.aclose()
        await trio.sleep(1)
        pid = {"maker": maker, "joiner": joiner}[stopped]
        os.kill(pid, signal.SIGSTOP)
        try:
            await trio.sleep(5)
        finally:
            os.kill(pid, signal.SIGCONT)
        answer = await read_response(joined)

    assert (200, "true") == (answer.status, answer.headers.get("idempotent-replayed"))
    assert 1 == len(site.simulator.requests)
    await joined.aclose()
    assert 0 == await served.stop()


async def join_elsewhere(served: Served, site: Site, data: bytes, maker: int) -> tuple[trio.SocketStream, int]:
    """A request that waits at another worker than the one that makes the answer, and that worker's pid."""
    while True:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        while not (pid := worker_of(site, stream)):  # noqa: ASYNC110
            await trio.sleep(0.01)
        if pid != maker:
            await stream.send_all(data)
            return stream, pid
        await stream.aclose()


def worker_of(site: Site, stream: trio.SocketStream) -> int:
    """The pid of the worker that has this connection; 0 if none has it yet."""
    server_socket = find_socket(stream.socket.getsockname()[1])
    return next((pid for pid in site.workers() if server_socket in sockets_of(pid)), 0)
