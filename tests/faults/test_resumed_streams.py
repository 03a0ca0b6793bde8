"""Streams whose network is cut and whose workers are killed: `pg-trio serve` with four workers, over real sockets.

What a page would have is compared with what the provider sent, byte by byte.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from attrs import define

from tests.support.dropping_proxy import DroppingProxy
from tests.support.gateway import PROJECT, endpoint
from tests.support.processes import Served, wait_until
from tests.support.resuming import StreamingClient, Streams, data_of, events_of, numbers_of, text_of
from tests.support.site import Site, make_site

pytestmark = pytest.mark.slow

WORKERS = 4
BODY = {"message": "Tell me", "stream": True}
ENDPOINTS = endpoint("live", streaming_enabled=True, resumable_streams=True)
LOST = "The rest of this stream is not available."


@define
class Running:
    """A gateway with four workers."""

    site: Site
    served: Served
    streams: Streams

    async def ask(self) -> StreamingClient:
        return await self.streams.ask(self.served.port, "live", BODY)

    async def follow(self, request_id: str, after: int, *, not_on: int = 0) -> StreamingClient:
        """Read on, by a worker that is not this one."""
        while True:
            client = await self.streams.follow(self.served.port, request_id, after)
            if self.worker_of(client) != not_on:
                return client
            await client.stream.aclose()

    def worker_of(self, client: StreamingClient) -> int:
        """The pid of the worker that has this connection."""
        port = client.stream.socket.getsockname()[1]
        for pid in self.site.workers():
            if find_socket(port) in sockets_of(pid):
                return pid
        raise AssertionError("no worker has the connection")


def find_socket(client_port: int) -> str:
    """The server's socket of a client's connection, as /proc names it."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[2].endswith(f":{client_port:04X}") and fields[9] != "0":
            return f"socket:[{fields[9]}]"
    return ""


def sockets_of(pid: int) -> set[str]:
    """What the process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except OSError:
            continue
    return found


@pytest.fixture
async def running(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Running]:
    site = await make_site(nursery, tmp_path, ENDPOINTS, f"workers = {WORKERS}")
    served = await site.serve(nursery)
    yield Running(site, served, Streams(site.token, f"/api/{PROJECT}"))
    with trio.CancelScope(shield=True):
        await served.stop()


@pytest.mark.parametrize("every", [1, 3, 10])
async def test_page_has_each_event_once_through_every_cut(nursery: trio.Nursery, running: Running, every: int) -> None:
    running.site.simulator.behave("live", "tokens=60&pace=4ms")
    proxy: DroppingProxy = await nursery.start(DroppingProxy(running.served.port, every).serve)
    events: list[bytes] = []
    async with await running.streams.ask(proxy.port, "live", BODY) as client:
        await client.read_rest()
        request_id = client.headers["x-request-id"]
        events += events_of(client.body)

    with trio.fail_after(60):
        while not events[-1].endswith(b"data: [DONE]"):
            async with await running.streams.follow(proxy.port, request_id, f"{request_id}:{len(events)}") as client:
                await client.read_rest()
                events += events_of(client.body)

    whole = await running.streams.resume(running.served.port, request_id)
    assert whole.body == b"".join(event + b"\n\n" for event in events)
    assert list(range(1, len(events) + 1)) == numbers_of(whole.body)
    sent = running.site.simulator.requests[0]
    assert 60 == len(text_of(whole.body).split())
    assert not sent.closed_early
    assert proxy.cuts >= 3


async def test_killed_worker_is_an_honest_error(running: Running) -> None:
    running.site.simulator.behave("live", "tokens=1000&pace=10ms")
    async with await running.ask() as client:
        first = await client.read_events(5)
        request_id = client.headers["x-request-id"]
        maker = running.worker_of(client)
        follower = await running.follow(request_id, 0, not_on=maker)
        await follower.read_events(5)

        os.kill(maker, signal.SIGKILL)
        async with follower:
            body = await follower.read_rest()

    assert follower.is_whole
    assert body.startswith(first)
    assert LOST == data_of(body)[-2]["error"]
    assert "error" == data_of(body)[-3]["choices"][0]["finish_reason"]
    # A client that comes later gets the same.
    later = await running.streams.resume(running.served.port, request_id)
    assert later.body == body
    assert not (await running.streams.stop(running.served.port, request_id)).json()["stopped"]


async def test_killed_reader_changes_nothing(running: Running) -> None:
    running.site.simulator.behave("live", "tokens=200&pace=10ms")
    async with await running.ask() as client:
        await client.read_events(5)
        request_id = client.headers["x-request-id"]
        follower = await running.follow(request_id, 0, not_on=running.worker_of(client))
        async with follower:
            await follower.read_events(5)
            os.kill(running.worker_of(follower), signal.SIGKILL)
        body = await client.read_rest()

    assert client.is_whole
    assert body == (await running.streams.resume(running.served.port, request_id)).body
    assert 200 == len(text_of(body).split())


async def test_reload_keeps_answers(running: Running) -> None:
    running.site.simulator.behave("live", "tokens=150&pace=20ms")
    async with await running.ask() as client:
        await client.read_events(5)
        request_id = client.headers["x-request-id"]
        old = set(running.site.workers())

        running.served.process.send_signal(signal.SIGHUP)
        await wait_until(lambda: not old & set(running.site.workers()))
        async with await running.follow(request_id, 5) as follower:
            rest = await follower.read_rest()
        body = await client.read_rest()

    assert client.is_whole
    assert body.endswith(rest)
    assert 150 == len(text_of(body).split())


async def test_stop_reaches_the_providers_connection_from_every_worker(running: Running) -> None:
    running.site.simulator.behave("live", "tokens=10000&pace=20ms")
    for number in range(1, 13):
        async with await running.ask() as client:
            await client.read_events(3)
            request_id = client.headers["x-request-id"]

            stopped = await running.streams.stop(running.served.port, request_id)

            assert {"ok": True, "stopped": True} == stopped.json()
            received = running.site.simulator.requests[number - 1]
            with trio.fail_after(20):
                await running.site.simulator.wait_closed(received)
            assert data_of(await client.read_rest())[-2]["meta"]["cancelled"]
