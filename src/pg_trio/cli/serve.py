"""`pg-trio serve`: run the gateway, one process a worker, until told to stop."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from attrs import evolve

from pg_trio.config.location import CONFIG_VARIABLE, find_configuration


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway with a configuration file, or --demo: no file, no key, a simulated provider."
        " SIGTERM and Ctrl-C let running requests finish; SIGHUP (or `pg-trio reload`) takes a changed configuration.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=Path, metavar="FILE", help=f"configuration file (default: ${CONFIG_VARIABLE})")
    source.add_argument("--demo", action="store_true", help="run a demonstration and print a ready curl line")
    parser.add_argument(
        "--bind",
        type=_address,
        metavar="HOST:PORT",
        help="where to listen (default: [server] bind, 127.0.0.1:8080)",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="worker processes, or `auto`: one a core (default: [server] workers, 1)",
    )
    parser.add_argument(
        "--admin-bind",
        type=_admin_address,
        metavar="HOST:PORT",
        help="where the pages, /metrics and the admin API are (default: [server] admin_bind, 127.0.0.1:8081; '': off)",
    )
    parser.set_defaults(run=run, serves=True)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    import trio

    from pg_trio.cli.server_log import configure_logging

    configure_logging()
    if arguments.demo:
        from pg_trio.cli.demo import run_demo

        return run_demo(arguments.bind, arguments.workers, arguments.admin_bind)
    from pg_trio.cli.fork_workers import fork_workers
    from pg_trio.cli.notes import describe_notes
    from pg_trio.config import read_configuration

    path = find_configuration(arguments.config).absolute()
    configuration = read_configuration(path)
    for note in describe_notes(configuration):
        print(f"note: {note}", file=sys.stderr)
    settings = configuration.settings
    configure_logging(settings.observe)
    changes = {"bind": arguments.bind, "workers": arguments.workers, "admin_bind": arguments.admin_bind}
    given = {name: value for name, value in changes.items() if value is not None}
    settings = evolve(settings, server=evolve(settings.server, **given))
    forks = fork_workers(path, configuration)
    # After the fork: workers do not need it.
    from pg_trio.cli.supervise import announce, supervise

    configuration = evolve(configuration, settings=settings)
    trio.run(partial(supervise, path, configuration, partial(announce, settings), forks))
    return 0


def _address(text: str) -> str:
    from pg_trio.config.bounds import HostPort

    try:
        HostPort().check(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    return text


def _admin_address(text: str) -> str:
    return text and _address(text)


def _workers(text: str) -> int:
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is neither `auto` nor a number from 1 to 1024")
    return int(text)
