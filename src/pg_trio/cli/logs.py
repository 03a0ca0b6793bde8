"""`pg-trio logs`: shows the gateway's log, with or without a running gateway: the node's own file, or with `[cluster]`
the rows of all nodes.

It prints a table, or JSON lines (`--json`) for programs, on standard output. The log is only read.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING
from uuid import UUID

from pg_trio.cli.columns import Columns, line_of
from pg_trio.cli.console import output_failure
from pg_trio.cli.place import add_place, find_project, locate, open_log
from pg_trio.domain.guardrails import describe_verdicts
from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.errors import StoreAway

if TYPE_CHECKING:
    from pg_trio.store.log_reader import LogFilter
    from pg_trio.stores.administration import LogRows

# 20 rows fill most of a terminal; journalctl and tail show 10.
DEFAULT_ROWS = 20
# 0.25 s: to a person rows appear at once, and four looks a second cost little.
FOLLOW_EVERY_S = 0.25
_AGE = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_STATUS = re.compile(r"([1-5])(?:[0-9]{2}|xx)")
_COLUMNS = (
    ("TIME", 23),
    ("STATUS", 6),
    ("MS", -9),
    ("SURFACE", 11),
    ("ENDPOINT", 16),
    ("MODEL", 24),
    ("TOKENS", -11),
    ("USD", -10),
    ("TRIES", -5),
    ("REQUEST ID", 36),
    ("ERROR", 0),
)
# `--long` adds the subject before the request's id, and the client's address and id before the error.
_LONG_COLUMNS = (
    *_COLUMNS[:-2],
    ("SUBJECT", 20),
    _COLUMNS[-2],
    ("CLIENT", 39),
    ("CLIENT'S ID", 36),
    _COLUMNS[-1],
)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("logs", help="show what was answered, and follow it", description=__doc__)
    add_place(parser, "where the log is, without a configuration")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with the rows to come, until Ctrl-C")
    parser.add_argument(
        "-n", "--lines", type=_parse_count, default=DEFAULT_ROWS, metavar="N", help="the last N rows (default: 20)"
    )
    parser.add_argument(
        "--long", action="store_true", help="more columns: subject, client's address, its own request id"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, bodies and attempts included")
    parser.add_argument("--project", metavar="PROJECT", help="only this one's: uuid, slug or name")
    parser.add_argument("--endpoint", metavar="SLUG", help="only this one's")
    parser.add_argument(
        "--status", type=_parse_status, metavar="STATUS", help="only these: 429, or 5xx for all of them"
    )
    parser.add_argument("--errors", action="store_true", help="only failures, broken streams and clients that left")
    parser.add_argument(
        "--since", type=parse_since, metavar="TIME", help="only from then on: 90s, 15m, 6h, 7d ago, or an ISO time"
    )
    parser.add_argument("--request-id", type=parse_request_id, metavar="UUID", help="the row of this X-Request-Id")
    parser.add_argument("--client-request-id", metavar="ID", help="the rows of this X-Request-Id of a client's own")
    parser.add_argument("--subject", metavar="SUBJECT", help="only calls with client tokens of this subject")
    parser.add_argument("--client", type=_parse_address, metavar="ADDRESS", help="only calls from this address")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the rows. Raises: ConfigError, or StoreError whose text says what to do."""
    from pg_trio.store.log_reader import LogFilter

    place = locate(arguments, "pg-trio logs")
    wanted = LogFilter(
        project_uuid=find_project(place, arguments.project, "pg-trio logs") if arguments.project else None,
        endpoint_slug=arguments.endpoint,
        statuses=arguments.status,
        since=arguments.since,
        request_id=arguments.request_id,
        client_request_id=arguments.client_request_id,
        client_address=arguments.client,
        subject=arguments.subject,
        errors_only=arguments.errors,
    )
    with open_log(place) as reader:
        _show(reader, wanted, arguments)
    return 0


def _show(reader: LogRows, wanted: LogFilter, arguments: argparse.Namespace) -> None:
    columns = _LONG_COLUMNS if arguments.long else _COLUMNS
    render = _render_json if arguments.json else partial(_render_line, columns=columns)
    if not arguments.json:
        print(line_of([heading for heading, _ in columns], columns))
    # The table has no place for bodies.
    bodies = arguments.json
    is_read = _print(map(render, reader.last(wanted, arguments.lines, bodies=bodies)))
    if is_read and arguments.follow:
        _follow(lambda: map(render, reader.new(wanted, bodies=bodies)))


def _follow(read_new: Callable[[], Iterable[str]]) -> None:
    """Print what comes, also after a server was away, until Ctrl-C, or until the lines cannot be written."""
    is_away = False
    is_read = True
    while is_read:
        time.sleep(FOLLOW_EVERY_S)
        try:
            is_read = _print(read_new())
        except StoreAway as away:
            if not is_away:
                print(f"{away}; trying again until it answers", file=sys.stderr)
            is_away = True
            continue
        if is_away:
            print("it answers again", file=sys.stderr)
        is_away = False


def _print(lines: Iterable[str]) -> bool:
    """Print the lines; False if they cannot be written: the reader (head, less) has left, or the disk is full."""
    for line in lines:
        print(line)
    # Flushed once, not after each line: a pipe would get each line by itself.
    return output_failure() is None


# ── rows as text ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _render_json(row: LogRow) -> str:
    # Fields are listed, so that a new field of LogRow is not shown unintentionally.
    shown = {
        "request_id": str(row.request_id),
        "at": row.at,
        "status": row.status,
        "outcome": row.outcome,
        "surface": row.surface,
        "deadline_ms": row.deadline_ms,
        "first_token_ms": row.first_token_ms,
        "latency_ms": row.latency_ms,
        "project_uuid": row.project_uuid and str(row.project_uuid),
        "endpoint_uuid": row.endpoint_uuid and str(row.endpoint_uuid),
        "endpoint": row.endpoint_slug,
        "token_id": row.token_id,
        "subject": row.subject,
        "client_token": row.client_token,
        "client_request_id": row.client_request_id,
        "client_address": row.client_address,
        "provider": row.provider,
        "model": row.model,
        "error_code": row.error_code,
        "error": row.error,
        "guardrails": describe_verdicts(row.guardrails),
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "cached_tokens": row.cached_tokens,
        "cache_write_tokens": row.cache_write_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "cost_usd": None if row.cost_nano_usd is None else row.cost_nano_usd / 1e9,
        "price": row.price,
        "stages_ms": json.loads(row.stages),
        "attempts": [_describe_attempt(attempt) for attempt in row.attempts],
        "request_body": row.request_body and json.loads(row.request_body),
        "response_body": row.response_body and json.loads(row.response_body),
    }
    if row.node is not None:
        shown["node"] = row.node
    return json.dumps(shown, separators=(",", ":"))


def _describe_attempt(attempt: AttemptRow) -> dict[str, object]:
    return {
        "provider": attempt.provider,
        "model": attempt.model,
        "credential": attempt.credential,
        "started_ms": attempt.started_ms,
        "ended_ms": attempt.ended_ms,
        "first_token_ms": attempt.first_token_ms,
        "outcome": attempt.outcome,
        "is_hedge": attempt.is_hedge,
    }


def _render_line(row: LogRow, columns: Columns) -> str:
    subject, client = [], []
    if columns is _LONG_COLUMNS:
        subject, client = [row.subject or "-"], [row.client_address or "-", row.client_request_id or "-"]
    return line_of(
        [
            datetime.fromtimestamp(row.at, UTC).isoformat(timespec="milliseconds")[:23],
            str(row.status),
            f"{row.latency_ms:.1f}",
            row.surface or "-",
            row.endpoint_slug or "-",
            row.model or "-",
            "-" if row.prompt_tokens is None else f"{row.prompt_tokens}+{row.completion_tokens}",
            "-" if row.cost_nano_usd is None else f"{row.cost_nano_usd / 1e9:.6f}",
            str(sum(attempt.is_try for attempt in row.attempts)),
            *subject,
            str(row.request_id),
            *client,
            row.error or "",
        ],
        columns,
    )


# ── arguments ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)


def _parse_status(text: str) -> tuple[int, int]:
    found = _STATUS.fullmatch(text.lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no status: 429 for one, 5xx for all that begin so")
    if text.lower().endswith("xx"):
        return int(found[1]) * 100, int(found[1]) * 100 + 99
    return int(text), int(text)


def parse_since(text: str) -> float:
    """Unix seconds of an age (`15m`) or of an ISO time. Raises ArgumentTypeError."""
    found = _AGE.fullmatch(text)
    if found is not None:
        return time.time() - int(found[1]) * _UNIT_S[found[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is neither like 15m (s, m, h, d) nor an ISO time") from exc
    # A time without an offset is UTC, as in the table.
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _parse_address(text: str) -> str:
    try:
        # The form that rows have: IPv6 in its shortest form.
        return str(ip_address(text))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from exc


def parse_request_id(text: str) -> UUID:
    """The id of a request. Raises ArgumentTypeError."""
    try:
        return UUID(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no request id (a UUID)") from exc
