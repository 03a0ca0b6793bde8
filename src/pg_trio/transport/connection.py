"""One connection to a provider: a non-blocking socket, plain or TLS.

The standard library's sockets directly, not Trio's: a send tried before any wait saves a pass through the scheduler
(about 8 % of a call's cost), and `ssl.SSLSocket` then works the same way as a plain one. What Trio adds is the waiting.

Rules:
1. `close()` is synchronous and final: no TLS goodbye is waited for. Tasks that wait on the socket are woken.
2. Every read waits, if only for the next pass of the scheduler: a fast sender cannot starve the other tasks.
3. Cancelling a wait loses no byte in either direction; whether the exchange can go on is the caller's to know.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from pg_trio.transport.wire import Origin

# 64 KiB a read: Trio's default for a stream, more than most answers, and more than a TLS record's 16 KiB.
RECEIVE_BYTES = 64 * 1024

# What a non-blocking call raises when it would have to wait.
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """An open connection. OSError (which TLS errors are) means that it is of no more use."""

    __slots__ = ("__weakref__", "_poll", "_socket", "idle_since", "is_closed", "origin")

    def __init__(self, sock: socket.socket, origin: Origin) -> None:
        self._socket = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self.origin = origin
        self.is_closed = False
        self.idle_since = 0.0

    def send_nowait(self, data: bytes | memoryview) -> int:
        """How many of the bytes went out at once."""
        try:
            return self._socket.send(data)
        except _WOULD_BLOCK:
            return 0

    def receive_nowait(self) -> bytes | None:
        """The bytes that are there; none (`b""`) if the peer has closed; None if one would have to wait."""
        try:
            return self._socket.recv(RECEIVE_BYTES)
        except _WOULD_BLOCK:
            return None

    async def receive(self) -> bytes:
        """The next bytes, at least one; none (`b""`) if the peer has closed. Always a checkpoint."""
        # Waiting comes first here: right after a send nothing has come yet, and the failed try costs 9 % of a call.
        # TLS holds nothing back that the socket does not show: a read takes at least the whole rest of a record.
        received = None
        if self.is_closed:
            # Trio would take the file descriptor -1 for one to wait on.
            raise trio.ClosedResourceError("connection was closed")
        while received is None:
            await trio.lowlevel.wait_readable(self._socket)
            received = self.receive_nowait()
        return received

    async def wait_ready(self) -> None:
        """Return once the socket can be written to or read from, whichever is first."""

        async def wait(wait_one: Callable[[socket.socket], Awaitable[None]]) -> None:
            # Closed meanwhile: whoever tries the socket next is told so, without an exception group around it.
            with suppress(trio.ClosedResourceError):
                await wait_one(self._socket)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, trio.lowlevel.wait_writable)
            nursery.start_soon(wait, trio.lowlevel.wait_readable)

    def is_reusable(self) -> bool:
        """Whether an idle connection still is as it was left: open, and nothing said by the peer meanwhile."""
        if self.is_closed:
            return False
        if not self._poll.poll(0):
            return True
        # Plain: readable means closed, or bytes of no request. TLS: it may be a session ticket, which reads as nothing.
        try:
            return isinstance(self._socket, ssl.SSLSocket) and self.receive_nowait() is None
        except OSError:
            return False

    def close(self) -> None:
        """Close at once; does nothing the second time."""
        if not self.is_closed:
            self.is_closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
