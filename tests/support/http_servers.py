"""Both ASGI servers over real sockets, a raw client, and an application that shows what a server did with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from attrs import define, field, frozen
from hypercorn.config import Config
from hypercorn.trio import serve as serve_hypercorn

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.types import ASGIApplication, Message, Receive, Scope, Send
from pg_trio.server.serving import serve_app

SERVERS = ("lane", "hypercorn")

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


@define(slots=True)
class ProbeApp:
    """Runs `handler` for each request, and keeps the scopes it was called with."""

    handler: Handler
    scopes: list[Scope] = field(factory=list)
    lifespan: list[str] = field(factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
            return
        self.scopes.append(scope)
        await self.handler(scope, receive, send)

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["from_lifespan"] = "here"
        for _ in range(2):
            message = await receive()
            self.lifespan.append(message["type"])
            await send({"type": message["type"] + ".complete"})


async def read_body(receive: Receive) -> bytes | None:
    """The whole body, or None if the client left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def answer(send: Send, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    """A whole answer in ASGI's two messages."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body; with nothing at all if the client left."""
    body = await read_body(receive)
    if body is not None:
        await answer(send, body)


@asynccontextmanager
async def serving(
    server: str,
    app: ASGIApplication,
    settings: ServerSettings | None = None,
    *,
    shutdown: trio.Event | None = None,
    **options: Any,
) -> AsyncIterator[int]:
    """One of SERVERS on a free port of the loopback; gives the port. `options` are set on Hypercorn's Config.

    Drained at the end (or from when the test sets `shutdown`): Hypercorn leaks connections if it is cancelled.
    """
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    for name, value in options.items():
        setattr(config, name, value)
    shutdown = trio.Event() if shutdown is None else shutdown
    async with trio.open_nursery() as nursery:
        if server == "lane":
            run = partial(serve_app, app, config, settings or ServerSettings(), shutdown=shutdown)
        else:
            run = partial(serve_hypercorn, app, config, shutdown_trigger=shutdown.wait)  # type: ignore[arg-type]  # ASGI, in other words
        addresses: list[str] = await nursery.start(run)
        yield int(addresses[0].rpartition(":")[2])
        shutdown.set()


@frozen(slots=True)
class RawAnswer:
    """One answer as it came; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@define(slots=True)
class RawClient:
    """A client that sends bytes as told and reads answers one by one."""

    stream: trio.SocketStream
    unread: bytes = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read_answer(self, *, to: str = "GET") -> RawAnswer:
        """The next answer, 1xx included. `to` is the request's method: an answer to HEAD has no body."""
        head = await self._read_until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if to == "HEAD" or status < 200 or status in (204, 304):
            return RawAnswer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return RawAnswer(status, headers, await self._read_chunked())
        if "content-length" in headers:
            return RawAnswer(status, headers, await self._read_exactly(int(headers["content-length"])))
        return RawAnswer(status, headers, await self.read_to_end())

    async def read_to_end(self) -> bytes:
        """All that is left, until the server closes. A reset counts as its end."""
        while await self._read_more():
            pass
        data, self.unread = self.unread, b""
        return data

    async def _read_chunked(self) -> bytes:
        body = b""
        while True:
            size = int((await self._read_until(b"\r\n")).strip(), 16)
            body += await self._read_exactly(size)
            assert b"\r\n" == await self._read_exactly(2)
            if not size:
                return body

    async def _read_until(self, mark: bytes) -> bytes:
        while mark not in self.unread:
            assert await self._read_more(), f"closed after {self.unread!r}"
        found, _, self.unread = self.unread.partition(mark)
        return found + mark

    async def _read_exactly(self, size: int) -> bytes:
        while len(self.unread) < size:
            assert await self._read_more(), f"closed after {self.unread!r}"
        found, self.unread = self.unread[:size], self.unread[size:]
        return found

    async def _read_more(self) -> bool:
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            return False
        self.unread += data
        return bool(data)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawClient]:
    """A client connected to the loopback's `port`. Fails instead of waiting for ever for what does not come."""
    with trio.fail_after(20):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            yield RawClient(stream)


async def ask(port: int, request: bytes) -> RawAnswer:
    """The answer to one request on a connection of its own."""
    async with connected(port) as client:
        await client.send(request)
        return await client.read_answer(to=request[: request.index(b" ")].decode("latin-1"))


def request(
    target: str = "/", *headers: str, method: str = "GET", body: bytes = b"", version: str = "1.1", host: str = "x"
) -> bytes:
    """A request's bytes; with a content-length if it has a body."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *length, *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


__all__ = [
    "SERVERS",
    "Message",
    "ProbeApp",
    "RawAnswer",
    "RawClient",
    "answer",
    "ask",
    "connected",
    "echo",
    "read_body",
    "request",
    "serving",
]
