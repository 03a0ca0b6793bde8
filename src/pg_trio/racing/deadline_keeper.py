"""Ends deadlines at their times, with one deadline of Trio's for all of them.

Rules:
1. Setting a deadline of Trio's costs 170 steps. A connection's requests set one after the other, nearly none comes to
   pass, and each is usually later than the one before. So a later time is only noted (`at`). The keeper wakes at the
   earlier time, sees the noted one, and looks again then.
2. Nothing ends early, and nothing late: the keeper always wakes at the earliest `at` of all. It wakes in vain at most
   once in the time of a deadline, for each that is kept.
3. Each that is kept has one entry that counts. If a time is moved to before that entry, the old entry is void. Void
   entries are cleared once they are more than the others, as in Trio's own list of deadlines.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol

import trio

# 16: fewer void entries are not worth clearing, and keep alive no more than they do.
FEWEST_VOID = 16


class Watched(Protocol):
    """A deadline that is kept. `looked_at_from` is the keeper's own: the time of its entry, infinity without one."""

    at: float
    looked_at_from: float

    def end(self) -> None:
        """The time `at` has come."""


class DeadlineKeeper:
    """Calls `end` of each deadline at its time. `run` must be running; times are Trio's clock."""

    def __init__(self) -> None:
        # (when to look, a number that makes entries comparable, at what).
        self._entries: list[tuple[float, int, Watched]] = []
        self._numbers = count()
        self._kept = 0
        self._sleep = trio.CancelScope()

    def __len__(self) -> int:
        """How many entries there are, void ones included."""
        return len(self._entries)

    def watch(self, one: Watched) -> None:
        """Look at it at its present time. Needed only if that is before `looked_at_from`."""
        at = one.at
        self._kept += one.looked_at_from == math.inf
        one.looked_at_from = at
        heappush(self._entries, (at, next(self._numbers), one))
        if at < self._sleep.deadline:  # noqa: PLR1730  # setting it is what costs
            self._sleep.deadline = at
        self._clear_void()

    def forget(self, one: Watched) -> None:
        """It is kept no more: its entry is void."""
        if one.looked_at_from < math.inf:
            one.looked_at_from = math.inf
            self._kept -= 1
            self._clear_void()

    def _clear_void(self) -> None:
        if len(self._entries) > 2 * self._kept + FEWEST_VOID:
            self._entries = [entry for entry in self._entries if entry[0] == entry[2].looked_at_from]
            heapify(self._entries)

    async def run(self) -> None:
        """A background task; runs until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._entries[0][0] if self._entries else math.inf) as self._sleep:
                await trio.sleep_forever()
            self._look(trio.current_time())

    def _look(self, now: float) -> None:
        while self._entries and self._entries[0][0] <= now:
            looked_at, _, one = heappop(self._entries)
            if looked_at != one.looked_at_from:
                continue
            one.looked_at_from = math.inf
            self._kept -= 1
            if one.at <= now:
                one.end()
            elif one.at < math.inf:
                self.watch(one)
