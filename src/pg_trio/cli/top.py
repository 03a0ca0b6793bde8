"""`pg-trio top`: what the gateway does now, as a table that follows the log: rates, errors, latencies by endpoint, and
the requests that ended last. Without a terminal, or with --once, it is printed once."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pg_trio.cli.columns import printable
from pg_trio.cli.place import add_place, locate, open_log
from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_sums import LatencyClass, percentile
from pg_trio.errors import StoreAway

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pg_trio.stores.administration import LogRows

EVERY_S = 1.0
WINDOW_S = 60.0
# More than 80 requests a second: then the window is shorter, and the table says so.
MOST_ROWS = 5_000
LAST_ROWS = 12
NAME_CHARS = 24
WIDTHS = {"endpoint": NAME_CHARS, "model": NAME_CHARS, "outcome": 17}
ERROR_CHARS = 60


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("top", help="watch what the gateway does", description=__doc__)
    add_place(parser, "where the log is, without a configuration")
    parser.add_argument("--once", action="store_true", help="print the table once")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the table until Ctrl-C. Raises: ConfigError, or StoreError whose text says what to do."""
    from rich.console import Console
    from rich.live import Live

    place = locate(arguments, "pg-trio top")
    # Of the console that other commands write to: see console.py.
    console = Console(file=sys.stdout)
    with open_log(place) as reader:
        if arguments.once or not console.is_terminal:
            console.print(draw(*_read(reader)))
            return 0
        with Live(draw(*_read(reader)), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(EVERY_S)
                try:
                    live.update(draw(*_read(reader)), refresh=True)
                except StoreAway as away:
                    live.update(f"{away}; trying again until it answers", refresh=True)


def _read(reader: LogRows) -> tuple[list[LogRow], float]:
    """The rows of the last minute, and how many seconds they cover."""
    from pg_trio.store.log_reader import LogFilter

    now = time.time()
    rows = reader.last(LogFilter(since=now - WINDOW_S), MOST_ROWS, bodies=False)
    return rows, WINDOW_S if len(rows) < MOST_ROWS else max(0.001, now - rows[0].at)


def draw(rows: Sequence[LogRow], window_s: float) -> RenderableType:
    """The two tables."""
    from rich.console import Group

    return Group(_draw_endpoints(rows, window_s), _draw_last(rows[-LAST_ROWS:]))


def _draw_endpoints(rows: Sequence[LogRow], window_s: float) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=f"the last {window_s:.0f} s", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("endpoint", "req/s", "errors", "p50 ms", "p95 ms", "p99 ms", "first token", "tokens/s", "USD"):
        is_name = heading == "endpoint"
        table.add_column(
            heading, justify="left" if is_name else "right", no_wrap=True, max_width=NAME_CHARS if is_name else None
        )
    found: dict[str, list[LogRow]] = {}
    for row in rows:
        found.setdefault(row.endpoint_slug or "-", []).append(row)
    table.add_row(*_cells("all", rows, window_s), style="bold")
    for slug, own in sorted(found.items(), key=lambda item: -len(item[1])):
        table.add_row(*_cells(slug, own, window_s))
    return table


def _cells(name: str, rows: Sequence[LogRow], window_s: float) -> list[str]:
    latencies = [row.latency_ms for row in rows]
    firsts = [row.first_token_ms for row in rows if row.first_token_ms is not None]
    tokens = sum((row.prompt_tokens or 0) + (row.completion_tokens or 0) for row in rows)
    cost = sum(row.cost_nano_usd or 0 for row in rows) / 1e9
    errors = sum(row.error_code is not None for row in rows)
    return [
        _plain(name),
        f"{len(rows) / window_s:.1f}",
        str(errors),
        *(_percentile(latencies, share) for share in (0.5, 0.95, 0.99)),
        _percentile(firsts, 0.5),
        f"{tokens / window_s:.0f}",
        f"{cost:.4f}",
    ]


def _draw_last(rows: Sequence[LogRow]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="the last requests", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("at", "status", "outcome", "ms", "endpoint", "model", "tries", "error"):
        table.add_column(heading, no_wrap=True, overflow="ellipsis", max_width=WIDTHS.get(heading))
    for row in reversed(rows):
        cells = [
            time.strftime("%H:%M:%S", time.gmtime(row.at)),
            str(row.status),
            row.outcome or "-",
            f"{row.latency_ms:.1f}",
            row.endpoint_slug or "-",
            row.model or "-",
            str(sum(attempt.is_try for attempt in row.attempts)),
            (row.error or "")[:ERROR_CHARS],
        ]
        table.add_row(*map(_plain, cells), style="red" if row.error_code else "")
    return table


def _plain(text: str) -> str:
    """The text without control characters, and without what rich takes for markup."""
    from rich.markup import escape

    return escape(printable(text))


def _percentile(values: Iterable[float], share: float) -> str:
    found = percentile([LatencyClass(1, value, value) for value in values], share)
    return "-" if found is None else f"{found:.1f}"
