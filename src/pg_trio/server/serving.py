"""One worker: Hypercorn's configuration, sockets, TLS and lifespan around the lane.

Plain-text connections are the lane's. TLS connections, and plain ones that turn out to speak HTTP/2 or ask for a
WebSocket, are Hypercorn's own protocol's, bytes read so far included.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config, Sockets
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.run import worker_serve
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGISendEvent, ConnectionState
from hypercorn.utils import repr_socket_addr, wrap_app

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.departures import departures_supported
from pg_trio.server.http1.lane import serve_lane
from pg_trio.server.http1.types import ASGIApplication, Mount

logger = logging.getLogger("pg_trio.server")


class ReplayStream:
    """A socket's stream whose first bytes were read already. What Hypercorn's TCPServer uses of a stream, no more."""

    def __init__(self, stream: trio.SocketStream, data: bytes) -> None:
        self._stream = stream
        self._data = data
        self.socket = stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The bytes read already, then the stream's."""
        if self._data:
            data, self._data = self._data, b""
            await trio.lowlevel.checkpoint()
            return data
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class HypercornProtocol:
    """Hypercorn's protocol for single connections: those of TLS listeners, and those handed over by the lane."""

    def __init__(self, app: AppWrapper, config: Config, settings: ServerSettings, state: dict[str, Any]) -> None:
        self._app = app
        self._config = config
        self._write_timeout_ms = settings.write_timeout_ms
        self._state = state
        self._context = WorkerContext(None)

    async def serve_stream(self, stream: Any) -> None:
        """Serve one connection to its end. Raises nothing but cancellation from outside."""
        sock = getattr(stream, "transport_stream", stream).socket
        try:
            # Hypercorn shields its writes without a limit: only the kernel can drop a client that stops reading.
            if sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._write_timeout_ms)
            await TCPServer(self._app, self._config, self._context, ConnectionState(self._state.copy()), stream)
        except Exception:
            # What a client sends can make its WebSocket state raise: stock Hypercorn ends with it.
            logger.warning("error in a connection of Hypercorn's", exc_info=True)
        finally:
            # Cancelled, Hypercorn leaves it open: it waits for a checkpoint first.
            await trio.aclose_forcefully(stream)

    async def take_over(self, sock: socket.socket, data: bytes) -> None:
        """Serve a plain connection from which `data` was read."""
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        await self.serve_stream(ReplayStream(stream, data))

    async def drain(self) -> None:
        """Close idle connections, and let no busy one live on."""
        await self._context.terminated.set()


class NotedLifespan(Lifespan):
    """Hypercorn's lifespan, which lets nobody wait past a failed start: its own wait ends either way."""

    has_started = False

    async def asgi_send(self, message: ASGISendEvent) -> None:
        self.has_started = self.has_started or message["type"] == "lifespan.startup.complete"
        await super().asgi_send(message)

    async def wait_for_startup(self) -> None:
        await super().wait_for_startup()
        if self.supported and not self.has_started:
            # The failure is on its way out of the lifespan's task, and cancels us.
            await trio.sleep_forever()


async def serve_app(  # noqa: PLR0913  # what a server needs, each by name
    app: ASGIApplication,
    config: Config,
    settings: ServerSettings,
    *,
    shutdown: trio.Event,
    sockets: Sockets | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown`, then drain (see serve_lane). Tells the addresses (`http://host:port`) once it listens.

    `sockets` are listening already, else they are made from `config`. The lifespan starts before the first
    connection is accepted and ends after the last one; once it has started, `ready` is awaited where it is given. A
    lifespan that fails is Hypercorn's LifespanFailureError.
    Without epoll stock Hypercorn serves everything.
    """
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")  # type: ignore[arg-type]  # ASGI, in other words
    sockets = sockets or listen(config)
    if not departures_supported():
        if ready is not None:
            await ready()
        await worker_serve(wrapped, config, sockets=sockets, shutdown_trigger=shutdown.wait, task_status=task_status)
        return
    state: dict[str, Any] = {}
    lifespan = NotedLifespan(wrapped, config, state)
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        if ready is not None:
            await ready()
        protocol = HypercornProtocol(wrapped, config, settings, state)
        async with trio.open_nursery() as servers:
            servers.start_soon(_serve_tls, protocol, config, settings, sockets, shutdown)
            await servers.start(
                partial(
                    serve_lane,
                    Mount(app, state, config.root_path),
                    [_listener(sock) for sock in sockets.insecure_sockets],
                    settings,
                    hand_over=protocol.take_over,
                    shutdown=shutdown,
                )
            )
            task_status.started(_addresses(sockets))
            await shutdown.wait()
            await protocol.drain()
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel(reason="the lifespan ended")


def listen(config: Config) -> Sockets:
    """The sockets of `config`'s binds, listening. QUIC is not served."""
    sockets = config.create_sockets()
    for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
        sock.listen(config.backlog)
    return sockets


async def _serve_tls(
    protocol: HypercornProtocol, config: Config, settings: ServerSettings, sockets: Sockets, shutdown: trio.Event
) -> None:
    context = config.create_ssl_context()
    if not sockets.secure_sockets or context is None:
        return
    listeners = [trio.SSLListener(_listener(sock), context, https_compatible=True) for sock in sockets.secure_sockets]
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(trio.serve_listeners, protocol.serve_stream, listeners, handler_nursery=connections)
            )
            await shutdown.wait()
            accepting.cancel_scope.cancel(reason="draining")
        connections.cancel_scope.deadline = trio.current_time() + settings.drain_ms / 1000


def _listener(sock: socket.socket) -> trio.SocketListener:
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _addresses(sockets: Sockets) -> list[str]:
    return [
        f"{scheme}://{repr_socket_addr(sock.family, sock.getsockname())}"
        for scheme, group in (("https", sockets.secure_sockets), ("http", sockets.insecure_sockets))
        for sock in group
    ]
