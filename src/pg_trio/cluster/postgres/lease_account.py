"""One budget that a worker uses, and what it asks PostgreSQL of it (leased_spend.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from uuid import UUID, uuid4

import trio
from attrs import define, field, frozen

from pg_trio.ledger.protocols import Spend


@frozen(slots=True)
class AskedLease:
    """A lease that was asked for."""

    short: int
    budget: int
    id: UUID = field(factory=uuid4)


@frozen(slots=True)
class ReturnedLease:
    """Money that goes back."""

    amount: int
    id: UUID = field(factory=uuid4)


@define(eq=False)
class LeaseAccount:
    """One budget that this worker uses. `last_budget` and `last_lent`: of the newest lease."""

    key: bytes
    month: int
    # When its spend was last seen to change, and what it was: (settled, reserved).
    changed_at: float
    spend: Spend = (-1, 0)
    last_budget: int = 0
    last_lent: int = 0
    told_settled: int = -1
    is_low: bool = False
    # Reservations since the last look whether the lease is half spent.
    unlooked: int = 0
    # A lease whose answer has not come. It is asked for again with the same id.
    asked: AskedLease | None = None
    # A return that is out of memory, and may not be in PostgreSQL yet; likewise.
    returning: ReturnedLease | None = None
    # Whether a lease or a return is on its way.
    is_marked: bool = False
    lock: trio.Lock = field(factory=trio.Lock)


def lock_free(accounts: Sequence[LeaseAccount], held: ExitStack) -> Iterator[LeaseAccount]:
    """Those that nothing leases for now, locked until `held` ends. The others are told the next time."""
    for account in accounts:
        try:
            account.lock.acquire_nowait()
        except trio.WouldBlock:
            continue
        held.callback(account.lock.release)
        if account.asked is None:
            yield account
