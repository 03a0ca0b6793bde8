"""One worker: sockets, TLS and lifespan around the lane.

The lane serves plain-text connections. Hypercorn's protocol serves TLS connections, and plain ones that speak HTTP/2 or
request a WebSocket that is none of ours; it gets the bytes read so far. It is loaded when the first one comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

import trio

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.accepting import accept_connections
from pg_trio.server.http1.departures import departures_supported
from pg_trio.server.http1.lane import PARTING_S, serve_lane
from pg_trio.server.http1.open_connections import OpenConnections
from pg_trio.server.http1.types import CONNECTIONS, ASGIApplication, Mount
from pg_trio.server.late_protocol import LateProtocol
from pg_trio.server.lifespan import Lifespan
from pg_trio.server.listening import BACKLOG, Listening, show_address

if TYPE_CHECKING:
    from hypercorn.config import Config

    from pg_trio.server.hypercorn_protocol import HypercornProtocol


async def serve_app(  # noqa: PLR0913  # what a server needs, each by name
    app: ASGIApplication,
    config: Config | None,
    settings: ServerSettings,
    *,
    shutdown: trio.Event,
    leaving: trio.Event | None = None,
    sockets: Listening | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown`, then drain (see serve_lane). Reports the addresses (`http://host:port`) once it listens.

    `sockets` are listening already; without them, sockets are made from `config`, Hypercorn's configuration, which may
    have a certificate. Without `config` it is made from `settings`. The lifespan starts before the first connection is
    accepted and ends after the last one. Once it has started, `ready` (if given) is awaited. A failing lifespan raises
    LifespanFailed. `leaving` may be set some time before `shutdown`, if no other process takes over: the application is
    told (types.Door), answers close their connections, and at the shutdown the clients in the kernel's queue are
    served, too. Without epoll stock Hypercorn serves everything.
    """
    if sockets is None:
        sockets = _listen(config, settings)
    if not departures_supported():
        if ready is not None:
            await ready()
        await _serve_stock(app, _as_config(config, settings), sockets, shutdown, task_status)
        return
    state: dict[str, Any] = {}
    lifespan = Lifespan(app, state)
    async with trio.open_nursery() as lifespan_nursery:
        lifespan_nursery.start_soon(lifespan.run)
        await lifespan.start()
        if ready is not None:
            await ready()
        connections = state[CONNECTIONS] = OpenConnections(settings)
        protocol = LateProtocol(partial(_load_protocol, app, config, settings, state, connections))
        async with trio.open_nursery() as clocks:
            clocks.start_soon(connections.keep_limits)
            async with trio.open_nursery() as servers:
                if sockets.tls and config is not None and (context := config.create_ssl_context()) is not None:
                    servers.start_soon(_serve_tls, protocol, connections, context, settings, sockets, shutdown)
                await servers.start(
                    partial(
                        serve_lane,
                        Mount(app, state, "" if config is None else config.root_path),
                        sockets.plain,
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
        await lifespan.stop()
        lifespan_nursery.cancel_scope.cancel(reason="the lifespan ended")


def _listen(config: Config | None, settings: ServerSettings) -> Listening:
    """Listening sockets for Hypercorn's binds. QUIC is not served."""
    made = _as_config(config, settings).create_sockets()
    for sock in (*made.secure_sockets, *made.insecure_sockets):
        sock.listen(BACKLOG)
    return Listening(made.insecure_sockets, made.secure_sockets)


def _as_config(config: Config | None, settings: ServerSettings) -> Config:
    # Imports Hypercorn: see late_protocol.
    from pg_trio.server.stock import make_hypercorn_config

    return make_hypercorn_config(settings) if config is None else config


def _load_protocol(
    app: ASGIApplication,
    config: Config | None,
    settings: ServerSettings,
    state: dict[str, Any],
    connections: OpenConnections,
) -> Callable[[], HypercornProtocol]:
    """What makes the protocol. Only this function imports, so that it may run on a thread."""
    from pg_trio.server.hypercorn_protocol import HypercornProtocol, wrap

    config = _as_config(config, settings)
    return partial(HypercornProtocol, wrap(app), config, settings, state, connections)


async def _serve_stock(
    app: ASGIApplication,
    config: Config,
    sockets: Listening,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    # Only where there is no epoll.
    from hypercorn.config import Sockets
    from hypercorn.trio.run import worker_serve

    from pg_trio.server.hypercorn_protocol import wrap

    theirs = Sockets(secure_sockets=list(sockets.tls), insecure_sockets=list(sockets.plain), quic_sockets=[])
    await worker_serve(wrap(app), config, sockets=theirs, shutdown_trigger=shutdown.wait, task_status=task_status)


async def _serve_tls(
    protocol: LateProtocol,
    connections: OpenConnections,
    context: SSLContext,
    settings: ServerSettings,
    sockets: Listening,
    shutdown: trio.Event,
) -> None:
    async with trio.open_nursery() as serving:
        async with trio.open_nursery() as accepting:
            for sock in sockets.tls:
                plain = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
                listener = trio.SSLListener(plain, context, https_compatible=True)
                accepting.start_soon(accept_connections, listener, connections, protocol.serve_stream, serving)
            await shutdown.wait()
            accepting.cancel_scope.cancel(reason="draining")
        serving.cancel_scope.deadline = trio.current_time() + settings.drain_ms / 1000 + PARTING_S


def _addresses(sockets: Listening) -> list[str]:
    return [
        f"{scheme}://{show_address(sock)}"
        for scheme, group in (("https", sockets.tls), ("http", sockets.plain))
        for sock in group
    ]
