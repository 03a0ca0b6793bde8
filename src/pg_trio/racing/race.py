"""Asks candidates in order, the next one beside a slow one, until one answers.

Rules:
1. Attempt n+1 starts when attempt n fails, or when the `hedge_after_s` of n's candidate has passed and a hedge is
   allowed; the first of the two events counts. One mechanism: infinity is failover, 0 a parallel start, other values
   hedge. So at most one attempt and the allowed hedges run at once.
2. The first success wins, and everything else is cancelled with a reason. Of several successes in one tick one is
   kept; the others are handed to `discard`, which is shielded, with a time limit.
3. Expected errors are collected and returned in `AllFailed`. A final error (every candidate would give the same answer)
   ends the race at once, unless an attempt has won already. Any other exception is a bug: it ends the race and leaves
   it, without a group if it is alone.
4. An attempt limit and the reserve end an attempt only if another candidate is left; the last one has all the time. A
   candidate of a later round counts as left if the runner says so (`has_others`).
5. Every attempt is reported exactly once: failures and losses when they happen, the win when the race returns it.
6. A nursery is opened only around attempts that may overlap: it costs 50 µs, and most races have one attempt.
7. When all candidates have failed, the runner may name another round (`next_round`): which candidates are asked again,
   and from when. A round is like the first one, with failover, hedges and limits. The race only waits for it; nothing
   runs meanwhile.

The shape is that of `trio.open_tcp_stream`. Two things differ: a winner must not be lost here, and an attempt can fail
in a way that ends the race.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Generic

import trio
from attrs import define, field

from pg_trio.racing.attempt import (
    ATTEMPT_LIMIT,
    HEDGE_LOST,
    REFUSED_ELSEWHERE,
    AllFailed,
    Attempt,
    AttemptEnd,
    AttemptLimitPassed,
    C,
    Limits,
    Outcome,
    Runner,
    T,
    Won,
)
from pg_trio.racing.cancellation import as_cancelled, ungroup


def race(
    candidates: Sequence[C], runner: Runner[C, T], limits: Limits, now: float | None = None
) -> Coroutine[object, object, Won[C, T]]:
    """Wait for the first success; the caller owns its value. When this returns, all attempts have ended.

    `now` is Trio's clock, if the caller has just read it.
    Raises: AllFailed, or an attempt's unexpected exception. With no `candidates`, the runner is asked for a round.
    """
    if len(candidates) == 1 and limits.attempt_limit_s == math.inf:
        return race_alone(candidates[0], runner, limits.ends_at, trio.current_time() if now is None else now, limits)
    return _Race(candidates, runner, limits).run()


async def race_alone(
    candidate: C, runner: Runner[C, T], ends_at: float, now: float, limits: Limits | None = None
) -> Won[C, T]:
    """A race of one candidate, the common case: no other attempt to start or cancel, and only the caller's limit.

    `limits` are those of the rounds after its failure; None: it is limited by `ends_at` alone.
    """
    attempt = Attempt(candidate, 0, False, now, ends_at)
    try:
        value = await runner.start(attempt)
    except BaseException as error:
        failures = note_failure(attempt, error, runner)
        if not failures:
            raise
    else:
        runner.record(AttemptEnd(attempt, trio.current_time(), Outcome.WON))
        return Won(value, attempt)
    try:
        return await race_on(failures, runner, limits or Limits(ends_at))
    finally:
        # The error refers to its frames, and this frame to the error: a cycle for the garbage collector, one for each
        # failure.
        del failures


def note_failure(attempt: Attempt[C], error: BaseException, runner: Runner[C, T]) -> list[AttemptEnd[C]]:
    """Record how a lone attempt failed. The failure, for `race_on`; empty if the error must leave the race."""
    if not isinstance(error, runner.expected):
        runner.record(_crash_end(attempt, error))
        return []
    failure = AttemptEnd(attempt, trio.current_time(), Outcome.FAILED, error, str(error))
    runner.record(failure)
    return [failure]


def race_on(
    failures: Sequence[AttemptEnd[C]], runner: Runner[C, T], limits: Limits
) -> Coroutine[object, object, Won[C, T]]:
    """Race on after these attempts have failed: with the runner's next round, if there is one."""
    return _Race((), runner, limits, failures).run()


@define(slots=True, eq=False)
class _Running(Generic[C]):
    """A running attempt. `scope` is None if no limit can apply to it."""

    attempt: Attempt[C]
    scope: trio.CancelScope | None
    failed: trio.Event = field(factory=trio.Event)


class _Race(Generic[C, T]):
    def __init__(
        self, candidates: Sequence[C], runner: Runner[C, T], limits: Limits, failures: Sequence[AttemptEnd[C]] = ()
    ) -> None:
        """`failures`: of attempts that were made already, in order."""
        # The candidates of this round that were not tried yet.
        self._untried = list(candidates)
        self._runner = runner
        self._limits = limits
        self._running: list[_Running[C]] = []
        self._failures = list(failures)
        self._started = len(failures)
        self._is_final = any(runner.is_final(end.error) for end in failures if isinstance(end.error, Exception))
        self._won: Won[C, T] | None = None
        self._won_at = 0.0
        self._nursery: trio.Nursery | None = None

    async def run(self) -> Won[C, T]:
        try:
            while not self._is_over() and (self._untried or await self._wait_for_round()):
                if self._may_overlap():
                    await self._run_beside()
                else:
                    await self._run(self._begin(0))
            if self._won is None:
                raise AllFailed(self._failures)
        finally:
            # Errors hold their frames, and those this race: a cycle for the garbage collector, one for each failure.
            self._failures = []
        self._runner.record(AttemptEnd(self._won.attempt, self._won_at, Outcome.WON))
        return self._won

    def _is_over(self) -> bool:
        return self._won is not None or self._is_final

    async def _wait_for_round(self) -> bool:
        """Wait for the next round; False if there is none."""
        following = self._runner.next_round()
        if following is None:
            return False
        await trio.sleep_until(following.starts_at)
        self._untried = list(following.candidates)
        return True

    def _may_overlap(self) -> bool:
        return len(self._untried) > 1 and self._runner.hedge_after_s(self._untried[0]) < math.inf

    # ── several attempts ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _run_beside(self) -> None:
        """Run attempts at the same time until one has won or all have ended."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await self._start_in_turn(nursery)
        except BaseExceptionGroup as group:
            error = ungroup(group)
        else:
            return
        finally:
            self._nursery = None
        # Outside the handler, or the error would carry the group that it was taken from as its context.
        if self._won is not None:
            if isinstance(error, trio.Cancelled):
                # Cancelled from outside while the losers ended: the race is won all the same.
                return
            await self._drop(self._won)
        try:
            raise error
        finally:
            # The same cycle, through this frame.
            del error

    async def _start_in_turn(self, nursery: trio.Nursery) -> None:
        newest = self._start_beside(nursery, 0, is_hedge=False)
        while self._untried:
            index = await self._wait_for_turn(newest)
            # Between the event and this task's turn another attempt may have won.
            if self._is_over() or not self._running:
                return
            newest = self._start_beside(nursery, index, is_hedge=not newest.failed.is_set())

    async def _wait_for_turn(self, newest: _Running[C]) -> int:
        """Wait until the next attempt may start; returns the index of its candidate among those not yet tried."""
        with trio.move_on_after(self._runner.hedge_after_s(newest.attempt.candidate)):
            await newest.failed.wait()
        if not newest.failed.is_set():
            for index, candidate in enumerate(self._untried):
                if self._runner.may_hedge(candidate):
                    return index
            await newest.failed.wait()
        return 0

    def _start_beside(self, nursery: trio.Nursery, index: int, *, is_hedge: bool) -> _Running[C]:
        running = self._begin(index, is_hedge=is_hedge, is_beside=True)
        nursery.start_soon(self._run, running)
        return running

    # ── one attempt ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, index: int, *, is_hedge: bool = False, is_beside: bool = False) -> _Running[C]:
        candidate = self._untried.pop(index)
        now = trio.current_time()
        cut_at = self._cut_at(candidate, now, is_last=not self._untried)
        attempt = Attempt(candidate, self._started, is_hedge, now, min(cut_at, self._limits.ends_at))
        # The limit of a lone attempt cannot change. Without a limit no scope is needed.
        needs_scope = is_beside or cut_at < math.inf
        running = _Running(attempt, trio.CancelScope(deadline=cut_at) if needs_scope else None)
        self._started += 1
        self._running.append(running)
        self._extend_limits()
        return running

    async def _run(self, running: _Running[C]) -> None:
        """Run one attempt to its end and report it."""
        if self._is_over():
            # The race was won or refused before this task's first step: nothing was sent.
            self._end(running, Outcome.CANCELLED, reason=HEDGE_LOST if self._won else REFUSED_ELSEWHERE)
            return
        try:
            value = await self._run_within(running)
        except AttemptLimitPassed as exc:
            self._fail(running, self._end(running, Outcome.CANCELLED, exc, ATTEMPT_LIMIT))
        except self._runner.expected as exc:
            self._fail(running, self._end(running, Outcome.FAILED, exc, str(exc)), is_final=self._runner.is_final(exc))
        except BaseException as exc:
            self._note_crash(running, exc)
            raise
        else:
            await self._take(running, value)

    async def _run_within(self, running: _Running[C]) -> T:
        if running.scope is None:
            return await self._runner.start(running.attempt)
        with running.scope:
            return await self._runner.start(running.attempt)
        limit_s = trio.current_time() - running.attempt.started_at
        raise AttemptLimitPassed(f"no answer within {limit_s:.3g} s")

    async def _take(self, running: _Running[C], value: T) -> None:
        """The value wins, or is discarded. Nothing is awaited before it has an owner."""
        if self._won is None:
            self._running.remove(running)
            self._won = Won(value, running.attempt)
            self._won_at = trio.current_time()
            self._cancel_others(HEDGE_LOST)
        else:
            self._end(running, Outcome.CANCELLED, reason=HEDGE_LOST)
            await self._discard(value)

    def _fail(self, running: _Running[C], end: AttemptEnd[C], *, is_final: bool = False) -> None:
        self._failures.append(end)
        running.failed.set()
        if is_final:
            self._is_final = True
            self._cancel_others(REFUSED_ELSEWHERE)
        self._extend_limits()

    def _note_crash(self, running: _Running[C], error: BaseException) -> None:
        self._running.remove(running)
        self._runner.record(_crash_end(running.attempt, error))

    def _end(
        self, running: _Running[C], outcome: Outcome, error: BaseException | None = None, reason: str = ""
    ) -> AttemptEnd[C]:
        self._running.remove(running)
        end = AttemptEnd(running.attempt, trio.current_time(), outcome, error, reason)
        self._runner.record(end)
        return end

    def _cancel_others(self, reason: str) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason=reason)

    # ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _cut_at(self, candidate: C, started_at: float, *, is_last: bool) -> float:
        """When an attempt ends so that others have time; infinity if only the request's deadline ends it."""
        if not is_last:
            return self._limits.cut_at(started_at, len(self._untried))
        return self._limits.cut_at(started_at, 1) if self._runner.has_others(candidate) else math.inf

    def _extend_limits(self) -> None:
        """Fewer candidates are left: the running attempts get the time that was kept back, the last one all of it."""
        for running in self._running:
            if running.scope is not None:
                is_last = not self._untried and running is self._running[-1]
                attempt = running.attempt
                running.scope.deadline = self._cut_at(attempt.candidate, attempt.started_at, is_last=is_last)

    # ── discarding ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _discard(self, value: T) -> None:
        with trio.move_on_after(self._limits.discard_limit_s, shield=True), suppress(*self._runner.expected):
            await self._runner.discard(value)

    async def _drop(self, won: Won[C, T]) -> None:
        """A bug in a loser ended the race after it was won: discard the winner, which has no owner."""
        self._won = None
        end = AttemptEnd(won.attempt, self._won_at, Outcome.CANCELLED, reason="another attempt crashed")
        self._runner.record(end)
        await self._discard(won.value)


def _crash_end(attempt: Attempt[C], error: BaseException) -> AttemptEnd[C]:
    """The end of an attempt that was cancelled from outside, or has a bug."""
    cancelled = as_cancelled(error)
    if cancelled is None:
        return AttemptEnd(attempt, trio.current_time(), Outcome.CRASHED, error, type(error).__name__)
    return AttemptEnd(attempt, trio.current_time(), Outcome.CANCELLED, reason=_reason_of(cancelled))


def _reason_of(cancelled: trio.Cancelled) -> str:
    # A nursery's reason quotes the exception that ended it. Clients and logs must not get it.
    return cancelled.reason if cancelled.source == "explicit" and cancelled.reason else cancelled.source
