"""One worker: Hypercorn's configuration, sockets, TLS and lifespan around the lane.

The lane serves plain-text connections. Hypercorn's protocol serves TLS connections, and plain ones that speak HTTP/2 or
request a WebSocket; it gets the bytes read so far.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config, Sockets
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.run import worker_serve
from hypercorn.typing import ASGISendEvent
from hypercorn.utils import repr_socket_addr, wrap_app

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.accepting import accept_connections
from pg_trio.server.http1.departures import departures_supported
from pg_trio.server.http1.lane import PARTING_S, serve_lane
from pg_trio.server.http1.open_connections import OpenConnections
from pg_trio.server.http1.types import CONNECTIONS, ASGIApplication, Mount
from pg_trio.server.hypercorn_protocol import HypercornProtocol


class NotedLifespan(Lifespan):
    """Hypercorn's lifespan, with a fix: a failed start must not look like a successful one to the waiting server."""

    has_started = False

    async def asgi_send(self, message: ASGISendEvent) -> None:
        self.has_started = self.has_started or message["type"] == "lifespan.startup.complete"
        await super().asgi_send(message)

    async def wait_for_startup(self) -> None:
        await super().wait_for_startup()
        if self.supported and not self.has_started:
            # The failure is leaving the lifespan's task, and cancels this task.
            await trio.sleep_forever()


async def serve_app(  # noqa: PLR0913  # what a server needs, each by name
    app: ASGIApplication,
    config: Config,
    settings: ServerSettings,
    *,
    shutdown: trio.Event,
    leaving: trio.Event | None = None,
    sockets: Sockets | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown`, then drain (see serve_lane). Reports the addresses (`http://host:port`) once it listens.

    `sockets` are listening already; without them, sockets are made from `config`. The lifespan starts before the first
    connection is accepted and ends after the last one. Once it has started, `ready` (if given) is awaited. A failing
    lifespan raises Hypercorn's LifespanFailureError. `leaving` may be set some time before `shutdown`, if no other
    process takes over: the application is told (types.Door), answers close their connections, and at the shutdown the
    clients in the kernel's queue are served, too. Without epoll stock Hypercorn serves everything.
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
        connections = state[CONNECTIONS] = OpenConnections(settings)
        protocol = HypercornProtocol(wrapped, config, settings, state, connections)
        async with trio.open_nursery() as clocks:
            clocks.start_soon(connections.keep_limits)
            async with trio.open_nursery() as servers:
                servers.start_soon(_serve_tls, protocol, connections, config, settings, sockets, shutdown)
                await servers.start(
                    partial(
                        serve_lane,
                        Mount(app, state, config.root_path),
                        sockets.insecure_sockets,
                        settings,
                        connections,
                        hand_over=protocol.take_over,
                        shutdown=shutdown,
                        leaving=leaving,
                    )
                )
                task_status.started(_addresses(sockets))
                await shutdown.wait()
                clocks.start_soon(connections.cut_after, settings.drain_ms / 1000)
                await protocol.drain()
            clocks.cancel_scope.cancel(reason="drained")
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel(reason="the lifespan ended")


def listen(config: Config) -> Sockets:
    """Listening sockets for `config`'s binds. QUIC is not served."""
    sockets = config.create_sockets()
    for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
        sock.listen(config.backlog)
    return sockets


async def _serve_tls(
    protocol: HypercornProtocol,
    connections: OpenConnections,
    config: Config,
    settings: ServerSettings,
    sockets: Sockets,
    shutdown: trio.Event,
) -> None:
    context = config.create_ssl_context()
    if not sockets.secure_sockets or context is None:
        return
    async with trio.open_nursery() as serving:
        async with trio.open_nursery() as accepting:
            for sock in sockets.secure_sockets:
                listener = trio.SSLListener(_listener(sock), context, https_compatible=True)
                accepting.start_soon(accept_connections, listener, connections, protocol.serve_stream, serving)
            await shutdown.wait()
            accepting.cancel_scope.cancel(reason="draining")
        serving.cancel_scope.deadline = trio.current_time() + settings.drain_ms / 1000 + PARTING_S


def _listener(sock: socket.socket) -> trio.SocketListener:
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _addresses(sockets: Sockets) -> list[str]:
    return [
        f"{scheme}://{repr_socket_addr(sock.family, sock.getsockname())}"
        for scheme, group in (("https", sockets.secure_sockets), ("http", sockets.insecure_sockets))
        for sock in group
    ]
