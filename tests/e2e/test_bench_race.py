"""The moving parts of scripts/bench/race, with real processes and sockets."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import trio

from scripts.bench.harness.client import Caller, call
from scripts.bench.harness.gateway import READY, Endpoint
from scripts.bench.harness.machine import choose_cores
from scripts.bench.harness.site import Site

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the benchmark wants two cores")


def test_site_answers_and_counts(tmp_path: Path) -> None:
    site = Site(choose_cores(), tmp_path)
    models = {"first": "sim?fault=status:503", "other": "sim?content=good"}
    endpoint = Endpoint("failing", models, {"deadline_ms": 20_000, "guardrails": {"pii_filter": {}}})

    with site.run_provider("first") as first, site.run_provider("other") as other:
        addresses = {"first": first.base_url, "other": other.base_url, READY: other.base_url}
        with site.open_gateway(addresses, [endpoint]) as gateway:
            request = gateway.request("failing", {"message": "Hello there"})
            answer = trio.run(partial(call, gateway.port, request, 20.0))
            worker_is_there = Path(f"/proc/{gateway.worker}").exists()
        counts = first.count_calls()

    assert ("good", True) == (answer.said().text, worker_is_there)
    assert 1 == counts["sim?fault=status:503"]


async def test_client_does_not_wait_for_ever(nursery: trio.Nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async with await Caller.connect(port) as caller:
        answer = await caller.call(b"GET / HTTP/1.1\r\n\r\n", 0.05)

    assert (0, "hung") == (answer.status, answer.failure)
    for listener in listeners:
        await listener.aclose()


async def test_broken_connection_is_an_answer(nursery: trio.Nursery) -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal")
        await stream.aclose()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    nursery.start_soon(trio.serve_listeners, hang_up, listeners)

    broken = await call(port, b"GET / HTTP/1.1\r\n\r\n", 5.0)
    nursery.cancel_scope.cancel()

    assert (0, "CutShort: after 3 bytes") == (broken.status, broken.failure)
