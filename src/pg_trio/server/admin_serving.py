"""Serves the pages, the metrics and the admin API on their own sockets, beside the requests of a worker.

The lane serves them, too, with limits of its own. What fails there is logged, and the worker goes on serving requests.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

import trio
from attrs import evolve, frozen

from pg_trio.config.settings import ServerSettings
from pg_trio.server.http1.types import ASGIApplication
from pg_trio.server.listening import Listening
from pg_trio.server.serving import serve_app

logger = logging.getLogger("pg_trio.worker")

# Connections of pages that show something live end with the worker; others have ended long before.
DRAIN_MS = 1_000


@frozen(eq=False)
class Pages:
    """The application of the admin address, and its listening sockets."""

    app: ASGIApplication
    sockets: Sequence[socket.socket]


async def serve_pages(pages: Pages, settings: ServerSettings, go: trio.Event, shutdown: trio.Event) -> None:
    """Serve from `go` until `shutdown`."""
    await go.wait()
    brief = evolve(settings, drain_ms=min(DRAIN_MS, settings.drain_ms))
    try:
        await serve_app(pages.app, None, brief, shutdown=shutdown, sockets=Listening(pages.sockets))
    except* Exception:
        logger.exception("the pages and the admin API cannot be served any more")
