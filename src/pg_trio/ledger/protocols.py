"""The contract of a ledger: what a request may take, and what it must give back.

Rules:
1. Each step has two forms. `…_nowait` answers at once, or returns MUST_WAIT. After MUST_WAIT nothing was done, and the
   caller awaits the other form. An implementation in memory always answers at once, so a request pays for no coroutine.
   An implementation over a network may always return MUST_WAIT.
2. A waiting form that takes (`take`, `reserve`, `acquire`) and is cancelled has taken nothing. If the engine may have
   taken already, the implementation gives it back before it lets the cancellation pass.
3. A waiting form that gives back (`give`, `settle`, `release`) never raises. Callers shield it and bound its time
   (settling.py). If it runs out of time, the amount may stay taken until the engine's own lease on it ends.
4. If the ledger is full or unreachable, steps that take raise `Overloaded`. Steps that give back never do.
5. `now` is seconds of one clock that all users of the ledger share. Keys are bytes; each kind has its own length.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, Protocol, TypeAlias

from attrs import frozen


class MustWait(Enum):
    """The answer of a `…_nowait` form that cannot answer at once."""

    MUST_WAIT = 0


MUST_WAIT: Final = MustWait.MUST_WAIT

# (capacity, window in seconds) of each bucket of a key.
Limits: TypeAlias = tuple[tuple[int, float], ...]
# The spend that a refused reservation met: (settled, reserved), in billionths of a US dollar.
Spend: TypeAlias = tuple[int, int]


class Taken(Protocol):
    """The result of a take from a key's buckets."""

    @property
    def refused(self) -> tuple[int, float] | None:
        """None if the take succeeded; else the index of the bucket with the longest wait, and that wait in seconds."""

    def left(self) -> Sequence[tuple[int, int]]:
        """(Whole tokens, whole seconds until the next one) of each bucket afterwards."""


class BucketTake(NamedTuple):
    """Tokens that are wanted of a key's buckets."""

    key: bytes
    limits: Limits
    amount: int


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

    async def take_each(self, takes: Sequence[BucketTake], now: float) -> Sequence[Taken]:
        """Take from the buckets of several keys, in order, or from none. The result ends with the first that refused.

        Raises Overloaded.
        """

    def give_nowait(self, key: bytes, limits: Limits, now: float, amount: int) -> MustWait | None:
        """Put tokens back. A negative amount takes tokens, until the bucket is empty."""

    async def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """The same."""

    def peek_nowait(self, key: bytes, limits: Limits, now: float) -> Sequence[Held] | MustWait:
        """What each of the key's buckets holds. Nothing is taken."""

    async def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]:
        """The same. Raises Overloaded."""


class SpendBook(Protocol):
    """Spend by key and month (year × 12 + month), in billionths of a US dollar."""

    def reserve_nowait(self, key: bytes, month: int, amount: int, budget: int) -> Spend | MustWait | None:
        """Set `amount` aside if settled + reserved + amount stays within the budget.

        None if it did. Else nothing has changed, and the result is the current spend.
        """

    async def reserve(self, key: bytes, month: int, amount: int, budget: int) -> Spend | None:
        """The same. Raises Overloaded."""

    def settle_nowait(self, key: bytes, month: int, reserved_amount: int, spent: int) -> MustWait | None:
        """Give a reservation back and count what was spent."""

    async def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """The same."""

    async def read(self, keys: Sequence[bytes], month: int) -> Mapping[bytes, Spend]:
        """What is settled and what is reserved of each key, for people to see. Raises Overloaded."""


class Leases(Protocol):
    """Counts the concurrent uses of a key, up to a limit."""

    def acquire_nowait(self, key: bytes, limit: int) -> bool | MustWait:
        """Take a lease if fewer than `limit` are taken. Returns whether it was taken."""

    async def acquire(self, key: bytes, limit: int) -> bool:
        """The same. Raises Overloaded."""

    def release_nowait(self, key: bytes) -> MustWait | None:
        """Give a lease back."""

    async def release(self, key: bytes) -> None:
        """The same."""

    def count_nowait(self, key: bytes) -> int | MustWait:
        """How many leases are taken."""

    async def count(self, key: bytes) -> int:
        """The same. Raises Overloaded."""


@frozen(slots=True, eq=False)
class HolderBooks:
    """What is counted by the holders of client tokens. `has_room` says whether a holder's key can be counted: one that
    is counted already, or a new one."""

    buckets: Buckets
    spend: SpendBook
    leases: Leases
    has_room: Callable[[bytes], bool]


# Opens them at their first use: few gateways mint client tokens. Raises Overloaded.
OpenHolders: TypeAlias = Callable[[], Awaitable[HolderBooks]]
