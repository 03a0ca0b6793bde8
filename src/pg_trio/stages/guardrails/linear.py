"""Patterns in linear time: RE2 over UTF-8 bytes.

It uses bytes, because the library encodes a str again at every search and converts offsets back. With bytes one
encoding serves every pattern. `$`, `\\b` and `\\d` are RE2's: ASCII, and without look-around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import re2

# The leftmost match at an offset or later: its byte offsets.
Search: TypeAlias = Callable[[int], tuple[int, int] | None]


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_anchored", "_match", "_unanchored")

    def __init__(self, compiled: Any) -> None:
        # The function that the library's Python layer calls. The layer's `search` makes a generator and a match object
        # each time, which takes three times as long as the search; hostile text has half a million matches.
        self._match = compiled._regexp.Match
        self._unanchored = type(compiled._regexp).Anchor.UNANCHORED
        self._anchored = type(compiled._regexp).Anchor.ANCHOR_START

    def search(self, text: bytes, pos: int = 0) -> tuple[int, int] | None:
        """Byte offsets of the leftmost match at `pos` or later; the text before `pos` still counts for `\\b`."""
        span: tuple[int, int] = self._match(self._unanchored, text, pos, len(text))[0]
        return None if span[0] < 0 else span

    def is_in(self, text: bytes) -> bool:
        """Whether there is a match."""
        found: bool = self._match(self._unanchored, text, 0, len(text))[0][0] >= 0
        return found

    def match(self, text: bytes, pos: int) -> tuple[int, int] | None:
        """Byte offsets of the match that begins at `pos`; the text before `pos` still counts for `\\b`."""
        span: tuple[int, int] = self._match(self._anchored, text, pos, len(text))[0]
        return None if span[0] < 0 else span

    def over(self, text: bytes) -> Search:
        """The search of one text."""
        match, anywhere, size = self._match, self._unanchored, len(text)

        def search(pos: int) -> tuple[int, int] | None:
            span: tuple[int, int] = match(anywhere, text, pos, size)[0]
            return None if span[0] < 0 else span

        return search


class SplitPattern:
    """`first|last`, searched one by one: together they need more states than RE2's cache has, and then each byte of a
    text of numbers costs a microsecond.

    `last` is searched only where `sign` matches. Each match of `last` has a match of `sign` in it, which begins at most
    `reach_bytes` behind its start.
    """

    __slots__ = ("_first", "_last", "_reach_bytes", "_sign")

    def __init__(self, first: str, last: str, sign: str, reach_bytes: int) -> None:
        self._first, self._last, self._sign = (compile_pattern(each) for each in (first, last, sign))
        self._reach_bytes = reach_bytes

    def match(self, text: bytes, pos: int) -> tuple[int, int] | None:
        """The same as `Pattern.match`."""
        return self._first.match(text, pos) or self._last.match(text, pos)

    def over(self, text: bytes) -> Search:
        """The search of one text. What was found further on is kept, so that it is not searched again."""
        search_first, search_last = self._first.over(text), kept(self._after_sign(text))
        one: tuple[int, int] | None = (-1, -1)

        def search(pos: int) -> tuple[int, int] | None:
            nonlocal one
            if one is not None and one[0] < pos:
                one = search_first(pos)
            other = search_last(pos)
            if one is None or other is None:
                return one or other
            return one if one[0] <= other[0] else other

        return search

    def _after_sign(self, text: bytes) -> Search:
        search_sign, search_last = kept(self._sign.over(text)), self._last.over(text)

        def search(pos: int) -> tuple[int, int] | None:
            sign = search_sign(pos)
            return None if sign is None else search_last(max(pos, sign[0] - self._reach_bytes))

        return search


def kept(search: Search) -> Search:
    """The same search for offsets that grow: asks again only behind the start of what it found last."""
    found: tuple[int, int] | None = (-1, -1)

    def search_on(pos: int) -> tuple[int, int] | None:
        nonlocal found
        if found is not None and found[0] < pos:
            found = search(pos)
        return found

    return search_on


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
        # The indexes of the patterns that match somewhere; as in Pattern, the function below the Python layer.
        self.find_indexes: Callable[[bytes], list[int]] = self._set._set.Match


def _options() -> Any:
    options = re2.Options()
    # Groups are not captured, because RE2 would need a slower engine for captures.
    options.never_capture = True
    options.log_errors = False
    return options
