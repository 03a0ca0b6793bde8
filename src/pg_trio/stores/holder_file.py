"""The shared file that counts by the holders of client tokens: their limits, and their month's spend.

Rules:
1. It is opened at the first client token with a limit or a budget, so a gateway without such tokens has none.
2. It has room for `gateway.client_subjects` holders, apart from the file of endpoints and tokens, so that client tokens
   can never use up the room of those. A holder is never evicted while it counts. When ROOM_SHARE of the slots is used,
   no token is minted for a new holder (`has_room`); the rest is for tokens that are minted already. A request that
   finds no slot is refused.
3. At the start of a month the spend of the last one is over. If a quarter of the slots is used then, the file is
   replaced by a new one, as a damaged file is (shared_memory/renewal.py): requests under way are counted there again,
   and what was spent in the new month is in the log. In the second until every worker has moved, limits hold for each
   worker alone.
4. A new file begins with the month's spend from the log. In a cluster that is elsewhere (cluster_holders.py), and the
   file begins with nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import trio
from attrs import frozen

from pg_trio.config.settings import Settings
from pg_trio.config.time_zone import find_zone
from pg_trio.domain.signing_key import CLIENT_TOKEN_MOST_S
from pg_trio.errors import Overloaded, StoreError
from pg_trio.ledger.immediate import ImmediateBuckets, ImmediateLeases, ImmediateSpend
from pg_trio.ledger.protocols import HolderBooks
from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.renewal import SharedFile
from pg_trio.shared_memory.segment import BUCKET, RETRY_AFTER_S, SPEND_ROW, Segment
from pg_trio.shared_memory.segment_file import open_segment, read_created_s
from pg_trio.shared_memory.spend import LOG_SEAT, SharedSpend, fill_spend
from pg_trio.shared_memory.token_bucket import SharedBuckets
from pg_trio.stages.budget import month_of
from pg_trio.store.outage import Outage
from pg_trio.stores.month_start import sum_months
from pg_trio.stores.store_protocols import LogBook

logger = logging.getLogger("pg_trio.stores")

FILE_NAME = "holders.mem"
# Two for a bucket; for each account of the spend a guard, its spare and the log's row. Then a row of each account for
# every worker, twice: during a reload there are two sets of workers.
BUCKET_SLOTS = 2
ACCOUNT_SLOTS = 3
ACCOUNT_SLOTS_A_WORKER = 2
# Its uses at once, and its spend.
ACCOUNTS = 2
# Half: of a table that is three quarters full, some per cent of the new keys find no free slot within 64 steps; of one
# that is half full, four in a million.
ROOM_SHARE = 0.5
RENEW_SHARE = 0.25
# Counting the used slots takes a millisecond.
COUNTED_FOR_S = 1.0
# An hour: clocks of a cluster's nodes, and of a log that another machine wrote.
CLOCK_SLACK_S = 3_600.0
WATCH_EVERY_S = 1.0


@frozen(slots=True, eq=False)
class HolderParts:
    """What is in the open file. `has_room`: see HolderBooks."""

    file: SharedFile
    buckets: SharedBuckets
    spend: SharedSpend
    leases: LeaseBook
    has_room: Callable[[bytes], bool]


Join: TypeAlias = Callable[[HolderParts], HolderBooks]


def count_here(parts: HolderParts) -> HolderBooks:
    """Books of this machine alone."""
    return HolderBooks(
        ImmediateBuckets(parts.buckets), ImmediateSpend(parts.spend), ImmediateLeases(parts.leases), parts.has_room
    )


class HolderFile:
    """Opens the file when `open` is called first; run `watch`, close with `close`.

    `log=None`: a new file begins with nothing. `join` makes the books of the open file, `accounts` is how many of its
    spend a holder has in them.
    """

    def __init__(
        self, settings: Settings, log: LogBook | None, join: Join = count_here, accounts: int = ACCOUNTS
    ) -> None:
        self._path: Path = settings.gateway.data_dir / FILE_NAME
        self._zone = find_zone(settings.gateway.timezone)
        workers = max(1, settings.server.workers)
        self._slots_a_holder = BUCKET_SLOTS + accounts * (ACCOUNT_SLOTS + ACCOUNT_SLOTS_A_WORKER * workers)
        self._slots = int(settings.gateway.client_subjects * self._slots_a_holder / ROOM_SHARE)
        self._log = log
        self._join = join
        self._opening = trio.Lock()
        self._open: _OpenFile | None = None
        self._outage = Outage(logger, "cannot count by client tokens, whose requests get a 503 if they have limits")

    async def open(self) -> HolderBooks:
        """The books. Raises Overloaded if the file cannot be used."""
        if self._open is None:
            async with self._opening:
                if self._open is None:
                    self._open = await self._open_file()
        return self._open.books

    async def _open_file(self) -> _OpenFile:
        try:
            fill = await self._make_fill()
            segment = await trio.to_thread.run_sync(
                partial(open_segment, self._path, slots=self._slots, fill=fill), limiter=trio.CapacityLimiter(1)
            )
            opened = _OpenFile(segment, self._slots_a_holder, self._join)
        except StoreError as error:
            self._outage.failed(error)
            raise Overloaded(RETRY_AFTER_S) from error
        self._outage.succeeded()
        return opened

    async def watch(self) -> None:
        """Free what dead workers held, and move to a new file where that is due, until cancelled."""
        while True:
            await trio.sleep(WATCH_EVERY_S)
            if self._open is not None:
                try:
                    await self._upkeep(self._open)
                except StoreError as error:
                    self._outage.failed(error)
                else:
                    self._outage.succeeded()

    def close(self) -> None:
        """Give back what is out, and close the file."""
        if self._open is not None:
            self._open.close()

    async def _upkeep(self, opened: _OpenFile) -> None:
        if self._is_of_last_month(opened.shared.segment):
            opened.shared.retire()
        if opened.shared.needs_renewal():
            opened.shared.renew(await self._make_fill())
        opened.spend.reap()
        opened.shared.segment.tell_counters()
        opened.shared.segment.let_pages_go()

    def _is_of_last_month(self, segment: Segment) -> bool:
        created_s = read_created_s(segment)
        if month_of(created_s, self._zone) == month_of(time.time(), self._zone):
            return False
        return segment.count_used() > RENEW_SHARE * segment.slots

    async def _make_fill(self) -> Filler:
        log, now = self._log, time.time()
        if log is None:
            return Filler({})
        tokens_at = now - CLIENT_TOKEN_MOST_S - CLOCK_SLACK_S
        months = await sum_months(lambda at: log.holder_spend_since(at, tokens_at), now, self._zone)
        return Filler(months)


class Filler:
    """Writes the month's spend into a new file. If that has too little room, the largest amounts, and logs it."""

    def __init__(self, months: dict[int, dict[bytes, int]]) -> None:
        self._months = months

    def __call__(self, segment: Segment) -> None:
        room = int(segment.slots * RENEW_SHARE)
        for month, settled in self._months.items():
            if len(settled) > room:
                logger.error(
                    "%s: the spend of %d of %d holders has no room; raise gateway.client_subjects",
                    segment.path,
                    len(settled) - room,
                    len(settled),
                )
            largest = sorted(settled.items(), key=lambda item: item[1], reverse=True)[:room]
            room -= len(largest)
            fill_spend(segment, month, dict(largest))


class _OpenFile:
    """The open file, and the books in it."""

    def __init__(self, segment: Segment, slots_a_holder: int, join: Join) -> None:
        self.shared = SharedFile(segment)
        self.spend = SharedSpend(segment)
        buckets = SharedBuckets(segment)
        self.shared.parts += [self.spend, buckets]
        self.books = join(HolderParts(self.shared, buckets, self.spend, LeaseBook(self.spend), self._has_room))
        self._slots_a_holder = slots_a_holder
        self._counted_at = -COUNTED_FOR_S
        # How many more holders there is room for, as this worker knows it.
        self._left = 0

    def close(self) -> None:
        self.spend.close()
        self.shared.close()

    def _has_room(self, key: bytes) -> bool:
        segment = self.shared.segment
        if any(
            segment.has_slot(kind, place, seat)
            for kind, place, seat in ((BUCKET, key, 0), (SPEND_ROW, key, LOG_SEAT), (SPEND_ROW, b"c" + key, LOG_SEAT))
        ):
            return True
        now = time.monotonic()
        if self._left < 1 or now - self._counted_at >= COUNTED_FOR_S:
            self._counted_at = now
            free = int(ROOM_SHARE * segment.slots) - segment.count_used()
            self._left = free // self._slots_a_holder
        # A token that is minted takes its place when it is used: until the next count it is expected to.
        self._left -= 1
        return self._left >= 0
