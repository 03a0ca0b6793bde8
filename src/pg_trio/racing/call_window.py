"""How a key's calls of the last seconds ended, in constant memory. Synchronous; `now` is passed in."""

from __future__ import annotations

import math

from attrs import define

Counts = tuple[int, int, int]
NOTHING: Counts = (0, 0, 0)


@define(slots=True, eq=False)
class CallWindow:
    """Counts (calls, failed, slow) of the last one to two `half_s`: two halves that take turns, however many calls."""

    half_s: float
    began_at: float = -math.inf
    newer: Counts = NOTHING
    older: Counts = NOTHING

    @property
    def calls(self) -> int:
        """All calls."""
        return self.newer[0] + self.older[0]

    @property
    def failed(self) -> int:
        """Failed calls."""
        return self.newer[1] + self.older[1]

    @property
    def slow(self) -> int:
        """Calls that were silent for too long."""
        return self.newer[2] + self.older[2]

    @property
    def bad(self) -> int:
        """Failed and slow calls."""
        newer, older = self.newer, self.older
        return newer[1] + newer[2] + older[1] + older[2]

    def count(self, now: float, *, calls: int = 1, failed: int = 0, slow: int = 0) -> None:
        """Count calls, those that failed and those that were slow among them."""
        self.turn(now)
        all_calls, all_failed, all_slow = self.newer
        self.newer = (all_calls + calls, all_failed + failed, all_slow + slow)

    def turn(self, now: float) -> None:
        """Forget what is too old."""
        if now < self.began_at + self.half_s:
            return
        self.older = self.newer if now < self.began_at + 2 * self.half_s else NOTHING
        self.newer = NOTHING
        self.began_at = now

    def calls_per_s(self, now: float) -> float:
        """Calls a second over the longest time that the window may hold; never too high."""
        self.turn(now)
        return self.calls / (self.half_s + now - self.began_at)


@define(slots=True, eq=False)
class AnswerWindow:
    """The same for calls that were answered, and nothing else: nearly every call is counted here alone."""

    half_s: float
    # When `newer` becomes `older`.
    turns_at: float = -math.inf
    newer: int = 0
    older: int = 0

    @property
    def calls(self) -> int:
        """All calls."""
        return self.newer + self.older

    def count(self, now: float) -> None:
        """Count one call."""
        if now >= self.turns_at:
            self.turn(now)
        self.newer += 1

    def turn(self, now: float) -> None:
        """Forget what is too old."""
        if now >= self.turns_at:
            self.older = self.newer if now < self.turns_at + self.half_s else 0
            self.newer = 0
            self.turns_at = now + self.half_s

    def calls_per_s(self, now: float) -> float:
        """As CallWindow's."""
        self.turn(now)
        return self.calls / (2 * self.half_s + now - self.turns_at)

    def clear(self) -> None:
        """Forget everything."""
        self.newer = self.older = 0
