"""`pg-trio migrate`: brings what is stored to this release's form.

A gateway does the same when it starts. In a cluster the command does it before the first gateway of a new release; one
node at a time does it, and a gateway of the release before goes on.
"""

from __future__ import annotations

import argparse

from pg_trio.cli.place import add_place, locate


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    what = "bring what is stored to this release's form"
    parser = commands.add_parser("migrate", help=what, description=__doc__)
    add_place(parser, "where the data is, without a configuration")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Migrate. Raises: ConfigError, or StoreError whose text says what to do."""
    from pg_trio.stores.administration import administer

    place = locate(arguments, "pg-trio migrate")
    for name in administer(place.data_dir, place.cluster).migrate():
        print(name)
    return 0
