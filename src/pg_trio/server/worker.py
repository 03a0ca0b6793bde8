"""One worker process: serves on sockets that it inherited, until its parent says stop or is gone."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Sequence

import trio
from hypercorn.config import Sockets
from hypercorn.utils import LifespanFailureError

from pg_trio.config.settings import ServerSettings
from pg_trio.errors import WorkersFailed
from pg_trio.server.http1.types import ASGIApplication
from pg_trio.server.serving import serve_app
from pg_trio.server.stock import make_hypercorn_config
from pg_trio.server.supervisor import READY

logger = logging.getLogger("pg_trio.worker")


async def run_worker(
    app: ASGIApplication, settings: ServerSettings, sockets: Sequence[socket.socket], control: socket.socket
) -> None:
    """Serve; say `ready` on the control socket once it accepts. Ends on SIGTERM, or when the control socket ends.

    Raises WorkersFailed where the application refuses to start; its text is the application's.
    """
    # Ctrl-C reaches the whole process group; the supervisor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = trio.SocketStream(trio.socket.from_stdlib_socket(control))
    shutdown = trio.Event()
    refused: list[str] = []
    try:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_for_signal, signals, shutdown)
                nursery.start_soon(_wait_for_orphanhood, parent, shutdown)
                async with trio.open_nursery() as serving:
                    await serving.start(_serve, app, settings, sockets, shutdown)
                    await parent.send_all(READY)
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
    *,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    config = make_hypercorn_config(settings)
    inherited = Sockets(secure_sockets=[], insecure_sockets=list(sockets), quic_sockets=[])
    await serve_app(app, config, settings, shutdown=shutdown, sockets=inherited, task_status=task_status)


async def _wait_for_signal(signals: object, shutdown: trio.Event) -> None:
    async for _ in signals:  # type: ignore[attr-defined]
        shutdown.set()
        return


async def _wait_for_orphanhood(parent: trio.SocketStream, shutdown: trio.Event) -> None:
    try:
        while await parent.receive_some():
            pass
    except trio.BrokenResourceError:
        pass
    logger.warning("the supervisor is gone; finishing running requests")
    shutdown.set()
