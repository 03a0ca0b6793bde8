"""Overload: which requests start now, which wait for a moment, and which are refused at once.

Rules:
1. Starts are rationed: so many requests start in one pass of the event loop; the others wait in one queue, first come,
   first served. Without that, all requests that arrived during a long pass start in the next one, which is even longer,
   and all are late together. A worker that only waits for its providers has short passes and no queue. While streams
   are under way fewer start, because all their tokens wait for the end of a pass.
2. `limit` bounds what is under way, however long it waits for a provider.
3. Newcomers are refused by the age that the queue will have when their turn comes, from its length and the time that
   each start takes at present. So a queued request is served, and a refused one has not waited.
4. No request waits longer than `wait_s`, nor past its client's own limit. New requests join if their expected wait is
   at most a quarter of it, so that queued requests are served also if the worker becomes slower. A queue that has stood
   for half of `wait_s` is no burst that will pass: from then on a newcomer's expected wait is PRESSED_JOIN_S at most,
   because a longer queue would delay everybody and serve no more, and FLOODED_JOIN_S while more requests are refused
   than start (docs/decisions/007-overload.md).
5. `verdict` is for a server that refuses requests before they cost anything; it reports each to `note_shed`. `room`
   says how many more it may pass on in one step.
6. A refused request has no log row of its own: rows would be the costliest part of it. One row and one log line a
   second say how many there were.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

import trio

from pg_trio.domain.verdict import Verdict
from pg_trio.errors import DeadlineExceeded, Overloaded
from pg_trio.racing.patient_clock import Passes
from pg_trio.racing.wait_queue import WaitQueue

logger = logging.getLogger("pg_trio.stages")

# A refused client asks again after this time. A second is many request times of an overloaded gateway.
RETRY_AFTER_S = 1
# Starts in one pass of the loop: without a queue, and with one. A start takes some 0.2 ms until its answer: with eight
# of them a pass is 2 ms, and what must be refused is seen within two passes. Thirty-two clients that keep a worker
# busy never meet a queue.
CALM_STARTS, PRESSED_STARTS = 32, 12
# With one, while clients come that open a connection for each request: so many in a pass. Refusing them takes four
# times as long, and longer passes would leave them in the kernel's queue.
NEWCOMER_STARTS, MANY_NEWCOMERS = 4, 8
# With and without one while streams are under way. Their tokens wait for the end of a pass: with 32 it took 8 ms. With
# four, the tokens of a busy worker left so few starts a second that requests were refused for their expected wait.
STREAM_STARTS = 8
# Before anything was measured. Then a moving average over some 16 passes, 30 ms.
FIRST_START_S, SMOOTHING = 0.001, 1 / 16
# Of the longest wait: what a newcomer's may be expected to be.
JOIN_SHARE = 1 / 4
# The same once the queue has stood for PRESSED_SHARE of the longest wait, twice the time that a burst which just fitted
# needs. A queue that forms within CALM_S after another one continues it: CoDel's interval.
PRESSED_JOIN_S, PRESSED_SHARE, CALM_S = 0.1, 1 / 2, 0.1
# The same while more are refused than start: then there is always one to serve, and a queue need only last from one
# pass to the next. It ends once the refused are half of the started, so that it does not come and go.
FLOODED_JOIN_S, DEMAND_EVERY_S = 0.02, 0.25
TELL_EVERY_S = 1.0


class Admission:
    """Admission of one worker. `take` or `wait` for a place, then `with admission: …` gives it back. `run` keeps it.

    `under_way`: how many places are taken. `streams`: how many of them are streams; the pipeline counts them.
    `verdict`: what would happen to the next request.
    """

    # The answer's `Retry-After`.
    retry_after_s = RETRY_AFTER_S

    def __init__(self, limit: int, wait_s: float, tell_shed: Callable[[int], None]) -> None:
        self._limit = limit
        self.longest_wait_s = wait_s
        self._at_door, self._let_in = 0, 0
        self._tell_shed = tell_shed
        self._starts_left = CALM_STARTS
        self._queue = WaitQueue()
        self._pace = _Pace()
        self._demand = _Demand()
        self._join_s = wait_s * JOIN_SHARE
        self._wake = trio.Event()
        self._shed = 0
        # New connections in this pass, counted by the server, and whether there were many in the last one.
        self.newcomers, self._had_many = 0, False
        self.under_way = 0
        self.streams = 0
        self.verdict = Verdict.ADMIT

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self) -> bool:
        """Take a place if there is one now and the queue is empty."""
        if self._starts_left and self.under_way < self._limit:
            self._starts_left -= 1
            self.under_way += 1
            return True
        return False

    async def wait(self, until: float, limit_ms: int | None = None, came_at: float | None = None) -> None:
        """Take a place when its turn comes. Raises Overloaded at once or after the longest wait, and DeadlineExceeded
        at `until` (Trio's clock), when the client's own limit of `limit_ms` passes.

        `came_at`: when a request came that has waited at the server's door; None for all others. It is not refused now,
        and its longest wait counts from then.
        """
        now = trio.current_time()
        self._judge()
        last = until
        if came_at is not None:
            last = min(until, came_at + self.longest_wait_s)
        elif self.verdict is Verdict.REFUSE:
            self.note_shed()
            raise Overloaded(RETRY_AFTER_S)
        if last >= now + self.longest_wait_s:
            has_place = await self._wait_in_queue(now)
        else:
            has_place = False
            with trio.CancelScope(deadline=last):
                has_place = await self._wait_in_queue(now)
        if not has_place:
            self.note_shed()
            if limit_ms is not None and trio.current_time() >= until:
                raise DeadlineExceeded(limit_ms)
            raise Overloaded(RETRY_AFTER_S)

    async def _wait_in_queue(self, now: float) -> bool:
        """Whether there is a place; it is counted already then."""
        if not self._queue.length:
            self._starts_left = 0
            if not self._at_door:
                self._pace.begin(now)
                self._limit_joining(now)
        try:
            with self._queue.join() as waiter:
                self._judge()
                self._wake.set()
                await waiter.wait()
                return waiter.is_served
        finally:
            self._judge()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.under_way -= 1
        if self._queue.length:
            self._wake.set()

    # ── for a server that refuses by itself, and keeps requests at its door ─────────────────────────────────────────

    @property
    def room(self) -> int:
        """How many more requests would be admitted or queued now."""
        waiting = self._queue.length + self._at_door
        if not waiting:
            return self._room_without_queue()
        start_s = self._pace.start_s
        if self.under_way >= self._limit:
            start_s = max(start_s, self._pace.standing_s(trio.current_time()))
        # The queue may always hold one request, so that it is noticed when starts become faster again.
        return max(int(self._join_s / start_s), 1) - waiting

    def _room_without_queue(self) -> int:
        """What a queue that began now could hold, or what could start without one. After a calm time the last queue's
        measurements say nothing: an idle gateway refused requests by them."""
        pace = self._pace
        longest_s = self.longest_wait_s * JOIN_SHARE if pace.is_calm(trio.current_time()) else self._join_s
        places = min(self._starts_left, self._limit - self.under_way)
        return max(int(longest_s / min(pace.start_s, FIRST_START_S)), places, 1)

    def note_shed(self, count: int = 1) -> None:
        """Count refused requests."""
        self._shed += count
        self._demand.refused += count

    def join_line(self, handed_over: int) -> bool:
        """Whether a request should wait at the server's door; if so, it is counted there. False if it should come in
        now, beside so many that came in this pass: it may start, or must wait for another one's end."""
        if self.under_way >= self._limit or (self.verdict is Verdict.ADMIT and handed_over < self._starts_left):
            return False
        if not self._at_door and not self._queue.length:
            now = trio.current_time()
            self._pace.begin(now)
            self._limit_joining(now)
        self._at_door += 1
        self._judge()
        return True

    def leave_line(self) -> None:
        """A request that waited at the door is gone, or was refused."""
        self._at_door -= 1
        self._judge()

    def let_in(self) -> int:
        """How many of the requests that wait at the door come in now; to be asked once a pass, while any waits.

        They start in the next pass. If there is no place, they all come in to wait for one.
        """
        now, places = trio.current_time(), self._limit - self.under_way
        self._limit_joining(now)
        if places <= 0:
            count = self._at_door
        else:
            count = min(self._most_starts() // (2 if self._queue.length else 1), places, self._at_door)
            self._note_starts(count, now)
            self._let_in = count
        self._at_door -= count
        self._judge()
        return count

    def _most_starts(self) -> int:
        """In a pass, while requests wait."""
        if self.streams:
            return STREAM_STARTS
        return NEWCOMER_STARTS if self._had_many else PRESSED_STARTS

    def _judge(self) -> None:
        if not self._queue.length and not self._at_door:
            self.verdict = Verdict.ADMIT
        else:
            self.verdict = Verdict.QUEUE if self.room > 0 else Verdict.REFUSE

    # ── its tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Admit waiting requests and report refusals, until cancelled."""
        passes = Passes(self.begin_pass)
        trio.lowlevel.add_instrument(passes)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._admit_all)
                nursery.start_soon(self._tell)
        finally:
            # Trio has already removed the instrument if it failed. Then every request goes through the queue, which
            # works too.
            with suppress(KeyError):
                trio.lowlevel.remove_instrument(passes)
            self.tell_shed()

    def begin_pass(self) -> None:
        """The event loop begins another pass."""
        self._had_many, self.newcomers = self.newcomers >= MANY_NEWCOMERS, 0
        if self._at_door or self._let_in:
            self._starts_left, self._let_in = self._let_in, 0
        elif not self._queue.length:
            self._starts_left = STREAM_STARTS if self.streams else CALM_STARTS

    async def _admit_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._queue.length:
                if self._admit_some():
                    await trio.lowlevel.checkpoint()
                else:
                    await self._wait_for_place()

    def _admit_some(self) -> bool:
        """Admit this pass's share; whether there was room for any."""
        now = trio.current_time()
        self._limit_joining(now)
        self._send_late_home(now)
        most = self._most_starts() // (2 if self._at_door else 1)
        count = min(most, self._limit - self.under_way, self._queue.length)
        if count > 0:
            self._note_starts(count, now)
            self.under_way += count
            for _ in range(count):
                head = self._queue.head()
                # A waiter without a time to look is taken out in the moment in which it is cancelled.
                assert head is not None
                self._queue.serve(head)
        self._judge()
        return count > 0

    def _note_starts(self, count: int, now: float) -> None:
        self._pace.note_starts(count, now)
        self._demand.started += count

    def _limit_joining(self, now: float) -> None:
        """Find how long a newcomer's wait may be expected to be."""
        self._join_s = self.longest_wait_s * JOIN_SHARE
        self._demand.look(now)
        # Without a place for the next one, the queue moves as slowly as providers answer, and 100 ms may hold none.
        if self.under_way < self._limit and now - self._pace.pressed_since >= self.longest_wait_s * PRESSED_SHARE:
            self._join_s = min(self._join_s, FLOODED_JOIN_S if self._demand.is_flood else PRESSED_JOIN_S)

    def _send_late_home(self, now: float) -> None:
        """End the wait of requests that have reached the limit."""
        while (head := self._queue.head()) is not None and now - head.joined_at >= self.longest_wait_s:
            self._queue.send_home(head)

    async def _wait_for_place(self) -> None:
        """Until a request ends, or the head of the queue has waited for too long."""
        head = self._queue.head()
        if head is None:
            return
        with trio.CancelScope(deadline=head.joined_at + self.longest_wait_s):
            await self._wake.wait()
        self._wake = trio.Event()

    async def _tell(self) -> None:
        while True:
            await trio.sleep(TELL_EVERY_S)
            self.tell_shed()

    def tell_shed(self) -> None:
        """Say how many were refused since the last time, if any were."""
        if self._shed:
            count, self._shed = self._shed, 0
            logger.warning("the gateway is overloaded: %d requests were turned away in the last second", count)
            self._tell_shed(count)


class _Pace:
    """How fast the queue moves. `start_s`: seconds a start, smoothed. `pressed_since`: since when there is a queue, or
    was one CALM_S ago at most."""

    __slots__ = ("_began_at", "_started", "_started_at", "pressed_since", "start_s")

    def __init__(self) -> None:
        self.start_s = FIRST_START_S
        self.pressed_since = 0.0
        self._began_at = 0.0
        self._started_at = -math.inf
        self._started = 0

    def is_calm(self, now: float) -> bool:
        """Whether a queue that forms now does not continue the last one."""
        return now - self._started_at >= CALM_S

    def begin(self, now: float) -> None:
        """A queue forms. How long there was none says nothing, and that places were rare before says little."""
        if self.is_calm(now):
            self.pressed_since = now
        self._began_at = now
        self._started = 0
        self.start_s = min(self.start_s, FIRST_START_S)

    def note_starts(self, count: int, now: float) -> None:
        """So many requests start now."""
        if self._started:
            self.start_s += ((now - self._started_at) / self._started - self.start_s) * SMOOTHING
        self._started_at = now
        self._started = count

    def standing_s(self, now: float) -> float:
        """Seconds a start, if one came now: places may have become rarer, and no measurement says so yet."""
        return (now - max(self._started_at, self._began_at)) / max(self._started, 1)


class _Demand:
    """How many requests were refused and how many started, while there was a queue. `is_flood`: most were refused."""

    __slots__ = ("_looked_at", "is_flood", "refused", "started")

    def __init__(self) -> None:
        self.refused, self.started = 0, 0
        self.is_flood = False
        self._looked_at = -math.inf

    def look(self, now: float) -> None:
        """Judge what came since the last time, every DEMAND_EVERY_S."""
        if now - self._looked_at < DEMAND_EVERY_S:
            return
        self.is_flood = self.refused > self.started * (1 / 2 if self.is_flood else 1)
        self.refused, self.started, self._looked_at = 0, 0, now
