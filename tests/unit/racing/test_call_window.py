"""Windows of calls: what is remembered, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pg_trio.racing.call_window import AnswerWindow, CallWindow

# Seconds between two calls; a half of the window is 10.
PAUSES = st.lists(st.sampled_from([0.0, 0.5, 4.0, 10.0, 15.0, 20.0, 45.0]), max_size=40)


@given(PAUSES)
def test_answers_alone_count_as_calls_do(pauses: list[float]) -> None:
    calls, answers, now = CallWindow(10.0), AnswerWindow(10.0), 100.0

    for pause in pauses:
        now += pause
        calls.count(now)
        answers.count(now)

        assert (calls.calls, calls.calls_per_s(now)) == (answers.calls, answers.calls_per_s(now))


@given(PAUSES)
def test_answers_are_forgotten_as_calls_are(pauses: list[float]) -> None:
    calls, answers, now = CallWindow(10.0), AnswerWindow(10.0), 100.0
    calls.count(now)
    answers.count(now)

    for pause in pauses:
        now += pause
        calls.turn(now)
        answers.turn(now)

        assert calls.calls == answers.calls


def test_cleared_window_has_none() -> None:
    answers = AnswerWindow(10.0)
    answers.count(1.0)

    answers.clear()

    assert 0 == answers.calls
