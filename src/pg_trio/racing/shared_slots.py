"""Bounded concurrency over all workers: slots that are leases, and in each worker a line in front of them.

Rules:
1. A slot is a lease, counted for all workers together and exact; what a dead worker held is taken back by whoever keeps
   the leases.
2. Each worker has a line of its own, bounded as in slots.py, and nobody overtakes it within its worker. Only its head
   looks for a lease: at once where a slot of its own worker comes back, else every `LOOK_S`, for other workers' slots
   come back without a word.
3. Where another worker has a line too, a slot that comes back is not offered to its own worker's head first: then all
   heads look at their times, or the busiest worker would keep every slot to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import trio
from attrs import define, field

from pg_trio.racing.slots import NoSlot, SlotRules, Slots

# 5 ms: CoDel's target, the wait that counts as none.
LOOK_S = 0.005
# Of heads of lines: as many as there may be workers, and more.
MAX_HEADS = 1_000_000


class Leases(Protocol):
    """Counts what is under way of a key, in all workers. Synchronous; nothing here raises."""

    def acquire(self, key: bytes, limit: int) -> bool:
        """Take one if fewer than `limit` are out; False also if the key cannot be held now."""

    def release(self, key: bytes) -> None:
        """Give one back."""

    def count(self, key: bytes) -> int:
        """How many are out."""


@define(slots=True, eq=False)
class _Waiter:
    """One in the line. `turn` is set where it should look now."""

    turn: trio.Event = field(factory=trio.Event)

    async def wait(self) -> None:
        """Until it should look; once for each time."""
        await self.turn.wait()
        self.turn = trio.Event()


class SharedSlots(Slots):
    """See Slots: `key` names what is counted; its line is counted under another key."""

    __slots__ = ("_heads_key", "_key", "_leases")

    def __init__(self, rules: SlotRules, leases: Leases, key: bytes) -> None:
        super().__init__(rules)
        self._leases = leases
        self._key = key
        self._heads_key = key + b"!"

    @property
    def in_use(self) -> int:
        """Slots that are held, by all workers."""
        return self._leases.count(self._key)

    def _take_nowait(self) -> bool:
        # Within a worker, no request overtakes its queue.
        return not self._joined_at and self._leases.acquire(self._key, self._rules.limit)

    def give_back(self) -> None:
        """See Slots."""
        self._leases.release(self._key)
        if self._joined_at and self._leases.count(self._heads_key) <= 1:
            self._call_head()

    async def _stand_in_line(self, wait_s: float) -> None:
        me = _Waiter()
        self._joined_at[me] = trio.current_time()
        try:
            with trio.move_on_after(wait_s):
                while next(iter(self._joined_at)) is not me:
                    await me.wait()
                with self._counted_head():
                    await self._look_for_lease(me)
                # Nothing is awaited from here on: the lease is the caller's.
                return
        finally:
            joined_at = self._joined_at.pop(me)
            self._call_head()
        raise NoSlot(trio.current_time() - joined_at)

    async def _look_for_lease(self, me: _Waiter) -> None:
        while not self._leases.acquire(self._key, self._rules.limit):
            with trio.move_on_after(LOOK_S):
                await me.wait()

    @contextmanager
    def _counted_head(self) -> Iterator[None]:
        """Other workers see inside that there is a line here."""
        self._leases.acquire(self._heads_key, MAX_HEADS)
        try:
            yield
        finally:
            self._leases.release(self._heads_key)

    def _call_head(self) -> None:
        head = next(iter(self._joined_at), None)
        if isinstance(head, _Waiter):
            head.turn.set()
