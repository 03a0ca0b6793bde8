"""The contract of a ledger: what may be taken, by whom, and what must come back.

Rules:
1. Each step has two forms. `…_nowait` answers now, or answers MUST_WAIT; then nothing was done, and the waiting form
   does it. An implementation in memory always answers now, so a request pays for no coroutine. An implementation over a
   network may answer MUST_WAIT to everything.
2. A waiting form that takes (`take`, `reserve`, `acquire`) and is cancelled has taken nothing. Where the engine may
   have done its part already, the implementation gives it back before it lets the cancellation pass.
3. A waiting form that gives back (`give`, `settle`, `release`) never raises. Callers shield it (settling.py); one that
   is cut short by its bound may lose what it was to give back, until the engine's own lease on it ends.
4. A full or unreachable ledger is `Overloaded`: raised by what takes, never by what gives back.
5. `now` is seconds of one clock for all that share the ledger; keys are bytes, and each kind has its own length.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, Protocol, TypeAlias


class MustWait(Enum):
    """The answer of a `…_nowait` form that cannot answer now."""

    MUST_WAIT = 0


MUST_WAIT: Final = MustWait.MUST_WAIT

# (capacity, window in seconds) of each bucket of a key.
Limits: TypeAlias = tuple[tuple[int, float], ...]
# What stood against a reservation: (settled, reserved), in billionths of a US dollar.
Spend: TypeAlias = tuple[int, int]


class Taken(Protocol):
    """What became of a take from a key's buckets."""

    @property
    def refused(self) -> tuple[int, float] | None:
        """None where it was taken; else the index of the bucket with the longest wait, and that wait in seconds."""

    def left(self) -> Sequence[tuple[int, int]]:
        """(Whole tokens, whole seconds until the next one) of each bucket afterwards."""


class Held(Protocol):
    """A bucket's state at a moment."""

    @property
    def remaining(self) -> int: ...

    @property
    def next_s(self) -> float: ...


class Buckets(Protocol):
    """Token buckets by key. A bucket's limit is its capacity; it refills evenly over its window."""

    def take_nowait(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> Taken | MustWait:
        """Take from each of the key's buckets, or from none."""

    async def take(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> Taken:
        """The same. Raises Overloaded."""

    def give_nowait(self, key: bytes, limits: Limits, now: float, amount: int) -> MustWait | None:
        """Put tokens back; a negative amount takes, down to empty."""

    async def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """The same."""

    def peek_nowait(self, key: bytes, limits: Limits, now: float) -> Sequence[Held] | MustWait:
        """What each of the key's buckets holds; takes nothing."""

    async def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]:
        """The same. Raises Overloaded."""


class SpendBook(Protocol):
    """Spend by key and month (year × 12 + month), in billionths of a US dollar."""

    def reserve_nowait(self, key: bytes, month: int, amount: int, budget: int) -> Spend | MustWait | None:
        """Set `amount` aside if settled + reserved + amount stays within the budget.

        None where it did; else nothing changed, and the answer is what stood against it.
        """

    async def reserve(self, key: bytes, month: int, amount: int, budget: int) -> Spend | None:
        """The same. Raises Overloaded."""

    def settle_nowait(self, key: bytes, month: int, reserved_amount: int, spent: int) -> MustWait | None:
        """Give a reservation back and count what was spent."""

    async def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """The same."""


class Leases(Protocol):
    """How many things of a key are under way at once."""

    def acquire_nowait(self, key: bytes, limit: int) -> bool | MustWait:
        """Take one, if fewer than `limit` are out: whether it was taken."""

    async def acquire(self, key: bytes, limit: int) -> bool:
        """The same. Raises Overloaded."""

    def release_nowait(self, key: bytes) -> MustWait | None:
        """Give one back."""

    async def release(self, key: bytes) -> None:
        """The same."""

    def count_nowait(self, key: bytes) -> int | MustWait:
        """How many are out."""

    async def count(self, key: bytes) -> int:
        """The same. Raises Overloaded."""
