"""Accepting connections: Trio's serve_listeners, but with a limit, and quiet when there is no room.

The lane accepts one connection in each pass of the event loop, as Trio does, so that workers share clients that come
together. It accepts many at once if the kernel's queue stays full, or if requests wait for admission. Otherwise a flood
of clients with a connection for each request would wait in the kernel for seconds, without a refusal or a deadline.
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

# Errors of accept(2) for lack of room in the process or the system; the same four as Trio's.
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
# Its errors for a client that is gone already. Linux also passes on network errors.
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
# While others wait, so many passes accept one each; then each pass accepts twice as many as the last. A pass that
# empties the kernel's queue takes back EASING of them. So two workers share 32 clients that come together; one that
# accepted all clients in the queue often had all 32. nginx accepts one, or all.
PATIENT_PASSES, EASING = 64, 8
# Four times what may start in one pass; with less, requests would never wait in here.
MOST_AT_ONCE = 128
# 16 KiB, as in Trio's streams: bytes for a slow reader wait in this process and not in the kernel.
_UNSENT_BYTES = 16 * 1024


class Host(Protocol):
    """The owner of the accepted connections."""

    @property
    def has_queue(self) -> bool:
        """Whether requests wait for admission."""

    def turn_away(self, sock: socket.socket) -> bool:
        """Whether it refuses the connection: then the socket is closed."""

    async def serve_socket(self, sock: socket.socket) -> None:
        """Serve the connection; it owns the connection."""


async def accept_sockets(
    listening: socket.socket, connections: OpenConnections, host: Host, nursery: trio.Nursery
) -> None:
    """Let `host` serve each connection in `nursery`, until cancelled. Closes `listening`."""
    # Trio's socket and stream wrappers cost more than the system calls; Trio's waiting does not need them.
    listening.setblocking(False)
    busy_passes = 0
    waiting = select.poll()
    waiting.register(listening, select.POLLIN)
    defers = False
    _defer(listening, defers)
    try:
        while True:
            await trio.lowlevel.wait_readable(listening)
            if connections.full:
                # No connection is closed for a client that never comes.
                await connections.make_room(f"{connections.limit} connections are the limit")
                continue
            doublings, has_queue = max(busy_passes - PATIENT_PASSES, 0), host.has_queue
            if has_queue is not defers:
                defers = has_queue
                _defer(listening, defers)
            most = MOST_AT_ONCE if has_queue else 1 << doublings
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
    """Accept the clients in the queue, at most so many. Raises OSError."""
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
        if not host.turn_away(sock):
            sock.setblocking(False)
            _tune(sock)
            connections.serve_soon(host.serve_socket, sock, nursery)


def _defer(listening: socket.socket, defers: bool) -> None:
    """Whether the kernel keeps a new client until it has sent something, or for a second.

    While requests wait, this saves a connection object for each client whose request is not here yet and would be
    refused. Apache does it always (`AcceptFilter http data`). Who connects ahead of a request is accepted later.
    """
    with contextlib.suppress(OSError, AttributeError):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(defers))


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
