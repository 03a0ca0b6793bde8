"""Streams under trouble that their clients make: slow readers, clients that leave, large requests beside them."""

from __future__ import annotations

import random
import resource
from itertools import starmap
from pathlib import Path

import pytest
import trio

from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.wire import bearer, post, read_response

WRITE_LIMIT_MS = 1_000
CONFIGURATION = "\n".join(
    [
        "[server]",
        f"write_timeout_ms = {WRITE_LIMIT_MS}",
        project(),
        endpoint("live", streaming_enabled=True),
        endpoint("endless", streaming_enabled=True),
        endpoint(
            "scanned",
            guardrails={"pii_filter": {"enabled": True}, "prompt_injection": {"enabled": True}},
        ),
    ]
)
LIMIT_S = 30
# What the gateway may grow by for one client that does not read: far less than is there to send.
GROWTH_BYTES = 16 * 1024 * 1024


async def open_stream(gateway: Gateway, slug: str, **socket_options: int) -> trio.SocketStream:
    """A client whose request for a stream is out."""
    client = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    for option, value in socket_options.items():
        client.setsockopt(trio.socket.SOL_SOCKET, getattr(trio.socket, option), value)
    await client.send_all(post(f"/api/{PROJECT}/{slug}", {"message": "Go", "stream": True}, bearer(gateway.token)))
    return client


async def read_whole(gateway: Gateway, tokens: int) -> None:
    """One stream, read as it comes: all its tokens, and a good end."""
    client = await open_stream(gateway, "live")
    async with client:
        response = await read_response(client)
    assert tokens == response.body.count(b'"content":"') - response.body.count(b'"content":""')
    assert b'"finish_reason":"stop"' in response.body
    assert response.body.endswith(b"data: [DONE]\n\n")


async def test_slow_reader_holds_only_its_own_stream(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    # 200,000 events of some 200 bytes: 40 MB, of which the slow client takes a byte every 100 ms.
    gateway.simulator.behave("endless", "tokens=200000")
    gateway.simulator.behave("live", "tokens=50&pace=5ms")
    await read_whole(gateway, 50)
    before = memory_bytes()
    client = await open_stream(gateway, "endless", SO_RCVBUF=4096)
    slow = await gateway.simulator.wait_request(2)

    async def read_slowly() -> None:
        while await client.receive_some(1):  # noqa: ASYNC110  # a byte at a time, and time between them
            await trio.sleep(0.1)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as reading:
            reading.start_soon(read_slowly)
            async with trio.open_nursery() as readers:
                for _ in range(16):
                    readers.start_soon(read_whole, gateway, 50)
            received = await gateway.simulator.wait_closed(slow)
            reading.cancel_scope.cancel()
        # Reset, after what was on its way: no client takes this for an answer's end.
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(client)
    await client.aclose()
    grown = memory_bytes() - before
    await gateway.stop()

    assert received.closed_early
    assert grown < GROWTH_BYTES
    assert [200] * 17 == sorted(row["status"] for row in gateway.log_rows())[:17]
    (left,) = [row for row in gateway.log_rows() if row["status"] != 200]
    assert (499, "ClientLeft") == (left["status"], left["error_code"])


async def test_clients_that_leave_take_their_calls_with_them(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    gateway.simulator.behave("live", "tokens=100000&pace=2ms&latency=50ms&head=early")
    luck = random.Random(4)

    async def leave() -> None:
        client = await open_stream(gateway, "live")
        # Before the head, between head and first token, in the middle of the tokens.
        with trio.move_on_after(luck.uniform(0, 0.2)):
            while await client.receive_some():
                pass
        await client.aclose()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as leaving:
            for _ in range(64):
                leaving.start_soon(leave)
        for received in list(gateway.simulator.requests):
            await gateway.simulator.wait_closed(received)
    gateway.simulator.behave("live", "tokens=5")
    await read_whole(gateway, 5)
    await gateway.stop()

    *left, _ = gateway.simulator.requests
    assert all(received.closed_early for received in left)
    assert {200, 499} == {row["status"] for row in gateway.log_rows()}
    assert 1 == sum(row["status"] == 200 for row in gateway.log_rows())


# It bounds time, of which other processes take some: tests/unit/racing/test_large_work.py holds the rule without.
@pytest.mark.slow
async def test_large_body_stalls_no_stream(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, CONFIGURATION)
    gateway.simulator.behave("live", "tokens=100&pace=20ms")
    tries: list[tuple[float, float]] = []

    # A machine that pauses spoils one try.
    while len(tries) < 3 and not any(starmap(is_short, tries)):
        tries.append(await find_longest_gap(gateway))

    assert any(starmap(is_short, tries)), tries


def is_short(gap_s: float, answer_s: float) -> bool:
    """In the event loop, the whole of the large request's work would be one gap of every stream."""
    return gap_s < max(0.5, answer_s / 2)


async def find_longest_gap(gateway: Gateway) -> tuple[float, float]:
    """The longest gap in any of 64 streams while a large request is answered, and how long that takes (seconds)."""
    # 100,000 tokens, four characters each, of the text that is costliest to scan.
    large = "1234 5678 9012 a@b.c " * 20_000
    gaps: list[float] = []
    before = len(gateway.simulator.requests)

    async def watch_stream() -> None:
        client = await open_stream(gateway, "live")
        last = None
        async with client:
            while not (data := await client.receive_some()).endswith(b"0\r\n\r\n"):
                assert data, "a stream was cut"
                now = trio.current_time()
                gaps.append(0.0 if last is None else now - last)
                last = now

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as streams:
            for _ in range(64):
                streams.start_soon(watch_stream)
            await gateway.simulator.wait_request(before + 64)
            started = trio.current_time()
            assert 200 == (await gateway.call("scanned", {"message": large})).status
            answer_s = trio.current_time() - started
    return max(gaps), answer_s


async def read_to_end(client: trio.SocketStream) -> None:
    while await client.receive_some():
        pass


def memory_bytes() -> int:
    """What this process holds now: the gateway and the simulator live in it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()
