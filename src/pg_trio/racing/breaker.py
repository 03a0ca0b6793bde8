"""One circuit breaker: whether a key (a target, a credential) is worth asking. Synchronous; `now` is passed in.

Rules:
1. Closed, it counts. Three target faults in a row open it, or half of the window's calls failing (three at least), or
   half of them failing or slow (ten at least). A credential that is refused twice in a row opens it: once may be a
   mistake of the provider's, twice is an answer.
2. Open, it is not asked. How long: `open_s`, growing with each trip that follows closely on the one before, up to a
   limit; for a refused credential always `refused_s`. What is set aside by its own word (`Retry-After`) stays so for
   that long, and counts as no failure.
3. After that it is half-open: one probe at a time. Success closes it, a fault opens it for longer, and a cancelled
   probe gives its place back; so does one of which nothing is heard for `probe_lease_s`, for its process may be dead.
4. Calls that began before the last change of state say nothing about the present one and are ignored. A call that was
   made though it is open (there was nobody else to ask) closes it by succeeding, and changes nothing by failing, unless
   it is told to stay away for longer.
5. A stream is counted as answered with its first token. Where it breaks after that, the same call is counted as failed
   instead: one call, one failure.

The arithmetic of a primary that flaps (down and up by turns, down first) for 60 s: where a down phase lasts three calls
or more, the third call opens it (`fff`); where calls alternate, the third or fourth (`f.f`, `ff.f`, `f..f`). The next
call is the probe, `open_s` = 60 s later: at most four calls reach it. Calls already under way when it opens come on
top; a breaker cannot call them back. docs/decisions/005-race.md has what it costs.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple

from attrs import define, frozen

from pg_trio.racing.call_window import CallWindow


class Fault(Enum):
    """Who is to blame for a failed call. What blames nobody (a malformed request) proves that the target answers."""

    TARGET = "target"  # 5xx, a timeout, a broken connection, nonsense
    SLOW = "slow"  # silent until the request's own deadline, for a second at least (stages/provider_call/runner.py)
    ASIDE = "aside"  # 429: set aside for its Retry-After
    CREDENTIAL = "credential"  # the provider refuses the key, or the account behind it
    NOBODY = "nobody"


class State(Enum):
    """Closed: asked as usual. Open: not asked. Half-open: one probe decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@frozen(slots=True)
class BreakerRules:
    """When a breaker opens and for how long. Envoy's outlier detection opens after 5 in a row for 30 s, resilience4j
    at half of 100 for 60 s; both for hosts with many calls a second, where ours may see one a minute."""

    failures_in_row: int = 3
    failure_rate: float = 0.5
    failing_min_calls: int = 3
    slow_min_calls: int = 10
    window_s: float = 30.0
    open_s: float = 60.0
    # With nobody else to ask, being closed to a target that is well again costs more than a call every few seconds.
    open_alone_s: float = 5.0
    open_growth: float = 2.0
    open_limit_s: float = 600.0
    # 401 and 402 (contract, "Refused keys"). A key that works again is noticed within a minute.
    refusals_in_row: int = 2
    refused_s: float = 60.0
    # For a 429 without `Retry-After`: the first wait of the common client libraries is 0.5 to 2 s.
    aside_s: float = 2.0
    # Providers have sent days by mistake.
    aside_limit_s: float = 3600.0
    # As long as an attempt has by default (`attempt_timeout_ms`); one that may take longer is joined by a second probe.
    probe_lease_s: float = 60.0


@define(slots=True, eq=False)
class Pass:
    """A call that a breaker knows of; `generation` tells whether its state has changed since.

    `ended_row`: how many failures in a row its success ended, for the case that it was none (`break_off`).
    """

    generation: int
    is_probe: bool
    ended_row: int = 0


class Record(NamedTuple):
    """A breaker's whole state as numbers, for a place that several processes share (racing/shared_breaker.py).

    All zero is a fresh one. `why` is an index into FAULTS, and what opened it; times are of the clock that `now` is of.
    """

    generation: int
    why: int
    in_row: int
    level: int
    changed_at: float
    open_for_s: float
    probe_for_s: float  # after changed_at
    window_began_at: float
    calls: int
    failed: int
    slow: int
    older_calls: int
    older_failed: int
    older_slow: int


FAULTS = (Fault.NOBODY, Fault.TARGET, Fault.SLOW, Fault.ASIDE, Fault.CREDENTIAL)
# Generations are compared and never counted: 32 bits of them.
GENERATIONS = 2**32


class Breaker:
    """The state of one key. `begin` a call, then tell exactly one of `succeed`, `fail`, `cancel` what became of it."""

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._window = CallWindow(rules.window_s / 2)
        # Open or half-open: which of the two is a matter of the time (`state`).
        self.is_open = False
        self._why = Fault.NOBODY
        # When it was opened, or closed, last; and for how long it was opened last.
        self._changed_at = -math.inf
        self._open_for_s = 0.0
        self._in_row = 0
        self._level = 0
        self._generation = 0
        # A probe is out until so long after `_changed_at`.
        self._probe_for_s = 0.0
        # How often a call of ours opened it.
        self.trips = 0
        # For people; and what the provider said when a call of ours failed last.
        self.name = ""
        self.said = ""
        # The number of changes up to which it is a copy of what all workers share; its own master has none.
        self.seen = 0

    def refresh(self, changes: int) -> None:
        """Nothing to do: nobody else changes it. See SharedBreaker."""

    def state(self, now: float) -> State:
        if not self.is_open:
            return State.CLOSED
        return State.OPEN if now < self._changed_at + self._open_for_s else State.HALF_OPEN

    @property
    def why(self) -> Fault:
        """What opened it; NOBODY while it is closed."""
        return self._why

    def may_ask(self, now: float, *, is_alone: bool = False) -> bool:
        """Whether a call may go there now: it is closed, or a probe is due and its place is free."""
        return self.wait_s(now, is_alone=is_alone) == 0.0

    def wait_s(self, now: float, *, is_alone: bool = False) -> float:
        """Seconds until a call may go there; 0 if one may now. While a probe is out, until it may be sent again."""
        if not self.is_open:
            return 0.0
        open_for_s = self._open_for_s
        if is_alone and self._why in (Fault.TARGET, Fault.SLOW):
            open_for_s = min(open_for_s, self._rules.open_alone_s)
        wait_s = max(0.0, self._changed_at + open_for_s - now)
        # Nobody knows when the probe will be back: a second is what clients wait at least.
        return max(wait_s, 1.0) if self.has_probe(now) else wait_s

    def begin(self, now: float, *, is_alone: bool = False) -> Pass:
        """Count a call in: a probe if one is due. Refuses nobody; `may_ask` is what asks."""
        is_probe = self.is_open and self.may_ask(now, is_alone=is_alone)
        if is_probe:
            self._probe_for_s = now + self._rules.probe_lease_s - self._changed_at
        return Pass(self._generation, is_probe)

    def begin_unasked(self) -> Pass:
        """Count in a call that is made though none may be: never a probe."""
        return Pass(self._generation, is_probe=False)

    def succeed(self, passed: Pass, now: float) -> None:
        """The call was answered (or refused in a way that blames nobody)."""
        if passed.generation != self._generation:
            return
        if self.is_open:
            self._close(now)
            passed.generation = self._generation
        passed.ended_row = self._in_row
        self._in_row = 0
        self._window.count(now)

    def fail(self, passed: Pass, fault: Fault, now: float, retry_after_s: float | None = None) -> None:
        """The call failed by a fault of this key's."""
        if passed.generation != self._generation:
            return
        if fault is Fault.NOBODY:
            self.succeed(passed, now)
        elif self.is_open and not passed.is_probe:
            self._stay_away(fault, now, retry_after_s)
        elif fault is Fault.ASIDE:
            self._open(fault, now, self._aside_for_s(retry_after_s, now))
        elif self.is_open or self._is_enough(fault, now):
            self._open_for(fault, now)

    def break_off(self, passed: Pass, now: float) -> None:
        """A call that was counted as answered has failed after all (rule 5)."""
        if passed.generation != self._generation or self.is_open:
            return
        self._window.count(now, calls=0, failed=1)
        self._in_row = max(self._in_row, passed.ended_row) + 1
        if self._has_enough_failures():
            self._open_for(Fault.TARGET, now)

    def cancel(self, passed: Pass) -> None:
        """The call was ended before anybody knew; a probe's place is free again."""
        if passed.is_probe and passed.generation == self._generation:
            self._probe_for_s = 0.0

    def as_dict(self, now: float) -> dict[str, object]:
        """For people and machines: state, why, how long still, and what the window holds."""
        window = self._window
        window.turn(now)
        return {
            "state": self.state(now).value,
            "why": self._why.value if self.is_open else None,
            "asked_again_in_s": round(self.wait_s(now), 3),
            "probing": self.has_probe(now),
            "trips_in_row": self._level,
            "failures_in_row": self._in_row,
            "window": {"calls": window.calls, "failed": window.failed, "slow": window.slow},
        }

    def as_line(self, now: float) -> str:
        """The same in one line, for a terminal."""
        state = self.state(now)
        counts = f"{self._window.failed} failed and {self._window.slow} slow of {self._window.calls}"
        if state is State.CLOSED:
            return f"closed, {counts}"
        probing = ", probing" if self.has_probe(now) else ""
        is_refused = self._why is Fault.CREDENTIAL
        why = ", for the provider refused the credential" if is_refused else f" by {self._why.value}"
        return f"{state.value}{why}, next in {self.wait_s(now):.1f} s{probing}, {counts}"

    def calls_per_s(self, now: float) -> float:
        """How many calls were answered a second of late; never more than there were."""
        return self._window.calls_per_s(now)

    def record(self) -> Record:
        """Its state, for `restore`."""
        window = self._window
        return Record(
            self._generation,
            FAULTS.index(self._why),
            self._in_row,
            self._level,
            self._changed_at,
            self._open_for_s,
            self._probe_for_s,
            window.began_at,
            *window.newer,
            *window.older,
        )

    def restore(self, record: Record) -> None:
        """Take over a state that another one had."""
        self._generation = record.generation
        self._why = FAULTS[record.why]
        self.is_open = self._why is not Fault.NOBODY
        self._in_row = record.in_row
        self._level = record.level
        self._changed_at = record.changed_at
        self._open_for_s = record.open_for_s
        self._probe_for_s = record.probe_for_s
        self._window.began_at = record.window_began_at
        self._window.newer = (record.calls, record.failed, record.slow)
        self._window.older = (record.older_calls, record.older_failed, record.older_slow)

    def has_probe(self, now: float) -> bool:
        """Whether a probe is out."""
        return now < self._changed_at + self._probe_for_s

    def _is_enough(self, fault: Fault, now: float) -> bool:
        rules, window = self._rules, self._window
        window.count(now, failed=fault is not Fault.SLOW, slow=fault is Fault.SLOW)
        if fault is Fault.SLOW:
            return window.calls >= rules.slow_min_calls and window.bad >= rules.failure_rate * window.calls
        self._in_row += 1
        if fault is Fault.CREDENTIAL:
            return self._in_row >= rules.refusals_in_row
        return self._has_enough_failures()

    def _has_enough_failures(self) -> bool:
        rules, window = self._rules, self._window
        is_failing = window.calls >= rules.failing_min_calls and window.failed >= rules.failure_rate * window.calls
        return self._in_row >= rules.failures_in_row or is_failing

    def _stay_away(self, fault: Fault, now: float, retry_after_s: float | None) -> None:
        """Open already: a provider's own word counts where it is for longer."""
        if fault is Fault.ASIDE and retry_after_s is not None:
            for_s = self._aside_for_s(retry_after_s, now)
            if now + for_s > self._changed_at + self._open_for_s:
                self._open(fault, now, for_s)

    def _open_for(self, fault: Fault, now: float) -> None:
        if fault is Fault.CREDENTIAL:
            self._open(fault, now, self._rules.refused_s)
        else:
            self._open(fault, now, self._grown(self._rules.open_s, self._rules.open_limit_s, now))

    def _aside_for_s(self, retry_after_s: float | None, now: float) -> float:
        if retry_after_s is None:
            return self._grown(self._rules.aside_s, self._rules.open_limit_s, now)
        return min(retry_after_s, self._rules.aside_limit_s)

    def _grown(self, first_s: float, limit_s: float, now: float) -> float:
        """`first_s`, longer by each trip before it that was not followed by a quiet time as long as the trip."""
        is_calm = not self.is_open and now - self._changed_at >= self._open_for_s
        self._level = 0 if is_calm else self._level + 1
        # The exponent is bounded, or a target that is down for a year would overflow a float.
        return float(min(limit_s, first_s * self._rules.open_growth ** min(self._level, 64)))

    def _open(self, fault: Fault, now: float, for_s: float) -> None:
        self.is_open = True
        self._why = fault
        self._changed_at = now
        self._open_for_s = for_s
        self.trips += 1
        self._change()

    def _close(self, now: float) -> None:
        self.is_open = False
        self._why = Fault.NOBODY
        self._changed_at = now
        self._window.clear()
        self._change()

    def _change(self) -> None:
        self._generation = (self._generation + 1) % GENERATIONS
        self._probe_for_s = 0.0
        self._in_row = 0
