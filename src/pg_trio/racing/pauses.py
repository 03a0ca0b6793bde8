"""When this process did not run: it was stopped (SIGSTOP), its machine was, or it got no processor.

A time limit that passes meanwhile says nothing about who was waited for: the answer may have come, and nothing read it.
So no candidate is blamed for a silence that was mostly a pause of our own, or for an end that a long pause may have
caused. The request itself still ends at its deadline.

A task wakes every BEAT_S, and what it is late is a pause. What ends in the same pass of the event loop as the pause may
ask before that task has woken, so the beat that is overdue counts, too. Synchronous but for `run`; times are Trio's
clock.
"""

from __future__ import annotations

import math
from collections import deque

import trio

# Patience with a provider is a second (provider_call/runner.py), and four wake-ups a second cost nothing.
BEAT_S = 0.25
# A busy event loop is late by some hundred milliseconds, and reads what has come meanwhile: that is no pause.
SHORTEST_S = 0.25
# Of a process that is stopped and continued all the time, the latest are enough.
MOST_KEPT = 64
# After so long a pause, peers may have given up; what they did meanwhile is seen within the next second.
LONG_S = 1.0
AFTERMATH_S = 1.0


class Pauses:
    """The last pauses of this process. Without `run` there are none."""

    __slots__ = ("_due", "_kept")

    def __init__(self) -> None:
        self._due = math.inf
        self._kept: deque[tuple[float, float]] = deque(maxlen=MOST_KEPT)

    async def run(self) -> None:
        """A background task; runs until cancelled."""
        try:
            while True:
                self._due = trio.current_time() + BEAT_S
                await trio.sleep_until(self._due)
                now = trio.current_time()
                if now - self._due >= SHORTEST_S:
                    self._kept.append((self._due, now))
        finally:
            self._due = math.inf

    def took_most_of(self, since: float, now: float) -> bool:
        """Whether this process did not run for half of this time or longer."""
        paused_s = sum(max(0.0, min(ended, now) - max(began, since)) for began, ended in self._pauses(now))
        return 0 < paused_s >= (now - since) / 2

    def overlap(self, since: float, now: float) -> bool:
        """Whether this process did not run for a part of this time."""
        return now - self._due >= SHORTEST_S or (bool(self._kept) and self._kept[-1][1] > since)

    def has_just_ended(self, now: float) -> bool:
        """Whether a long pause ended a moment ago."""
        return any(ended - began >= LONG_S and now - ended <= AFTERMATH_S for began, ended in self._pauses(now))

    def _pauses(self, now: float) -> list[tuple[float, float]]:
        return [*self._kept, (self._due, now)] if now - self._due >= SHORTEST_S else list(self._kept)
