"""What both tables are made with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scripts.bench._peers.catalogue import PEERS
from scripts.bench._peers.summary import Bar

# These are faster than the load side, which shares one core with the upstream.
LIMITED_BY_LOAD = ("direct", "nginx")
# A process that has its core to itself shows 95 % and more.
UNDISTURBED_SHARE = 0.85
TITLES = {peer.name: peer.title for peer in PEERS}


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that a terminal shows it as well."""
    cells = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width if number == 0 else "-" * (width - 1) + ":" for number, width in enumerate(widths)]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join("| " + " | ".join(_pad(line, widths)) + " |" for line in lines)


def format_pair(pair: tuple[float, float] | None) -> str:
    """p50 / p99, or a dash."""
    if pair is None or math.isinf(pair[0]):
        return "–"
    return f"{pair[0]:.2f} / {pair[1]:.2f}"


def tell_bars(bars: Sequence[Bar]) -> list[str]:
    """A line for each bar."""
    return [f"Bar: {bar.wanted}: {bar.shown} – {'met' if bar.is_met else 'NOT met'}" for bar in bars]


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
