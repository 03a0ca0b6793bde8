"""Accepting connections: Trio's serve_listeners, but with a limit, and quiet when there is no room.

The lane's are accepted one a pass of the event loop, as Trio accepts, so that workers share those who come together;
but many where the kernel's line does not end, or there is one in here already. A flood of clients that open a
connection for each request would wait there for seconds, without a refusal and without a deadline.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
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
# So many passes with one each while others wait, then twice as many with each; a pass that leaves the kernel's queue
# empty takes back EASING of them. Of 32 clients that come together two workers have a part each; when one took all that
# were there, it often had all 32. nginx takes one, or all.
PATIENT_PASSES, EASING = 64, 8
# Four times what may start in one pass, or no line would ever form in here.
MOST_AT_ONCE = 128
# 16 KiB, as Trio's streams have it: what a slow reader is behind waits here, not in the kernel.
_UNSENT_BYTES = 16 * 1024


class Host(Protocol):
    """Whose connections are accepted."""

    @property
    def has_queue(self) -> bool:
        """Whether requests wait for admission."""

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
    busy_passes = 0
    waiting = select.poll()
    waiting.register(listening, select.POLLIN)
    try:
        while True:
            await trio.lowlevel.wait_readable(listening)
            if connections.full:
                # No connection is closed for a client that never comes.
                await connections.make_room(f"{connections.limit} connections are the limit")
                continue
            doublings = max(busy_passes - PATIENT_PASSES, 0)
            most = MOST_AT_ONCE if host.has_queue else 1 << doublings
            try:
                _accept_some(most, listening, connections, host, nursery)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                await connections.make_room(f"accepting failed with {os.strerror(error.errno)!r}")
            if not waiting.poll(0):
                busy_passes = max(busy_passes - EASING, 0)
            elif most < MOST_AT_ONCE:
                busy_passes += 1
    finally:
        trio.lowlevel.notify_closing(listening)
        listening.close()


def accept_rest(listening: socket.socket, connections: OpenConnections, host: Host, nursery: trio.Nursery) -> None:
    """Accept all clients in the kernel's queue, if there is room, because closing the socket would reset them."""
    with contextlib.suppress(OSError):
        _accept_some(connections.limit, listening, connections, host, nursery)


def _accept_some(
    most: int, listening: socket.socket, connections: OpenConnections, host: Host, nursery: trio.Nursery
) -> None:
    """Accept who is there, at most so many. Raises OSError."""
    for _ in range(most):
        if connections.full:
            return
        try:
            sock, _address = listening.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _GONE:
                continue
            raise
        sock.setblocking(False)
        if not host.turn_away(sock):
            _tune(sock)
            connections.serve_soon(host.serve_socket, sock, nursery)


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
                # No connection is closed for a client that never comes.
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
