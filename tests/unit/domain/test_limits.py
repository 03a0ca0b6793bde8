"""What is left of a request's limits, as a sequence of states."""

from __future__ import annotations

from pg_trio.domain.limits import NO_LIMITS, LimitPolicy, LimitsLeft, LimitState

MINUTE, HOUR = LimitPolicy("minute", 10, 60), LimitPolicy("hour", 100, 3600)
STATES = [LimitState(MINUTE, 9, 6), LimitState(HOUR, None, 0)]


def test_limits_left_are_their_states() -> None:
    left = LimitsLeft((MINUTE, HOUR), [(9, 6), (None, 0)])

    assert STATES == list(left) == left
    assert (2, STATES[1], STATES[:1]) == (len(left), left[1], left[:1])


def test_states_and_limits_left_are_the_same() -> None:
    left = LimitsLeft.of(STATES)

    assert STATES == left
    assert LimitsLeft.of(left) is left


def test_no_limits_are_none() -> None:
    assert not NO_LIMITS
    assert [] == NO_LIMITS
