"""One worker process: serves on inherited sockets until its parent tells it to stop or is gone."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio
from attrs import define, field

from pg_trio.config.settings import ServerSettings
from pg_trio.errors import WorkersFailed
from pg_trio.server.admin_serving import Pages, serve_pages
from pg_trio.server.descriptor_table import widen_descriptor_table
from pg_trio.server.garbage import collect_at_rest
from pg_trio.server.http1.types import ASGIApplication
from pg_trio.server.lifespan import LifespanFailed
from pg_trio.server.listening import Listening
from pg_trio.server.serving import serve_app
from pg_trio.server.worker_files import GO, LEAVING, READY

logger = logging.getLogger("pg_trio.worker")

# A client's, and its provider's; see connection_limit.
SLOTS_A_CONNECTION = 2


@define(eq=False)
class Orders:
    """The supervisor's orders: accept connections; the whole gateway is about to stop; finish the requests and end."""

    go: trio.Event = field(factory=trio.Event)
    leaving: trio.Event = field(factory=trio.Event)
    shutdown: trio.Event = field(factory=trio.Event)


async def run_worker(
    app: ASGIApplication,
    settings: ServerSettings,
    sockets: Sequence[socket.socket],
    control: socket.socket,
    pages: Pages | None = None,
) -> None:
    """Report `ready` on the control socket, then serve once told to. Ends on SIGTERM, or when the control socket ends.

    Raises WorkersFailed if the application refuses to start; its text is the application's.
    """
    # Ctrl-C and a closed terminal reach the whole process group; the supervisor decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    widen_descriptor_table(SLOTS_A_CONNECTION * settings.max_connections)
    parent = trio.SocketStream(trio.socket.from_stdlib_socket(control))
    orders = Orders()
    refused: list[str] = []
    try:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_for_signal, signals, orders)
                ready = partial(_report_ready, parent, orders.go)
                nursery.start_soon(_listen_to_parent, parent, orders)
                if pages is not None:
                    nursery.start_soon(serve_pages, pages, settings, orders.go, orders.shutdown)
                await _serve(app, settings, sockets, orders, ready)
                nursery.cancel_scope.cancel(reason="served")
    except* LifespanFailed as group:
        refused += [str(error) for error in leaves(group)]
    if refused:
        raise WorkersFailed("\n".join(refused))


def leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """The exceptions of a group and of the groups in it."""
    found: list[Exception] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _serve(
    app: ASGIApplication,
    settings: ServerSettings,
    sockets: Sequence[socket.socket],
    orders: Orders,
    ready: Callable[[], Awaitable[None]],
) -> None:
    inherited = Listening(sockets)
    await serve_app(
        app, None, settings, shutdown=orders.shutdown, leaving=orders.leaving, sockets=inherited, ready=ready
    )


async def _wait_for_signal(signals: object, orders: Orders) -> None:
    async for _ in signals:  # type: ignore[attr-defined]
        # The supervisor's message before the signal has arrived too; let it be read first.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        # A worker that does not accept yet has nothing to finish.
        orders.go.set()
        orders.shutdown.set()
        return


async def _report_ready(parent: trio.SocketStream, go: trio.Event) -> None:
    """The worker is ready: tell the supervisor, and wait until it permits accepting."""
    collect_at_rest()
    await parent.send_all(READY)
    await go.wait()


async def _listen_to_parent(parent: trio.SocketStream, orders: Orders) -> None:
    try:
        while said := await parent.receive_some():
            if GO in said:
                orders.go.set()
            if LEAVING in said:
                orders.leaving.set()
    except trio.BrokenResourceError:
        pass
    logger.warning("the supervisor is gone; finishing running requests")
    orders.leaving.set()
    orders.go.set()
    orders.shutdown.set()
