"""A worker in the test's own process: its preparations before it accepts connections."""

from __future__ import annotations

import gc
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from weakref import ref

import pytest
import trio
import trio.testing

from pg_trio.config.settings import ServerSettings
from pg_trio.server.garbage import YOUNG
from pg_trio.server.http1.types import ASGIApplication, Receive, Scope, Send
from pg_trio.server.worker import run_worker
from pg_trio.server.worker_files import GO, READY
from tests.support.http_servers import ProbeApp, answer, connected, request
from tests.unit.server.test_garbage_collection import Knot, live, tie


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    interrupt, thresholds = signal.getsignal(signal.SIGINT), gc.get_threshold()
    gc.disable()  # not to be taken for what the worker does itself
    yield
    gc.enable()
    signal.signal(signal.SIGINT, interrupt)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@asynccontextmanager
async def working(app: ASGIApplication) -> AsyncIterator[int]:
    """A worker that has been let go, for the length of the block; its port."""
    ours, theirs = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    parent = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    # A worker leaves its own end of the control socket to the end of its process.
    with theirs:
        async with trio.open_nursery() as nursery, parent:
            nursery.start_soon(partial(run_worker, app, ServerSettings(), [listener], theirs))
            assert await parent.receive_some(len(READY)) == READY
            await parent.send_all(GO)
            yield listener.getsockname()[1]


async def test_worker_collects_garbage_at_rest() -> None:
    async def leave_garbage(scope: Scope, receive: Receive, send: Send) -> None:
        is_alive = [knot() is not None for knot in knots]
        knots.append(tie(0))
        kept.append(live(2 * YOUNG))
        await answer(send, repr(is_alive).encode())

    knots: list[ref[Knot]] = []
    kept: list[object] = []

    async with working(ProbeApp(leave_garbage)) as port, connected(port) as client:
        answers = []
        for _ in range(3):
            await client.send(request())
            answers.append((await client.read_answer()).body.decode())
            await trio.testing.wait_all_tasks_blocked(0.001)

    assert ["[]", "[False]", "[False, False]"] == answers
