"""Tables of figures, the percentiles and ratios in them, and what a bench reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from attrs import field, frozen


@frozen(slots=True)
class Table:
    """The first column names the row; the others are figures, with their unit in `head`. `notes` stand below it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        parts = [self.title, format_table(self.head, self.rows), "\n".join(self.notes)]
        return "\n\n".join(part for part in parts if part)


@frozen(slots=True)
class Report:
    """What a bench found. `raw`: the figures behind the tables, for a file. `wrong`: what is not as promised."""

    tables: Sequence[Table]
    raw: Mapping[str, object] = field(factory=dict)
    wrong: Sequence[str] = ()


@frozen(slots=True)
class Bar:
    """What a run has to show, and what it showed."""

    wanted: str
    shown: str
    is_met: bool

    def __str__(self) -> str:
        return f"Bar: {self.wanted}: {self.shown} – {'met' if self.is_met else 'NOT met'}"


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded for terminals: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * width if number == 0 else "-" * (width - 1) + ":" for number, width in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        sides = [str.ljust, *[str.rjust] * (len(cells) - 1)]
        return f"| {' | '.join(pad(cell, width) for pad, cell, width in zip(sides, cells, widths, strict=True))} |"

    return "\n".join(line(cells) for cells in (head, rule, *rows))


def quantile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that at least `share` of the values do not exceed; infinite without values."""
    if not values:
        return math.inf
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def spread(
    values: Sequence[float], *, scale: float = 1.0, digits: int = 1, shares: Sequence[float] = (0.5, 0.99, 1.0)
) -> list[str]:
    """Percentiles as text, times `scale`; dashes without values."""
    return [f"{quantile(values, share) * scale:,.{digits}f}" if values else "–" for share in shares]


def format_pair(pair: tuple[float, float] | None) -> str:
    """p50 / p99, or a dash."""
    return "–" if pair is None or math.isinf(pair[0]) else f"{pair[0]:.2f} / {pair[1]:.2f}"


def median_ratio(ones: Iterable[float], others: Iterable[float]) -> float:
    """The median of one over the other, round by round: what slows a round down slows both."""
    return median(one / other for one, other in zip(ones, others, strict=True))
