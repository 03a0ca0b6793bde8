"""Shared by `serve` and `serve --demo`: sockets, the supervisor, and its worker command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hypercorn.utils import repr_socket_addr

from pg_trio.config.loading import read_checked_text
from pg_trio.config.settings import Settings
from pg_trio.errors import ConfigError
from pg_trio.server.serving import listen
from pg_trio.server.status_file import StatusFile
from pg_trio.server.stock import make_hypercorn_config
from pg_trio.server.supervisor import Supervisor
from pg_trio.store.database import make_data_dir
from pg_trio.store.databases import DATABASES
from pg_trio.store.journal_check import tell_damaged_journal


async def supervise(path: Path, settings: Settings, announce: Callable[[list[str]], None]) -> None:
    """Serve the configuration in `path` (absolute) until told to stop.

    `announce` gets the addresses (`http://host:port`) once every worker is ready.
    Raises StoreError, ConfigError (the address cannot be used) or WorkersFailed.
    """
    make_data_dir(settings.gateway.data_dir)
    status_file = StatusFile(settings.gateway.data_dir)
    status_file.hold()
    for database in DATABASES:
        # No process has the files open yet.
        tell_damaged_journal(settings.gateway.data_dir / database.file_name)
    try:
        sockets = listen(make_hypercorn_config(settings.server)).insecure_sockets
    except OSError as error:
        raise ConfigError("server.bind", [f"cannot listen on {settings.server.bind}: {error.strerror}"]) from error
    addresses = [f"http://{repr_socket_addr(sock.family, sock.getsockname())}" for sock in sockets]
    supervisor = Supervisor(
        command=[sys.executable, "-m", "pg_trio", "worker", "--config", str(path)],
        settings=settings.server,
        sockets=sockets,
        configuration=read_checked_text(path),
        check=partial(read_checked_text, path),
        status_file=status_file,
        announce=partial(announce, addresses),
    )
    await supervisor.run()


def announce(settings: Settings, addresses: list[str]) -> None:
    """Tell the terminal that the gateway serves, and which projects."""
    endpoints = sum(len(project.endpoints) for project in settings.projects.values())
    print(
        f"pg_trio serves on {', '.join(addresses)} · workers: {settings.server.workers}"
        f" · projects: {len(settings.projects)} · endpoints: {endpoints}",
        flush=True,
    )
