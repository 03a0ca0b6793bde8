"""Messages between our server and the application about one WebSocket, for which ASGI has no fields.

The lane puts a `SocketLink` into `scope["extensions"]` under SOCKET_EXTENSION. Other servers have none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from pg_trio.domain.server_link import CutReason

SOCKET_EXTENSION = "pg_trio.websocket"

# Our own message for ASGI's `send`: `texts` (a list of UTF-8 bytes), each a text message of its own, in one write. Only
# a server that gives a link takes it.
SEND_TEXTS = "pg_trio.websocket.texts"
# Our own message from ASGI's `receive`: the client's message was not read. `code` is the close code for it: 1009 for a
# message over the limit, 1013 if there was no room. The application closes; nothing more is received.
REFUSED_MESSAGE = "pg_trio.websocket.refused"
# The key in a connection's state of its CareOfConnection, where Hypercorn serves it.
CARE = "pg_trio.connection"

# What a socket may hold of frames that its client has not taken: as much as a pipe (pipe(7)).
UNSENT_BYTES = 64 * 1024


class CareOfConnection(Protocol):
    """What Hypercorn's WebSockets lack: pings whose answers are seen, and word of the drain.

    Only for HTTP/1.1: a ping is written between two of Hypercorn's writes, each of which is a whole frame.
    """

    # Trio's clock when the last byte came from the client.
    heard_at: float

    async def ping(self) -> None:
        """Send a ping. Raises trio.BrokenResourceError, or trio.ClosedResourceError, if the client is gone."""

    def abort(self) -> None:
        """The client is gone: end the connection."""

    async def wait_draining(self) -> None:
        """Return when the server begins to drain."""


class SocketLink:
    """One WebSocket's link. `head_at` is Trio's clock when the request's head was read.

    With a link, the server keeps unsent messages itself: `send` waits only while the client is UNSENT_BYTES behind, and
    a cancelled `send` leaves no half of a message. It pings its client, and cancels the application when the client is
    gone.
    """

    # ── what the server says ─────────────────────────────────────────────────────────────────────────────────────────

    # Whether the server drains.
    is_draining = False
    # Why the server ends the socket; set before the cancellation. None if the client left.
    cut: CutReason | None = None

    # ── what the application says ────────────────────────────────────────────────────────────────────────────────────

    # The longest message in bytes. None: the server's own limit.
    max_message_bytes: int | None = None
    # Called when the server begins to drain.
    on_drain: Callable[[], None] | None = None
    # Awaited once in the course of each large message, with the bytes that it may come to. False: there is no room.
    take_room: Callable[[int], Awaitable[bool]] | None = None

    def __init__(self, head_at: float) -> None:
        self.head_at = head_at
