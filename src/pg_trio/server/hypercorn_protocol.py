"""Serves single connections with Hypercorn's protocol (TLS, HTTP/2, WebSocket), and adds the limits that it lacks.

Hypercorn only times out a connection without a request. An HTTP/2 client that grants no window keeps a task for each of
its streams for ever, and so does one that leaves with such streams open. So a connection has these limits:

1. A request waits for its client to read the answer: closed when nothing of the answer was sent for `write_timeout_ms`.
   In HTTP/2 only DATA frames count, so that PINGs do not prolong it.
2. A request works, or waits for its body: no limit here. The application has its deadline and its body's limit.
3. No request: closed when no byte was received or sent for `idle_timeout_ms`. A WebSocket is not a request, so a quiet
   one must be pinged by one side: our application does (web/websocket/), over HTTP/1.1.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import wrap_app

from pg_trio.config.settings import ServerSettings
from pg_trio.domain.server_link import EXTENSION, ServerLink
from pg_trio.server.containment import Containment
from pg_trio.server.http1.open_connections import OpenConnections
from pg_trio.server.http1.types import ASGIApplication, Message, Receive, Scope, Send

_HTTP2_START = b"PRI * HTTP/2.0"
# RFC 9113 section 4.1: length (3 bytes), then the type; section 6.1: 0 is DATA.
_TYPE_AT, _DATA = 3, 0


def wrap(app: ASGIApplication) -> AppWrapper:
    """The application as Hypercorn calls it."""
    # The limit is for WSGI.
    return wrap_app(app, 0, "asgi")  # type: ignore[arg-type]  # ASGI, in other words


class HypercornProtocol:
    """Hypercorn's protocol for single connections: from TLS listeners, and from the lane."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        settings: ServerSettings,
        state: dict[str, Any],
        connections: OpenConnections,
    ) -> None:
        self._app = app
        self._config = config
        self._settings = settings
        self._state = state
        self._connections = connections
        self._context = WorkerContext(None)
        self._containment = Containment()

    async def serve_stream(self, stream: Any, read_already: bytes = b"") -> None:
        """Serve one connection to its end. Raises only cancellation from outside."""
        sock = getattr(stream, "transport_stream", stream).socket
        watched = WatchedConnection(sock, self._app, self._settings, self._containment)
        self._connections.add(watched)
        try:
            # Hypercorn shields its writes without a limit, so the kernel drops a client that stops reading, even if no
            # request waits for it.
            if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._settings.write_timeout_ms)
            state = ConnectionState(self._state.copy())
            seen: Any = WatchedStream(stream, watched)
            if read_already:
                watched.note_received(read_already)
            with watched.scope:
                server = TCPServer(watched.run_app, self._config, self._context, state, seen)
                await self._containment.run(server, read_already)
        finally:
            self._connections.discard(watched)
            # When cancelled, Hypercorn leaves the stream open, because it waits for a checkpoint first.
            await trio.aclose_forcefully(stream)

    async def take_over(self, sock: socket.socket, data: bytes) -> None:
        """Serve a plain connection from which `data` was read."""
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        await self.serve_stream(stream, data)

    async def drain(self) -> None:
        """Close idle connections, and close busy ones after their requests."""
        await self._context.terminated.set()


class WatchedConnection:
    """One connection's requests and its limits. `run_app` runs the application for it; cancelling `scope` ends it."""

    def __init__(
        self, sock: trio.socket.SocketType, app: AppWrapper, settings: ServerSettings, containment: Containment
    ) -> None:
        self.scope = trio.CancelScope()
        self._socket = sock
        self._app = app
        self._containment = containment
        self._idle_s = settings.idle_timeout_ms / 1000
        self._write_s = settings.write_timeout_ms / 1000
        # The links of the requests under way.
        self._running: list[ServerLink] = []
        self._sends = 0
        self._is_http2 = False
        self.deadline = trio.current_time() + self._idle_s

    # ── what the application does ────────────────────────────────────────────────────────────────────────────────────

    async def run_app(
        self, scope: Any, receive: Any, send: Any, sync_spawn: Callable[..., Any], call_soon: Callable[..., Any]
    ) -> None:
        """Run the application for one scope; a request's has a link, as in the lane.

        An exception from Hypercorn's `send` is not the application's error. It is logged with a line and suppressed
        here.
        """
        broken = False

        async def guarded_send(message: Message) -> None:
            nonlocal broken
            try:
                await send(message)
            except Exception:
                broken = True
                raise

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            await self._app(scope, receive, send, sync_spawn, call_soon)  # type: ignore[arg-type]  # ASGI, in other words

        with self._containment.errors_told(lambda: broken):
            if scope["type"] == "http":
                await self._run_request(run, scope, receive, guarded_send)
            else:
                await run(scope, receive, guarded_send)

    async def _run_request(self, run: Callable[..., Any], scope: Scope, receive: Receive, send: Send) -> None:
        link = ServerLink(trio.current_time())
        extensions = scope.get("extensions") or {}
        scope["extensions"] = {**extensions, EXTENSION: link}
        self._running.append(link)
        if not self._sends:
            self.deadline = math.inf

        async def watched_send(message: Message) -> None:
            self._begin_send()
            try:
                await send(message)
            finally:
                self._end_send()

        try:
            await run(scope, receive, watched_send)
        finally:
            self._running.remove(link)
            if not self._running:
                self.deadline = trio.current_time() + self._idle_s

    def _begin_send(self) -> None:
        self._sends += 1
        if self._sends == 1:
            self.deadline = trio.current_time() + self._write_s

    def _end_send(self) -> None:
        self._sends -= 1
        if not self._sends:
            self.deadline = math.inf

    # ── what the stream does ─────────────────────────────────────────────────────────────────────────────────────────

    def note_received(self, data: bytes) -> None:
        """Note bytes from the client."""
        self._is_http2 = self._is_http2 or data.startswith(_HTTP2_START)
        if not self._running:
            self.deadline = trio.current_time() + self._idle_s

    def note_sent(self, data: bytes) -> None:
        """Note a write; Hypercorn writes one or more whole frames at a time."""
        if not self._running:
            self.deadline = trio.current_time() + self._idle_s
        elif self._sends and (not self._is_http2 or data[_TYPE_AT : _TYPE_AT + 1] == bytes([_DATA])):
            self.deadline = trio.current_time() + self._write_s

    # ── what others tell it: see OpenConnection ──────────────────────────────────────────────────────────────────────

    @property
    def waits(self) -> bool:
        """Whether no request is running."""
        return not self._running

    def note_timeout(self) -> None:
        for link in self._running:
            link.cut = "write limit"
        self._end("a limit of the connection passed")

    def note_crowded(self) -> None:
        self._end("too many connections")

    def note_draining(self) -> None:
        """Nothing to do: HypercornProtocol.drain tells Hypercorn."""

    def note_cut(self) -> None:
        for link in self._running:
            link.cut = "drain"
        self._end("the drain's time is over")

    def _end(self, reason: str) -> None:
        self.deadline = math.inf
        self.scope.cancel(reason=reason)
        # Cancellation does not reach Hypercorn's shielded writes; closing the socket does.
        self._socket.close()


class WatchedStream:
    """A stream that reports its bytes to its connection."""

    def __init__(self, stream: Any, watched: WatchedConnection) -> None:
        self._stream = stream
        self._watched = watched

    def __getattr__(self, name: str) -> Any:
        # The rest: Hypercorn takes what has no `do_handshake` for a plain stream.
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The stream's own."""
        data = bytes(await self._stream.receive_some(max_bytes))
        self._watched.note_received(data)
        return data

    async def send_all(self, data: bytes) -> None:
        """The stream's own; reports the bytes once the kernel has all of them."""
        await self._stream.send_all(data)
        self._watched.note_sent(data)
