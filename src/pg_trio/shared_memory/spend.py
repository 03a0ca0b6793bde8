"""A month's spend by endpoint: what is settled, and what requests under way have reserved.

Money is billionths of a US dollar in integers: adding never rounds, so the sum in the log and the sum here agree.

Rules of the shared one:
1. Each worker writes rows of its own, one an endpoint; an endpoint's spend is the sum of all workers' rows. So a worker
   that dies leaves whole rows, and what it reserved is known and can be taken back.
2. Looking at the sum and reserving is one step, under the endpoint's guard. Settling only lowers what the sum may
   become, so it needs no guard.
3. A worker's rows are written by whoever sits in its seat (seats.py): the worker, or, when it is dead, who clears up.
   What was settled stays in the row, and the next worker in the seat goes on from there.
4. A clock may be set back over the start of a month, or far ahead and back. So a worker has two rows for an endpoint,
   each of any month: a new month takes the one whose month is farther away. The second is claimed when it is needed.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Mapping

from attrs import define, field

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.guard import Guard
from pg_trio.shared_memory.seats import SEATS, Seat, abandoned_seat, count_seats, is_abandoned
from pg_trio.shared_memory.segment import (
    HEADER_BYTES,
    SEAT,
    SLOT_BYTES,
    SPEND_GUARD,
    SPEND_GUARD_SPARE,
    SPEND_ROW,
    SPEND_ROW_BESIDE,
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
    """Spend of one process, by endpoint key and month (year × 12 + month). A new month starts at nothing; the one
    before it is kept beside it."""

    def __init__(self, month: int = 0, settled: Mapping[bytes, int] | None = None) -> None:
        self._rows: dict[bytes, dict[int, tuple[int, int]]] = {
            key: {month: (nano_usd, 0)} for key, nano_usd in (settled or {}).items()
        }

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> tuple[int, int] | None:
        """Set `amount` aside if settled + reserved + amount stays within the budget.

        None if it did; else nothing changed, and the answer is what was settled and what was reserved.
        """
        settled, reserved = self.read(key, month)
        if settled + reserved + amount > budget:
            return settled, reserved
        rows = self._rows.setdefault(key, {})
        if month not in rows and len(rows) == 2:
            del rows[max(rows, key=lambda other: _distance(other, month))]
        rows[month] = (settled, reserved + amount)
        return None

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """Give a reservation back and count what was really spent. Of a month that is not kept nothing is counted."""
        rows = self._rows.get(key, {})
        if month in rows:
            settled, reserved = rows[month]
            rows[month] = (settled + spent, max(0, reserved - reserved_amount))

    def read(self, key: bytes, month: int) -> tuple[int, int]:
        """(settled, reserved) of the key in that month."""
        return self._rows.get(key, {}).get(month, (0, 0))


class _Rows:
    """Where one seat's two rows of an endpoint are. The second is claimed with the first look at it; in a full file
    there is none, and a new month takes the first."""

    __slots__ = ("_beside", "_key", "_seat", "_segment", "first")

    def __init__(self, segment: Segment, key: bytes, seat: int) -> None:
        self._segment = segment
        self._key = key
        self._seat = seat
        self.first = segment.find_slot(SPEND_ROW, key, seat)
        # 0 until it was looked for (no slot is there: the file's header is), -1 where there is none.
        self._beside = 0

    def read(self, month: int) -> tuple[int, int]:
        """(settled, reserved) in the month."""
        settled, reserved, row_month = self._segment.read(self.first, _ROW)
        if row_month == month:
            return settled, reserved
        # Never used, and then the second is not, either.
        found = self.find_beside(month) if row_month else None
        return (0, 0) if found is None else found[1:]

    def find_or_make(self, month: int) -> tuple[int, int, int]:
        """(offset, settled, reserved) of the month's row; a month without one gets one, and what was in that is gone.

        For the rows' writer.
        """
        settled, reserved, first_month = self._segment.read(self.first, _ROW)
        if first_month == month:
            return self.first, settled, reserved
        if not first_month:
            return self.first, 0, 0
        found = self.find_beside(month)
        if found is not None:
            return found
        if self._beside > 0:
            _, _, beside_month = self._segment.read(self._beside, _ROW)
            if _distance(beside_month, month) >= _distance(first_month, month):
                return self._beside, 0, 0
        return self.first, 0, 0

    def find_beside(self, month: int) -> tuple[int, int, int] | None:
        """(offset, settled, reserved) of the second row, if it is the month's; else None."""
        if self._beside == 0:
            try:
                self._beside = self._segment.find_slot(SPEND_ROW_BESIDE, self._key, self._seat)
            except Overloaded:
                self._beside = -1
        if self._beside < 0:
            return None
        settled, reserved, row_month = self._segment.read(self._beside, _ROW)
        return (self._beside, settled, reserved) if row_month == month else None


def _distance(month: int, other: int) -> int:
    return abs(month - other)


@define
class _Account:
    """Where an endpoint's spend is: its guard, this worker's rows, the log's, and those of the other `seats`.

    The log's rows are written when the file is made, and never again: they are read once a month.
    """

    guard: Guard
    own: _Rows
    log: _Rows
    others: list[_Rows] = field(factory=list)
    seats: int = 0
    log_month: int = 0
    log_spend: tuple[int, int] = (0, 0)

    def read_log(self, month: int) -> tuple[int, int]:
        """(settled, reserved) in the month, as the log knew it when the file was made."""
        if month != self.log_month:
            self.log_month, self.log_spend = month, self.log.read(month)
        return self.log_spend


class SharedSpend:
    """Spend of all workers; what `fill_spend` wrote when the file was made is part of it. Takes a seat."""

    def __init__(self, segment: Segment) -> None:
        """Raises StoreError if there are too many workers."""
        self._segment = segment
        self._seat = Seat(segment)
        self._accounts: dict[bytes, _Account] = {}
        # What is reserved here and not settled yet, by key and month: it moves to another file with us.
        self._outstanding: dict[tuple[bytes, int], int] = {}
        # Whoever sat here before is dead, or has left.
        _give_back(segment, self._seat.number)

    def rebind(self, segment: Segment) -> None:
        """From here on the spend is in another file, and what is reserved here is reserved there; see renewal.py.

        Raises StoreError if there are too many workers, Overloaded if there is no slot.
        """
        seat = Seat(segment)
        _give_back(segment, seat.number)
        self._segment, self._seat, self._accounts = segment, seat, {}
        for (key, month), amount in self._outstanding.items():
            self._reserve(self._open_account(key).own, month, amount)

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
            settled, reserved = self._sum_others(key, account, month)
            offset, own_settled, own_reserved = account.own.find_or_make(month)
            settled += own_settled
            reserved += own_reserved
            fits = settled + reserved + amount <= limit
            if fits:
                self._segment.write(offset, _ROW, own_settled, _within(own_reserved + amount), month)
            undisturbed = account.guard.leave(generation)
            if not fits:
                return settled, reserved
            if undisturbed:
                self._outstanding[key, month] = self._outstanding.get((key, month), 0) + amount
                return None
            # Somebody may have decided without seeing this reservation. Rows have one writer, so undoing is exact.
            self._reserve(account.own, month, -amount)

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """See LocalSpend.settle. Needs no lock and never fails."""
        account = self._accounts.get(key)
        if account is None:
            return
        left = self._outstanding.pop((key, month), 0) - reserved_amount
        if left > 0:
            self._outstanding[key, month] = left
        # The first row is nearly always the month's, and read here: every request with a budget comes by.
        offset = account.own.first
        settled, reserved, row_month = self._segment.read(offset, _ROW)
        if row_month != month:
            row = account.own.find_beside(month)
            if row is None:
                return
            offset, settled, reserved = row
        left = reserved - reserved_amount
        self._segment.write(offset, _ROW, _within(settled + spent), left if left > 0 else 0, month)

    def read(self, key: bytes, month: int) -> tuple[int, int]:
        """(settled, reserved) of the key in that month, by all workers. Raises Overloaded if there is no slot."""
        account = self._accounts.get(key) or self._open_account(key)
        settled, reserved = self._sum_others(key, account, month)
        own_settled, own_reserved = account.own.read(month)
        return settled + own_settled, reserved + own_reserved

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
        own = _Rows(self._segment, key, self._seat.number)
        account = self._accounts[key] = _Account(guard, own, _Rows(self._segment, key, LOG_SEAT))
        return account

    def _sum_others(self, key: bytes, account: _Account, month: int) -> tuple[int, int]:
        """(settled, reserved) in the month, by the log and all workers but this one."""
        # A worker takes its seat before it reserves, so every worker that has a row is counted here.
        seats = count_seats(self._segment)
        if seats > account.seats:
            new = [seat for seat in range(account.seats, seats) if seat != self._seat.number]
            account.others += [_Rows(self._segment, key, seat) for seat in new]
            account.seats = seats
        settled, reserved = account.log_spend if month == account.log_month else account.read_log(month)
        for rows in account.others:
            row_settled, row_reserved = rows.read(month)
            settled += row_settled
            reserved += row_reserved
        return settled, reserved

    def _reserve(self, own: _Rows, month: int, amount: int) -> None:
        """Add to what is reserved in a row of ours; a new month's starts at nothing."""
        offset = own.first
        settled, reserved, row_month = self._segment.read(offset, _ROW)
        if row_month != month:
            offset, settled, reserved = own.find_or_make(month)
        self._segment.write(offset, _ROW, settled, _within(max(0, reserved + amount)), month)


def fill_spend(segment: Segment, month: int, settled: Mapping[bytes, int]) -> None:
    """Write what the log knows of a month into a new file, of two months at most. For `open_segment(fill=…)`: before
    any worker can see it."""
    for key, nano_usd in settled.items():
        if nano_usd:
            offset, _, _ = _Rows(segment, key, LOG_SEAT).find_or_make(month)
            segment.write(offset, _ROW, _within(nano_usd), 0, month)


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
    for kind in (SPEND_ROW, SPEND_ROW_BESIDE):
        index = kinds.find(kind)
        while index >= 0:
            if seats[index] == seat:
                yield HEADER_BYTES + index * SLOT_BYTES
            index = kinds.find(kind, index + 1)


def _within(nano_usd: int) -> int:
    if nano_usd > MAX_NANO_USD:
        logger.error(
            "a month's spend of %d billionths of a dollar is more than a row holds; kept at %d", nano_usd, MAX_NANO_USD
        )
        return MAX_NANO_USD
    return nano_usd
