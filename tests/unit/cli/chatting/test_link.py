"""The connection of `pg-trio chat`, with a gateway that does what the test says."""

from __future__ import annotations

from typing import Any

import trio

from pg_trio.cli.chatting.link import Connected, Final, FrameReceived, Link, Lost
from tests.support.scripted_chat import ScriptedSocket, drop, open_scripted


async def test_late_frame_is_not_sent_on_the_next_connection(nursery: trio.Nursery) -> None:
    """A question that was typed while the connection was lost is asked by its Connected, and once."""

    async def first(socket: ScriptedSocket) -> None:
        await drop(socket)

    async def second(socket: ScriptedSocket) -> None:
        await socket.receive()
        await socket.receive()
        await socket.close(4401)

    chat = await open_scripted(nursery, first, second)
    tell, events = trio.open_memory_channel[Any](20)
    link = Link(f"ws://127.0.0.1:{chat.port}/", "token", tell, lambda: 0.0)
    nursery.start_soon(link.run)
    seen = list[type]()
    with trio.fail_after(20):
        while seen.count(Connected) < 2:
            seen.append(type(await events.receive()))

    await link.send({"type": "message", "id": "early"}, 1)
    await link.send({"type": "message", "id": "late"}, 2)
    await link.send({"type": "message", "id": "after"}, 2)
    with trio.fail_after(20):
        assert isinstance(await events.receive(), Final)

    assert [FrameReceived, Connected, Lost, FrameReceived, Connected] == seen
    assert ["late", "after"] == [frame["id"] for frame in chat.frames]
