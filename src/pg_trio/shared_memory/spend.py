"""A month's spend by endpoint: what is settled, and what requests under way have reserved.

Money is billionths of a US dollar in integers: adding never rounds, so the sum in the log and the sum here agree.

Rules of the shared one:
1. Each worker writes rows of its own, one an endpoint; an endpoint's spend is the sum of all workers' rows. So a worker
   that dies leaves whole rows, and what it reserved is known and can be taken back.
2. Looking at the sum and reserving is one step, under the endpoint's guard. Settling only lowers what the sum may
   become, so it needs no guard.
3. A worker's rows are written by whoever sits in its seat (seats.py): the worker, or, when it is dead, who clears up.
   What was settled stays in the row, and the next worker in the seat goes on from there.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Mapping

from attrs import define, field

from pg_trio.shared_memory.guard import Guard
from pg_trio.shared_memory.seats import SEATS, Seat, abandoned_seat, count_seats, is_abandoned
from pg_trio.shared_memory.segment import (
    HEADER_BYTES,
    SEAT,
    SLOT_BYTES,
    SPEND_GUARD,
    SPEND_GUARD_SPARE,
    SPEND_ROW,
    Segment,
)

logger = logging.getLogger("pg_trio.shared_memory")

# What a row can hold: 9.2 billion dollars.
MAX_NANO_USD = 2**63 - 1
# The seat of what the log knew when the file was made: no worker's.
LOG_SEAT = SEATS

# Settled, reserved (billionths of a dollar), month.
_ROW = struct.Struct("=qqIxx")


class LocalSpend:
    """Spend of one process, by endpoint key and month (year × 12 + month). A new month starts at nothing."""

    def __init__(self, month: int = 0, settled: Mapping[bytes, int] | None = None) -> None:
        self._rows: dict[bytes, tuple[int, int, int]] = {
            key: (month, nano_usd, 0) for key, nano_usd in (settled or {}).items()
        }

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> tuple[int, int] | None:
        """Set `amount` aside if settled + reserved + amount stays within the budget.

        None if it did; else nothing changed, and the answer is what was settled and what was reserved.
        """
        settled, reserved = self.read(key, month)
        if settled + reserved + amount > budget:
            return settled, reserved
        self._rows[key] = (month, settled, reserved + amount)
        return None

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """Give a reservation back and count what was really spent. A month that is over is not counted any more."""
        row = self._rows.get(key)
        if row is None or row[0] != month:
            return
        self._rows[key] = (month, row[1] + spent, max(0, row[2] - reserved_amount))

    def read(self, key: bytes, month: int) -> tuple[int, int]:
        """(settled, reserved) of the key in that month."""
        row = self._rows.get(key)
        return (row[1], row[2]) if row is not None and row[0] == month else (0, 0)


@define
class _Account:
    """Where an endpoint's spend is: its guard, this worker's row, everybody's rows by seat (the log's first)."""

    guard: Guard
    own: int
    rows: list[int] = field(factory=list)


class SharedSpend:
    """Spend of all workers; what `fill_spend` wrote when the file was made is part of it. Takes a seat."""

    def __init__(self, segment: Segment) -> None:
        """Raises StoreError if there are too many workers."""
        self._segment = segment
        self._seat = Seat(segment)
        self._accounts: dict[bytes, _Account] = {}
        # Whoever sat here before is dead, or has left.
        _give_back(segment, self._seat.number)

    def close(self) -> None:
        """Give back what is still reserved, and leave the seat: after the last request, before the segment closes."""
        _give_back(self._segment, self._seat.number)
        self._seat.leave()

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> tuple[int, int] | None:
        """See LocalSpend.reserve. Raises Overloaded if the endpoint has no slot or cannot be held."""
        account = self._accounts.get(key) or self._open_account(key)
        limit = min(budget, MAX_NANO_USD)
        while True:
            generation = account.guard.enter()
            settled, reserved = self._sum(key, account, month)
            fits = settled + reserved + amount <= limit
            if fits:
                self._reserve(account.own, month, amount)
            undisturbed = account.guard.leave(generation)
            if not fits:
                return settled, reserved
            if undisturbed:
                return None
            # Somebody may have decided without seeing this reservation. Rows have one writer, so undoing is exact.
            self._reserve(account.own, month, -amount)

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """See LocalSpend.settle. Needs no lock and never fails."""
        account = self._accounts.get(key)
        if account is None:
            return
        settled, reserved, row_month = self._segment.read(account.own, _ROW)
        if row_month == month:
            left = max(0, reserved - reserved_amount)
            self._segment.write(account.own, _ROW, _within(settled + spent), left, month)

    def read(self, key: bytes, month: int) -> tuple[int, int]:
        """(settled, reserved) of the key in that month, by all workers. Raises Overloaded if there is no slot."""
        return self._sum(key, self._accounts.get(key) or self._open_account(key), month)

    def reap(self) -> int:
        """Give back what dead workers had reserved: how many workers that were. Cheap if there are none."""
        reaped = 0
        for number in range(count_seats(self._segment)):
            if number != self._seat.number:
                with abandoned_seat(self._segment, number) as ours:
                    if ours:
                        _give_back(self._segment, number)
                        reaped += 1
        return reaped

    def _open_account(self, key: bytes) -> _Account:
        guard = Guard(self._segment, (SPEND_GUARD, SPEND_GUARD_SPARE), key)
        own = self._segment.find_slot(SPEND_ROW, key, self._seat.number)
        account = self._accounts[key] = _Account(guard, own, [self._segment.find_slot(SPEND_ROW, key, LOG_SEAT)])
        return account

    def _sum(self, key: bytes, account: _Account, month: int) -> tuple[int, int]:
        # A worker takes its seat before it reserves, so whoever has a row is counted here.
        for seat in range(len(account.rows) - 1, count_seats(self._segment)):
            account.rows.append(self._segment.find_slot(SPEND_ROW, key, seat))
        settled, reserved = 0, 0
        for offset in account.rows:
            row_settled, row_reserved, row_month = self._segment.read(offset, _ROW)
            if row_month == month:
                settled += row_settled
                reserved += row_reserved
        return settled, reserved

    def _reserve(self, offset: int, month: int, amount: int) -> None:
        """Add to what is reserved in a row of ours; one of another month starts at nothing."""
        settled, reserved, row_month = self._segment.read(offset, _ROW)
        if row_month != month:
            settled = reserved = 0
        self._segment.write(offset, _ROW, settled, _within(max(0, reserved + amount)), month)


def fill_spend(segment: Segment, month: int, settled: Mapping[bytes, int]) -> None:
    """Write what the log knows into a new file. For `open_segment(fill=…)`: before any worker can see it."""
    for key, nano_usd in settled.items():
        segment.write(segment.find_slot(SPEND_ROW, key, LOG_SEAT), _ROW, _within(nano_usd), 0, month)


def count_orphans(segment: Segment) -> int:
    """How many rows hold reservations of workers that are dead; nothing is changed. Any running worker gives them back
    within a second, so there are some only where none runs, or something is wrong."""
    return sum(
        segment.read(offset, _ROW)[1] > 0
        for number in range(count_seats(segment))
        if is_abandoned(segment, number)
        for offset in _rows_of(segment, number)
    )


def give_back_orphans(segment: Segment) -> None:
    """Nothing that dead workers had reserved is reserved any more. Needs no seat."""
    for number in range(count_seats(segment)):
        with abandoned_seat(segment, number) as ours:
            if ours:
                _give_back(segment, number)


def _give_back(segment: Segment, seat: int) -> None:
    """Nothing is reserved in the seat's rows any more."""
    for offset in _rows_of(segment, seat):
        settled, reserved, month = segment.read(offset, _ROW)
        if reserved:
            segment.write(offset, _ROW, settled, 0, month)


def _rows_of(segment: Segment, seat: int) -> Iterator[int]:
    kinds = segment.memory[HEADER_BYTES::SLOT_BYTES]
    seats = segment.memory[HEADER_BYTES + SEAT :: SLOT_BYTES]
    index = kinds.find(SPEND_ROW)
    while index >= 0:
        if seats[index] == seat:
            yield HEADER_BYTES + index * SLOT_BYTES
        index = kinds.find(SPEND_ROW, index + 1)


def _within(nano_usd: int) -> int:
    if nano_usd > MAX_NANO_USD:
        logger.error(
            "a month's spend of %d billionths of a dollar is more than a row holds; kept at %d", nano_usd, MAX_NANO_USD
        )
        return MAX_NANO_USD
    return nano_usd
