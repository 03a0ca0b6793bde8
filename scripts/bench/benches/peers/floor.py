"""The floor: what a Python proxy on Trio costs before it is a gateway. usage: floor.py PORT UPSTREAM_PORT

One task a connection, llhttp on both sides, JSON decoded and encoded both ways (a gateway reads what it passes on), a
stack of idle upstream connections. A stream's bytes are passed on as they come, unread: what one read brought leaves in
one write. No limits, no tokens, no errors beyond closing: this is a yardstick, not a server.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial

import httptools
import orjson
import trio

_RECEIVE_BYTES = 65536
_ANSWER_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_CALL_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer sk-upstream\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


class Message:
    """Collects one request or response for llhttp; `is_complete` when its last byte was seen."""

    def __init__(self) -> None:
        self.body = b""
        self.is_complete = False

    def on_message_begin(self) -> None:
        self.body = b""
        self.is_complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = True

    def take_body(self) -> bytes:
        """What has come of the body since the last time."""
        body, self.body = self.body, b""
        return body


class Upstream:
    """A keep-alive connection to the upstream."""

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket
        self._message = Message()
        self._parser = httptools.HttpResponseParser(self._message)

    async def ask(self, body: bytes) -> bytes:
        """The body of the answer."""
        await send_all(self._socket, _CALL_HEAD % len(body) + body)
        return await read_message(self._socket, self._parser, self._message)

    async def stream(self, body: bytes, pass_on: Callable[[bytes], Awaitable[None]]) -> None:
        """Everything that came of the answer was passed on, each read by itself."""
        await send_all(self._socket, _CALL_HEAD % len(body) + body)
        self._message.is_complete = False
        while not self._message.is_complete:
            data = await self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectionResetError("closed by the upstream")
            self._parser.feed_data(data)
            if part := self._message.take_body():
                await pass_on(b"%x\r\n%b\r\n" % (len(part), part))


class Floor:
    """The proxy: reads a completion request, asks the upstream, answers."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._idle: list[Upstream] = []

    async def serve_connection(self, socket: trio.socket.SocketType) -> None:
        """Answer one request after the other until the client closes."""
        socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        message = Message()
        parser = httptools.HttpRequestParser(message)
        with socket:
            while body := await read_message(socket, parser, message):
                asked = orjson.loads(body)
                upstream = self._idle.pop() if self._idle else await self._connect()
                if asked.get("stream"):
                    await send_all(socket, _STREAM_HEAD)
                    await upstream.stream(orjson.dumps(asked), partial(send_all, socket))
                    await send_all(socket, _LAST_CHUNK)
                else:
                    answer = orjson.dumps(orjson.loads(await upstream.ask(orjson.dumps(asked))))
                    await send_all(socket, _ANSWER_HEAD % len(answer) + answer)
                self._idle.append(upstream)

    async def _connect(self) -> Upstream:
        socket = trio.socket.socket()
        socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        await socket.connect(("127.0.0.1", self._upstream_port))
        return Upstream(socket)


async def read_message(
    socket: trio.socket.SocketType,
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser,
    message: Message,
) -> bytes:
    """The body of the next message; empty when the other side has closed or reset."""
    message.is_complete = False
    while not message.is_complete:
        try:
            data = await socket.recv(_RECEIVE_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            return b""
        parser.feed_data(data)
    return message.body


async def send_all(socket: trio.socket.SocketType, data: bytes) -> None:
    """All of it is with the kernel; nearly always after one call."""
    sent = await socket.send(data)
    while sent < len(data):
        sent += await socket.send(data[sent:])


async def serve(port: int, upstream_port: int) -> None:
    """Serve on a loopback port until killed."""
    floor = Floor(upstream_port)
    listener = trio.socket.socket()
    listener.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
    await listener.bind(("127.0.0.1", port))
    listener.listen(512)
    async with trio.open_nursery() as nursery:
        while True:
            socket, _ = await listener.accept()
            nursery.start_soon(floor.serve_connection, socket)


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]), int(sys.argv[2]))
