"""`pg-trio backup`: tokens, sessions and log in one tar file, copied while the gateway runs.

To restore: stop the gateway, run `tar -xf FILE` in an empty data_dir, and start the gateway. The archive has no
configuration: the user has that file, and it may hold keys.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pg_trio.cli.place import add_place, locate


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("backup", help="copy what is stored, while the gateway runs", description=__doc__)
    add_place(parser, "where the data is, without a configuration")
    parser.add_argument("file", type=Path, metavar="FILE", help="the archive to make: .tar, or .tar.gz")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there, once the new one is whole")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the archive. Raises: ConfigError, or StoreError whose text says what to do."""
    from pg_trio.stores.administration import administer

    place = locate(arguments, "pg-trio backup")
    names = administer(place.data_dir, place.cluster).back_up(arguments.file, tell_progress, replace=arguments.force)
    print(f"{arguments.file}: {', '.join(names)}; {arguments.file.stat().st_size / (1024 * 1024):.1f} MiB")
    return 0


def tell_progress(name: str, done: int, total: int) -> None:
    """Show a copy's progress on one line of a terminal; without a terminal, show nothing."""
    if sys.stderr.isatty():
        percent = 100 * done // max(1, total)
        print(f"\r{name}: {percent} %", end="\n" if done == total else "", file=sys.stderr, flush=True)
