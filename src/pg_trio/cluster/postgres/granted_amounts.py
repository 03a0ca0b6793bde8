"""What was granted to a node of its budgets, in the memory that its workers share.

An account is marked while one of its workers asks PostgreSQL for a lease, or returns one: then PostgreSQL may have
more than memory for a moment. Marks are reservations, so those of a killed worker are taken back (SharedSpend.reap).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import frozen

from pg_trio.shared_memory.spend import MAX_NANO_USD, SharedSpend

# Keys apart from the endpoints' by their length.
GRANTED = b"g"
_MARK = 1


@frozen(slots=True)
class GrantedAmounts:
    """Granted amounts by key and month, in billionths of a US dollar."""

    spend: SharedSpend

    def read(self, key: bytes, month: int) -> int:
        """The amount, in all workers' rows. Raises Overloaded."""
        return self.spend.read(GRANTED + key, month)[0]

    def read_unmarked(self, key: bytes, month: int) -> int | None:
        """The amount; None while a worker changes it. Raises Overloaded."""
        amount, marks = self.spend.read(GRANTED + key, month)
        return None if marks else amount

    def mark(self, key: bytes, month: int) -> None:
        """A change begins. Raises Overloaded."""
        self.spend.reserve(GRANTED + key, month, _MARK, MAX_NANO_USD)

    def settle(self, key: bytes, month: int, amount: int) -> None:
        """A change that was marked ends: add what was granted. It is one step, wherever the worker dies."""
        self.spend.settle(GRANTED + key, month, _MARK, amount)

    def add(self, key: bytes, month: int, amount: int) -> None:
        """Add without a mark. Raises Overloaded."""
        # A reservation of nothing makes this worker's row.
        self.spend.reserve(GRANTED + key, month, 0, MAX_NANO_USD)
        self.spend.settle(GRANTED + key, month, 0, amount)

    def mend(self, key: bytes, month: int, counted: int, granted: int) -> bool:
        """Make `counted`, which was read before, `granted`, unless a worker has changed it or changes it now.

        Returns whether it did. Raises Overloaded.
        """
        # It fits if there are no marks, and no more than was counted: then it is ours alone until it is settled.
        if self.spend.reserve(GRANTED + key, month, _MARK, counted + _MARK) is not None:
            return False
        self.settle(key, month, granted - counted)
        return True


async def mend_leases(
    granted: GrantedAmounts, read_held: Callable[[], Awaitable[list[tuple[Any, ...]]]], limit_s: float
) -> list[tuple[bytes, int]]:
    """Count in memory what PostgreSQL has granted, and no worker counted: it was killed in between.

    `read_held` asks for the node's leases: (key, month, granted). `limit_s`: no lease comes and goes within it. Returns
    the keys and months that were mended. Raises Overloaded, and what `read_held` raises.
    """
    known = [(key, month) for key, month, _ in await read_held()]
    began = trio.current_time()
    before = {account: granted.read_unmarked(*account) for account in known}
    held = await read_held()
    if trio.current_time() - began >= limit_s:
        return []
    mended = []
    for key, month, amount in held:
        counted = before.get((key, month))
        if counted is not None and amount > counted and granted.mend(key, month, counted, amount):
            mended.append((key, month))
    return mended
