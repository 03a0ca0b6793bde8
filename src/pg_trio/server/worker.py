"""One worker process: serves on sockets that it inherited, until its parent says stop or is gone."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio
from hypercorn.config import Sockets
from hypercorn.utils import LifespanFailureError

from pg_trio.config.settings import ServerSettings
from pg_trio.errors import WorkersFailed
from pg_trio.server.garbage import collect_at_rest
from pg_trio.server.http1.types import ASGIApplication
from pg_trio.server.serving import serve_app
from pg_trio.server.stock import make_hypercorn_config
from pg_trio.server.supervisor import GO, READY

logger = logging.getLogger("pg_trio.worker")


async def run_worker(
    app: ASGIApplication, settings: ServerSettings, sockets: Sequence[socket.socket], control: socket.socket
) -> None:
    """Serve: say `ready` on the control socket, accept once told to. Ends on SIGTERM, or when the control socket ends.

    Raises WorkersFailed where the application refuses to start; its text is the application's.
    """
    # Ctrl-C reaches the whole process group; the supervisor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = trio.SocketStream(trio.socket.from_stdlib_socket(control))
    shutdown, go = trio.Event(), trio.Event()
    refused: list[str] = []
    try:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_for_signal, signals, shutdown)
                ready = partial(_report_ready, parent, go)
                nursery.start_soon(_wait_for_orphanhood, parent, go, shutdown)
                await _serve(app, settings, sockets, shutdown, ready)
                nursery.cancel_scope.cancel(reason="served")
    except* LifespanFailureError as group:
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
    shutdown: trio.Event,
    ready: Callable[[], Awaitable[None]],
) -> None:
    config = make_hypercorn_config(settings)
    inherited = Sockets(secure_sockets=[], insecure_sockets=list(sockets), quic_sockets=[])
    await serve_app(app, config, settings, shutdown=shutdown, sockets=inherited, ready=ready)


async def _wait_for_signal(signals: object, shutdown: trio.Event) -> None:
    async for _ in signals:  # type: ignore[attr-defined]
        shutdown.set()
        return


async def _report_ready(parent: trio.SocketStream, go: trio.Event) -> None:
    """Everything is there that stays: tell the supervisor, and wait until it lets us accept."""
    collect_at_rest()
    await parent.send_all(READY)
    await go.wait()


async def _wait_for_orphanhood(parent: trio.SocketStream, go: trio.Event, shutdown: trio.Event) -> None:
    try:
        while said := await parent.receive_some(len(GO)):
            if said == GO:
                go.set()
    except trio.BrokenResourceError:
        pass
    logger.warning("the supervisor is gone; finishing running requests")
    go.set()
    shutdown.set()
