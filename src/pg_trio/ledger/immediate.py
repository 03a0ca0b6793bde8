"""A ledger that never waits (contract: protocols.py), over shared memory or over the books of one process.

The `…_nowait` forms are the book's own methods, so that this layer costs a request nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from pg_trio.ledger.protocols import BucketTake, Held, Limits, Spend, Taken

# A read takes some 20 µs.
READS_AT_ONCE = 20


class BucketBook(Protocol):
    """Token buckets that answer at once (shared_memory/token_bucket.py)."""

    def take(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> Taken: ...

    def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None: ...

    def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]: ...


class MonthBook(Protocol):
    """Spend that answers at once (shared_memory/spend.py)."""

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> Spend | None: ...

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None: ...

    def read(self, key: bytes, month: int) -> Spend: ...


class SyncLeases(Protocol):
    """Leases that answer at once (shared_memory/leases.py)."""

    def acquire(self, key: bytes, limit: int) -> bool: ...

    def release(self, key: bytes) -> None: ...

    def count(self, key: bytes) -> int: ...


class ImmediateBuckets:
    """See protocols.Buckets."""

    def __init__(self, book: BucketBook) -> None:
        self.take_nowait = book.take
        self.give_nowait = book.give
        self.peek_nowait = book.peek

    async def take(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> Taken:
        """See protocols.Buckets."""
        return self.take_nowait(key, limits, now, amount)

    async def take_each(self, takes: Sequence[BucketTake], now: float) -> Sequence[Taken]:
        """See protocols.Buckets."""
        taken: list[Taken] = []
        for index, (key, limits, amount) in enumerate(takes):
            taken.append(self.take_nowait(key, limits, now, amount))
            if taken[-1].refused is not None:
                for before in takes[:index]:
                    self.give_nowait(before.key, before.limits, now, before.amount)
                break
        return taken

    async def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """See protocols.Buckets."""
        self.give_nowait(key, limits, now, amount)

    async def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]:
        """See protocols.Buckets."""
        return self.peek_nowait(key, limits, now)


class ImmediateSpend:
    """See protocols.SpendBook."""

    def __init__(self, book: MonthBook) -> None:
        self.reserve_nowait = book.reserve
        self.settle_nowait = book.settle
        self._read = book.read

    async def reserve(self, key: bytes, month: int, amount: int, budget: int) -> Spend | None:
        """See protocols.SpendBook."""
        return self.reserve_nowait(key, month, amount, budget)

    async def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """See protocols.SpendBook."""
        self.settle_nowait(key, month, reserved_amount, spent)

    async def read(self, keys: Sequence[bytes], month: int) -> dict[bytes, Spend]:
        """See protocols.SpendBook."""
        found = {}
        for number, key in enumerate(keys):
            if number % READS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            found[key] = self._read(key, month)
        return found


class ImmediateLeases:
    """See protocols.Leases."""

    def __init__(self, book: SyncLeases) -> None:
        self.acquire_nowait = book.acquire
        self.release_nowait = book.release
        self.count_nowait = book.count

    async def acquire(self, key: bytes, limit: int) -> bool:
        """See protocols.Leases."""
        return self.acquire_nowait(key, limit)

    async def release(self, key: bytes) -> None:
        """See protocols.Leases."""
        self.release_nowait(key)

    async def count(self, key: bytes) -> int:
        """See protocols.Leases."""
        return self.count_nowait(key)
