"""The floor: what a Python proxy on Trio costs before it is a gateway. usage: floor.py PORT UPSTREAM_PORT

One task a connection, llhttp on both sides, JSON decoded and encoded both ways (a gateway reads what it passes on), a
stack of idle upstream connections. A stream's bytes are passed on as they come, unread: what one read brought leaves in
one write. No limits, no tokens, no errors beyond closing: this is a yardstick, not a server.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import httptools
import orjson
import trio

Parser = httptools.HttpRequestParser | httptools.HttpResponseParser
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

    body = b""
    is_complete = False

    def on_message_begin(self) -> None:
        self.body, self.is_complete = b"", False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = True


class Side:
    """One keep-alive connection, to the client or to the upstream."""

    def __init__(self, socket: trio.socket.SocketType, make_parser: Callable[[Message], Parser]) -> None:
        socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        self.socket, self._message = socket, Message()
        self._parser = make_parser(self._message)

    async def send(self, data: bytes) -> None:
        """All of it is with the kernel; nearly always after one call."""
        sent = await self.socket.send(data)
        while sent < len(data):
            sent += await self.socket.send(data[sent:])

    async def read(self) -> bytes:
        """The body of the next message; empty when the other side has closed or reset."""
        self._message.is_complete = False
        while not self._message.is_complete:
            try:
                data = await self.socket.recv(_RECEIVE_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                return b""
            self._parser.feed_data(data)
        return self._message.body

    async def pass_on(self, client: Side) -> None:
        """Everything that comes of the next message is passed on, each read by itself."""
        message = self._message
        message.is_complete = False
        while not message.is_complete:
            data = await self.socket.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectionResetError("closed by the upstream")
            self._parser.feed_data(data)
            part, message.body = message.body, b""
            if part:
                await client.send(b"%x\r\n%b\r\n" % (len(part), part))


async def serve_client(client: Side, idle: list[Side], upstream_port: int) -> None:
    """Read a completion request, ask the upstream, answer; one after the other until the client closes."""
    with client.socket:
        while body := await client.read():
            asked = orjson.loads(body)
            if idle:
                upstream = idle.pop()
            else:
                upstream = Side(trio.socket.socket(), httptools.HttpResponseParser)
                await upstream.socket.connect(("127.0.0.1", upstream_port))
            question = orjson.dumps(asked)
            if asked.get("stream"):
                await client.send(_STREAM_HEAD)
                await upstream.send(_CALL_HEAD % len(question) + question)
                await upstream.pass_on(client)
                await client.send(_LAST_CHUNK)
            else:
                await upstream.send(_CALL_HEAD % len(question) + question)
                answer = orjson.dumps(orjson.loads(await upstream.read()))
                await client.send(_ANSWER_HEAD % len(answer) + answer)
            idle.append(upstream)


async def serve(port: int, upstream_port: int) -> None:
    """Serve on a loopback port until killed."""
    idle: list[Side] = []
    listener = trio.socket.socket()
    listener.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
    await listener.bind(("127.0.0.1", port))
    listener.listen(512)
    async with trio.open_nursery() as nursery:
        while True:
            socket, _ = await listener.accept()
            nursery.start_soon(serve_client, Side(socket, httptools.HttpRequestParser), idle, upstream_port)


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]), int(sys.argv[2]))
