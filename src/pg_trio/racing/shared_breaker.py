"""A breaker whose state all workers share: the rules are those of breaker.py, applied to a record under its lock.

Rules:
1. Each worker has a copy. It is read anew, without a lock, where the number of changes has moved since; so a request
   to a closed breaker costs one look at that number.
2. What changes the state (a failure, a probe, the end of one) takes the lock, reads the record, applies the rule to it
   and writes it back: of all workers one sends the probe, and every worker knows what became of it.
3. A success with a closed breaker writes nothing as long as nothing fails. Each worker counts its own, and tells them
   with its next failure, when a success ends a row of failures, or, while the window holds failures, every eighth. So
   a share of failures may be taken over up to seven calls a worker too few.
4. Where the lock cannot be had (its holder was stopped), a worker decides by its own copy until it can.
5. A worker that dies in a probe keeps its place until the probe's lease ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from pg_trio.racing.breaker import Breaker, BreakerRules, Fault, Pass, Record
from pg_trio.racing.call_window import CallWindow

# Of ten calls with five failures, the fewest that open for being slow, no more than the successes of others are missed.
UNTOLD_CALLS = 8
NEVER_SEEN = -1


class BreakerRecords(Protocol):
    """The store of all workers' breaker records. No method raises; only `hold` may wait."""

    def changes(self) -> int:
        """A number that moves with every change, and is odd while there is one under way."""

    def find(self, name: tuple[str, ...]) -> int | None:
        """The place of a breaker's record; None if there is no room."""

    def hold(self) -> bool:
        """Keep the other workers from changing anything until `release`; False if that cannot be had in time."""

    def release(self) -> None: ...

    def read(self, place: int) -> tuple[Any, ...]:
        """The numbers of a `Record`."""

    def write(self, place: int, record: Sequence[Any]) -> None:
        """Replace a record, completely or not at all. Only while the records are held."""


class SharedBreaker(Breaker):
    """This worker's copy of a breaker, and the way to change the record that it is a copy of."""

    def __init__(self, rules: BreakerRules, records: BreakerRecords, place: int) -> None:
        super().__init__(rules)
        self._records = records
        self._place = place
        self.seen = NEVER_SEEN
        # Successes that the record does not know of.
        self._untold = CallWindow(rules.window_s / 2)

    def refresh(self, changes: int) -> None:
        """Read the record anew: there were changes since it was read."""
        self._copy(Record(*self._records.read(self._place)))
        # A change that is under way, or was when its worker died, may be in the record or not.
        self.seen = NEVER_SEEN if changes & 1 else changes

    def begin(self, now: float, *, is_alone: bool = False) -> Pass:
        """See Breaker.begin: of all workers' calls, one is the probe."""
        if not self.is_open:
            return Pass(self._generation, is_probe=False)
        with self._held():
            return super().begin(now, is_alone=is_alone)

    def succeed(self, passed: Pass, now: float) -> None:
        """See Breaker.succeed; most successes are counted here alone (rule 3)."""
        if passed.generation != self._generation:
            return
        if not self.is_open and self._in_row == 0 and not self._owes(now):
            self._untold.count(now)
            return
        with self._held():
            self._tell(now)
            super().succeed(passed, now)

    def fail(self, passed: Pass, fault: Fault, now: float, retry_after_s: float | None = None) -> None:
        """See Breaker.fail."""
        if fault is Fault.NOBODY:
            self.succeed(passed, now)
        elif passed.generation == self._generation:
            with self._held():
                self._tell(now)
                super().fail(passed, fault, now, retry_after_s)

    def break_off(self, passed: Pass, now: float) -> None:
        """See Breaker.break_off."""
        if passed.generation == self._generation:
            with self._held():
                self._tell(now)
                super().break_off(passed, now)

    def calls_per_s(self, now: float) -> float:
        """See Breaker.calls_per_s; of other workers' calls, those that they have told."""
        return super().calls_per_s(now) + self._untold.calls_per_s(now)

    def cancel(self, passed: Pass) -> None:
        """See Breaker.cancel."""
        if passed.is_probe:
            with self._held():
                super().cancel(passed)

    def _owes(self, now: float) -> bool:
        # Nearly always nothing has failed: then nothing else is looked at.
        if not self._window.bad or self._untold.calls < UNTOLD_CALLS:
            return False
        self._window.turn(now)
        return self._window.bad > 0

    def _tell(self, now: float) -> None:
        self._untold.turn(now)
        if not self.is_open and self._untold.calls:
            self._window.count(now, calls=self._untold.calls)
        self._untold.clear()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The record is ours inside the block, and what the copy became in it is written back."""
        if not self._records.hold():
            yield
            return
        try:
            before = Record(*self._records.read(self._place))
            self._copy(before)
            yield
            after = self.record()
            if after != before:
                self._records.write(self._place, after)
        finally:
            self._records.release()

    def _copy(self, record: Record) -> None:
        if record.generation != self._generation:
            # Calls from before a change say nothing of what is after it.
            self._untold.clear()
        self.restore(record)
