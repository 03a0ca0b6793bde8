"""`pg-trio reload`: load a changed configuration into a running gateway. No connection is refused, and no answer is
cut."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from pg_trio.config.location import CONFIG_VARIABLE, find_configuration

# Workers are replaced one after the other, and each old one may take its drain time.
PATIENCE_S = 300.0
LOOK_EVERY_S = 0.1


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "reload",
        help="let a running gateway take a changed configuration",
        description="Check the configuration, replace the running gateway's workers one by one, and wait until that is"
        " done. A bad configuration changes nothing. What only the start decides (bind, the number of workers) stays.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"configuration file (default: ${CONFIG_VARIABLE})")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 once every worker is new; 1 if no gateway runs or the reload was refused."""
    from pg_trio.config import load_settings
    from pg_trio.server.status_file import StatusFile

    settings = load_settings(find_configuration(arguments.config))
    status_file = StatusFile(settings.gateway.data_dir)
    before = status_file.read()
    if before is None:
        print(f"pg-trio reload: no gateway runs with the data directory {settings.gateway.data_dir}", file=sys.stderr)
        return 1
    os.kill(before["pid"], signal.SIGHUP)
    given_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < given_up_at:
        now = status_file.read()
        if now is None:
            print("pg-trio reload: the gateway has stopped", file=sys.stderr)
            return 1
        if now["reloads"] > before["reloads"]:
            print(f"reloaded: {len(now['workers'])} new workers", file=sys.stderr)
            return 0
        if now.get("refusals", 0) > before.get("refusals", 0):
            print(f"pg-trio reload: {now['said']}", file=sys.stderr)
            return 1
        time.sleep(LOOK_EVERY_S)
    print(f"pg-trio reload: not finished after {PATIENCE_S:g} s; see the gateway's own log", file=sys.stderr)
    return 1
