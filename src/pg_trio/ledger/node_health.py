"""The contract of what a race knows and rations: breakers, latencies, hedges, retries, and the slots of credentials.

Rules:
1. No step waits for a network, and none has a form that waits: a race asks in the middle of its decisions, where a late
   answer is worse than an old one. Reading asks the records of this node, in this process or in the memory that the
   node's workers share.
2. A write holds on this node at once. An engine of many machines tells other nodes about it later, from a task of its
   own (`Lifetime.run`), and takes over what they told in the same way.
3. A node tells others a breaker's record if one of its own calls changed its state (the generation moved): counts of
   calls stay at home. It tells ages, because clocks differ. Another node's record is taken over with
   `racing.breaker.hear` and is not told again. For this node's workers that is a change by others (`changes`).
4. Hedges, retries and slots are rationed. An engine of many machines rations each node's share of hedges and retries.
   Slots it leases to nodes as they need them, by a task; a slot that is refused now may come later, because requests
   that wait look again. Only a request that finds no slot may wait for one reply of the engine (`SlotLeases.ask`).
5. No step raises. If there is no room for a key, its place or its record is None; then this worker keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from attrs import frozen


class BreakerRecords(Protocol):
    """A store of breaker records (racing/stored_breaker.py). Only `hold` may wait, for a bounded time."""

    @property
    def is_shared(self) -> bool:
        """Whether others change the records too, so that a write costs a lock or a message."""

    def changes(self) -> int:
        """A number that moves with every change by others, and is odd while one is under way."""

    def find(self, name: tuple[str, ...]) -> int | None:
        """The place of a breaker's record; None if there is no room."""

    def hold(self) -> bool:
        """Keep others from changing anything until `release`. False if the lock was not available in time."""

    def release(self) -> None: ...

    def read(self, place: int) -> tuple[Any, ...]:
        """The numbers of a `racing.breaker.Record`."""

    def write(self, place: int, record: Sequence[Any]) -> None:
        """Replace a record, completely or not at all. Only between `hold` and `release`."""


class LatencyCounts(Protocol):
    """The number of recent calls in each bucket of times (racing/latency.py)."""

    def add(self, bucket: int, now: float) -> None:
        """Count one."""

    def read(self, now: float) -> Sequence[int]:
        """As many counts as were asked for, or some more that are 0."""


class Hedges(Protocol):
    """A budget of hedges (racing/hedge_budget.py)."""

    def deposit(self) -> None:
        """Count a request."""

    def withdraw(self, now: float) -> bool:
        """Take one hedge, if there is one."""


class RetryBuckets(Protocol):
    """Buckets of retries by credential (racing/retry_budget.py)."""

    def take(self, key: str, per_s: int, now: float) -> bool:
        """Take one of at most `per_s` a second; False if there is none."""


class LeaseCounter(Protocol):
    """Counts the calls under way with a key (racing/shared_slots.py)."""

    def acquire(self, key: bytes, limit: int) -> bool:
        """Take one if fewer than `limit` are out; False also if the key cannot be held now."""

    def release(self, key: bytes) -> None:
        """Give one back."""

    def count(self, key: bytes) -> int:
        """How many are out."""


class SlotLeases(LeaseCounter, Protocol):
    """Counts the calls under way with a key, at all nodes (racing/leased_slots.py). Other keys than the opened ones
    are counted at this node alone."""

    def open(self, key: bytes, limit: int) -> None:
        """Count this key at all nodes from now on, or with another limit."""

    def may_ask(self, key: bytes) -> bool:
        """Whether `ask` may help after a refusal."""

    async def ask(self, key: bytes) -> None:
        """Ask the engine for more slots, for a bounded time. Then `acquire` may succeed."""

    def note_waiting(self, key: bytes, change: int) -> None:
        """So many more requests of this worker wait for a slot."""


class OpenHedges(Protocol):
    """Opens the budget of hedges; the arguments are those of racing.hedge_budget.HedgeRules. None: there is no room."""

    def __call__(self, *, share: float, reserve: float, min_per_s: float, now: float) -> Hedges | None: ...


# Counts for a name, with so many buckets and such a half window in seconds; None: there is no room.
FindCounts: TypeAlias = Callable[[tuple[str, ...], int, float], LatencyCounts | None]


@frozen(slots=True, eq=False)
class NodeHealth:
    """What an engine keeps for a node. Each worker keeps what is None here for itself."""

    breakers: BreakerRecords | None = None
    find_latencies: FindCounts | None = None
    open_hedges: OpenHedges | None = None
    retries: RetryBuckets | None = None
    slots: LeaseCounter | None = None
    # In place of `slots`, where nodes share them.
    slot_leases: SlotLeases | None = None
