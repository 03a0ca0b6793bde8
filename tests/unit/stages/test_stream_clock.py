"""The clocks of a stream without a stream: what is due in which phase, and when to look again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.stages.relay.clock import KEEP_ALIVE_S, Due, RelayPhase, StreamClock

OPENING, READING, WRITING, ENDING = RelayPhase.OPENING, RelayPhase.READING, RelayPhase.WRITING, RelayPhase.ENDING


def clock(phase: RelayPhase, *, is_committed: bool = True, head_at: float = math.inf) -> StreamClock:
    """Its deadline is at 100, and at 0 the provider lived and the client had something."""
    return StreamClock(30.0, 100.0, head_at, phase, is_committed)


@pytest.mark.parametrize(
    ("phase", "now", "due"),
    [
        (READING, 9.9, Due.NOTHING),
        (READING, 10.0, Due.COMMENT),
        (READING, 30.0, Due.IDLE),
        (READING, 100.0, Due.DEADLINE),
        (OPENING, 10.0, Due.COMMENT),
        (OPENING, 99.0, Due.COMMENT),
        (OPENING, 100.0, Due.DEADLINE),
        (WRITING, 99.0, Due.NOTHING),
        (WRITING, 100.0, Due.DEADLINE),
        (ENDING, 99.0, Due.NOTHING),
        (ENDING, 100.0, Due.DEADLINE),
    ],
)
def test_phase_says_what_is_due(phase: RelayPhase, now: float, due: Due) -> None:
    assert due is clock(phase).find_due(now)


@pytest.mark.parametrize(("head_at", "due"), [(15.0, Due.COMMENT), (16.0, Due.NOTHING), (math.inf, Due.NOTHING)])
def test_first_comment_comes_with_the_head(head_at: float, due: Due) -> None:
    assert due is clock(OPENING, is_committed=False, head_at=head_at).find_due(15.0)


def test_only_life_winds_the_idle_clock() -> None:
    running = clock(READING)

    running.sent_at = 20.0
    assert Due.IDLE is running.find_due(30.0)
    running.wind_idle(30.0)
    assert Due.COMMENT is running.find_due(59.9)


@given(
    st.sampled_from(RelayPhase),
    st.booleans(),
    st.sampled_from([15.0, math.inf]),
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(0, 100),
)
def test_nothing_is_due_before_the_next_look(
    phase: RelayPhase, is_committed: bool, head_at: float, lived_at: float, sent_at: float, now: float
) -> None:
    """As long as the phase stays: a phase that begins meanwhile winds its clocks later."""
    running = clock(phase, is_committed=is_committed, head_at=head_at)
    running.lived_at, running.sent_at = lived_at, sent_at
    due, next_at = running.find_due(now), running.next_at(now)

    assert next_at <= now + KEEP_ALIVE_S
    if due is Due.NOTHING:
        assert next_at > now, "the watch would spin"
        moments = [now + (next_at - now) * part for part in (0.0, 0.5, 0.99)]
        assert all(running.find_due(moment) is Due.NOTHING for moment in moments if moment < next_at)
