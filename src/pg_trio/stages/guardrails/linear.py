"""Patterns in linear time: RE2 over UTF-8 bytes.

It uses bytes, because the library encodes a str again at every search and converts offsets back. With bytes one
encoding serves every pattern. `$`, `\\b` and `\\d` are RE2's: ASCII, and without look-around.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import re2


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_match", "_unanchored")

    def __init__(self, compiled: Any) -> None:
        # The function that the library's Python layer calls. The layer's `search` makes a generator and a match object
        # each time, which takes three times as long as the search; hostile text has half a million matches.
        self._match = compiled._regexp.Match
        self._unanchored = type(compiled._regexp).Anchor.UNANCHORED

    def search(self, text: bytes, pos: int = 0) -> tuple[int, int] | None:
        """Byte offsets of the leftmost match at `pos` or later; the text before `pos` still counts for `\\b`."""
        span: tuple[int, int] = self._match(self._unanchored, text, pos, len(text))[0]
        return None if span[0] < 0 else span


def compile_pattern(pattern: str, *, ignore_case: bool = False, max_mem_bytes: int | None = None) -> Pattern:
    """A pattern for UTF-8 bytes. Raises: ValueError, which says what is wrong with it."""
    options = _options()
    options.case_sensitive = not ignore_case
    if max_mem_bytes is not None:
        options.max_mem = max_mem_bytes
    try:
        return Pattern(re2.compile(pattern, options))
    except re2.error as error:
        said = error.args[0] if error.args else ""
        raise ValueError(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None


class PatternSet:
    """Several patterns in one scan; reports which of them match somewhere."""

    def __init__(self, patterns: Sequence[str], *, ignore_case: bool = False, max_mem_bytes: int | None = None) -> None:
        options = _options()
        options.case_sensitive = not ignore_case
        if max_mem_bytes is not None:
            options.max_mem = max_mem_bytes
        self._set: Any = re2.Set.SearchSet(options)
        for pattern in patterns:
            self._set.Add(pattern)
        self._set.Compile()
        # As in Pattern: the function below the library's Python layer.
        self._match: Any = self._set._set.Match

    def find_indexes(self, text: bytes) -> list[int]:
        """The indexes of the patterns that match somewhere."""
        found: list[int] = self._match(text)
        return found

    def find_first(self, text: bytes) -> int | None:
        """The lowest index of a pattern that matches somewhere, or None."""
        found = self._match(text)
        return min(found) if found else None


def _options() -> Any:
    options = re2.Options()
    # Groups are not captured, because RE2 would need a slower engine for captures.
    options.never_capture = True
    options.log_errors = False
    return options
