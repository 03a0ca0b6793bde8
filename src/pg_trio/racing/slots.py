"""Bounded concurrency: a number of slots, a short queue, and refusals for waits that would be too long.

Rules:
1. First come, first served. A slot that is given back goes to the head of the queue in the same step. So no waiter
   overtakes another, and the count is exact under every cancellation.
2. The queue has three limits: its length, each waiter's own wait, and its age. Once the head has waited for
   `shed_age_s`, new requests are refused at once, because they would wait even longer. (The idea of CoDel: the age of
   the queue matters, not its length.)
"""

from __future__ import annotations

from types import TracebackType

import trio
from attrs import frozen


class NoSlot(Exception):
    """No slot within the wait. `line_age_s` is how long the head of the queue has been waiting (0: the queue is
    empty)."""

    def __init__(self, line_age_s: float) -> None:
        super().__init__(f"no slot free, the line is {line_age_s:.3g} s old")
        self.line_age_s = line_age_s


@frozen(slots=True)
class SlotRules:
    """How many at once, and how long a line."""

    limit: int
    line_limit: int
    # 100 ms: CoDel's interval, and a tenth of the time of a quick answer.
    shed_age_s: float = 0.1


class Slots:
    """`async with slots.hold(wait_s): …` holds one slot, or raises NoSlot after `wait_s` at the latest."""

    __slots__ = ("_held", "_joined_at", "_line", "_rules")

    def __init__(self, rules: SlotRules) -> None:
        self._rules = rules
        self._line = trio.lowlevel.ParkingLot()
        self._joined_at: dict[object, float] = {}
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
        """Length of the line."""
        return len(self._joined_at)

    def line_age_s(self) -> float:
        """How long the head of the line has been waiting."""
        head_at = next(iter(self._joined_at.values()), None)
        return 0.0 if head_at is None else trio.current_time() - head_at

    def hold(self, wait_s: float) -> Hold:
        """A block that holds one slot. `wait_s` 0 or less: now or never, with no checkpoint."""
        return Hold(self, wait_s)

    async def take(self, wait_s: float) -> None:
        """Hold one slot until `give_back`: for what ends in another place than where it began. Raises NoSlot."""
        if self._take_nowait():
            return
        age_s = self.line_age_s()
        if wait_s <= 0 or self.waiting >= self._rules.line_limit or (self.waiting and age_s >= self._rules.shed_age_s):
            raise NoSlot(age_s)
        await self._stand_in_line(wait_s)

    def _take_nowait(self) -> bool:
        if self._held >= self._rules.limit:
            return False
        self._held += 1
        return True

    async def _stand_in_line(self, wait_s: float) -> None:
        me = object()
        self._joined_at[me] = trio.current_time()
        try:
            with trio.move_on_after(wait_s):
                await self._line.park()
                # A waiter that is unparked has the slot: `give_back` left it counted.
                return
        finally:
            joined_at = self._joined_at.pop(me)
        raise NoSlot(trio.current_time() - joined_at)

    def give_back(self) -> None:
        """Let go of a slot that `take` took; the head of the line has it from here on."""
        if not self._line.unpark(count=1):
            self._held -= 1


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
