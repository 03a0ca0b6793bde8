"""Accepting connections: Trio's serve_listeners, but with a limit, and quiet when there is no room."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from pg_trio.server.http1.open_connections import OpenConnections

# What accept(2) says when the process or the system has no room; the same four as Trio's.
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


async def accept_connections(
    listener: trio.abc.Listener[Any],
    connections: OpenConnections,
    serve: Callable[[Any], Awaitable[object]],
    nursery: trio.Nursery,
) -> None:
    """Run `serve` in `nursery` for each connection, which it owns, until cancelled. Closes the listener."""
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
