"""The command line: `pg-trio COMMAND`. One file a command.

A command's file is imported when the command is named, and its room when it runs: importing all of them takes 0.4 s
and 20 MB, and a worker is a command, too.
"""

from __future__ import annotations

import sys

from pg_trio.server.early_reload import remember_reloads

if sys.argv[1:2] == ["serve"]:
    # Runs before the rest is loaded: a SIGHUP during loading must not end the gateway.
    remember_reloads()
# isort: split

from pg_trio.server.unkept_sources import keep_no_generated_sources

if sys.argv[1:2] in (["serve"], ["worker"]):
    # Before the first class is made.
    keep_no_generated_sources()
# isort: split

import argparse
from collections.abc import Iterable, Sequence
from importlib import import_module

from pg_trio import __version__
from pg_trio.cli.console import final_status, own_console
from pg_trio.cli.parser import Parser
from pg_trio.errors import ConfigError, OutputLost, StoreError, WorkersFailed

# A command's file by its name, in the order of the help.
COMMANDS = {
    "serve": "serve",
    "reload": "reload",
    "check": "check",
    "prices": "prices",
    "token": "token",
    "operator": "operator",
    "logs": "logs",
    "show": "show",
    "stats": "stats",
    "top": "top",
    "backup": "backup",
    "migrate": "migrate",
    "cluster": "cluster_import",
    "chat": "chat_command",
    "doctor": "doctor",
    "guard": "guard_text",
    "simulate": "simulate",
    "completion": "completion",
    "worker": "worker",
}


def make_parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """A parser for these arguments: of the command that the first one names, or else of all commands.

    Each command sets `run`, a function of the parsed arguments that returns an exit status.
    """
    parser = Parser(prog="pg-trio", description="An AI gateway with deadlines that hold.")
    parser.set_defaults(serves=False)
    parser.add_argument("--version", action="version", version=f"pg-trio {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in _find_named(arguments):
        import_module(f"pg_trio.cli.{COMMANDS[name]}").register(commands)
    return parser


def _find_named(arguments: Sequence[str]) -> Iterable[str]:
    first = arguments[0] if arguments else ""
    if first == "--version":
        return ()
    return (first,) if first in COMMANDS else COMMANDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed (standard error says why), 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with own_console():
        try:
            parsed = make_parser(arguments).parse_args(arguments)
        except SystemExit as end:
            # 0 after --help and --version, whose output is the result; 2 after wrong usage.
            return final_status(int(end.code or 0), is_result=True)
        return final_status(run_command(parsed), is_result=not parsed.serves)


def run_command(parsed: argparse.Namespace) -> int:
    """Run a parsed command and return its exit status; expected errors become a line on standard error."""
    try:
        status: int = parsed.run(parsed)
    except (ConfigError, StoreError, WorkersFailed, OutputLost) as error:
        return _fail(str(error))
    except OSError as error:
        # Expected errors are translated where they occur. This handles the unexpected ones.
        where = f"{error.filename}: " if error.filename is not None else ""
        advice = "; run it as the gateway's user" if isinstance(error, PermissionError) else ""
        return _fail(f"{where}{error.strerror or error}{advice}")
    except UnicodeEncodeError as error:
        if error.encoding != sys.getfilesystemencoding():
            raise
        return _fail(f"a file's name cannot be written in this locale's {error.encoding}; set LC_ALL=C.UTF-8")
    except KeyboardInterrupt:
        return 130
    return status


def _fail(said: str) -> int:
    print(f"pg-trio: {said}", file=sys.stderr)
    return 1
