"""Turns at something that several owners use, so that no owner starves another.

Rules:
1. One turn at a time. Owners take turns in the order in which they came, one turn each, however many tasks they have.
2. A turn cannot be taken away. After `turn_s` the next owner's turn begins beside it, up to `most` at once; an owner
   never has two.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

import trio

from pg_trio.racing.wait_queue import Waiter, WaitQueue


class FairTurns:
    """The owners that have a turn, and those that wait for one. `await begin(owner)`, then always `end(owner)`."""

    def __init__(self, turn_s: float, most: int) -> None:
        self._turn_s = turn_s
        self._most = most
        self._queue = WaitQueue()
        # When each running turn began, in order.
        self._begun: dict[Hashable, float] = {}

    async def begin(self, owner: Hashable) -> None:
        """Wait for a turn of this owner. A cancelled call has no turn."""
        try:
            with self._queue.join(owner) as waiter:
                self._give_turns()
                while not waiter.is_served:
                    await waiter.wait(look_at=self._look_at(waiter))
                    self._give_turns()
        except BaseException:
            self._call_next()
            raise

    def end(self, owner: Hashable) -> None:
        """The owner's turn is over."""
        del self._begun[owner]
        self._give_turns()
        self._call_next()

    def count_waiting(self) -> int:
        """Number of waiters of all owners."""
        return self._queue.length

    def _give_turns(self) -> None:
        """Begin the turns that may begin now."""
        given = False
        while (waiter := self._next()) is not None and self._next_at() <= trio.current_time():
            self._begun[waiter.owner] = trio.current_time()
            self._queue.serve(waiter)
            given = True
        if given:
            self._call_next()

    def _next(self) -> Waiter | None:
        """The waiter with the next turn; None if no owner without a turn waits."""
        return next((waiter for waiter in self._queue.heads() if waiter.owner not in self._begun), None)

    def _next_at(self) -> float:
        """When the next turn may begin (Trio's clock), if no running turn ends earlier."""
        if not self._begun:
            return -math.inf
        if len(self._begun) >= self._most:
            return math.inf
        return next(reversed(self._begun.values())) + self._turn_s

    def _look_at(self, waiter: Waiter) -> float:
        """When this waiter must check again: only the next waiter of all watches the clock."""
        return self._next_at() if self._next() is waiter else math.inf

    def _call_next(self) -> None:
        """The next waiter is another one, or its time has changed: it must compute its time again."""
        if (waiter := self._next()) is not None:
            self._queue.call(waiter)
