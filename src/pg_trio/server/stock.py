"""Serve with stock Hypercorn, in this process, until SIGINT or SIGTERM."""

from __future__ import annotations

import logging
import signal

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework

from pg_trio.config.settings import ServerSettings
from pg_trio.server.listening import BACKLOG

logger = logging.getLogger("pg_trio.server")


def make_hypercorn_config(settings: ServerSettings) -> Config:
    """Hypercorn's configuration with the gateway's limits instead of its defaults."""
    config = Config()
    config.bind = [settings.bind]
    config.keep_alive_timeout = settings.idle_timeout_ms / 1000
    config.read_timeout = None  # Hypercorn's default; the application has the deadline and body limits
    config.graceful_timeout = settings.drain_ms / 1000
    config.h11_max_incomplete_size = settings.max_head_bytes
    config.include_server_header = False
    config.backlog = BACKLOG
    config.errorlog = logger
    return config


async def serve_stock(
    app: ASGIFramework, settings: ServerSettings, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Listen, report the addresses (`http://host:port`) through the task status, and serve until asked to stop."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

        async def wait_for_signal() -> None:
            async for number in signals:
                logger.info(
                    "%s: finishing running requests, at most %d s",
                    signal.Signals(number).name,
                    settings.drain_ms / 1000,
                )
                return

        await serve(
            app,
            make_hypercorn_config(settings),
            shutdown_trigger=wait_for_signal,
            task_status=task_status,
        )
