"""Columns of text for terminals. What providers and clients wrote must not control the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

# (heading, width). A negative width aligns to the right; 0 takes the rest of the line.
Columns: TypeAlias = Sequence[tuple[str, int]]


def line_of(cells: Sequence[str], columns: Columns) -> str:
    """The cells as a line of these columns."""
    fitted = [fit(cell, width) for cell, (_, width) in zip(cells, columns, strict=True)]
    return "  ".join(fitted).rstrip()


def fit(cell: str, width: int) -> str:
    """The cell in this width: cut, or filled up. Control characters become `?`."""
    cell = printable(cell)
    if width == 0:
        return cell
    size = abs(width)
    cut = cell if len(cell) <= size else cell[: size - 1] + "…"
    return cut.rjust(size) if width < 0 else cut.ljust(size)


def printable(text: str) -> str:
    """The text without control characters."""
    return "".join([character if character.isprintable() else "?" for character in text])
