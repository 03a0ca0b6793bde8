"""The breaker's pure step: properties that hold for every history of events. Times are whole seconds, so exact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
    Told,
    has_probe,
    hear,
    read_wait_s,
    step,
)

RULES = BreakerRules()
START = FRESH._replace(changed_at=0.0, window_began_at=0.0)
# What happens, to which of the calls under way, and how many seconds after the event before.
Happening = tuple[str, int, int]
HISTORIES = st.lists(st.tuples(st.sampled_from("bBstofpcxn"), st.integers(0, 5), st.integers(0, 90)), max_size=60)


def replay(history: list[Happening], start: Record = START, at: int = 0) -> list[tuple[Record, Event, int, Record]]:
    """Every step of a history: the record before, the event, its time, and the record after."""
    record, now, passes = start, at, [Pass(start.generation, is_probe=False)]
    steps = []
    for kind, which, after_s in history:
        now += after_s
        place = which % len(passes)
        event = make_event(kind, passes[place])
        before, record = record, step(RULES, record, event, now)
        steps.append((before, event, now, record))
        if isinstance(event, Began):
            passes.append(Pass(record.generation, is_probe=record is not before))
        elif isinstance(event, CallAnswered):
            passes[place] = event.passed.after_success(before, record)
    return steps


def make_event(kind: str, passed: Pass) -> Event:
    events: dict[str, Event] = {
        "b": Began(),
        "B": Began(is_alone=True),
        "s": CallAnswered(passed),
        "t": Told(3),
        "o": BrokeOff(passed),
        "c": Cancelled(passed),
        "f": Failed(passed, Fault.TARGET),
        "p": Failed(passed, Fault.ASIDE, 7.0),
        "x": Failed(passed, Fault.CREDENTIAL),
        "n": Failed(passed, Fault.SLOW),
    }
    return events[kind]


@given(HISTORIES)
def test_same_record_and_event_give_same_record(history: list[Happening]) -> None:
    for before, event, now, after in replay(history):
        if isinstance(event, Began | Told):
            assert after == step(RULES, before, event, now)


@given(HISTORIES)
def test_change_of_state_moves_generation(history: list[Happening]) -> None:
    for before, _, now, after in replay(history):
        if after.generation == before.generation:
            assert (before.why, before.changed_at) == (after.why, after.changed_at)
        else:
            assert (now, 0.0, 0) == (after.changed_at, after.probe_for_s, after.in_row)


@given(HISTORIES, st.sampled_from("stofpcxn"))
def test_calls_from_before_change_nothing(history: list[Happening], kind: str) -> None:
    for before, _, now, _ in replay(history):
        stale = make_event(kind, Pass(before.generation + 1, is_probe=True))
        if not isinstance(stale, Told):
            assert step(RULES, before, stale, now) is before


@given(HISTORIES)
def test_second_probe_never_joins_within_the_lease(history: list[Happening]) -> None:
    for before, event, now, after in replay(history):
        if isinstance(event, Began) and has_probe(before, now):
            assert after is before


@given(HISTORIES)
def test_every_wait_ends(history: list[Happening]) -> None:
    for _, _, now, after in replay(history):
        wait_s = read_wait_s(RULES, after, now)
        assert 0.0 <= wait_s <= RULES.aside_limit_s
        assert 0.0 == read_wait_s(RULES, after, now + RULES.aside_limit_s)
        assert read_wait_s(RULES, after, now, is_alone=True) <= wait_s


@given(HISTORIES, st.integers(1, 100_000))
def test_only_differences_of_times_count(history: list[Happening], later_s: int) -> None:
    moved = START._replace(changed_at=float(later_s), window_began_at=float(later_s))

    plain, shifted = replay(history), replay(history, moved, later_s)

    for (*_, here), (*_, there) in zip(plain, shifted, strict=True):
        assert there == here._replace(
            changed_at=here.changed_at + later_s, window_began_at=here.window_began_at + later_s
        )


@given(st.integers(1, 50), st.integers(0, 1000))
def test_told_successes_count_as_so_many_answers(count: int, now: int) -> None:
    one_by_one = START
    for _ in range(count):
        one_by_one = step(RULES, one_by_one, CallAnswered(Pass(0, is_probe=False)), now)

    assert one_by_one == step(RULES, START, Told(count), now)


@given(HISTORIES)
def test_counts_fit_a_record(history: list[Happening]) -> None:
    for *_, after in replay(history):
        assert all(number >= 0 for number in after[:4] + after[5:7] + after[8:])
        assert after.why < len(FAULTS)


@given(HISTORIES)
def test_open_breaker_counts_no_calls(history: list[Happening]) -> None:
    for before, event, now, _ in replay(history):
        if before.why:
            assert step(RULES, before, Told(5), now) is before
            assert not isinstance(event, BrokeOff) or step(RULES, before, event, now) is before


# ── what other nodes tell ────────────────────────────────────────────────────────────────────────────────────────────


def told(record: Record) -> tuple[int, float, float, int]:
    """What one node's state is for another: all but its own counts, its own probe and its number of changes."""
    return record.why, record.changed_at, record.open_for_s, record.level


@given(HISTORIES, HISTORIES, HISTORIES)
def test_nodes_agree_in_any_order_of_hearing(own: list[Happening], a: list[Happening], b: list[Happening]) -> None:
    records = [replay(history)[-1][-1] if history else START for history in (own, a, b)]
    record, first, second = records
    # Two that change in the same moment are not told apart: real clocks are finer.
    if len({one.changed_at for one in records}) < 3:
        return

    assert told(hear(hear(record, first), second)) == told(hear(hear(record, second), first))


@given(HISTORIES, HISTORIES)
def test_newer_state_holds_and_is_heard_once(own: list[Happening], other: list[Happening]) -> None:
    record, theirs = (replay(history)[-1][-1] if history else START for history in (own, other))

    heard = hear(record, theirs)

    is_news = theirs.changed_at > record.changed_at
    assert told(theirs if is_news else record) == told(heard)
    assert heard is hear(heard, theirs)
    assert (heard.generation != record.generation) == is_news
    assert not (is_news and has_probe(heard, theirs.changed_at))


def test_heard_breaker_opens_here_for_the_rest_of_its_time() -> None:
    opened = START
    for _ in range(3):
        opened = step(RULES, opened, Failed(Pass(opened.generation, is_probe=False), Fault.TARGET), 10.0)

    heard = hear(START._replace(calls=7), opened)

    assert (60.0, 0.0, 7) == (read_wait_s(RULES, heard, 10.0), read_wait_s(RULES, heard, 70.0), heard.calls)


def test_heard_recovery_closes_here_without_the_old_failures() -> None:
    opened = START._replace(why=1, generation=1, changed_at=10.0, open_for_s=60.0, calls=3, failed=3)
    well = step(RULES, opened, CallAnswered(Pass(1, is_probe=True)), 75.0)

    heard = hear(opened, well)

    assert (0, 0, 0) == (heard.why, heard.failed, heard.calls)
    # The call of a probe of ours that is still under way says nothing of the new state.
    assert heard == step(RULES, heard, Failed(Pass(1, is_probe=True), Fault.TARGET), 76.0)


def test_same_state_heard_a_moment_later_frees_no_probe() -> None:
    open_there = FRESH._replace(why=FAULTS.index(Fault.TARGET), changed_at=100.0, open_for_s=5.0)
    heard = hear(START, open_there)
    probing = step(RULES, heard, Began(), 105.0)

    again = hear(probing, open_there._replace(changed_at=100.01))

    assert has_probe(probing, 105.1)
    assert again is probing
