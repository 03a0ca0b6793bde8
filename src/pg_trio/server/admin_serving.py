"""Serves the pages, the metrics and the admin API on their own sockets, beside the requests of a worker.

Stock Hypercorn serves them: they are few, and no request waits for them. What fails there is logged, and the worker
goes on serving requests.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

import trio
from attrs import frozen
from hypercorn.config import Sockets
from hypercorn.trio.run import worker_serve
from hypercorn.typing import ASGIFramework
from hypercorn.utils import wrap_app

from pg_trio.config.settings import ServerSettings
from pg_trio.server.stock import make_hypercorn_config

logger = logging.getLogger("pg_trio.worker")

# Without Hypercorn's lines about where it listens.
_quiet = logging.getLogger("pg_trio.pages")
_quiet.setLevel(logging.WARNING)

# Connections of pages that show something live end with the worker; others have ended long before.
DRAIN_S = 1.0


@frozen(eq=False)
class Pages:
    """The application of the admin address, and its listening sockets."""

    app: ASGIFramework
    sockets: Sequence[socket.socket]


async def serve_pages(pages: Pages, settings: ServerSettings, go: trio.Event, shutdown: trio.Event) -> None:
    """Serve from `go` until `shutdown`."""
    await go.wait()
    config = make_hypercorn_config(settings)
    config.graceful_timeout = DRAIN_S
    config.errorlog = _quiet
    sockets = Sockets(secure_sockets=[], insecure_sockets=list(pages.sockets), quic_sockets=[])
    try:
        app = wrap_app(pages.app, config.wsgi_max_body_size, "asgi")
        await worker_serve(app, config, sockets=sockets, shutdown_trigger=shutdown.wait)
    except* Exception:
        logger.exception("the pages and the admin API cannot be served any more")
