"""One connection to a provider: a non-blocking socket, plain or TLS.

It uses the standard library's sockets, not Trio's. A send before any wait saves a pass through the scheduler (about 8 %
of a call's cost), and `ssl.SSLSocket` works the same way as a plain socket. Trio does the waiting.

Rules:
1. `close()` is synchronous and final: it does not wait for a TLS close notification. Tasks that wait on the socket are
   woken.
2. Every read waits, at least for the next pass of the scheduler, so that a fast sender cannot starve other tasks.
3. A cancelled wait loses no byte in either direction. The caller decides whether the exchange can continue.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from pg_trio.errors import UpstreamBroken
from pg_trio.transport.wire import Origin

# 64 KiB a read: Trio's default for a stream, more than most answers, and more than a TLS record's 16 KiB.
RECEIVE_BYTES = 64 * 1024

BROKE_OFF = "connection broke before the answer was whole"

# The errors of a non-blocking call that would have to wait.
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """An open connection. After an OSError (TLS errors included) it cannot be used."""

    __slots__ = ("__weakref__", "_descriptor", "_poll", "_socket", "idle_since", "is_closed", "origin")

    def __init__(self, sock: socket.socket, origin: Origin) -> None:
        self._socket = sock
        self._descriptor = sock.fileno()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self.origin = origin
        self.is_closed = False
        self.idle_since = 0.0

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Send without waiting; returns the number of bytes sent."""
        try:
            return self._socket.send(data)
        except _WOULD_BLOCK:
            return 0

    def receive_nowait(self) -> bytes | None:
        """The available bytes; `b""` if the peer has closed; None if there are none yet."""
        try:
            return self._socket.recv(RECEIVE_BYTES)
        except _WOULD_BLOCK:
            return None

    async def receive(self) -> bytes:
        """The next bytes, at least one; `b""` if the peer has closed. Always a checkpoint.

        Raises: UpstreamBroken; the connection cannot be used then.
        """
        # It waits first: right after a send no bytes have come yet, and a failed try costs 9 % of a call. TLS buffers
        # nothing that the socket does not show, because a read takes at least the whole rest of a record.
        if self.is_closed:
            # Trio would try to wait on the file descriptor -1.
            raise UpstreamBroken(BROKE_OFF)
        try:
            while True:
                await trio.lowlevel.wait_readable(self._descriptor)
                try:
                    return self._socket.recv(RECEIVE_BYTES)
                except _WOULD_BLOCK:
                    continue
        except (OSError, trio.ClosedResourceError) as exc:
            raise UpstreamBroken(BROKE_OFF) from exc

    async def wait_ready(self) -> None:
        """Return as soon as the socket can be written to or read from."""

        async def wait(wait_one: Callable[[socket.socket], Awaitable[None]]) -> None:
            # The socket was closed meanwhile: its next use raises, without an exception group.
            with suppress(trio.ClosedResourceError):
                await wait_one(self._socket)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, trio.lowlevel.wait_writable)
            nursery.start_soon(wait, trio.lowlevel.wait_readable)

    def is_reusable(self) -> bool:
        """Whether an idle connection can be used: still open, and no bytes from the peer meanwhile."""
        if self.is_closed:
            return False
        if not self._poll.poll(0):
            return True
        # Plain: readable means closed, or bytes that belong to no request. TLS: it may be a session ticket, which is no
        # data.
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
