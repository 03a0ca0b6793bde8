"""Turns at something that one owner after the other may use, so that no owner starves another.

Rules:
1. One turn at a time. Owners take turns in the order in which they came, one turn each, however many they wait for.
2. A turn cannot be taken away. After `turn_s` the next owner's begins beside it, up to `most` at once; an owner never
   has two.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Hashable

import trio
from attrs import define, field


@define(eq=False)
class _Waiting:
    """One who waits for a turn. Woken when it has one, or to look again when that may be."""

    has_turn: bool = False
    woken: trio.Event = field(factory=trio.Event)


class FairTurns:
    """The owners that have a turn, and those that wait for one. `await begin(owner)`, then always `end(owner)`."""

    def __init__(self, turn_s: float, most: int) -> None:
        self._turn_s = turn_s
        self._most = most
        # Owners in the order of their next turns, and for each of them those who wait.
        self._line: OrderedDict[Hashable, deque[_Waiting]] = OrderedDict()
        # Since when each turn is under way; the latest is the last.
        self._begun: dict[Hashable, float] = {}

    async def begin(self, owner: Hashable) -> None:
        """Wait for a turn of the owner's. Cancelled, it has none."""
        waiting = _Waiting()
        self._line.setdefault(owner, deque()).append(waiting)
        self._give_turns()
        try:
            while not waiting.has_turn:
                with trio.move_on_at(self._due_at(waiting)):
                    await waiting.woken.wait()
                if not waiting.has_turn:
                    waiting.woken = trio.Event()
                    self._give_turns()
        except BaseException:
            self._leave(owner, waiting)
            raise

    def end(self, owner: Hashable) -> None:
        """The owner's turn is over."""
        del self._begun[owner]
        self._give_turns()
        self._wake_next()

    def count_waiting(self) -> int:
        """How many wait, for all owners."""
        return sum(len(waiting) for waiting in self._line.values())

    def _give_turns(self) -> None:
        """Let the next begin, as far as that may be now."""
        given = False
        while (owner := self._next_owner()) is not None and self._next_at() <= trio.current_time():
            self._give_turn(owner)
            given = True
        if given:
            self._wake_next()

    def _give_turn(self, owner: Hashable) -> None:
        line = self._line.pop(owner)
        waiting = line.popleft()
        if line:
            # Behind all others.
            self._line[owner] = line
        self._begun[owner] = trio.current_time()
        waiting.has_turn = True
        waiting.woken.set()

    def _next_owner(self) -> Hashable:
        """The owner of the next turn, or None."""
        return next((owner for owner in self._line if owner not in self._begun), None)

    def _next_at(self) -> float:
        """Trio's clock at which the next turn may begin, if none of those under way ends before."""
        if not self._begun:
            return -math.inf
        if len(self._begun) >= self._most:
            return math.inf
        return next(reversed(self._begun.values())) + self._turn_s

    def _due_at(self, waiting: _Waiting) -> float:
        """When this one must look for itself: only the next of all keeps the time."""
        owner = self._next_owner()
        return self._next_at() if owner is not None and self._line[owner][0] is waiting else math.inf

    def _wake_next(self) -> None:
        """Another is next, or the next one's time is another."""
        if (owner := self._next_owner()) is not None:
            self._line[owner][0].woken.set()

    def _leave(self, owner: Hashable, waiting: _Waiting) -> None:
        if waiting.has_turn:
            self.end(owner)
            return
        line = self._line[owner]
        line.remove(waiting)
        if not line:
            del self._line[owner]
        self._wake_next()
