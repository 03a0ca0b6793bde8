"""Leases: how many things of a key are under way at once, in all workers.

A lease is a reservation of one from a budget that never settles anything, so spend.py's rules hold for it: each worker
counts in rows of its own, looking and taking is one step under the key's guard, giving back needs no lock and never
fails, and what a dead worker held is given back with its seat (`SharedSpend.reap`).
"""

from __future__ import annotations

from pg_trio.shared_memory.spend import LocalSpend, SharedSpend

# Leases know no months: all of them are of one that never ends.
_FOR_EVER = 0


class Leases:
    """Leases on keys, kept in a book of spend. Keys are apart from the endpoints' by their length."""

    def __init__(self, book: LocalSpend | SharedSpend) -> None:
        self._book = book

    def acquire(self, key: bytes, limit: int) -> bool:
        """Take one, if fewer than `limit` are out. Raises Overloaded if the key has no slot or cannot be held."""
        return self._book.reserve(key, _FOR_EVER, 1, limit) is None

    def release(self, key: bytes) -> None:
        """Give one back."""
        self._book.settle(key, _FOR_EVER, 1, 0)

    def count(self, key: bytes) -> int:
        """How many are out."""
        return self._book.read(key, _FOR_EVER)[1]
