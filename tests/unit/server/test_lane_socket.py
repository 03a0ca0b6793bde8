"""A WebSocket of the lane over a socket pair: what it holds, when it waits, how it ends."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing
from attrs import define, field

from pg_trio.domain.socket_link import SEND_TEXTS, SOCKET_EXTENSION, UNSENT_BYTES
from pg_trio.server.http1.head import read_head
from pg_trio.server.http1.types import Mount, Receive, Scope, Send
from pg_trio.server.websocket.flusher import Flusher
from pg_trio.server.websocket.lane_socket import LaneSocket
from tests.support.autobahn_cases import CLOSE, PING, TEXT, Frame, closing
from tests.support.websocket_frames import FrameClient, write_frame

HEAD = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
LIMIT_S = 15
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@define
class FakeLane:
    """What a socket uses of its lane."""

    mount: Mount
    write_s: float = 30.0
    heartbeat_s: float = 20.0
    flusher: Flusher = field(factory=Flusher)

    def forget(self, connection: object, sock: socket.socket) -> None:
        """Nothing was remembered."""


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[tuple[LaneSocket, FrameClient]]:
    """A socket whose application is `app`, and its client."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    ours.setblocking(False)
    lane = FakeLane(Mount(app))
    head = read_head(HEAD, max_head_bytes=4096, max_header_count=50)
    websocket = LaneSocket(ours, cast(Any, lane), head)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery, stream:
            nursery.start_soon(lane.flusher.watch)
            nursery.start_soon(websocket.run, head, b"")
            client = FrameClient(stream)
            while b"\r\n\r\n" not in client.unread:
                client.unread += await stream.receive_some()
            client.head, _, client.unread = client.unread.partition(b"\r\n\r\n")
            yield websocket, client
            nursery.cancel_scope.cancel()


async def accept(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def test_sender_waits_before_more_is_held() -> None:
    sent = 0

    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await accept(receive, send)
        for number in range(1_000):
            await send({"type": SEND_TEXTS, "texts": [b"%04d" % number + b"x" * 1_000]})
            sent += 1

    async with serving(flood) as (websocket, client):
        await trio.testing.wait_all_tasks_blocked(0.02)
        held, sent_then = websocket._unsent.size, sent
        received = [await client.read() for _ in range(1_000)]

    assert UNSENT_BYTES // 2 < held <= UNSENT_BYTES
    assert sent_then < 200
    assert [(TEXT, b"%04d" % number + b"x" * 1_000) for number in range(1_000)] == received


async def test_cancelled_sender_leaves_no_half_of_a_message() -> None:
    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        with trio.move_on_after(0.1):
            while True:
                await send({"type": SEND_TEXTS, "texts": [b"x" * 5_000, b"y" * 5_000]})
        await send({"type": "websocket.send", "text": "last"})
        await send({"type": "websocket.close", "code": 4000})

    async with serving(flood) as (_, client):
        await trio.testing.wait_all_tasks_blocked(0.15)
        frames = []
        while (frame := await client.read()) is not None:
            frames.append(frame)
            if frame[0] == CLOSE:
                await client.stream.send_all(write_frame(closing(4000)))

    *texts, last, close = frames
    assert [(TEXT, b"x" * 5_000), (TEXT, b"y" * 5_000)] * (len(texts) // 2) == texts
    assert ((TEXT, b"last"), (CLOSE, (4000).to_bytes(2, "big"))) == (last, close)


async def test_write_limit_drops_what_waits() -> None:
    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        while True:
            await send({"type": SEND_TEXTS, "texts": [b"x" * 1_000]})

    async with serving(flood) as (websocket, client):
        await trio.testing.wait_all_tasks_blocked(0.02)
        websocket.note_timeout()
        frames = []
        while (frame := await client.read()) is not None:
            frames.append(frame)

    assert "write limit" == websocket.link.cut
    assert (CLOSE, (1013).to_bytes(2, "big")) == frames[-1]
    assert len(frames) < 40


async def test_silent_client_is_gone_at_the_second_beat() -> None:
    was_cancelled = False

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal was_cancelled
        await accept(receive, send)
        try:
            await receive()
        except trio.Cancelled:
            was_cancelled = True
            raise

    async with serving(wait) as (websocket, client):
        await trio.testing.wait_all_tasks_blocked(0.02)
        websocket.note_timeout()
        ping = await client.read()
        await client.stream.send_all(write_frame(Frame(10)))
        await trio.testing.wait_all_tasks_blocked(0.02)
        websocket.note_timeout()
        assert ping == await client.read()
        websocket.note_timeout()
        assert await client.read() is None

    assert (PING, b"") == ping
    assert was_cancelled


async def test_end_of_the_drain_says_so() -> None:
    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await receive()

    async with serving(wait) as (websocket, client):
        websocket.note_cut()
        frame = await client.read()
        await client.stream.send_all(write_frame(closing(1001)))
        assert await client.read() is None

    assert ((CLOSE, (1001).to_bytes(2, "big")), "drain") == (frame, websocket.link.cut)


@pytest.mark.parametrize("ending", ["returns", "raises"])
async def test_application_that_just_ends_is_a_bug(ending: str, caplog: pytest.LogCaptureFixture) -> None:
    async def end(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        if ending == "raises":
            raise RuntimeError("a bug")

    async with serving(end) as (_, client):
        frame = await client.read()

    assert (CLOSE, (1011).to_bytes(2, "big")) == frame
    assert (ending == "raises") == any("application error in a WebSocket" in each.message for each in caplog.records)


async def test_refusal_is_an_answer_in_http() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"content-length", b"2")]
        await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    async with serving(refuse) as (_, client):
        while data := await client.stream.receive_some():
            client.unread += data

    assert client.head.startswith(b"HTTP/1.1 403 Forbidden")
    assert b"connection: close" in client.head
    assert b"no" == client.unread


async def test_scope_is_asgis() -> None:
    scopes: list[Scope] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await accept(receive, send)
        await send({"type": "websocket.close"})

    async with serving(look) as (websocket, client):
        await client.read()

    [scope] = scopes
    assert ("websocket", "ws", "1.1", "/") == tuple(scope[name] for name in ("type", "scheme", "http_version", "path"))
    assert scope["extensions"] == {"websocket.http.response": {}, SOCKET_EXTENSION: websocket.link}
