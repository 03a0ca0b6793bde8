"""`pg-trio cluster import`: carries what a single machine has stored over to the cluster.

Tokens, operators, overrides, sessions and the month's spend are written in one transaction; tables that have rows
already are refused. Stop the single machine first. Its log follows when a node starts with its data directory.
"""

from __future__ import annotations

import argparse
import time

from pg_trio.cli.place import add_place, locate
from pg_trio.errors import ConfigError

COMMAND = "pg-trio cluster import"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("cluster", help="carry a single machine over to a cluster", description=__doc__)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", dest="action", required=True)
    what = "carry tokens, operators, sessions and the month's spend over"
    importing = actions.add_parser("import", help=what, description=what)
    add_place(importing, "cannot be used: the cluster is in the configuration")
    importing.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry over. Raises: ConfigError, or StoreError whose text says what to do."""
    place = locate(arguments, COMMAND)
    if place.cluster is None:
        raise ConfigError(place.source, ["cluster: missing; the import goes to the cluster of the configuration"])
    from pg_trio.config.time_zone import find_zone
    from pg_trio.stores.administration import administer

    administration = administer(place.data_dir, place.cluster)
    administration.migrate()
    for what, count in administration.carry_over(time.time(), find_zone(place.timezone)).items():
        print(f"{what}: {count}")
    return 0
