"""A breaker with its record in a store. The store belongs to one process or is shared by all workers.

Rules (racing/breaker.py has those of the breaker itself):
1. Each worker has a copy of the record. It reads the record again, without a lock, if the store's number of changes has
   moved since. So a request to a closed breaker costs one look at that number.
2. An event that changes the state (a failure, the begin or end of a probe) takes the store's lock, reads the record,
   takes the step and writes the record back. So only one worker sends the probe, and every worker learns its result.
3. While nothing fails, a success with a closed breaker writes nothing to a shared store. Each worker counts its own
   successes. It adds them to the record with its next failure, when a success ends a row of failures, or, while the
   window holds failures, with every eighth success. So a share of failures may miss up to seven calls of each worker.
4. If the lock is not available (its holder was stopped), a worker decides by its own copy until it gets the lock. A
   probe it sends alone only after a second without the lock: a holder that was merely paused may be sending one.
5. A worker that dies during a probe keeps the probe's place until the probe's lease ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pg_trio.ledger.node_health import BreakerRecords
from pg_trio.racing.breaker import (
    FAULTS,
    FRESH,
    Began,
    BreakerRules,
    BrokeOff,
    CallAnswered,
    Cancelled,
    Event,
    Failed,
    Fault,
    Pass,
    Record,
    State,
    Told,
    has_probe,
    open_window,
    read_state,
    read_wait_s,
    step,
)
from pg_trio.racing.call_window import AnswerWindow

# A breaker opens for slow calls after ten calls at least. Of those with five failures, only successes can be missed.
UNTOLD_CALLS = 8
NEVER_SEEN = -1
# A holder that keeps the lock for longer is stopped. On a busy machine one is paused for some tens of milliseconds.
STOPPED_S = 1.0


class LocalRecords:
    """Breaker records of one process. See BreakerRecords; the place of a record is the order of its first use."""

    is_shared = False

    def __init__(self) -> None:
        self._records: list[Record] = []

    def changes(self) -> int:
        """Always 0: no other process changes a record."""
        return 0

    def find(self, name: tuple[str, ...]) -> int:
        """A new, fresh record. Each breaker calls this once."""
        self._records.append(FRESH)
        return len(self._records) - 1

    def hold(self) -> bool:
        """Always True: one process needs no lock."""
        return True

    def release(self) -> None:
        """Nothing to release."""

    def read(self, place: int) -> Record:
        """See BreakerRecords."""
        return self._records[place]

    def write(self, place: int, record: Sequence[Any]) -> None:
        """See BreakerRecords."""
        self._records[place] = Record(*record)


class StoredBreaker:
    """One key's breaker. `begin` a call, then tell exactly one of `succeed`, `fail`, `cancel` how it ended.

    `name` and `said`, the provider's last word about a failure, are for people. `trips` is how often a call of this
    worker opened it. `seen` is the store's number of changes up to which the copy is current.
    """

    __slots__ = (
        "_counts_alone",
        "_denied_since",
        "_place",
        "_record",
        "_records",
        "_rules",
        "_untold",
        "is_open",
        "name",
        "ordinary",
        "said",
        "seen",
        "trips",
    )

    def __init__(self, rules: BreakerRules, records: BreakerRecords, place: int, name: str = "") -> None:
        self._rules = rules
        self._records = records
        self._place = place
        self._record = FRESH
        # Successes that the record does not contain yet (rule 3).
        self._untold = AnswerWindow(rules.window_s / 2)
        # Open or half-open: which of the two depends on the time (`state`).
        self.is_open = False
        # The pass of every call that is no probe, until the state changes.
        self.ordinary = Pass(FRESH.generation, is_probe=False)
        # A success is only counted in this worker (rule 3): nearly always.
        self._counts_alone = records.is_shared
        # When the lock was first denied to a probe (rule 4); infinity if it was not.
        self._denied_since = math.inf
        self.name = name
        self.said = ""
        self.trips = 0
        self.seen = NEVER_SEEN

    def refresh(self, changes: int) -> None:
        """Read the record again, because the store's number of changes is another one."""
        self._copy(Record(*self._records.read(self._place)))
        # A change in progress (or whose worker died) may be in the record or not.
        is_moving = changes & 1
        self.seen = NEVER_SEEN if is_moving else changes
        if not is_moving:
            self._denied_since = math.inf

    # ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def why(self) -> Fault:
        """The fault that opened it; NOBODY while it is closed."""
        return FAULTS[self._record.why]

    def state(self, now: float) -> State:
        """See read_state."""
        return read_state(self._record, now)

    def may_ask(self, now: float, *, is_alone: bool = False) -> bool:
        """Whether a call may be made now: the breaker is closed, or a probe is due and none is out."""
        return self.wait_s(now, is_alone=is_alone) == 0.0

    def wait_s(self, now: float, *, is_alone: bool = False) -> float:
        """See read_wait_s."""
        return read_wait_s(self._rules, self._record, now, is_alone=is_alone) if self.is_open else 0.0

    def has_probe(self, now: float) -> bool:
        """Whether a probe is out."""
        return has_probe(self._record, now)

    def calls_per_s(self, now: float) -> float:
        """Recent answered calls a second, without those that other workers have not reported yet; never too high."""
        return open_window(self._rules, self._record).calls_per_s(now) + self._untold.calls_per_s(now)

    def as_dict(self, now: float) -> dict[str, object]:
        """State, cause, remaining time, and the counts of the window."""
        window = open_window(self._rules, self._record)
        window.turn(now)
        return {
            "state": self.state(now).value,
            "why": self.why.value if self.is_open else None,
            "asked_again_in_s": round(self.wait_s(now), 3),
            "probing": self.has_probe(now),
            "trips_in_row": self._record.level,
            "failures_in_row": self._record.in_row,
            "window": {"calls": window.calls, "failed": window.failed, "slow": window.slow},
        }

    def as_line(self, now: float) -> str:
        """The same in one line, for a terminal."""
        state, window = self.state(now), open_window(self._rules, self._record)
        counts = f"{window.failed} failed and {window.slow} slow of {window.calls}"
        if state is State.CLOSED:
            return f"closed, {counts}"
        probing = ", probing" if self.has_probe(now) else ""
        is_refused = self.why is Fault.CREDENTIAL
        why = ", for the provider refused the credential" if is_refused else f" by {self.why.value}"
        return f"{state.value}{why}, next in {self.wait_s(now):.1f} s{probing}, {counts}"

    # ── one call ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, now: float, *, is_alone: bool = False) -> Pass:
        """Count a call. It is the probe if one is due and no worker has begun it. Never refuses (`may_ask` does)."""
        if not self.is_open:
            return self.ordinary
        before, after = self._take_step(Began(is_alone), now)
        return Pass(after.generation, is_probe=True) if after is not before else self.ordinary

    def begin_unasked(self) -> Pass:
        """Count a call that is made although the breaker allows none. It is never a probe."""
        return self.ordinary

    def succeed(self, passed: Pass, now: float) -> Pass:
        """The call was answered. Returns its pass from here on, for `break_off`."""
        if passed is not self.ordinary and passed.generation != self._record.generation:
            return passed
        if self._counts_alone or self._may_tell_later(now):
            self._untold.count(now)
            return passed
        return passed.after_success(*self._take_step(CallAnswered(passed), now, tells=True))

    def fail(self, passed: Pass, fault: Fault, now: float, retry_after_s: float | None = None) -> None:
        """The call failed by a fault of this key."""
        if fault is Fault.NOBODY:
            self.succeed(passed, now)
        elif passed.generation == self._record.generation:
            self._take_step(Failed(passed, fault, retry_after_s), now, tells=True)

    def break_off(self, passed: Pass, now: float) -> None:
        """A call that counted as answered has failed after all."""
        if passed.generation == self._record.generation:
            self._take_step(BrokeOff(passed), now, tells=True)

    def cancel(self, passed: Pass) -> None:
        """The call ended before its result was known. A probe's place is free again."""
        if passed.is_probe:
            self._take_step(Cancelled(passed), 0.0)

    def _may_tell_later(self, now: float) -> bool:
        """Whether this success may stay out of the record for now although a call has failed."""
        record = self._record
        if record.why or record.in_row or not self._records.is_shared:
            return False
        window = open_window(self._rules, record)
        window.turn(now)
        return self._untold.calls < UNTOLD_CALLS or not window.bad

    def _take_step(self, event: Event, now: float, *, tells: bool = False) -> tuple[Record, Record]:
        """Take the step on the newest record and store the result. Returns the record before and after the event."""
        is_held = self._records.hold()
        if not is_held and isinstance(event, Began) and not self._is_holder_stopped(now):
            return self._record, self._record
        try:
            if is_held:
                self._denied_since = math.inf
                self._copy(Record(*self._records.read(self._place)))
            read = before = self._record
            if tells:
                before = self._tell(before, now)
            after = step(self._rules, before, event, now)
            self._keep(after)
            if is_held and after != read:
                self._records.write(self._place, after)
        finally:
            if is_held:
                self._records.release()
        self.trips += after.why != 0 and after.generation != before.generation
        return before, after

    def _is_holder_stopped(self, now: float) -> bool:
        self._denied_since = min(self._denied_since, now)
        return now - self._denied_since >= STOPPED_S

    def _tell(self, record: Record, now: float) -> Record:
        untold = self._untold
        untold.turn(now)
        if untold.calls:
            record = step(self._rules, record, Told(untold.calls), now)
        untold.clear()
        return record

    def _copy(self, record: Record) -> None:
        if record.generation != self._record.generation:
            # Calls that began before a change do not count for the state after it.
            self._untold.clear()
        self._keep(record)

    def _keep(self, record: Record) -> None:
        self._record = record
        self.is_open = record.why != 0
        if record.generation != self.ordinary.generation:
            self.ordinary = Pass(record.generation, is_probe=False)
        has_failures = record.failed or record.slow or record.older_failed or record.older_slow
        is_calm = not (record.why or record.in_row or has_failures)
        self._counts_alone = is_calm and self._records.is_shared
