"""Bounded concurrency over all workers: slots that are leases, and in each worker a queue in front of them.

Rules:
1. A slot is a lease, counted exactly for all workers together. The store of the leases takes back what a dead worker
   held.
2. Each worker has its own queue, bounded as in slots.py, and no request of this worker overtakes it. Only the head of
   the queue looks for a lease: at once when its own worker gives a slot back, otherwise every `LOOK_S`, because it is
   not told about slots of other workers.
3. If another worker has a queue too, a slot that comes back is not offered to its own worker's head first. Then all
   heads look at their own times; otherwise the busiest worker would keep every slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from pg_trio.ledger.node_health import LeaseCounter
from pg_trio.racing.slots import SlotRules, Slots
from pg_trio.racing.wait_queue import Waiter

# 5 ms: CoDel's target. A shorter wait does not count as one.
LOOK_S = 0.005
# The number of heads of queues: more than there may be workers.
MAX_HEADS = 1_000_000


class SharedSlots(Slots):
    """See Slots: `key` names what is counted; the heads of queues are counted under another key."""

    __slots__ = ("_heads_key", "_key", "_leases")

    def __init__(self, rules: SlotRules, leases: LeaseCounter, key: bytes) -> None:
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
        return not self._queue.length and self._leases.acquire(self._key, self._rules.limit)

    def give_back(self) -> None:
        """See Slots."""
        self._leases.release(self._key)
        if self._queue.length and self._leases.count(self._heads_key) <= 1:
            self._call_head()

    async def _wait(self, waiter: Waiter) -> None:
        try:
            while self._queue.head() is not waiter:
                await waiter.wait()
            with self._counted_head():
                while not self._leases.acquire(self._key, self._rules.limit):
                    await waiter.wait(look_at=trio.current_time() + LOOK_S)
            # Nothing is awaited from here on: the lease is the caller's.
            self._queue.serve(waiter)
        finally:
            self._queue.remove(waiter)
            self._call_head()

    @contextmanager
    def _counted_head(self) -> Iterator[None]:
        """Inside this block, other workers see that this worker has a queue."""
        self._leases.acquire(self._heads_key, MAX_HEADS)
        try:
            yield
        finally:
            self._leases.release(self._heads_key)

    def _call_head(self) -> None:
        if (head := self._queue.head()) is not None:
            self._queue.call(head)
