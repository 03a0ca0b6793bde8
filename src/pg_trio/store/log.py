"""The request log: rows are recorded without waiting, and one task writes them in batches.

Rules:
1. `record` never waits and never fails. With `log_queue_rows` unwritten rows, and after closing, it drops the row and
   counts it. Bodies are dropped earlier: with `log_queue_body_bytes` of them, or half of the rows, a row is recorded
   without its bodies.
2. One writer a process. A batch starts at most `log_batch_ms` after its first row was recorded, or when the batch
   before it is in the file. A batch is one statement, so one transaction, on the store's own thread, of at most
   BATCH_ROWS rows and (but for its last row) BATCH_BODY_BYTES of bodies.
3. A batch that cannot be written is kept and tried again, slower and slower; the bound of rule 1 counts it too.
4. `aclose` writes the remaining rows; the end of the writer task does not. Rows may be recorded until then. After
   `aclose` every recorded row is in the file, unless the file could not be written for CLOSE_LIMIT_S.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from itertools import accumulate, chain, islice
from sys import getsizeof
from types import TracebackType
from typing import Self
from uuid import UUID

import trio
from attrs import evolve

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.log_row import LogRow, UnwrittenRow
from pg_trio.errors import StoreError
from pg_trio.store.database import BUSY_LIMIT_S, SerialConnection
from pg_trio.store.log_file import BATCH_ROWS, FILE_NAME, open_log, read_recent, write_rows
from pg_trio.store.log_retention import LogRetention
from pg_trio.store.log_sums import sum_holder_spend, sum_spend
from pg_trio.store.outage import Outage

_log = logging.getLogger(__name__)

# Some tries of BUSY_LIMIT_S, as long as a session's turn waits for a lock. Most drains leave that of `server.drain_ms`.
CLOSE_LIMIT_S = 10.0
# Back-off of a failing writer: it starts at twice a common batch, and ends below what a person at a full disk notices.
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
# 1 MiB: some 10 ms of writing, so that other workers do not wait long for the file's lock.
BATCH_BODY_BYTES = 1024 * 1024


class LogStore:
    """The log of one worker.

    Open with `await LogStore.open(…)`, run `write` and `retention.run`, close with `aclose`.
    """

    def __init__(self, settings: GatewaySettings, connection: SerialConnection) -> None:
        self._queue_rows = settings.log_queue_rows
        self._queue_body_bytes = settings.log_queue_body_bytes
        self._batch_s = settings.log_batch_ms / 1000
        self._connection = connection
        self._waiting: deque[UnwrittenRow] = deque()
        self._body_bytes = 0
        self._wake = trio.Event()
        self._closing = trio.Event()
        # How many rows may wait; 0 after closing.
        self._room = settings.log_queue_rows
        # More than these are a backlog. It holds rows alone, not what they are made of.
        self._calm_rows = min(self._room, BATCH_ROWS)
        self._batch_lock = trio.Lock()
        self._outage = Outage(_log, "cannot write the log")
        self.retention = LogRetention(settings, connection)
        self.dropped = 0
        self.dropped_bodies = 0
        self._told = (0, 0)
        self._has_told_rest = False

    @classmethod
    async def open(cls, settings: GatewaySettings, *, busy_limit_s: float = BUSY_LIMIT_S) -> Self:
        """An open store; a missing `data_dir` or `log.db` is made.

        Raises: StoreError if either cannot be used.
        """
        connection = await trio.to_thread.run_sync(
            open_log, settings.data_dir, busy_limit_s, limiter=trio.CapacityLimiter(1)
        )
        return cls(settings, SerialConnection(settings.data_dir / FILE_NAME, connection))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def waiting(self) -> int:
        """The number of rows recorded and not yet in the file."""
        return len(self._waiting)

    @property
    def is_up(self) -> bool:
        """Whether the file could be written the last time."""
        return not self._outage.is_on

    def record(self, row: UnwrittenRow) -> bool:
        """True: the row will be in the file. False: it was dropped, and counted in `dropped`.

        Its bodies may be dropped alone: `dropped_bodies` counts the rows that lost theirs.
        """
        waiting = self._waiting
        if len(waiting) >= self._calm_rows:
            if len(waiting) >= self._room:
                self.dropped += 1
                return False
            # It will wait long, and takes less memory as a row.
            row = row.to_row()
        if row.has_bodies:
            row = self._admit_bodies(row)
        if not waiting:
            # Only the first row sets it. For later rows it is set already, or a batch is being written, which sets it
            # for the rows it leaves.
            self._wake.set()
        waiting.append(row)
        return True

    def _admit_bodies(self, row: UnwrittenRow) -> UnwrittenRow:
        size = _body_bytes(row)
        if self._body_bytes + size > self._queue_body_bytes or 2 * len(self._waiting) >= self._queue_rows:
            self.dropped_bodies += 1
            return evolve(row.to_row(), request_body=None, response_body=None)
        self._body_bytes += size
        return row

    async def write(self) -> None:
        """Write recorded rows until cancelled or closed. Failures are logged and tried again."""
        retry_s = FIRST_RETRY_S
        while not self._closing.is_set():
            await self._wake.wait()
            started = trio.current_time()
            try:
                await self._write_batch()
            except StoreError:
                await self._pause(retry_s)
                retry_s = min(2 * retry_s, LAST_RETRY_S)
            else:
                retry_s = FIRST_RETRY_S
                if len(self._waiting) < BATCH_ROWS:
                    # Wait for more rows: a thread switch costs as much as 20 rows, and delays the requests.
                    await self._pause(started + self._batch_s - trio.current_time())

    async def spend_since(self, at: float) -> dict[UUID, int]:
        """Each endpoint's cost in billionths of a dollar over the rows in the file from `at` on (Unix seconds)."""
        return await self._connection.run(partial(sum_spend, at))

    async def holder_spend_since(self, at: float, tokens_at: float) -> dict[bytes, int]:
        """Each holder's cost by its key, over the rows in the file. See log_sums.sum_holder_spend."""
        return await self._connection.run(partial(sum_holder_spend, at, tokens_at))

    async def recent(self, limit: int) -> list[LogRow]:
        """The last `limit` rows in the file, newest first."""
        return await self._connection.run(partial(read_recent, limit))

    async def aclose(self) -> None:
        """Write all recorded rows and close the file. Works under cancellation too, for at most CLOSE_LIMIT_S.

        `write` then returns. Rows that could not be written in time are counted in `dropped` and logged.
        """
        self._room = self._calm_rows = 0
        self._closing.set()
        self._wake.set()
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await self._write_rest()
            await self._connection.aclose()
        if self._waiting:
            self.dropped += len(self._waiting)
            _log.error("%d log rows were lost at closing.", len(self._waiting))
            self._waiting.clear()
            self._body_bytes = 0

    async def _write_rest(self) -> None:
        while self._waiting:
            try:
                await self._write_batch(abandon_on_cancel=True)
            except StoreError:
                if not self._has_told_rest:
                    # Now: a supervisor may end the process before the limit.
                    self._has_told_rest = True
                    _log.error("%d log rows wait for the file, for at most %g s.", self.waiting, CLOSE_LIMIT_S)
                await trio.sleep(FIRST_RETRY_S)

    async def _write_batch(self, *, abandon_on_cancel: bool = False) -> None:
        async with self._batch_lock:
            self._wake = trio.Event()
            # Rows stay in the queue until they are in the file, so the bound counts them, and a cancellation loses
            # none.
            rows = self._next_batch()
            if not rows:  # woken by closing, or `aclose` wrote them first
                return
            try:
                refused = await self._connection.run(partial(write_rows, rows), abandon_on_cancel=abandon_on_cancel)
            except StoreError as exc:
                self._wake.set()
                self._outage.failed(exc)
                raise
            # Fewer if `aclose` has given them up meanwhile.
            written = [self._waiting.popleft() for _ in range(min(len(rows), len(self._waiting)))]
            if self._body_bytes:
                self._body_bytes -= sum(map(_body_bytes, written))
            if self._waiting:
                self._wake.set()
        self._outage.succeeded()
        self._tell_dropped()
        if refused:
            self.dropped += len(refused)
            self._told = (self.dropped, self.dropped_bodies)
            _log.error("%d log rows cannot be stored, first: %r", len(refused), refused[0])

    def _tell_dropped(self) -> None:
        dropped = (self.dropped, self.dropped_bodies)
        if dropped != self._told:
            rows, bodies = (now - then for now, then in zip(dropped, self._told, strict=True))
            _log.error("The log could not keep up: %d rows were dropped, and the bodies of %d more.", rows, bodies)
            self._told = dropped

    def _next_batch(self) -> list[UnwrittenRow]:
        rows = list(islice(self._waiting, BATCH_ROWS))
        if self._body_bytes > BATCH_BODY_BYTES:
            sizes = accumulate(map(_body_bytes, rows))
            rows = [row for row, size in zip(rows, chain((0,), sizes), strict=False) if size < BATCH_BODY_BYTES]
        return rows

    async def _pause(self, seconds: float) -> None:
        with trio.move_on_after(max(0, seconds)):
            await self._closing.wait()


def _body_bytes(unwritten: UnwrittenRow) -> int:
    """The memory of the row's bodies, in bytes."""
    if not unwritten.has_bodies:
        return 0
    row = unwritten.to_row()
    request, response = row.request_body, row.response_body
    return (getsizeof(request) if request is not None else 0) + (getsizeof(response) if response is not None else 0)
