"""Bounded concurrency over all nodes: slots as in shared_slots.py, of which the node holds a lease.

Rules:
1. The lease decides how many slots this node's workers may use. It grows and shrinks with what all nodes need.
2. A request that finds no free slot and no queue asks for more, once, also if it does not wait for a slot: Redis may
   have some. It waits for that reply only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pg_trio.ledger.node_health import SlotLeases
from pg_trio.racing.shared_slots import SharedSlots
from pg_trio.racing.slots import SlotRules


class LeasedSlots(SharedSlots):
    """See SharedSlots: the slots of one key at all nodes."""

    __slots__ = ("_node_leases",)

    def __init__(self, rules: SlotRules, leases: SlotLeases, key: bytes) -> None:
        super().__init__(rules, leases, key)
        leases.open(key, rules.limit)
        self._node_leases = leases

    async def take(self, wait_s: float) -> None:
        """See Slots. With `wait_s` 0 it waits for one reply at most."""
        if self._take_nowait():
            return
        with self._noted_wait():
            if not self._queue.length and self._node_leases.may_ask(self._key):
                await self._node_leases.ask(self._key)
            await super().take(wait_s)

    @contextmanager
    def _noted_wait(self) -> Iterator[None]:
        """Inside this block, the lease counts a request that waits."""
        self._node_leases.note_waiting(self._key, 1)
        try:
            yield
        finally:
            self._node_leases.note_waiting(self._key, -1)
