"""The rules of one circuit breaker, as a pure step: `step(rules, record, event, now)` gives the next record.

A breaker says whether a key (a target or a credential) may be called. Nothing here keeps state, waits or reads a clock;
racing/stored_breaker.py keeps the records.

Rules:
1. A closed breaker counts calls. It opens after three target faults in a row, when half of the window's calls failed
   (at least three calls), or when half of them failed or were slow (at least ten calls). A credential's breaker opens
   after two refusals in a row: a single one may be the provider's mistake.
2. An open breaker is not called. It stays open for `open_s`, which grows with each trip that follows closely on the one
   before, up to a limit. For a refused credential it is always `refused_s`. A target that asked for a pause with
   `Retry-After` gets that pause; this counts as no failure.
3. After that it is half-open: one probe at a time. A successful probe closes the breaker and a failed one opens it for
   longer. A cancelled probe frees its place. So does a probe whose result is not known after `probe_lease_s`, because
   its process may be dead.
4. Calls that began before the last change of state are ignored. A call that was made although the breaker is open
   (every other candidate was open as well) closes it by succeeding. By failing it changes nothing, unless the provider
   asks for a longer pause.
5. A stream counts as answered with its first token. If it breaks after that, the same call counts as failed instead:
   one call, one failure.

A primary that flaps (down and up by turns, down first) for 60 s is called at most four times. If a down phase lasts
three calls or more, the third call opens the breaker (`fff`). If calls alternate, the third or fourth does (`f.f`,
`ff.f`, `f..f`). The next call is the probe, `open_s` = 60 s later. Calls that are under way when the breaker opens come
on top; a breaker cannot call them back. docs/decisions/005-race.md has the cost.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple, TypeAlias

from attrs import frozen

from pg_trio.racing.call_window import CallWindow


class Fault(Enum):
    """What a failed call says about the target. A fault without blame (a malformed request) proves that it answers."""

    TARGET = "target"  # 5xx, a timeout, a broken connection, nonsense
    SLOW = "slow"  # silent until the request's own deadline, for a second at least (stages/provider_call/runner.py)
    ASIDE = "aside"  # 429: the provider asked for a pause, for its Retry-After
    CREDENTIAL = "credential"  # the provider refuses the key, or the account behind it
    NOBODY = "nobody"


class State(Enum):
    """Closed: calls are normal. Open: no calls. Half-open: one probe decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@frozen(slots=True)
class BreakerRules:
    """When a breaker opens and for how long. Envoy's outlier detection opens after 5 in a row for 30 s, resilience4j
    at half of 100 for 60 s. Both serve hosts with many calls a second; ours may see one a minute."""

    failures_in_row: int = 3
    failure_rate: float = 0.5
    failing_min_calls: int = 3
    slow_min_calls: int = 10
    window_s: float = 30.0
    open_s: float = 60.0
    # A lone candidate is probed sooner: a late return to a recovered target costs more than a call every 5 s.
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
    # The default limit of one attempt (`attempt_timeout_ms`). During a longer attempt, a second probe may begin.
    probe_lease_s: float = 60.0


class Record(NamedTuple):
    """A breaker's whole state as numbers, so that several processes can share it.

    A fresh record is all zero. `why` is an index into FAULTS: the fault that opened it, 0 while it is closed. Times are
    of the same clock as `now`. `changed_at` is when it last opened or closed.
    """

    generation: int
    why: int
    in_row: int
    level: int
    changed_at: float
    open_for_s: float
    probe_for_s: float  # a probe is out until so long after changed_at
    window_began_at: float
    calls: int
    failed: int
    slow: int
    older_calls: int
    older_failed: int
    older_slow: int


# While a probe is out, it is not known when it will end: a second is the shortest wait of clients.
PROBED_WAIT_S = 1.0
# What another node told reaches each worker by its own ways, so that its time differs a little from one to the next.
TOLD_TWICE_S = 0.1
FRESH = Record(0, 0, 0, 0, -math.inf, 0.0, 0.0, -math.inf, 0, 0, 0, 0, 0, 0)
FAULTS = (Fault.NOBODY, Fault.TARGET, Fault.SLOW, Fault.ASIDE, Fault.CREDENTIAL)
# Generations are only compared, so 32 bits are enough.
GENERATIONS = 2**32
# The highest exponent of the growth. Without it, a target that is down for a year would overflow a float.
MAX_GROWTHS = 64


class Pass(NamedTuple):
    """One call that a breaker has counted. `generation` shows whether the breaker's state has changed since.

    `ended_row`: how many failures in a row its success ended, in case the call fails after all (`BrokeOff`).
    """

    generation: int
    is_probe: bool
    ended_row: int = 0

    def after_success(self, before: Record, after: Record) -> Pass:
        """The call's pass once its own `CallAnswered` has changed the record, for a later `BrokeOff`."""
        if self.generation != before.generation:
            return self
        return Pass(after.generation, self.is_probe, 0 if before.why else before.in_row)


@frozen(slots=True)
class Began:
    """A call begins. It is the probe if one is due; the step then returns a new record."""

    is_alone: bool = False


@frozen(slots=True)
class CallAnswered:
    """The call was answered, or refused in a way that does not blame this key."""

    passed: Pass


@frozen(slots=True)
class Failed:
    """The call failed by a fault of this key."""

    passed: Pass
    fault: Fault
    retry_after_s: float | None = None


@frozen(slots=True)
class BrokeOff:
    """A call that counted as answered has failed after all (rule 5)."""

    passed: Pass


@frozen(slots=True)
class Cancelled:
    """The call ended before its result was known."""

    passed: Pass


@frozen(slots=True)
class Told:
    """Answered calls that the record has not counted yet."""

    calls: int


Event: TypeAlias = Began | CallAnswered | Failed | BrokeOff | Cancelled | Told


def step(rules: BreakerRules, record: Record, event: Event, now: float) -> Record:
    """The record after the event; the same object if the event changes nothing."""
    match event:
        case Began(is_alone=is_alone):
            return _begin(rules, record, now, is_alone=is_alone)
        case Told(calls=calls):
            return record if record.why else _count(rules, record, now, calls=calls)
    if event.passed.generation != record.generation:
        return record
    match event:
        case CallAnswered() | Failed(fault=Fault.NOBODY):
            return _succeed(rules, record, now)
        case Failed():
            return _fail(rules, record, event, now)
        case BrokeOff(passed=passed):
            return record if record.why else _break_off(rules, record, passed, now)
        case Cancelled(passed=passed):
            return record._replace(probe_for_s=0.0) if passed.is_probe else record


def hear(record: Record, theirs: Record) -> Record:
    """The record after another node told its own of the same key, on this node's clock.

    The state that began last holds, because the other node has news of the key. Its probe is its own: after the pause,
    each node sends one. The calls that this node counted stay, unless the key is well again. The same object if this
    node's state is not older. The same state heard twice, a moment apart, is one: it frees no probe's place.
    """
    later_s = theirs.changed_at - record.changed_at
    is_known = (theirs.why, theirs.level, theirs.open_for_s) == (record.why, record.level, record.open_for_s)
    if later_s <= (TOLD_TWICE_S if is_known else 0.0):
        return record
    heard = _changed(record, why=FAULTS[theirs.why], now=theirs.changed_at, open_for_s=theirs.open_for_s)
    heard = heard._replace(level=theirs.level)
    return _without_calls(heard) if record.why and not theirs.why else heard


# ── what a record says ───────────────────────────────────────────────────────────────────────────────────────────────


def read_state(record: Record, now: float) -> State:
    """Closed, open or half-open; an open breaker becomes half-open by time alone."""
    if not record.why:
        return State.CLOSED
    return State.OPEN if now < record.changed_at + record.open_for_s else State.HALF_OPEN


def has_probe(record: Record, now: float) -> bool:
    """Whether a probe is out."""
    return now < record.changed_at + record.probe_for_s


def read_wait_s(rules: BreakerRules, record: Record, now: float, *, is_alone: bool = False) -> float:
    """Seconds until a call may be made; 0 if one may be made now. While a probe is out: until the next one may be."""
    if not record.why:
        return 0.0
    open_for_s = record.open_for_s
    if is_alone and FAULTS[record.why] in (Fault.TARGET, Fault.SLOW):
        open_for_s = min(open_for_s, rules.open_alone_s)
    wait_s = max(0.0, record.changed_at + open_for_s - now)
    return max(wait_s, PROBED_WAIT_S) if has_probe(record, now) else wait_s


def open_window(rules: BreakerRules, record: Record) -> CallWindow:
    """The record's counts of calls, as a window of its own."""
    newer = (record.calls, record.failed, record.slow)
    older = (record.older_calls, record.older_failed, record.older_slow)
    return CallWindow(rules.window_s / 2, record.window_began_at, newer, older)


# ── the events ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _begin(rules: BreakerRules, record: Record, now: float, *, is_alone: bool) -> Record:
    if not record.why or read_wait_s(rules, record, now, is_alone=is_alone) > 0.0:
        return record
    return record._replace(probe_for_s=now + rules.probe_lease_s - record.changed_at)


def _succeed(rules: BreakerRules, record: Record, now: float) -> Record:
    if record.why:
        record = _without_calls(_changed(record, why=Fault.NOBODY, now=now, open_for_s=record.open_for_s))
    return _count(rules, record, now)._replace(in_row=0)


def _fail(rules: BreakerRules, record: Record, failed: Failed, now: float) -> Record:
    fault = failed.fault
    if record.why and not failed.passed.is_probe:
        return _lengthen_pause(rules, record, failed, now)
    if fault is Fault.ASIDE:
        level = _next_level(record, now)
        if failed.retry_after_s is None:
            for_s = _grown_s(rules, rules.aside_s, level)
            return _changed(record, why=fault, now=now, open_for_s=for_s)._replace(level=level)
        return _changed(record, why=fault, now=now, open_for_s=min(failed.retry_after_s, rules.aside_limit_s))
    if record.why:
        return _opened(rules, record, fault, now)
    record = _count_failure(rules, record, fault, now)
    return _opened(rules, record, fault, now) if _is_enough(rules, record, fault) else record


def _break_off(rules: BreakerRules, record: Record, passed: Pass, now: float) -> Record:
    record = _count(rules, record, now, calls=0, failed=1)
    record = record._replace(in_row=max(record.in_row, passed.ended_row) + 1)
    return _opened(rules, record, Fault.TARGET, now) if _is_enough(rules, record, Fault.TARGET) else record


def _lengthen_pause(rules: BreakerRules, record: Record, failed: Failed, now: float) -> Record:
    """Open already: only a provider's own `Retry-After` counts, and only if it is longer."""
    if failed.fault is not Fault.ASIDE or failed.retry_after_s is None:
        return record
    for_s = min(failed.retry_after_s, rules.aside_limit_s)
    if now + for_s <= record.changed_at + record.open_for_s:
        return record
    return _changed(record, why=Fault.ASIDE, now=now, open_for_s=for_s)


# ── counting, opening, closing ───────────────────────────────────────────────────────────────────────────────────────


def _count(
    rules: BreakerRules, record: Record, now: float, *, calls: int = 1, failed: int = 0, slow: int = 0
) -> Record:
    window = open_window(rules, record)
    window.count(now, calls=calls, failed=failed, slow=slow)
    return Record(*record[:7], window.began_at, *window.newer, *window.older)


def _count_failure(rules: BreakerRules, record: Record, fault: Fault, now: float) -> Record:
    if fault is Fault.SLOW:
        return _count(rules, record, now, slow=1)
    return _count(rules, record, now, failed=1)._replace(in_row=record.in_row + 1)


def _without_calls(record: Record) -> Record:
    return record._replace(calls=0, failed=0, slow=0, older_calls=0, older_failed=0, older_slow=0)


def _is_enough(rules: BreakerRules, record: Record, fault: Fault) -> bool:
    """Whether the counted failures open a closed breaker. The last of them was this fault."""
    window = open_window(rules, record)
    if fault is Fault.SLOW:
        return window.calls >= rules.slow_min_calls and window.bad >= rules.failure_rate * window.calls
    if fault is Fault.CREDENTIAL:
        return record.in_row >= rules.refusals_in_row
    is_failing = window.calls >= rules.failing_min_calls and window.failed >= rules.failure_rate * window.calls
    return record.in_row >= rules.failures_in_row or is_failing


def _opened(rules: BreakerRules, record: Record, fault: Fault, now: float) -> Record:
    if fault is Fault.CREDENTIAL:
        return _changed(record, why=fault, now=now, open_for_s=rules.refused_s)
    level = _next_level(record, now)
    opened = _changed(record, why=fault, now=now, open_for_s=_grown_s(rules, rules.open_s, level))
    return opened._replace(level=level)


def _next_level(record: Record, now: float) -> int:
    """How many trips preceded this one, each without a quiet time as long as its pause."""
    is_calm = not record.why and now - record.changed_at >= record.open_for_s
    return 0 if is_calm else record.level + 1


def _grown_s(rules: BreakerRules, first_s: float, level: int) -> float:
    return float(min(rules.open_limit_s, first_s * rules.open_growth ** min(level, MAX_GROWTHS)))


def _changed(record: Record, *, why: Fault, now: float, open_for_s: float) -> Record:
    """Another state: calls from before say nothing about it, and no probe is out."""
    return record._replace(
        generation=(record.generation + 1) % GENERATIONS,
        why=FAULTS.index(why),
        in_row=0,
        changed_at=now,
        open_for_s=open_for_s,
        probe_for_s=0.0,
    )
