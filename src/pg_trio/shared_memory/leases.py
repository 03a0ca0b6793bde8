"""Leases: how many things of a key are under way at once, in all workers.

A lease is a reservation of one from a budget that never settles anything, so spend.py's rules hold for it: each worker
counts in rows of its own, looking and taking is one step under the key's guard, giving back needs no lock and never
fails, and what a dead worker held is given back with its seat (`SharedSpend.reap`).
"""

from __future__ import annotations

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.spend import LocalSpend, SharedSpend

# Leases know no months: all of them are of one that never ends.
_FOR_EVER = 0


class LeaseBook:
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


class CallLeases:
    """Leases for calls under way, which never raise (racing/shared_slots.py).

    A key that has no room in the file, which has logged that, is counted by this worker alone. One that cannot be held
    now has none free.
    """

    def __init__(self, shared: LeaseBook) -> None:
        self._shared = shared
        self._own = LeaseBook(LocalSpend())
        self._books: dict[bytes, LeaseBook] = {}

    def acquire(self, key: bytes, limit: int) -> bool:
        """Take one if fewer than `limit` are out."""
        try:
            return self._book(key).acquire(key, limit)
        except Overloaded:
            return False

    def release(self, key: bytes) -> None:
        """Give one back."""
        self._book(key).release(key)

    def count(self, key: bytes) -> int:
        """How many are out; 0 where that cannot be known."""
        try:
            return self._book(key).count(key)
        except Overloaded:
            return 0

    def _book(self, key: bytes) -> LeaseBook:
        book = self._books.get(key)
        if book is None:
            try:
                self._shared.count(key)
                book = self._shared
            except Overloaded:
                book = self._own
            self._books[key] = book
        return book
