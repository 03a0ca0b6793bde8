"""Tells sockets when the kernel has room again: one epoll set and one task for all sockets of a worker.

A task for each socket would take some kilobytes, and most sockets never have unsent bytes. A socket is registered only
while it has some.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

import trio


class Flusher:
    """A set of sockets with unsent bytes. Closed when `watch` ends."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._on_room: dict[int, Callable[[], None]] = {}

    def add(self, sock: socket.socket, on_room: Callable[[], None]) -> None:
        """Call `on_room`, which must not raise, whenever the kernel has room, until `discard`."""
        if sock.fileno() not in self._on_room:
            self._epoll.register(sock, select.EPOLLOUT)
        self._on_room[sock.fileno()] = on_room

    def discard(self, sock: socket.socket) -> None:
        """Forget `sock`. Call this before it is closed, because its number may be used again."""
        if self._on_room.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    async def watch(self) -> None:
        """Call the functions of sockets that have room, until cancelled."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for number, _ in self._epoll.poll(0):
                    on_room = self._on_room.get(number)
                    if on_room is not None:
                        on_room()
        finally:
            self._epoll.close()
