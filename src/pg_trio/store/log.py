"""The request log: recorded without waiting, written by one task in batches.

Rules:
1. `record` never waits and never fails: past `log_queue_rows` unwritten rows, and after closing, it drops and counts.
2. One writer a process. A batch starts at most `log_batch_ms` after its first row was recorded, or when the batch
   before it is in the file. A batch is one statement, so one transaction, on the store's own thread.
3. A batch that cannot be written is kept and tried again, slower and slower; the bound of rule 1 counts it too.
4. Closing writes what is left, not the writer task's end: rows may be recorded until then, and after `aclose` every
   recorded row is in the file, unless the file could not be written for CLOSE_LIMIT_S.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self
from uuid import UUID

import trio

from pg_trio.config.settings import GatewaySettings
from pg_trio.domain.log_row import LogRow
from pg_trio.errors import StoreError
from pg_trio.store.database import BUSY_LIMIT_S, SerialConnection
from pg_trio.store.log_file import BATCH_ROWS, FILE_NAME, open_log, read_recent, sum_spend, write_rows
from pg_trio.store.outage import Outage

_log = logging.getLogger(__name__)

# 5 s: two waits for a lock and some; a drain (`server.drain_ms`) is longer.
CLOSE_LIMIT_S = 5.0
# Back-off of a failing writer: from twice a common batch to what a person at a full disk does not notice.
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0


class LogStore:
    """The log, as a worker sees it. Open with `await LogStore.open(…)`, run `write`, close with `aclose`."""

    def __init__(self, settings: GatewaySettings, connection: SerialConnection) -> None:
        self._queue_rows = settings.log_queue_rows
        self._batch_s = settings.log_batch_ms / 1000
        self._connection = connection
        self._waiting: deque[LogRow] = deque()
        self._wake = trio.Event()
        self._closing = trio.Event()
        self._batch_lock = trio.Lock()
        self._outage = Outage(_log, "cannot write the log")
        self.dropped = 0

    @classmethod
    async def open(cls, settings: GatewaySettings, *, busy_limit_s: float = BUSY_LIMIT_S) -> Self:
        """An open store; `data_dir` and `log.db` are made if they were not there.

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
        """Rows recorded and not yet in the file."""
        return len(self._waiting)

    def record(self, row: LogRow) -> bool:
        """True: the row will be in the file. False: it was dropped, and counted in `dropped`."""
        if self._closing.is_set() or len(self._waiting) >= self._queue_rows:
            self.dropped += 1
            return False
        self._waiting.append(row)
        self._wake.set()
        return True

    async def write(self) -> None:
        """Write what is recorded, until cancelled or closed. Failures are logged and tried again."""
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
                    # Not before: a thread's switch costs as much as 20 rows, and the requests pay for it.
                    await self._pause(started + self._batch_s - trio.current_time())

    async def spend_since(self, at: float) -> dict[UUID, int]:
        """Each endpoint's cost in billionths of a dollar over the rows in the file from `at` on (Unix seconds)."""
        return await self._connection.run(partial(sum_spend, at))

    async def recent(self, limit: int) -> list[LogRow]:
        """The last `limit` rows in the file, newest first."""
        return await self._connection.run(partial(read_recent, limit))

    async def aclose(self) -> None:
        """What was recorded is in the file, the file is closed. Under cancellation too, for at most CLOSE_LIMIT_S.

        `write` returns by itself. What could not be written in time is counted in `dropped`, and logged.
        """
        self._closing.set()
        self._wake.set()
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await self._write_rest()
            await self._connection.aclose()
        if self._waiting:
            self.dropped += len(self._waiting)
            _log.error("%d log rows were lost at closing.", len(self._waiting))
            self._waiting.clear()

    async def _write_rest(self) -> None:
        while self._waiting:
            try:
                await self._write_batch(abandon_on_cancel=True)
            except StoreError:
                await trio.sleep(FIRST_RETRY_S)

    async def _write_batch(self, *, abandon_on_cancel: bool = False) -> None:
        async with self._batch_lock:
            self._wake = trio.Event()
            # They stay in the queue until they are in the file: the bound counts them, and a cancellation loses none.
            rows = list(islice(self._waiting, BATCH_ROWS))
            if not rows:  # woken by closing, or `aclose` wrote them first
                return
            try:
                refused = await self._connection.run(partial(write_rows, rows), abandon_on_cancel=abandon_on_cancel)
            except StoreError as exc:
                self._wake.set()
                self._outage.failed(exc)
                raise
            # Fewer where `aclose` gave up on them meanwhile.
            for _ in range(min(len(rows), len(self._waiting))):
                self._waiting.popleft()
            if self._waiting:
                self._wake.set()
        self._outage.succeeded()
        if refused:
            self.dropped += len(refused)
            _log.error("%d log rows cannot be stored, first: %r", len(refused), refused[0])

    async def _pause(self, seconds: float) -> None:
        with trio.move_on_after(max(0, seconds)):
            await self._closing.wait()
