"""Overload: who may start now, who waits for a moment, and who is turned away at once.

Rules:
1. What is rationed is starting. So many requests start in one pass of the event loop; the others wait in one line,
   first come, first served. Without that, all requests that arrived during a long pass start in the next one, which
   is even longer, and all are late together. A worker that only waits for its providers has short passes and no
   line.
2. `limit` bounds what is under way, however long it waits for a provider.
3. Newcomers are turned away by the age that the line will have when their turn comes, from its length and the time
   that each start takes at present. So a queued request is served, and a refused one has not waited.
4. No request waits longer than `wait_s`, nor past a deadline. New requests join if their expected wait is at most a
   quarter of it, so that queued requests are still served if the worker becomes slower.
5. `full` and `room` are for a server that turns requests away before they cost anything; it tells `note_shed`.
6. What is turned away has no row of its own: rows would be the costliest part of it. One row and one line a second
   say how many there were.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

import trio
from attrs import define

from pg_trio.errors import Overloaded

logger = logging.getLogger("pg_trio")

# A refused client asks again after this time. A second is many request times of an overloaded gateway.
RETRY_AFTER_S = 1
# Starts in one pass of the loop: without a line, and with one. A start takes some 0.4 ms until its answer: with four of
# them a pass is 2 ms, and what must be turned away is seen within two passes. Thirty-two clients that keep a worker
# busy never meet a line.
CALM_STARTS, PRESSED_STARTS = 32, 4
# Before anything was measured. Then a moving average over some 16 passes, 30 ms.
FIRST_START_S, SMOOTHING = 0.001, 1 / 16
# Of the longest wait: what a newcomer's may be expected to be.
JOIN_SHARE = 1 / 4
TELL_EVERY_S = 1.0


@define(slots=True, eq=False)
class _Waiter:
    """One in the line."""

    joined_at: float
    has_place: bool = False


class Admission:
    """The door of one worker. `take` or `wait` for a place, then `with admission: …` gives it back. `run` keeps it."""

    # The answer's `Retry-After`.
    retry_after_s = RETRY_AFTER_S

    def __init__(self, limit: int, wait_s: float, tell_shed: Callable[[int], None]) -> None:
        self._limit = limit
        self._wait_s = wait_s
        self._tell_shed = tell_shed
        self._starts_left = CALM_STARTS
        self._line: OrderedDict[trio.lowlevel.Task, _Waiter] = OrderedDict()
        self._start_s = FIRST_START_S
        self._line_since = 0.0
        self._let_in_at = 0.0
        self._let_in = 0
        self._wake = trio.Event()
        self._shed = 0
        self.under_way = 0
        # Whether the next one would be turned away.
        self.full = False

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self) -> bool:
        """Take a place if there is one now and the queue is empty."""
        if self._starts_left and self.under_way < self._limit:
            self._starts_left -= 1
            self.under_way += 1
            return True
        return False

    async def wait(self, until: float) -> None:
        """Take a place when its turn comes. Raises Overloaded at once, or at `until` (Trio's clock) at the latest."""
        self._note_room()
        if self.full:
            self.note_shed()
            raise Overloaded(RETRY_AFTER_S)
        joined_at = trio.current_time()
        if until >= joined_at + self._wait_s:
            has_place = await self._stand_in_line(joined_at)
        else:
            has_place = False
            with trio.CancelScope(deadline=until):
                has_place = await self._stand_in_line(joined_at)
        if not has_place:
            self.note_shed()
            raise Overloaded(RETRY_AFTER_S)

    async def _stand_in_line(self, joined_at: float) -> bool:
        """Whether there is a place; it is counted already then."""
        task = trio.lowlevel.current_task()
        if not self._line:
            self._begin_line(joined_at)
        waiter = self._line[task] = _Waiter(joined_at)
        self._note_room()
        self._wake.set()

        def leave_line(_: object) -> trio.lowlevel.Abort:
            del self._line[task]
            self._note_room()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave_line)
        return waiter.has_place

    def _begin_line(self, now: float) -> None:
        self._line_since = now
        self._starts_left = 0
        # How long it took until there was a line again says nothing; that places were rare once, little.
        self._let_in = 0
        self._start_s = min(self._start_s, FIRST_START_S)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.under_way -= 1
        if self._line:
            self._wake.set()

    # ── for a server that turns away by itself ───────────────────────────────────────────────────────────────────────

    @property
    def has_line(self) -> bool:
        """Whether a request waits for admission."""
        return bool(self._line)

    @property
    def room(self) -> int:
        """How many more would be taken now, be it into the line."""
        slowest_s = self._start_s
        if self.under_way >= self._limit:
            # No request was admitted for this long: places may have become rarer, without a measurement of it yet.
            waiting_since = max(self._let_in_at, self._line_since)
            slowest_s = max(slowest_s, (trio.current_time() - waiting_since) / max(self._let_in, 1))
        # The queue may always hold one request, so that it is noticed when starts become faster again.
        return max(int(self._wait_s * JOIN_SHARE / slowest_s), 1) - len(self._line)

    def note_shed(self) -> None:
        """Count a refused request."""
        self._shed += 1

    def _note_room(self) -> None:
        self.full = bool(self._line) and self.room <= 0

    # ── its tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Admit waiting requests and report refusals, until cancelled."""
        passes = _Passes(self)
        trio.lowlevel.add_instrument(passes)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._let_in_all)
                nursery.start_soon(self._tell)
        finally:
            # Trio has already removed the instrument if it failed. Then every request goes through the queue, which
            # works too.
            with suppress(KeyError):
                trio.lowlevel.remove_instrument(passes)
            self.tell_shed()

    def begin_pass(self) -> None:
        """The event loop begins another pass."""
        if not self._line:
            self._starts_left = CALM_STARTS

    async def _let_in_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._line:
                if self._let_in_some():
                    await trio.lowlevel.checkpoint()
                else:
                    await self._wait_for_place()

    def _let_in_some(self) -> bool:
        """Let in this pass's share; whether there was room for any."""
        now = trio.current_time()
        self._send_home(now)
        count = min(PRESSED_STARTS, self._limit - self.under_way, len(self._line))
        if count > 0:
            if self._let_in:
                self._start_s += ((now - self._let_in_at) / self._let_in - self._start_s) * SMOOTHING
            self._let_in_at = now
            self._let_in = count
            self.under_way += count
            for _ in range(count):
                task, waiter = self._line.popitem(last=False)
                waiter.has_place = True
                trio.lowlevel.reschedule(task)
        self._note_room()
        return count > 0

    def _send_home(self, now: float) -> None:
        """End the wait of requests that have reached the limit."""
        while self._line:
            task, waiter = next(iter(self._line.items()))
            if now - waiter.joined_at < self._wait_s:
                return
            del self._line[task]
            trio.lowlevel.reschedule(task)

    async def _wait_for_place(self) -> None:
        """Until a request ends, or the head of the line has waited for too long."""
        if not self._line:
            return
        head_until = next(iter(self._line.values())).joined_at + self._wait_s
        with trio.CancelScope(deadline=head_until):
            await self._wake.wait()
        self._wake = trio.Event()

    async def _tell(self) -> None:
        while True:
            await trio.sleep(TELL_EVERY_S)
            self.tell_shed()

    def tell_shed(self) -> None:
        """Say how many were turned away since the last time, if any were."""
        if self._shed:
            count, self._shed = self._shed, 0
            logger.warning("the gateway is overloaded: %d requests were turned away in the last second", count)
            self._tell_shed(count)


class _Passes(trio.abc.Instrument):
    """Where a pass of the event loop begins: nothing else in Trio tells, and it costs nothing per task."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def after_io_wait(self, timeout: float) -> None:
        """Trio's hook."""
        self._admission.begin_pass()
