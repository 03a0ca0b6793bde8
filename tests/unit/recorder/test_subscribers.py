"""Subscribers: who is told what, and that none of them can hurt a request."""

from __future__ import annotations

import logging

import pytest

from pg_trio.recorder import Recorders
from pg_trio.recorder.facts import StageBegan, StagesEnded
from pg_trio.recorder.live import LiveRecorder
from pg_trio.recorder.recorders import SAY_EVERY_S, SLOW_CALL_S, SLOW_CALLS
from tests.support.recorded import Ends, Facts, SilentCall


class HandClock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Raising(Facts):
    """Fails at everything that it is told."""

    def began(self, record: object) -> None:
        raise RuntimeError("began")

    def noted(self, record: object, fact: object) -> None:
        raise RuntimeError("noted")

    def ended(self, record: object, outcome: object) -> None:
        raise RuntimeError("ended")

    def shed(self, count: int) -> None:
        raise RuntimeError("shed")


class Slow(Facts):
    """Takes its time for each fact."""

    def __init__(self, clock: HandClock, takes_s: float) -> None:
        super().__init__()
        self._clock = clock
        self._takes_s = takes_s

    def noted(self, record: object, fact: object) -> None:
        super().noted(record, fact)  # type: ignore[arg-type]
        self._clock.now += self._takes_s


async def test_live_subscriber_gets_each_fact_in_order() -> None:
    recorders, facts = Recorders([]), Facts()

    with recorders.watch(facts), recorders.open(SilentCall()) as recorder:
        recorder.stage_began("auth")
        recorder.stage_began("read")
        recorder.stages_ended()

    assert ["auth", "read", StagesEnded] == [
        fact.stage if isinstance(fact, StageBegan) else type(fact) for fact in facts.facts
    ]
    assert ["ok"] == [outcome.kind for outcome in facts.outcomes]


async def test_without_one_nothing_is_live() -> None:
    recorders = Recorders([Ends()])
    with recorders.watch(Facts()):
        assert isinstance(recorders.open(SilentCall()), LiveRecorder)

    assert not isinstance(recorders.open(SilentCall()), LiveRecorder)


async def test_request_under_way_is_not_joined() -> None:
    recorders, facts = Recorders([]), Facts()

    with recorders.open(SilentCall()) as recorder, recorders.watch(facts):
        recorder.stage_began("auth")

    assert ([], [], []) == (facts.begun, facts.facts, facts.outcomes)


async def test_one_that_leaves_is_told_no_more() -> None:
    recorders, facts = Recorders([]), Facts()
    watching = recorders.watch(facts)

    watching.__enter__()
    with recorders.open(SilentCall()) as recorder:
        recorder.stage_began("auth")
        watching.__exit__(None, None, None)
        recorder.stage_began("read")

    assert (1, []) == (len(facts.facts), facts.outcomes)


async def test_all_are_told_what_was_turned_away() -> None:
    ends, facts = Ends(), Facts()
    recorders = Recorders([ends])

    with recorders.watch(facts):
        recorders.tell_shed(3)

    assert (3, 3) == (ends.turned_away, facts.turned_away)


async def test_raising_subscriber_hurts_nobody() -> None:
    raising, ends, facts = Raising(), Ends(), Facts()
    recorders = Recorders([Raising(), ends])

    with recorders.watch(raising), recorders.watch(facts):
        with recorders.open(SilentCall()) as recorder:
            recorder.stage_began("auth")
        recorders.tell_shed(1)

    assert (1, 2, 1) == (len(ends.outcomes), len(facts.facts), len(facts.outcomes))
    # Its beginning, two facts, two ends, twice that one was turned away.
    assert {"Raising": 7} == recorders.failed


async def test_failures_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = HandClock()
    recorders = Recorders([Raising()], clock)

    def end_requests(count: int) -> None:
        for _ in range(count):
            with recorders.open(SilentCall()):
                pass

    end_requests(3)
    clock.now += SAY_EVERY_S - 1
    end_requests(1)
    clock.now += 1
    end_requests(1)

    assert ["subscriber Raising failed, 1 times so far", "subscriber Raising failed, 5 times so far"] == [
        record.getMessage() for record in caplog.records
    ]


async def test_slow_live_subscriber_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    clock = HandClock()
    slow, facts, recorders = Slow(clock, 2 * SLOW_CALL_S), Facts(), Recorders([], clock)

    with (
        caplog.at_level(logging.ERROR),
        recorders.watch(slow) as subscription,
        recorders.watch(facts),
        recorders.open(SilentCall()) as recorder,
    ):
        for number in range(SLOW_CALLS + 5):
            recorder.stage_began(f"stage{number}")

    # And the end of the last stage.
    assert (SLOW_CALLS, SLOW_CALLS + 6) == (len(slow.facts), len(facts.facts))
    assert (False, {"Slow": SLOW_CALLS}) == (subscription.is_on, recorders.slow)
    assert ["subscriber Slow was too slow and is told nothing more"] == [
        record.getMessage() for record in caplog.records
    ]


async def test_quick_one_is_kept() -> None:
    clock = HandClock()
    quick, recorders = Slow(clock, SLOW_CALL_S / 2), Recorders([], clock)

    with recorders.watch(quick) as subscription, recorders.open(SilentCall()) as recorder:
        for number in range(SLOW_CALLS + 5):
            recorder.stage_began(f"stage{number}")
        is_on = subscription.is_on

    assert (True, {}) == (is_on, recorders.slow)


async def test_slow_end_is_counted() -> None:
    clock = HandClock()

    class SlowEnd(Ends):
        def ended(self, record: object, outcome: object) -> None:
            clock.now += 2 * SLOW_CALL_S

    recorders = Recorders([SlowEnd()], clock)
    with recorders.open(SilentCall()):
        pass

    assert {"SlowEnd": 1} == recorders.slow
