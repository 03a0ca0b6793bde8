"""The queue before servers that keep no frames themselves, with a server that takes nothing."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from pg_trio.domain.socket_link import UNSENT_BYTES
from pg_trio.web.websocket.outlet import QueuedOutlet


class SlowServer:
    """Takes one message whenever it is let."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.may_take = trio.Semaphore(0)

    async def send(self, message: Any) -> None:
        await self.may_take.acquire()
        self.taken.append(message.get("text", message.get("code")))


async def test_sender_waits_before_more_is_held(autojump_clock: trio.testing.MockClock) -> None:
    server, sent = SlowServer(), 0
    outlet = QueuedOutlet(server.send, 30.0)

    async def flood() -> None:
        nonlocal sent
        while True:
            await outlet.send(b"x" * 999 + b"\n" + b"y" * 1_000)
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outlet.run, lambda: None)
        nursery.start_soon(flood)
        await trio.testing.wait_all_tasks_blocked()
        held = outlet._size
        nursery.cancel_scope.cancel()

    assert UNSENT_BYTES - 4_000 < held <= UNSENT_BYTES
    assert sent < 40


async def test_frames_go_one_by_one_and_the_close_last(autojump_clock: trio.testing.MockClock) -> None:
    server = SlowServer()
    outlet = QueuedOutlet(server.send, 30.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outlet.run, lambda: None)
        await outlet.send(b"one\ntwo")
        await outlet.send(b"three")
        for _ in range(4):
            server.may_take.release()
        await outlet.close(1000)

    assert ["one", "two", "three", 1000] == server.taken


async def test_stuck_write_drops_what_waits(autojump_clock: trio.testing.MockClock) -> None:
    server, stuck_at = SlowServer(), []
    outlet = QueuedOutlet(server.send, 8.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outlet.run, lambda: stuck_at.append(trio.current_time()))
        await outlet.send(b"one\ntwo\nthree")
        await trio.sleep(20)
        await outlet.send(b"four")
        server.may_take.release()
        server.may_take.release()

    assert ["one", 1013] == server.taken
    assert 1 == len(stuck_at)
    assert 8.0 <= stuck_at[0] <= 10.0
