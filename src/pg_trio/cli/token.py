"""`pg-trio token create|list|limit|rotate|revoke`: manages the tokens that may call a project.

Only a new token's text goes to standard output, so that `TOKEN=$(pg-trio token create …)` works. Messages go to
standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from attrs import asdict, fields

from pg_trio.cli.console import output_failure
from pg_trio.cli.place import add_actions, find_project, locate
from pg_trio.domain.json_value import Json
from pg_trio.domain.operator import Change, describe_new_token
from pg_trio.domain.project import SCOPES, Token, TokenLimits
from pg_trio.errors import ConfigError, OutputLost, StoreError

if TYPE_CHECKING:
    from pg_trio.stores.administration import Administration, TokenAdministration

COMMAND = "pg-trio token"
DEFAULT_SCOPES = ("chat", "models")
LIMIT_NAMES = tuple(field.name for field in fields(TokenLimits))


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `pg-trio token` and its commands to the parser."""
    parser = commands.add_parser("token", help="create, list, limit, rotate and revoke tokens", description=__doc__)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", dest="action", required=True)

    add_action = add_actions(actions, run, "where the tokens are, without a configuration")
    create = add_action("create", "make a token; its plaintext is printed once and never stored")
    create.add_argument("--project", required=True, metavar="PROJECT", help="its uuid, slug or name")
    create.add_argument("--name", required=True, type=_parse_name, help="for people: who uses it")
    create.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        dest="scopes",
        help=f"what it may do; may be repeated (default: {' '.join(DEFAULT_SCOPES)})",
    )
    create.add_argument("--env", choices=("live", "test"), default="live")
    _add_limits(create, _parse_limit, "")

    listing = add_action("list", "show tokens, revoked ones included; never their text")
    listing.add_argument("--project", metavar="PROJECT", help="only this one's: uuid, slug or name")
    listing.add_argument("--json", action="store_true", help="one JSON object a line; times are Unix seconds")

    limit = add_action("limit", "change a token's limits, within a second; those not named stay")
    _add_limits(limit, _parse_limit_or_none, "; none takes the limit away")
    rotate = add_action("rotate", "give a token a new plaintext; the old one dies within a second")
    revoke = add_action("revoke", "end a token within a second, for good")
    for action in (limit, rotate, revoke):
        action.add_argument("token", metavar="TOKEN", help="its id, its prefix, or the whole token")


def run(arguments: argparse.Namespace) -> int:
    """The exit status of one command.

    Raises: ConfigError, or StoreError whose text says what to do.
    """
    from pg_trio.stores.administration import administer

    place = locate(arguments, COMMAND)
    # Before anything is opened: a mistyped project must not leave a directory behind.
    wanted = getattr(arguments, "project", None)
    project_uuid = None if wanted is None else find_project(place, wanted, COMMAND)
    stores = administer(place.data_dir, place.cluster)
    # Only `create` makes a directory: otherwise a mistyped directory would look like an empty list of tokens.
    with stores.open_tokens(create=arguments.action == "create") as admin:
        if arguments.action == "list":
            _list(admin, project_uuid, as_json=arguments.json)
        else:
            _CHANGES[arguments.action](admin, stores, project_uuid, arguments)
    return 0


def _note(stores: Administration, action: str, token: Token, content: Json = None) -> None:
    """Write the audit's row. After the change: a file of operators that cannot be used must not keep a token valid."""
    from pg_trio.store.operator_admin import CONSOLE

    with stores.open_operators() as audit:
        audit.note(Change(CONSOLE, f"token.{action}", f"token:{token.id}", None, content))


def _create(
    admin: TokenAdministration, stores: Administration, project_uuid: UUID | None, arguments: argparse.Namespace
) -> None:
    assert project_uuid is not None  # the parser requires it
    scopes = arguments.scopes or DEFAULT_SCOPES
    limits = TokenLimits(**_named_limits(arguments))
    token, plaintext = admin.create(project_uuid, arguments.name, arguments.env, scopes, limits)
    print(plaintext)
    if (failure := output_failure()) is not None:
        admin.revoke(str(token.id))
        raise OutputLost(f"the token was made, could not be written ({failure.strerror}) and is revoked again")
    try:
        _note(stores, "create", token, describe_new_token(token))
    except StoreError:
        # A token that the audit does not know must not work.
        admin.revoke(str(token.id))
        raise
    _tell(f"Token {token.id} ({token.name}) of project {project_uuid}, scopes: {', '.join(token.scopes)}.")
    if token.limits is not None:
        _tell(f"Limits: {_format_limits(token.limits)}.")
    _tell("It is not stored and will not be shown again.")


def _list(admin: TokenAdministration, project_uuid: UUID | None, *, as_json: bool) -> None:
    tokens = admin.list_tokens(project_uuid)
    if as_json:
        for token in tokens:
            print(json.dumps(_describe(token)))
    elif tokens:
        print(_format_table(tokens))
    else:
        _tell("No tokens; `pg-trio token create` makes one.")


def _limit(admin: TokenAdministration, stores: Administration, _: UUID | None, arguments: argparse.Namespace) -> None:
    changes = _named_limits(arguments)
    if not changes:
        raise ConfigError("pg-trio token limit", ["nothing to change: name a limit, as in --max-concurrent 8"])
    token = admin.set_limits(arguments.token, **changes)
    _tell(
        f"Token {token.id} ({token.name}) has these limits in every worker within a second:"
        f" {_format_limits(token.limits)}."
    )
    _note(stores, "limit", token, {**changes})


def _rotate(admin: TokenAdministration, stores: Administration, _: UUID | None, arguments: argparse.Namespace) -> None:
    token, plaintext = admin.rotate(arguments.token)
    print(plaintext)
    failure = output_failure()
    _note(stores, "rotate", token)
    if failure is not None:
        raise OutputLost(
            f"token {token.id} ({token.name}) has a new text that could not be written ({failure.strerror}), and the"
            " old one is refused: rotate it again"
        )
    _tell(f"Token {token.id} ({token.name}) has this new text; every worker refuses the old one within a second.")
    _tell("It is not stored and will not be shown again.")


def _revoke(admin: TokenAdministration, stores: Administration, _: UUID | None, arguments: argparse.Namespace) -> None:
    token = admin.revoke(arguments.token)
    _tell(f"Token {token.id} ({token.name}, {token.prefix}…) is revoked; every worker refuses it within a second.")
    _note(stores, "revoke", token)


_CHANGES = {"create": _create, "limit": _limit, "rotate": _rotate, "revoke": _revoke}


# ── arguments in, text out ───────────────────────────────────────────────────────────────────────────────────────────


def _parse_name(name: str) -> str:
    from pg_trio.store.token_admin import check_name

    try:
        return check_name(name)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _add_limits(parser: argparse.ArgumentParser, parse: Callable[[str], int | None], more: str) -> None:
    for option, what in (
        ("--rate-limit-per-minute", "requests per minute, over all endpoints"),
        ("--tokens-per-minute", "a model's tokens per minute, input and output"),
        ("--max-concurrent", "requests under way at once"),
    ):
        parser.add_argument(option, type=parse, metavar="N", default=argparse.SUPPRESS, help=what + more)


def _parse_limit(text: str) -> int:
    from pg_trio.store.token_admin import check_limit

    try:
        # No limit has more than 20 digits, and a million digits take a second to read.
        return check_limit(int(text[:20]))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"a limit is a whole number from 1 to a billion, not {text[:20]!r}") from exc


def _parse_limit_or_none(text: str) -> int | None:
    return None if text == "none" else _parse_limit(text)


def _named_limits(arguments: argparse.Namespace) -> dict[str, int | None]:
    """The limits that the command line names; None for `none`."""
    given = vars(arguments)
    return {name: given[name] for name in LIMIT_NAMES if name in given}


def _format_limits(limits: TokenLimits | None) -> str:
    if limits is None:
        return "none"
    parts = ((limits.rate_limit_per_minute, "/min"), (limits.tokens_per_minute, " tokens/min"))
    shown = [f"{number}{unit}" for number, unit in (*parts, (limits.max_concurrent, " at once")) if number is not None]
    return ", ".join(shown)


def _describe(token: Token) -> dict[str, object]:
    # Fields are listed, so that a new field of Token is not shown unintentionally (the digest is one).
    return {
        "id": token.id,
        "project_uuid": str(token.project_uuid),
        "name": token.name,
        "prefix": token.prefix,
        "env": token.env,
        "scopes": list(token.scopes),
        "is_active": token.is_active,
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        **asdict(token.limits or TokenLimits()),
    }


def _format_table(tokens: Iterable[Token]) -> str:
    rows = [("ID", "PREFIX", "STATE", "SCOPES", "LIMITS", "CREATED", "LAST USED", "PROJECT", "NAME")]
    rows += [
        (
            str(token.id),
            token.prefix,
            "active" if token.is_active else "revoked",
            ",".join(token.scopes),
            _format_limits(token.limits),
            _format_time(token.created_at),
            _format_time(token.last_used_at),
            str(token.project_uuid),
            token.name,
        )
        for token in tokens
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _format_time(at: float | None) -> str:
    return "never" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
