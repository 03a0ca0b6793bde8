"""Accepting connections: Trio's serve_listeners, but with a limit, and quiet when there is no room.

The lane's are accepted several at a time. One a pass of the event loop, as Trio accepts, lets a flood of clients who
open a connection for each request wait with the kernel, for seconds: nobody who stands there can be told that it is too
much, and no deadline counts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from pg_trio.server.http1.open_connections import OpenConnections

# What accept(2) says when the process or the system has no room; the same four as Trio's.
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
# What it says of a client that is gone already; Linux passes on what the network said of it, too.
_GONE = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EPROTO,
    }
)
# In one pass, four times what may start in one, or no line would ever form here. nginx takes one, or all there are.
MOST_AT_ONCE = 128
# 16 KiB, as Trio's streams have it: what a slow reader is behind waits here, not in the kernel.
_UNSENT_BYTES = 16 * 1024


class Host(Protocol):
    """Whose connections are accepted."""

    def turn_away(self, sock: socket.socket) -> bool:
        """Whether it wants no more of it: then the socket is closed."""

    async def serve_socket(self, sock: socket.socket) -> None:
        """Serve the connection, which it owns."""


async def accept_sockets(
    listening: socket.socket, connections: OpenConnections, host: Host, nursery: trio.Nursery
) -> None:
    """Let `host` serve each connection in `nursery`, until cancelled. Closes `listening`."""
    # Trio's socket and stream wrappers cost more than the system calls; Trio's waiting does not need them.
    listening.setblocking(False)
    try:
        while True:
            await trio.lowlevel.wait_readable(listening)
            why = _accept_some(listening, connections, host, nursery)
            if why:
                await connections.make_room(why)
    finally:
        trio.lowlevel.notify_closing(listening)
        listening.close()


def _accept_some(listening: socket.socket, connections: OpenConnections, host: Host, nursery: trio.Nursery) -> str:
    """Accept who is there, but not too many in one pass. Why there is no room for the first, or ""."""
    for number in range(MOST_AT_ONCE):
        if connections.full:
            # Nobody is closed for a client that never comes: whether there is a second is seen in the next pass.
            return "" if number else f"{connections.limit} connections are the limit"
        try:
            sock, _address = listening.accept()
        except BlockingIOError:
            return ""
        except OSError as error:
            if error.errno in _NO_ROOM:
                return f"accepting failed with {os.strerror(error.errno)!r}"
            if error.errno not in _GONE:
                raise
        else:
            sock.setblocking(False)
            if not host.turn_away(sock):
                _tune(sock)
                connections.serve_soon(host.serve_socket, sock, nursery)
    return ""


def _tune(sock: socket.socket) -> None:
    """What Trio's streams set."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


async def accept_connections(
    listener: trio.abc.Listener[Any],
    connections: OpenConnections,
    serve: Callable[[Any], Awaitable[object]],
    nursery: trio.Nursery,
) -> None:
    """The same for any listener of Trio's, one connection at a time."""
    inner: Any = getattr(listener, "transport_listener", listener)
    async with listener:
        while True:
            if connections.full:
                # Nobody is closed for a client that never comes.
                await trio.lowlevel.wait_readable(inner.socket)
                while connections.full:
                    await connections.make_room(f"{connections.limit} connections are the limit")
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                await connections.make_room(f"accepting failed with {os.strerror(error.errno)!r}")
            else:
                connections.serve_soon(serve, stream, nursery)
