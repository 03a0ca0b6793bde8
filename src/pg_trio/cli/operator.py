"""`pg-trio operator create|list|revoke`: manages who may use the pages and the admin API.

Only a new operator's key goes to standard output. Messages go to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime

from pg_trio.cli.console import output_failure
from pg_trio.cli.place import add_actions, locate
from pg_trio.domain.operator import ROLES, Operator
from pg_trio.errors import OutputLost

COMMAND = "pg-trio operator"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `pg-trio operator` and its commands to the parser."""
    parser = commands.add_parser("operator", help="create, list and revoke operators of the pages", description=__doc__)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", dest="action", required=True)
    add_action = add_actions(actions, run, "where the operators are, without a configuration")
    create = add_action("create", "make an operator; the key is printed once and never stored")
    create.add_argument("--name", required=True, type=_parse_name, help="for people and for the audit: who it is")
    create.add_argument(
        "--role", choices=ROLES, default="operator", help="a viewer changes nothing (default: operator)"
    )
    listing = add_action("list", "show operators, revoked ones included; never a key")
    listing.add_argument("--json", action="store_true", help="one JSON object a line; times are Unix seconds")
    revoke = add_action("revoke", "end an operator's key and sessions within a second, for good")
    revoke.add_argument("operator", metavar="OPERATOR", help="the id, the prefix, or the whole key")


def run(arguments: argparse.Namespace) -> int:
    """The exit status of one command. Raises: ConfigError, StoreError."""
    from pg_trio.stores.administration import administer

    place = locate(arguments, COMMAND)
    with administer(place.data_dir, place.cluster).open_operators() as admin:
        if arguments.action == "create":
            operator, key = admin.create(arguments.name, arguments.role)
            print(key)
            if (failure := output_failure()) is not None:
                admin.revoke(str(operator.id))
                raise OutputLost(
                    f"the operator was made, the key could not be written ({failure.strerror}) and is revoked again"
                )
            _tell(f"Operator {operator.id} ({operator.name}), role {operator.role}. The key is not stored.")
        elif arguments.action == "revoke":
            operator = admin.revoke(arguments.operator)
            _tell(f"Operator {operator.id} ({operator.name}, {operator.prefix}…) is revoked.")
        else:
            _list(admin.list_operators(), as_json=arguments.json)
    return 0


def _list(operators: list[Operator], *, as_json: bool) -> None:
    if as_json:
        for operator in operators:
            print(json.dumps(_describe(operator)))
        return
    if not operators:
        _tell("No operators; `pg-trio operator create` makes one.")
        return
    rows = [("ID", "PREFIX", "STATE", "ROLE", "CREATED", "NAME")]
    rows += [
        (str(one.id), one.prefix, "active" if one.is_active else "revoked", one.role, _time(one.created_at), one.name)
        for one in operators
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))


def _describe(operator: Operator) -> dict[str, object]:
    return {
        "id": operator.id,
        "name": operator.name,
        "prefix": operator.prefix,
        "role": operator.role,
        "is_active": operator.is_active,
        "created_at": operator.created_at,
    }


def _parse_name(name: str) -> str:
    from pg_trio.store.operator_admin import check_operator_name

    try:
        return check_operator_name(name)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
