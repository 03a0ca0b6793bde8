"""Contains errors in Hypercorn's protocol code: an error ends its own connection only.

Hypercorn serves all connections in one nursery, and an exception of one connection ends all of them. Bytes after a
WebSocket's handshake are enough: the server ends with exit status 0. Rules:

1. An error ends its connection, with one line in the log (a limited number of them). The traceback is logged at DEBUG.
2. An HTTP/2 client that resets streams too often gets GOAWAY, and its running work is cancelled.
3. `pg-trio serve` uses this for the connections that it leaves to Hypercorn. Stock Hypercorn has no hook for this:
   `contain_hypercorn` puts it around each of its connections.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import trio
from hypercorn.trio.tcp_server import TCPServer

from pg_trio.domain.socket_link import CARE
from pg_trio.server.error_groups import errors_told
from pg_trio.server.http1.line_budget import LineBudget
from pg_trio.server.http2_resets import RESETS_AT_ONCE, ResetLimit

logger = logging.getLogger("pg_trio.server")

# As for the lane's refusals; the kernel's printk_ratelimit is 10 in 5 s too.
ERROR_LINES, ERROR_WINDOW_S = 10, 5.0
# An error's text may quote the client's bytes.
SHOWN_CHARS = 120
# The time for a client to read its GOAWAY. Closing with unread bytes resets the connection, and may destroy it.
LINGER_S = 1.0

# RFC 6455 section 5.5.2: a whole, empty ping, unmasked.
_WEBSOCKET_PING = b"\x89\x00"

# The original, before it is replaced.
_run = TCPServer.run


class Containment:
    """Runs single connections of Hypercorn's; all of a process share its lines in the log."""

    def __init__(self) -> None:
        self._errors = LineBudget(ERROR_LINES, ERROR_WINDOW_S)
        self._resets = LineBudget(ERROR_LINES, ERROR_WINDOW_S)

    async def run(self, server: TCPServer, read_already: bytes = b"") -> None:
        """Serve the connection of `server` to its end, `read_already` being its first bytes."""
        guarded = GuardedStream(server.stream, server.context.terminated.wait, read_already)
        server.state[CARE] = guarded
        server.stream = guarded  # type: ignore[assignment]  # has the parts of a stream that Hypercorn uses
        with self.errors_told():
            with guarded.scope:
                await _run(server)
            if guarded.is_over:
                self._tell_resets()
                await guarded.part()

    def errors_told(self, are_hypercorns: Callable[[], bool] = lambda: True) -> AbstractContextManager[None]:
        """Log Hypercorn's errors with a line and suppress them; cancellation and other errors pass."""
        return errors_told(self._tell, are_hypercorns)

    def _tell(self, error: Exception) -> None:
        logger.debug("error in a connection of Hypercorn's", exc_info=error)
        leaf: BaseException = error
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        silent = self._errors.take(trio.current_time())
        if silent is not None:
            said = f"{type(leaf).__name__}: {str(leaf)[:SHOWN_CHARS]!r}"
            logger.warning("a connection ended by an error in Hypercorn's protocol, %s%s", said, _more(silent))

    def _tell_resets(self) -> None:
        silent = self._resets.take(trio.current_time())
        if silent is not None:
            text = "a connection of HTTP/2 ended: more than %d streams reset at once%s"
            logger.warning(text, RESETS_AT_ONCE, _more(silent))


def _more(silent: int) -> str:
    return f" (and {silent} more before it)" if silent else ""


class GuardedStream:
    """A stream for Hypercorn that limits HTTP/2 resets: beyond the limit, `scope` is cancelled.

    For WebSockets it is the application's socket_link.CareOfConnection.
    """

    def __init__(self, stream: Any, wait_draining: Callable[[], Awaitable[None]], read_already: bytes = b"") -> None:
        self.heard_at = trio.current_time()
        self.wait_draining = wait_draining
        self.scope = trio.CancelScope()
        self.is_over = False
        self._stream = stream
        self._read_already = read_already
        self._limit = ResetLimit()
        # GOAWAY is written between two of Hypercorn's writes, each of which is one or more whole frames.
        self._sending = trio.Lock()

    def __getattr__(self, name: str) -> Any:
        # The rest: Hypercorn takes what has no `do_handshake` for a plain stream.
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The bytes read already, then the stream's."""
        if self._read_already:
            data, self._read_already = self._read_already, b""
            await trio.lowlevel.checkpoint()
        else:
            data = bytes(await self._stream.receive_some(max_bytes))
        self.heard_at = trio.current_time()
        if not self._limit.feed(data, trio.current_time()):
            self.is_over = True
            await self._send_goaway()
            self.scope.cancel(reason="the client resets too many streams")
            await trio.lowlevel.checkpoint()
        return data

    async def send_all(self, data: bytes) -> None:
        """The stream's own."""
        async with self._sending:
            await self._stream.send_all(data)

    async def ping(self) -> None:
        """Send a WebSocket's ping: see CareOfConnection."""
        await self.send_all(_WEBSOCKET_PING)

    def abort(self) -> None:
        """End the connection: see CareOfConnection."""
        self.scope.cancel(reason="the client is gone")
        # Cancellation does not reach Hypercorn's shielded writes; closing the socket does.
        getattr(self._stream, "transport_stream", self._stream).socket.close()

    async def _send_goaway(self) -> None:
        with trio.move_on_after(LINGER_S) as limit:
            try:
                await self.send_all(self._limit.goaway())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        if limit.cancelled_caught:
            # Hypercorn is in a write that the client does not read, and shields it from cancellation.
            await trio.aclose_forcefully(self._stream)

    async def part(self) -> None:
        """Close, after a moment for the client to read its GOAWAY."""
        try:
            with trio.move_on_after(LINGER_S):
                if hasattr(self._stream, "send_eof"):
                    await self._stream.send_eof()
                while await self._stream.receive_some():
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(self._stream)


def contain_hypercorn() -> None:
    """Contain all connections of stock Hypercorn in this process from now on (rules 1 and 2)."""
    containment = Containment()

    async def run(server: TCPServer) -> None:
        await containment.run(server)

    TCPServer.run = run  # type: ignore[method-assign, assignment]
