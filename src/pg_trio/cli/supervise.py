"""Shared by `serve` and `serve --demo`: sockets, the supervisor, and its worker command."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pg_trio.config.loading import Configuration, read_checked_text
from pg_trio.config.settings import DEFAULT_ADMIN_BIND, ServerSettings, Settings
from pg_trio.errors import ConfigError
from pg_trio.server.fork_server import ForkServer
from pg_trio.server.forking import Forks
from pg_trio.server.listening import listen, show_address
from pg_trio.server.status_file import StatusFile
from pg_trio.server.supervisor import Supervisor
from pg_trio.shared_memory.metric_file import begin_metrics
from pg_trio.store.database import make_data_dir
from pg_trio.store.databases import DATABASES
from pg_trio.store.journal_check import tell_damaged_journal

logger = logging.getLogger("pg_trio.cli")


async def supervise(
    path: Path,
    configuration: Configuration,
    announce: Callable[[list[str], str | None], None],
    forks: ForkServer | None = None,
) -> None:
    """Serve a configuration until told to stop; a reload reads it from `path` (absolute) again.

    `forks` forks the workers; without it each is a new program. `announce` gets the addresses (`http://host:port`), and
    the pages' if there is one, once every worker is ready.
    Raises StoreError, ConfigError (the address cannot be used) or WorkersFailed.
    """
    settings = configuration.settings
    make_data_dir(settings.gateway.data_dir)
    status_file = StatusFile(settings.gateway.data_dir)
    status_file.hold()
    begin_metrics(settings.gateway.data_dir)
    for database in DATABASES:
        # No process has the files open yet.
        tell_damaged_journal(settings.gateway.data_dir / database.file_name)
    try:
        sockets = [listen(settings.server.bind)]
    except OSError as error:
        raise ConfigError("server.bind", [f"cannot listen on {settings.server.bind}: {error.strerror}"]) from error
    admin_sockets = listen_for_admins(settings.server)
    addresses = [f"http://{show_address(sock)}" for sock in sockets]
    supervisor = Supervisor(
        # -P: a worker must not load a module from the folder in which the gateway was started.
        command=[sys.executable, "-P", "-m", "pg_trio", "worker", "--config", str(path)],
        settings=settings.server,
        sockets=sockets,
        configuration=configuration.text,
        check=partial(read_checked_text, path),
        status_file=status_file,
        announce=partial(announce, addresses, _first_address(admin_sockets)),
        admin_sockets=admin_sockets,
        forks=None if forks is None else Forks(forks),
    )
    await supervisor.run()


def listen_for_admins(settings: ServerSettings) -> list[socket.socket]:
    """Listening sockets for the pages and the admin API; none if they are off, or if the default address is taken.

    Raises ConfigError if an address that was asked for cannot be used.
    """
    if not settings.admin_bind:
        return []
    try:
        return [listen(settings.admin_bind)]
    except OSError as error:
        said = f"cannot listen on {settings.admin_bind}: {error.strerror}"
        if settings.admin_bind != DEFAULT_ADMIN_BIND:
            raise ConfigError("server.admin_bind", [said]) from error
        logger.warning("the pages and the admin API are off: %s; set server.admin_bind to another address", said)
        return []


def _first_address(sockets: list[socket.socket]) -> str | None:
    return f"http://{show_address(sockets[0])}" if sockets else None


def announce(settings: Settings, addresses: list[str], admin: str | None) -> None:
    """Tell the terminal that the gateway serves, and which projects."""
    endpoints = sum(len(project.endpoints) for project in settings.projects.values())
    print(
        f"pg_trio serves on {', '.join(addresses)} · workers: {settings.server.workers}"
        f" · projects: {len(settings.projects)} · endpoints: {endpoints}"
        + (f" · pages: {admin}{settings.server.admin_root_path}/" if admin else ""),
        flush=True,
    )
