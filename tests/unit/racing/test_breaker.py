"""One breaker: what opens it, for how long, and what closes it; one process's own, and one that workers share.

Time is a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.racing.breaker import BreakerRules, Fault, State
from pg_trio.racing.stored_breaker import LocalRecords, StoredBreaker
from pg_trio.shared_memory.breaker_records import SharedBreakers
from pg_trio.shared_memory.segment_file import open_segment

_records: list[SharedBreakers] = []
_numbers = count()


@pytest.fixture(scope="module", params=["own", "shared"], autouse=True)
def _kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What `make_breaker` makes."""
    if request.param == "own":
        yield
        return
    with closing(open_segment(tmp_path_factory.mktemp("breakers") / "shared.mem")) as segment:
        _records.append(SharedBreakers(segment, 1000.0, {}))
        yield
        _records.clear()


def make_breaker(rules: BreakerRules | None = None) -> StoredBreaker:
    rules = rules or BreakerRules()
    records = _records[0] if _records else LocalRecords()
    place = records.find(("target", str(next(_numbers))))
    assert place is not None
    return StoredBreaker(rules, records, place)


def fail(breaker: StoredBreaker, now: float, fault: Fault = Fault.TARGET, retry_after_s: float | None = None) -> None:
    breaker.fail(breaker.begin(now), fault, now, retry_after_s)


def succeed(breaker: StoredBreaker, now: float) -> None:
    breaker.succeed(breaker.begin(now), now)


def opened(now: float = 0.0) -> StoredBreaker:
    """A breaker that three failures opened at `now`, until 60 s later."""
    breaker = make_breaker()
    for _ in range(3):
        fail(breaker, now)
    assert State.OPEN == breaker.state(now)
    return breaker


# ── what opens it ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_three_in_row_open() -> None:
    breaker = make_breaker()

    states = []
    for now in (0.0, 1.0, 2.0):
        fail(breaker, now)
        states.append(breaker.state(now))

    assert [State.CLOSED, State.CLOSED, State.OPEN] == states
    assert (Fault.TARGET, 60.0) == (breaker.why, breaker.wait_s(2.0))


def test_failures_far_apart_still_are_in_row() -> None:
    breaker = make_breaker()

    for now in (0.0, 1000.0, 2000.0):
        fail(breaker, now)

    assert State.OPEN == breaker.state(2000.0)


@pytest.mark.parametrize(
    ("calls", "opens_at"),
    [
        pytest.param("f.f", 3, id="two of three"),
        pytest.param(".f.f", 4, id="two of four"),
        pytest.param("f..f", 4, id="two of four, apart"),
        pytest.param("...f.f..f", None, id="a third"),
        pytest.param("." * 10 + "ff", None, id="two in row of many"),
    ],
)
def test_half_failing_opens(calls: str, opens_at: int | None) -> None:
    breaker = make_breaker()

    opened_at = None
    for number, call in enumerate(calls, start=1):
        (fail if call == "f" else succeed)(breaker, now=float(number))
        if opened_at is None and breaker.state(number) is State.OPEN:
            opened_at = number

    assert opens_at == opened_at


def test_old_failures_are_forgotten() -> None:
    breaker = make_breaker()

    fail(breaker, 0.0)
    succeed(breaker, 1.0)
    fail(breaker, 40.0)

    assert State.CLOSED == breaker.state(40.0)


def test_failures_of_the_half_window_before_count() -> None:
    breaker = make_breaker()

    fail(breaker, 1.0)
    succeed(breaker, 2.0)
    fail(breaker, 16.0)

    assert State.OPEN == breaker.state(16.0)


def test_slowness_needs_more_calls() -> None:
    breaker = make_breaker()

    states = []
    for now in range(10):
        fail(breaker, now, Fault.SLOW)
        states.append(breaker.state(now))

    assert [State.CLOSED] * 9 + [State.OPEN] == states


def test_failures_and_slowness_add_up() -> None:
    breaker = make_breaker()

    for now in range(5):
        succeed(breaker, now)
    for fault in (Fault.TARGET, Fault.SLOW, Fault.TARGET, Fault.SLOW, Fault.SLOW):
        fail(breaker, 5.0, fault)

    assert (State.OPEN, Fault.SLOW) == (breaker.state(5.0), breaker.why)


def test_key_refused_twice_in_row_opens() -> None:
    breaker = make_breaker()

    states = []
    for now in (0.0, 1.0):
        fail(breaker, now, Fault.CREDENTIAL)
        states.append(breaker.state(now))

    assert [State.CLOSED, State.OPEN] == states
    assert 60.0 == breaker.wait_s(1.0)
    assert breaker.as_line(1.0).startswith("open, for the provider refused the credential, next in 60.0 s")


def test_refusals_with_an_answer_between_are_no_row() -> None:
    breaker = make_breaker()

    for now in range(5):
        fail(breaker, now, Fault.CREDENTIAL)
        succeed(breaker, now)

    assert State.CLOSED == breaker.state(5.0)


def test_refused_key_is_out_for_no_longer_the_next_time() -> None:
    breaker = make_breaker()
    for now in (0.0, 0.0, 60.0, 120.0):
        fail(breaker, now, Fault.CREDENTIAL)

    assert 60.0 == breaker.wait_s(120.0)


def test_malformed_request_blames_nobody() -> None:
    breaker = make_breaker()

    for now in range(20):
        fail(breaker, now, Fault.NOBODY)

    assert State.CLOSED == breaker.state(20)


@pytest.mark.parametrize(
    ("retry_after_s", "wait_s"),
    [
        pytest.param(7.0, 7.0, id="as told"),
        pytest.param(None, 2.0, id="untold"),
        pytest.param(1e6, 3600.0, id="capped"),
    ],
)
def test_too_many_requests_sets_aside(retry_after_s: float | None, wait_s: float) -> None:
    breaker = make_breaker()

    fail(breaker, 10.0, Fault.ASIDE, retry_after_s)

    assert (Fault.ASIDE, wait_s) == (breaker.why, breaker.wait_s(10.0))


# ── what closes it ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_half_open_admits_one_probe() -> None:
    breaker = opened()

    assert not breaker.may_ask(59.9)
    assert breaker.may_ask(60.0)
    probe = breaker.begin(60.0)

    assert probe.is_probe
    assert not breaker.may_ask(60.0)
    assert not breaker.begin(60.0).is_probe


def test_successful_probe_closes() -> None:
    breaker = opened()

    succeed(breaker, 60.0)

    assert (State.CLOSED, 0.0) == (breaker.state(60.0), breaker.wait_s(60.0))


def test_failed_probe_opens_for_longer() -> None:
    breaker = opened()

    waits = []
    now = 0.0
    for _ in range(5):
        now += breaker.wait_s(now)
        fail(breaker, now)
        waits.append(breaker.wait_s(now))

    assert [120.0, 240.0, 480.0, 600.0, 600.0] == waits


def test_cancelled_probe_gives_place_back() -> None:
    breaker = opened()
    probe = breaker.begin(60.0)

    breaker.cancel(probe)

    assert breaker.begin(60.0).is_probe


def test_late_cancellation_frees_no_later_probe() -> None:
    breaker = opened()
    early_probe = breaker.begin(60.0)
    breaker.succeed(breaker.begin_unasked(), 61.0)
    for _ in range(3):
        fail(breaker, 62.0)
    now = 62.0 + breaker.wait_s(62.0)
    later_probe = breaker.begin(now)

    breaker.cancel(early_probe)

    assert later_probe.is_probe
    assert not breaker.may_ask(now)


def test_closing_forgets_the_failures_before() -> None:
    breaker = make_breaker(BreakerRules(open_s=1.0))
    for _ in range(3):
        fail(breaker, 0.0)
    succeed(breaker, 1.0)

    fail(breaker, 1.5)

    assert State.CLOSED == breaker.state(1.5)


def test_trip_soon_after_closing_is_longer() -> None:
    breaker = opened()
    succeed(breaker, 60.0)

    for _ in range(3):
        fail(breaker, 70.0)

    assert 120.0 == breaker.wait_s(70.0)


def test_calm_forgets_earlier_trips() -> None:
    breaker = opened()
    succeed(breaker, 60.0)

    for _ in range(3):
        fail(breaker, 120.0)

    assert 60.0 == breaker.wait_s(120.0)


def test_calls_from_before_say_nothing() -> None:
    breaker = make_breaker()
    early = [breaker.begin(0.0) for _ in range(6)]

    for passed in early[:4]:
        breaker.fail(passed, Fault.TARGET, 1.0)
    breaker.succeed(early[4], 2.0)

    assert (State.OPEN, 59.0) == (breaker.state(2.0), breaker.wait_s(2.0))


def test_failures_from_before_open_nothing_again() -> None:
    breaker = make_breaker()
    early = [breaker.begin(0.0) for _ in range(6)]
    for passed in early[:3]:
        breaker.fail(passed, Fault.TARGET, 1.0)
    succeed(breaker, 61.0)

    for passed in early[3:]:
        breaker.fail(passed, Fault.TARGET, 62.0)

    assert State.CLOSED == breaker.state(62.0)


def test_thousands_of_trips_stay_within_the_limit() -> None:
    breaker = opened()

    now = 0.0
    for _ in range(2000):
        now += 600.0
        fail(breaker, now)

    assert 600.0 == breaker.wait_s(now)


def test_unasked_success_closes() -> None:
    breaker = opened()

    breaker.succeed(breaker.begin_unasked(), 5.0)

    assert State.CLOSED == breaker.state(5.0)


def test_unasked_failure_changes_nothing() -> None:
    breaker = opened()

    breaker.fail(breaker.begin_unasked(), Fault.TARGET, 5.0)

    assert 55.0 == breaker.wait_s(5.0)


def test_lone_candidate_is_probed_sooner() -> None:
    breaker = opened()

    assert (5.0, 60.0) == (breaker.wait_s(0.0, is_alone=True), breaker.wait_s(0.0))
    assert breaker.begin(5.0, is_alone=True).is_probe


def test_lone_candidate_never_waits_longer_than_others() -> None:
    breaker = make_breaker(BreakerRules(open_s=2.0))

    for _ in range(3):
        fail(breaker, 0.0)

    assert 2.0 == breaker.wait_s(0.0, is_alone=True)


def test_lone_probe_shortens_no_other_wait() -> None:
    breaker = opened()

    breaker.begin(5.0, is_alone=True)

    assert (1.0, 55.0) == (breaker.wait_s(5.0, is_alone=True), breaker.wait_s(5.0))


def test_own_word_holds_for_lone_candidate_too() -> None:
    breaker = make_breaker()

    fail(breaker, 0.0, Fault.ASIDE, 30.0)

    assert 30.0 == breaker.wait_s(0.0, is_alone=True)


# ── the acceptance figure: a primary that flaps is called at most four times in 60 s ─────────────────────────────────


def down_half_of(period_s: float) -> Callable[[int, float], bool]:
    return lambda number, now: now % period_s < period_s / 2


@pytest.mark.parametrize(
    "is_down",
    [
        *(pytest.param(down_half_of(period_s), id=f"half of {period_s} s") for period_s in (1, 2, 7, 20, 59, 200)),
        pytest.param(lambda number, now: number % 2 == 0, id="every other call"),
        pytest.param(lambda number, now: number % 2 == 1, id="every other call, well first"),
        pytest.param(lambda number, now: True, id="always"),
    ],
)
@pytest.mark.parametrize("gap_s", [0.01, 0.1, 1.0])
def test_flapping_primary_is_called_at_most_four_times(is_down: Callable[[int, float], bool], gap_s: float) -> None:
    breaker = make_breaker()

    calls = 0
    for step in range(round(60 / gap_s)):
        now = step * gap_s
        if breaker.may_ask(now):
            (fail if is_down(calls, now) else succeed)(breaker, now)
            calls += 1

    assert calls <= 4


# ── anything may happen ──────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.sampled_from("bscfa"), st.integers(0, 5), st.floats(0, 90)), max_size=60))
def test_never_two_probes_and_never_stuck(steps: list[tuple[str, int, float]]) -> None:
    breaker = make_breaker(BreakerRules(probe_lease_s=1e9))
    passes = []
    now = 0.0

    for action, which, wait_s in steps:
        now += wait_s
        if action == "b":
            passes.append(breaker.begin(now))
        elif passes:
            passed = passes.pop(which % len(passes))
            if action == "s":
                breaker.succeed(passed, now)
            elif action == "c":
                breaker.cancel(passed)
            else:
                breaker.fail(passed, Fault.TARGET if action == "f" else Fault.ASIDE, now)
        # A call beside the probe may have closed it meanwhile; then a probe from before says nothing any more.
        assert sum(passed.is_probe and passed.generation == breaker.ordinary.generation for passed in passes) <= 1
        assert math.isfinite(breaker.wait_s(now))
    for passed in passes:
        breaker.cancel(passed)

    assert breaker.may_ask(now + 3600.0)


def test_probe_unheard_of_frees_its_place() -> None:
    breaker = opened()
    assert breaker.begin(60.0).is_probe

    asked = [breaker.may_ask(now) for now in (60.0, 119.0, 120.0)]

    assert [False, False, True] == asked
    assert breaker.begin(120.0).is_probe


def test_state_in_one_line() -> None:
    breaker = opened(10.0)

    assert "open by target, next in 40.0 s, 3 failed and 0 slow of 3" == breaker.as_line(30.0)
    assert "closed, 0 failed and 0 slow of 0" == make_breaker().as_line(0.0)


def test_state_as_dict() -> None:
    assert {
        "state": "half-open",
        "why": "target",
        "asked_again_in_s": 0.0,
        "probing": False,
        "trips_in_row": 0,
        "failures_in_row": 0,
        "window": {"calls": 0, "failed": 0, "slow": 0},
    } == opened(0.0).as_dict(70.0)
