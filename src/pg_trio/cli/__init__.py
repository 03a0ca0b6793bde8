"""The command line: `pg-trio COMMAND`. One file a command; a command's room is imported when that command runs."""

from __future__ import annotations

import sys

from pg_trio.server.early_reload import remember_reloads

if sys.argv[1:2] == ["serve"]:
    # Before the rest is loaded: a SIGHUP that comes meanwhile must not end the gateway.
    remember_reloads()
# isort: split

import argparse
from collections.abc import Sequence

from pg_trio import __version__
from pg_trio.cli import backup, check, doctor, logs, reload, serve, simulate, token, worker
from pg_trio.errors import ConfigError, StoreError, WorkersFailed


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run`, a function of the parsed arguments that returns an exit status."""
    parser = argparse.ArgumentParser(prog="pg-trio", description="An AI gateway with deadlines that hold.")
    parser.add_argument("--version", action="version", version=f"pg-trio {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (serve, reload, check, token, logs, backup, doctor, simulate, worker):
        command.register(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 could not (standard error says why), 2 wrong usage."""
    parsed = make_parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except (ConfigError, StoreError, WorkersFailed) as error:
        print(f"pg-trio: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status
