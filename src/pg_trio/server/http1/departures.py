"""Notices clients that leave: one epoll set for all connections, for EPOLLRDHUP only.

A connection is registered once, when it is accepted. After that it costs nothing until its client closes or resets it.
A reader task per connection, the usual way, costs two task switches and an epoll_ctl a request (docs/decisions/003),
and sees the end of the stream only behind the unread bytes before it: a pipelined request, a body that the application
has not asked for. nginx looks for the same event for the same reason (`ngx_http_upstream_check_broken_connection`).

A client that shuts down only its sending side looks the same and is taken for gone, as in nginx's proxy by default.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Self

import trio

# EPOLLERR and EPOLLHUP (a reset) come without being asked for.
_EVENTS = getattr(select, "EPOLLRDHUP", 0) | getattr(select, "EPOLLET", 0)


def departures_supported() -> bool:
    """Whether this system has epoll. Without it, stock Hypercorn serves all connections."""
    return hasattr(select, "epoll")


def has_arrived(sock: socket.socket) -> bool:
    """Whether the kernel has unread bytes of the peer's, or its end."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except OSError:
        return False
    return True


class Departures:
    """A set of sockets; `watch` calls a socket's function once its peer is gone. Closed when its `with` block ends."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._on_left: dict[int, Callable[[], None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._epoll.close()

    def add(self, sock: socket.socket, on_left: Callable[[], None]) -> None:
        """Call `on_left` when the peer of `sock` leaves. If it has left already, `watch` calls it at once."""
        self._epoll.register(sock, _EVENTS)
        self._on_left[sock.fileno()] = on_left

    def discard(self, sock: socket.socket) -> None:
        """Forget `sock`. Call this before it is closed, because its number may be used again."""
        if self._on_left.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    async def watch(self) -> None:
        """Call the functions of sockets whose peers leave, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for number, _ in self._epoll.poll(0):
                on_left = self._on_left.get(number)
                if on_left is not None:
                    on_left()
