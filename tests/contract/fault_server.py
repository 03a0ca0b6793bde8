"""A server of raw streams: each connection runs a script of the test, which sends exactly the bytes it wants to.

Tests assert on what the server saw: how many connections, the bytes of each request, whether a connection was closed.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import trio
from attrs import define, field

# Longer than anything here takes; a test that hangs fails and says where.
LIMIT_S = 20


@define(eq=False)
class Peer:
    """The server's end of one connection. `requests` are the whole requests that were read, head and body."""

    stream: trio.abc.Stream
    requests: list[bytes] = field(factory=list)
    gone: trio.Event = field(factory=trio.Event)
    _buffer: bytes = b""

    async def read_request(self) -> bytes:
        """The next request, whole; ends the script where the client has closed instead."""
        while b"\r\n\r\n" not in self._buffer:
            await self._read()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = _content_length(head)
        while len(rest) < length:
            await self._read()
            rest = self._buffer[len(head) + 4 :]
        request = head + b"\r\n\r\n" + rest[:length]
        self._buffer = rest[length:]
        self.requests.append(request)
        return request

    async def send(self, *pieces: bytes) -> None:
        """Send the pieces, each in a segment of its own as far as the kernel plays along."""
        for piece in pieces:
            await self.stream.send_all(piece)

    async def answer(self, *pieces: bytes) -> None:
        """Read a request, then send."""
        await self.read_request()
        await self.send(*pieces)

    async def reset(self) -> None:
        """Drop the connection with a TCP reset."""
        assert isinstance(self.stream, trio.SocketStream)
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.stream.aclose()

    async def wait_gone(self) -> None:
        """Return once the client has closed or reset; what it still sends is read and dropped."""
        while await self.stream.receive_some():
            pass

    async def _read(self) -> None:
        received = await self.stream.receive_some()
        if not received:
            raise ClientGone
        self._buffer += received


class ClientGone(Exception):
    """Ends a script: the client closed while it was read from."""


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


@define(eq=False)
class FaultServer:
    """Runs the n-th script for the n-th connection, and the last one for all after it."""

    scripts: tuple[Script, ...]
    port: int = 0
    scheme: str = "http"
    tls: ssl.SSLContext | None = None
    peers: list[Peer] = field(factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/v1/chat/completions"

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        """Serve on a free port of 127.0.0.1 until cancelled."""
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._run_script, 0, host="127.0.0.1")
            listeners = await nursery.start(serve)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    async def wait_all_gone(self) -> None:
        """Return once every connection so far is closed by the client, or over because its script was."""
        with trio.fail_after(LIMIT_S):
            for peer in self.peers:
                await peer.gone.wait()

    async def _run_script(self, stream: trio.SocketStream) -> None:
        peer = Peer(stream)
        script = self.scripts[min(len(self.peers), len(self.scripts) - 1)]
        self.peers.append(peer)
        try:
            with suppress(ClientGone, trio.BrokenResourceError, trio.ClosedResourceError):
                if self.tls is not None:
                    peer.stream = trio.SSLStream(stream, self.tls, server_side=True, https_compatible=True)
                await script(peer)
        finally:
            peer.gone.set()
            await trio.aclose_forcefully(stream)


def answer_with(body: bytes, *, status: str = "200 OK", headers: bytes = b"") -> bytes:
    """The bytes of an ordinary answer with a length."""
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n%s\r\n%s" % (status.encode(), len(body), headers, body)


def answers(*pieces: bytes) -> Script:
    """A script that gives this answer to every request of the connection."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.answer(*pieces)

    return script


def answers_once(*pieces: bytes) -> Script:
    """A script that answers one request and then only waits for the client to close."""

    async def script(peer: Peer) -> None:
        await peer.answer(*pieces)
        await peer.wait_gone()

    return script


def answers_together(count: int, *pieces: bytes) -> Script:
    """A script that answers once so many connections have asked, for as many connections."""
    all_here = trio.Event()
    waiting = 0

    async def script(peer: Peer) -> None:
        nonlocal waiting
        await peer.read_request()
        waiting += 1
        if waiting == count:
            all_here.set()
        await all_here.wait()
        await peer.send(*pieces)
        await peer.wait_gone()

    return script


def closes_after(*pieces: bytes) -> Script:
    """A script that answers one request and closes the connection properly."""

    async def script(peer: Peer) -> None:
        await peer.answer(*pieces)
        await peer.stream.aclose()

    return script


def resets_after(*pieces: bytes) -> Script:
    """A script that answers one request and resets the connection."""

    async def script(peer: Peer) -> None:
        await peer.answer(*pieces)
        # The reset would overtake bytes that the client has not read yet; one byte from it never comes.
        with trio.move_on_after(0.05):
            await peer.wait_gone()
        await peer.reset()

    return script


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0
