"""What a table comes to: its text, the raw figures behind it, and which bars it missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen


@frozen(slots=True)
class Table:
    """A measured table; `wrong` says what is not as promised, one text each."""

    name: str
    text: str
    raw: Mapping[str, object]
    wrong: Sequence[str]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed; `values` is not empty."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
