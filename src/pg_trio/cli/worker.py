"""`pg-trio worker`: one worker process; started by `pg-trio serve`, never by hand."""

from __future__ import annotations

import argparse
import os
import signal
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pg_trio.server.worker_files import WorkerFiles

if TYPE_CHECKING:
    from pg_trio.config import Configuration


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser, without a line in the help."""
    parser = commands.add_parser("worker", description="One worker of `pg-trio serve`, which starts it.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--sockets", type=_descriptors, required=True, help="inherited listening sockets")
    parser.add_argument("--admin-sockets", type=_descriptors, default=[], help="the same for the pages")
    parser.add_argument("--seat", type=int, default=0, help="its place among the workers, from 0 on")
    parser.add_argument("--text", type=int, required=True, help="inherited file with the configuration's text")
    parser.add_argument("--control", type=int, required=True, help="inherited socket to the supervisor")
    parser.set_defaults(run=run, serves=True)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM, or until the supervisor is gone."""
    files = WorkerFiles(arguments.sockets, arguments.control, arguments.text, arguments.seat, arguments.admin_sockets)
    return serve_worker(arguments.config, None, files)


def load() -> None:
    """Import what workers run, so that those forked from this process share it."""
    import pg_trio.app
    import pg_trio.server.worker  # noqa: F401


def serve_worker(path: Path, known: Configuration | None, files: WorkerFiles) -> int:
    """Serve until SIGTERM, or until the supervisor is gone. `known` is the configuration of this text, if it is read.

    Raises ConfigError, StoreError, WorkersFailed.
    """
    import trio

    from pg_trio.app import WorkerApp
    from pg_trio.cli.descriptors import raise_descriptor_limit
    from pg_trio.cli.server_log import configure_logging
    from pg_trio.config import parse_settings
    from pg_trio.racing.patient_clock import PatientClock
    from pg_trio.server.admin_serving import Pages
    from pg_trio.server.worker import run_worker

    configure_logging()
    raise_descriptor_limit()
    with os.fdopen(files.text, "rb") as file:
        file.seek(0)
        text = file.read().decode("utf-8")
    if known is not None and known.text == text:
        settings = known.settings
    else:
        settings = parse_settings(text, str(path), path.parent)
    configure_logging(settings.observe)
    sockets = [socket.socket(fileno=descriptor) for descriptor in files.sockets]
    control = socket.socket(fileno=files.control)
    app = WorkerApp(settings, files.seat)
    admin = [socket.socket(fileno=descriptor) for descriptor in files.admin_sockets]
    pages = Pages(app.make_admin(partial(_ask_reload, path)), admin) if admin else None
    trio.run(partial(run_worker, app.public, settings.server, sockets, control, pages), clock=PatientClock())
    return 0


def _ask_reload(path: Path) -> None:
    """Ask the supervisor, which is our parent, to read the configuration again. Raises ConfigError for mistakes."""
    from pg_trio.config import load_settings

    # The supervisor reads it, too, but reports mistakes in the log only.
    load_settings(path)
    os.kill(os.getppid(), signal.SIGHUP)


def _descriptors(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
