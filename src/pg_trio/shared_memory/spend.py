"""A month's spend by endpoint: the settled amount, and the reservations of running requests.

Money is integers of billionths of a US dollar. Adding never rounds, so the sums in the log and here agree.

Rules of the shared spend:
1. Each worker writes its own row for each endpoint; an endpoint's spend is the sum of all workers' rows. So a dead
   worker leaves complete rows, and its reservations are known and can be taken back.
2. Reading the sum and reserving is one step, under the endpoint's guard. Settling never raises the possible sum, so it
   needs no guard.
3. The holder of a worker's seat (seats.py) writes its rows: the worker, or, after its death, the process that clears
   up. The settled amount stays in the row, and the next worker in the seat continues from there.
4. A clock may be set back over the start of a month, or far ahead and back. So a worker has two rows for an endpoint,
   each for any month. A new month takes the row whose month is farther away. The second row is claimed when it is
   needed.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Iterator, Mapping
from contextlib import suppress

from attrs import define, field

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.guard import SlotGuard
from pg_trio.shared_memory.seats import ALL_SEATS, SEATS, Seat, abandoned_seat, count_seats, is_abandoned
from pg_trio.shared_memory.segment import (
    COPY_AT,
    HEADER_BYTES,
    SEAT,
    SELECTOR,
    SLOT_BYTES,
    SPEND_GUARD,
    SPEND_GUARD_SPARE,
    SPEND_ROW,
    SPEND_ROW_BESIDE,
    Segment,
)
from pg_trio.shared_memory.spend_rows import ROW, SpendRows, distance

logger = logging.getLogger("pg_trio.shared_memory")

# The maximum of a row: 9.2 billion dollars.
MAX_NANO_USD = 2**63 - 1
# 10,000 endpoints or subjects: each takes 1 to 2 KiB of memory. With more, the places in the file are looked up again.
ACCOUNTS_KEPT = 10_000
# The seat of the spend that the log had when the file was made. It belongs to no worker.
LOG_SEAT = SEATS

# Leases count under month 0 (leases.py).
NO_MONTH = -1


class LocalSpend:
    """Spend of one process, by endpoint key and month (year × 12 + month). A new month starts at zero; the previous
    month is kept."""

    def __init__(self, month: int = 0, settled: Mapping[bytes, int] | None = None) -> None:
        self._rows: dict[bytes, dict[int, tuple[int, int]]] = {
            key: {month: (nano_usd, 0)} for key, nano_usd in (settled or {}).items()
        }

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> tuple[int, int] | None:
        """Set `amount` aside if settled + reserved + amount stays within the budget.

        Returns None on success. Otherwise nothing changed, and the result is (settled, reserved).
        """
        settled, reserved = self.read(key, month)
        if settled + reserved + amount > budget:
            return settled, reserved
        rows = self._rows.setdefault(key, {})
        if month not in rows and len(rows) == 2:
            del rows[max(rows, key=lambda other: distance(other, month))]
        rows[month] = (settled, reserved + amount)
        return None

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """Give a reservation back and count the real spend. Nothing is counted for a month that is not kept."""
        rows = self._rows.get(key, {})
        if month in rows:
            settled, reserved = rows[month]
            rows[month] = (settled + spent, max(0, reserved - reserved_amount))

    def read(self, key: bytes, month: int) -> tuple[int, int]:
        """(settled, reserved) of the key in that month."""
        return self._rows.get(key, {}).get(month, (0, 0))


@define
class SpendAccount:
    """Where an endpoint's spend is: its guard, this worker's rows, the log's, and those of the other `seats`.

    The log's rows are written when the file is made, and never again: they are read once a month.
    """

    guard: SlotGuard
    own: SpendRows
    log: SpendRows
    others: list[SpendRows] = field(factory=list)
    seats: int = 0
    # This worker's row of `month`, as it wrote it last: a row has one writer (rule 3), so it is not read again.
    # NO_MONTH until then.
    month: int = NO_MONTH
    offset: int = 0
    settled: int = 0
    reserved: int = 0
    log_month: int = 0
    log_spend: tuple[int, int] = (0, 0)

    def turn_to(self, month: int) -> None:
        """Let this worker's row of that month be the present one."""
        self.offset, self.settled, self.reserved = self.own.find_or_make(month)
        self.month = month

    def write(self, memory: mmap.mmap) -> None:
        """Write this worker's row of the present month, as Segment.write does."""
        offset = self.offset
        selector = (memory[offset + SELECTOR] + 1) & 0xFF
        ROW.pack_into(memory, offset + COPY_AT[selector & 1], self.settled, self.reserved, self.month)
        memory[offset + SELECTOR] = selector

    def read_log(self, month: int) -> tuple[int, int]:
        """(settled, reserved) in the month, as the log knew it when the file was made."""
        if month != self.log_month:
            self.log_month, self.log_spend = month, self.log.read(month)
        return self.log_spend


class SharedSpend:
    """Spend of all workers, including the part that `fill_spend` wrote when the file was made. Takes a seat."""

    def __init__(self, segment: Segment) -> None:
        """Raises StoreError if there are too many workers."""
        self._segment = segment
        self._seat = Seat(segment)
        # The seats' bytes when they were counted last.
        self._seats, self._seats_seen = 0, b""
        self._accounts: dict[bytes, SpendAccount] = {}
        # This worker's open reservations by key and month, but for the present month of the kept accounts, which know
        # theirs. All of them move with the worker to another file.
        self._elsewhere: dict[tuple[bytes, int], int] = {}
        # The seat's previous holder is dead, or has left.
        _give_back(segment, self._seat.number)

    def rebind(self, segment: Segment) -> None:
        """Move to another file, and repeat this worker's reservations there; see renewal.py.

        Raises StoreError if there are too many workers, Overloaded if there is no slot.
        """
        seat = Seat(segment)
        _give_back(segment, seat.number)
        self._drop_accounts()
        self._segment, self._seat = segment, seat
        for (key, month), amount in list(self._elsewhere.items()):
            self._reserve(key, self._accounts.get(key) or self._open_account(key), month, amount)

    def close(self) -> None:
        """Give back open reservations, and leave the seat. Call it after the last request and before the segment
        closes."""
        _give_back(self._segment, self._seat.number)
        self._seat.leave()

    def reserve(self, key: bytes, month: int, amount: int, budget: int) -> tuple[int, int] | None:
        """See LocalSpend.reserve. Raises Overloaded if the endpoint has no slot or cannot be held."""
        account = self._accounts.get(key) or self._open_account(key)
        limit = budget if budget < MAX_NANO_USD else MAX_NANO_USD
        while True:
            generation = account.guard.enter()
            settled, reserved = self._sum_others(key, account, month)
            if account.month != month:
                self._turn(key, account, month)
            settled += account.settled
            reserved += account.reserved
            fits = settled + reserved + amount <= limit
            if fits:
                # No more than the limit, so the row holds it.
                account.reserved += amount
                account.write(self._segment.memory)
            undisturbed = account.guard.leave(generation)
            if not fits:
                return settled, reserved
            if undisturbed:
                return None
            # Another worker may have decided without seeing this reservation. Rows have one writer, so undoing is
            # exact.
            self._reserve(key, account, month, -amount)

    def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """See LocalSpend.settle. Needs no lock and never fails."""
        account = self._accounts.get(key)
        if account is not None and account.month == month:
            settled, reserved = account.settled + spent, account.reserved - reserved_amount
            account.settled = settled if settled <= MAX_NANO_USD else _within(settled)
            account.reserved = reserved if reserved > 0 else 0
            account.write(self._segment.memory)
        elif account is not None or spent or (key, month) in self._elsewhere:
            # Without a place for its key, it was never reserved in this file.
            with suppress(Overloaded):
                self._settle_before(key, month, reserved_amount, spent)

    def _settle_before(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        """Settle in a month that is not the present one. Nothing is counted if no row is the month's any more."""
        account = self._accounts.get(key) or self._open_account(key)
        left = self._elsewhere.pop((key, month), 0) - reserved_amount
        if left > 0:
            self._elsewhere[key, month] = left
        offset = account.own.first
        settled, reserved, row_month = self._segment.read(offset, ROW)
        if row_month != month:
            row = account.own.find_beside(month)
            if row is None:
                return
            offset, settled, reserved = row
        self._segment.write(offset, ROW, _within(settled + spent), max(0, reserved - reserved_amount), month)

    def read(self, key: bytes, month: int) -> tuple[int, int]:
        """(settled, reserved) of the key in that month, by all workers. Raises Overloaded if there is no slot."""
        account = self._accounts.get(key) or self._open_account(key)
        settled, reserved = self._sum_others(key, account, month)
        own_settled, own_reserved = account.own.read(month)
        return settled + own_settled, reserved + own_reserved

    def reap(self) -> int:
        """Give back the reservations of dead workers. Returns the number of these workers. Cheap if there are none."""
        reaped = 0
        for number in range(count_seats(self._segment)):
            if number != self._seat.number:
                with abandoned_seat(self._segment, number) as ours:
                    if ours:
                        _give_back(self._segment, number)
                        reaped += 1
        return reaped

    def _open_account(self, key: bytes) -> SpendAccount:
        if len(self._accounts) >= ACCOUNTS_KEPT:
            self._drop_accounts()
        guard = SlotGuard(self._segment, (SPEND_GUARD, SPEND_GUARD_SPARE), key)
        own = SpendRows(self._segment, key, self._seat.number)
        account = self._accounts[key] = SpendAccount(guard, own, SpendRows(self._segment, key, LOG_SEAT))
        return account

    def _drop_accounts(self) -> None:
        """Keep no account; what is reserved is noted."""
        for key, account in self._accounts.items():
            self._note(key, account)
        self._accounts.clear()

    def _turn(self, key: bytes, account: SpendAccount, month: int) -> None:
        """Let the month be the account's present one; what is reserved in the one before is noted."""
        self._note(key, account)
        account.turn_to(month)
        self._elsewhere.pop((key, month), None)

    def _note(self, key: bytes, account: SpendAccount) -> None:
        if account.reserved:
            self._elsewhere[key, account.month] = account.reserved

    def _sum_others(self, key: bytes, account: SpendAccount, month: int) -> tuple[int, int]:
        """(settled, reserved) in the month, by the log and all workers but this one."""
        # A worker takes its seat before it reserves, so every worker that has a row is counted here.
        if self._segment.memory[ALL_SEATS] != self._seats_seen:
            self._count_seats()
        seats = self._seats
        if seats > account.seats:
            new = [seat for seat in range(account.seats, seats) if seat != self._seat.number]
            account.others += [SpendRows(self._segment, key, seat) for seat in new]
            account.seats = seats
        settled, reserved = account.log_spend if month == account.log_month else account.read_log(month)
        for rows in account.others:
            row_settled, row_reserved = rows.read(month)
            settled += row_settled
            reserved += row_reserved
        return settled, reserved

    def _count_seats(self) -> None:
        # The bytes are noted first: a seat that is taken in between is counted at once and again the next time.
        self._seats_seen = self._segment.memory[ALL_SEATS]
        self._seats = count_seats(self._segment)

    def _reserve(self, key: bytes, account: SpendAccount, month: int, amount: int) -> None:
        """Add to the reservation in this worker's row; a new month starts at zero."""
        if account.month != month:
            self._turn(key, account, month)
        account.reserved = _within(max(0, account.reserved + amount))
        account.write(self._segment.memory)


def fill_spend(segment: Segment, month: int, settled: Mapping[bytes, int]) -> None:
    """Write the log's spend of a month into a new file; two months at most. For `open_segment(fill=…)`, before any
    worker can see the file."""
    for key, nano_usd in settled.items():
        if nano_usd:
            offset, _, _ = SpendRows(segment, key, LOG_SEAT).find_or_make(month)
            segment.write(offset, ROW, _within(nano_usd), 0, month)


def count_orphans(segment: Segment) -> int:
    """The number of rows with reservations of dead workers; changes nothing. Any running worker gives them back within
    a second, so a count above zero means that no worker runs, or that something is wrong."""
    return sum(
        segment.read(offset, ROW)[1] > 0
        for number in range(count_seats(segment))
        if is_abandoned(segment, number)
        for offset in _rows_of(segment, number)
    )


def give_back_orphans(segment: Segment) -> None:
    """Give back the reservations of all dead workers. Needs no seat."""
    for number in range(count_seats(segment)):
        with abandoned_seat(segment, number) as ours:
            if ours:
                _give_back(segment, number)


def _give_back(segment: Segment, seat: int) -> None:
    """Remove all reservations from the seat's rows."""
    for offset in _rows_of(segment, seat):
        settled, reserved, month = segment.read(offset, ROW)
        if reserved:
            segment.write(offset, ROW, settled, 0, month)


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
