"""A budget of log lines for events that any client can cause at will. No I/O, no clock."""

from __future__ import annotations

import math


class LineBudget:
    """At most `lines` in each window of `window_s`. Events without a line are counted for the next line."""

    __slots__ = ("_left", "_lines", "_silent", "_window_ends", "_window_s")

    def __init__(self, lines: int, window_s: float) -> None:
        self._lines = lines
        self._window_s = window_s
        self._left = 0
        self._silent = 0
        self._window_ends = -math.inf

    def take(self, now: float) -> int | None:
        """If a line may be logged now: how many events had none since the last one; else None."""
        if now >= self._window_ends:
            self._left = self._lines
            self._window_ends = now + self._window_s
        if not self._left:
            self._silent += 1
            return None
        self._left -= 1
        silent, self._silent = self._silent, 0
        return silent
