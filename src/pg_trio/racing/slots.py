"""Bounded concurrency: a number of slots, a short queue, and refusals for waits that would be too long.

Rules:
1. First come, first served. A slot that is given back goes to the head of the queue in the same step. So no waiter
   overtakes another, and the count is exact under every cancellation.
2. The queue has three limits: its length, each waiter's own wait, and its age (wait_queue.py, rule 2).
"""

from __future__ import annotations

from types import TracebackType

import trio
from attrs import frozen

from pg_trio.racing.wait_queue import QueueFull, Waiter, WaitQueue


class NoSlot(Exception):
    """No slot within the wait. `queue_age_s` is how long the head of the queue has been waiting (0: it is empty)."""

    def __init__(self, queue_age_s: float) -> None:
        super().__init__(f"no slot free, the head of the queue has waited for {queue_age_s:.3g} s")
        self.queue_age_s = queue_age_s


@frozen(slots=True)
class SlotRules:
    """How many at once, and how long a queue."""

    limit: int
    queue_limit: int
    # 100 ms: CoDel's interval, and a tenth of the time of a quick answer.
    shed_age_s: float = 0.1


class Slots:
    """`async with slots.hold(wait_s): …` holds one slot, or raises NoSlot after `wait_s` at the latest."""

    __slots__ = ("_held", "_queue", "_rules")

    def __init__(self, rules: SlotRules) -> None:
        self._rules = rules
        self._queue = WaitQueue(rules.queue_limit, rules.shed_age_s)
        self._held = 0

    @property
    def in_use(self) -> int:
        """Slots that are held."""
        return self._held

    @property
    def free(self) -> int:
        """Slots that could be held at once."""
        return self._rules.limit - self.in_use

    @property
    def waiting(self) -> int:
        """Length of the queue."""
        return self._queue.length

    def hold(self, wait_s: float) -> Hold:
        """A block that holds one slot. With `wait_s` 0 or less it does not wait, and has no checkpoint."""
        return Hold(self, wait_s)

    async def take(self, wait_s: float) -> None:
        """Hold one slot until `give_back`, for work that does not end where it began. Raises NoSlot."""
        if self._take_nowait():
            return
        if wait_s <= 0:
            raise NoSlot(self._queue.age_s())
        try:
            waiter = self._queue.join()
        except QueueFull as full:
            raise NoSlot(full.age_s) from None
        with waiter, trio.move_on_after(wait_s):
            await self._wait(waiter)
        if not waiter.is_served:
            raise NoSlot(trio.current_time() - waiter.joined_at)

    def _take_nowait(self) -> bool:
        if self._held >= self._rules.limit:
            return False
        self._held += 1
        return True

    async def _wait(self, waiter: Waiter) -> None:
        # A waiter that is served has the slot: `give_back` left it counted.
        await waiter.wait()

    def give_back(self) -> None:
        """Give back a slot that `take` took. The head of the queue gets it at once."""
        head = self._queue.head()
        if head is None:
            self._held -= 1
        else:
            self._queue.serve(head)


class Hold:
    """One slot, from entering the block to leaving it."""

    __slots__ = ("_slots", "_wait_s")

    def __init__(self, slots: Slots, wait_s: float) -> None:
        self._slots = slots
        self._wait_s = wait_s

    async def __aenter__(self) -> None:
        await self._slots.take(self._wait_s)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots.give_back()
