"""Tables of figures, the percentiles and ratios in them, and what a bench reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from attrs import field, frozen


@frozen(slots=True)
class Table:
    """The first column names the row; the others are figures, with their unit in `head`. `notes` stand below it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n\n".join([format_table(self.head, self.rows), *(["\n".join(self.notes)] if self.notes else [])])


@frozen(slots=True)
class Report:
    """What a bench found. `raw`: the figures behind the tables, for a file. `wrong`: what is not as promised."""

    tables: Sequence[Table]
    raw: Mapping[str, object] = field(factory=dict)
    wrong: Sequence[str] = ()


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded for terminals: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * width if number == 0 else "-" * (width - 1) + ":" for number, width in enumerate(widths)]
    sides = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    lines = (
        [pad(*cell) for pad, cell in zip(sides, zip(row, widths, strict=True), strict=True)]
        for row in [head, rule, *rows]
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def quantile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that at least `share` of the values do not exceed; infinite without values."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)] if values else math.inf


def spread(
    values: Sequence[float], *, scale: float = 1.0, digits: int = 1, shares: Sequence[float] = (0.5, 0.99, 1.0)
) -> list[str]:
    """Percentiles as text, times `scale`; dashes without values."""
    return [f"{quantile(values, share) * scale:,.{digits}f}" if values else "–" for share in shares]


def find_spread(values: Sequence[float], name: str = "", *, scale: float = 1.0) -> dict[str, float]:
    """`NAMEp50`, p95, p99 and most_max as figures, times `scale`; none without values."""
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "most_max": 1.0}
    return {name + rank: quantile(values, share) * scale for rank, share in shares.items()} if values else {}


# What one row showed in one round, by name with its unit. Over the rounds, a figure is its median; one whose name ends
# in `_sum` is added up, one in `_max` is the largest, one in `_min` the least. `round` pairs the rows of one round.
Figures = Mapping[str, float]
Found = dict[str, list[dict[str, float]]]
_COMBINE: Mapping[str, Callable[[Iterable[float]], float]] = {"_sum": sum, "_max": max, "_min": min, "": median}


def combine(rounds: Sequence[Figures], base: Sequence[Figures] = ()) -> dict[str, float]:
    """Every figure over all rounds.

    NAME_ratio is the median of NAME over the base's, round by round: what slows a round down slows both. NAME_over is
    the base's over NAME.
    """
    found = {}
    pairs = [(one, other) for one in rounds for other in base if one.get("round") == other.get("round")]
    for name in (name for name in rounds[0] if all(name in one for one in rounds)):
        how = next(how for end, how in _COMBINE.items() if name.endswith(end))
        found[name] = how(one[name] for one in rounds)
        if both := [(one[name], other[name]) for one, other in pairs if one[name] and other.get(name)]:
            found[f"{name}_ratio"] = median(one / other for one, other in both)
            found[f"{name}_over"] = median(other / one for one, other in both)
    return found


def tabulate(found: Found, columns: Mapping[str, str], *, base: str = "", notes: Sequence[str] = ()) -> Table:
    """A row for each name in `found`. `columns`: a head, and the cell as a format of the combined figures.

    Ratios are to the row named `base`. A cell whose figures the row does not have is a dash.
    """
    rows = []
    for name, rounds in found.items():
        figures = combine(rounds, found.get(base, ()))
        rows.append((name, *(_fill(cell, figures) for cell in list(columns.values())[1:])))
    return Table(list(columns), rows, notes)


def _fill(cell: str, figures: Figures) -> str:
    try:
        return cell.format(**figures)
    except KeyError:
        return "–"
