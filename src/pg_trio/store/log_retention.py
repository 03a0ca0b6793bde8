"""Deletes rows of the log that are too old or too many, and returns their space to the disk.

Rules:
1. The oldest rows go first, in batches of one statement each. A batch's size follows the time of the batch before, so
   that other writers wait for the file's lock no longer than about BATCH_AIM_S.
2. Between batches the file is free for PAUSE_TIMES as long, for the log's writer and other workers' writers.
3. One worker does it for all that share the directory. A kernel lock decides which; its process's end releases it.
4. The log's own connection is used, so a deletion and a writer's batch never wait for each other's lock.
5. The cost of deleted rows is kept (`deleted_spend`, by a trigger), because budgets are rebuilt from the log.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import trio

from pg_trio.config.settings import GatewaySettings
from pg_trio.errors import StoreError
from pg_trio.store.database import SerialConnection
from pg_trio.store.free_pages import give_back_pages, used_bytes
from pg_trio.store.log_sums import count_rows_over, delete_oldest, forget_spend
from pg_trio.store.outage import Outage
from pg_trio.store.sweep_lock import SweepLock

T = TypeVar("T")

_log = logging.getLogger(__name__)

LOCK_NAME = "log.sweep.lock"
# 60 s: the limits are days and gigabytes.
SWEEP_EVERY_S = 60.0
DAY_S = 24 * 3600
BATCH_AIM_S = 0.01
PAUSE_TIMES = 4
FIRST_BATCH_ROWS = 100
LEAST_BATCH_ROWS = 10
MOST_BATCH_ROWS = 1_000
# Longer than any month: older spend is in no budget.
SPEND_KEPT_S = 40 * DAY_S


class LogRetention:
    """Keeps the log within `log_max_age_days` and `log_max_bytes` (0: no such limit). Run `run`."""

    def __init__(self, settings: GatewaySettings, connection: SerialConnection) -> None:
        self._max_age_s = settings.log_max_age_days * DAY_S
        self._max_bytes = settings.log_max_bytes
        self._connection = connection
        self._lock = SweepLock(settings.data_dir / LOCK_NAME)
        self._batch_rows = FIRST_BATCH_ROWS
        self._outage = Outage(_log, "cannot delete old rows of the log")

    async def run(self) -> None:
        """Sweep now and once a minute, until cancelled. Failures are logged and tried again."""
        try:
            while True:
                await self._sweep_if_ours()
                await trio.sleep(SWEEP_EVERY_S)
        finally:
            self._lock.close()

    async def _sweep_if_ours(self) -> None:
        if not self._lock.try_hold():
            return
        try:
            await self.sweep(time.time())
        except StoreError as exc:
            self._outage.failed(exc)
        else:
            self._outage.succeeded()

    async def sweep(self, now: float) -> int:
        """Delete rows past their age at `now` (Unix seconds), then the oldest while there are too many. Returns their
        number.

        Raises: StoreError if the file cannot be read or written.
        """
        deleted = 0
        if self._max_age_s:
            while rows := await self._delete_batch(now - self._max_age_s):
                deleted += rows
        if self._max_bytes:
            # Only as many as are too many: otherwise the last batch could be most of a log of few, large rows.
            while (over := await self._run(self._count_over)) and (rows := await self._delete_batch(math.inf, over)):
                deleted += rows
        while await self._run(give_back_pages):  # noqa: ASYNC110
            await trio.sleep(PAUSE_TIMES * BATCH_AIM_S)
        await self._run(partial(forget_spend, now - SPEND_KEPT_S))
        return deleted

    def _count_over(self, connection: sqlite3.Connection) -> int:
        return count_rows_over(self._max_bytes, used_bytes(connection), connection)

    async def _delete_batch(self, before: float, most_rows: int = MOST_BATCH_ROWS) -> int:
        limit = min(self._batch_rows, most_rows)
        deleted, took_s = await self._run(partial(_delete_timed, before, limit))
        wanted = limit * BATCH_AIM_S / max(took_s, 1e-6)
        # At most twice the last batch, because the next rows may have bodies.
        self._batch_rows = int(max(LEAST_BATCH_ROWS, min(MOST_BATCH_ROWS, wanted, 2 * self._batch_rows)))
        await trio.sleep(PAUSE_TIMES * took_s)
        return deleted

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._connection.run(work, abandon_on_cancel=True)


def _delete_timed(before: float, limit: int, connection: sqlite3.Connection) -> tuple[int, float]:
    started = time.perf_counter()
    return delete_oldest(before, limit, connection), time.perf_counter() - started
