"""OpenAI's and Anthropic's header fields for limits, beside the standard's."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.limits import NO_LIMITS, LimitPolicy, LimitsLeft, LimitState
from pg_trio.domain.stage_times import StageTimes
from pg_trio.surfaces.http_answer import ANSWER_FIELDS, AnswerLines, limit_lines
from pg_trio.surfaces.limit_headers import render_limits
from pg_trio.surfaces.v1.model_limits import (
    openai_lines,
    processing_ms,
    render_anthropic_limits,
    render_openai_limits,
)

MINUTE = LimitPolicy("minute", 600, 60)
HOUR = LimitPolicy("hour", 10_000, 3600)
TOKENS = LimitPolicy("token_tokens", 90_000, 60, "tokens")
AT_ONCE = LimitPolicy("token_concurrent", 8, None, "concurrent-requests")


def _lines(rendered: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in rendered.decode("ascii").split("\r\n")[:-1])


def test_the_limit_with_the_least_left_is_told() -> None:
    lines = _lines(render_openai_limits([LimitState(MINUTE, 599, 1), LimitState(HOUR, 10, 1)]))

    assert lines == {
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "10",
        "x-ratelimit-reset-requests": "59m57s",
    }


def test_each_kind_has_its_own_lines() -> None:
    lines = _lines(render_openai_limits([LimitState(MINUTE, 0, 1), LimitState(TOKENS, 90_000, 0)]))

    assert ("0", "1m0s") == (lines["x-ratelimit-remaining-requests"], lines["x-ratelimit-reset-requests"])
    assert ("90000", "0s") == (lines["x-ratelimit-remaining-tokens"], lines["x-ratelimit-reset-tokens"])


def test_anthropic_is_told_the_moment() -> None:
    lines = _lines(render_anthropic_limits([LimitState(TOKENS, 45_000, 1)], 1_800_000_000.0))

    assert "2027-01-15T08:00:30Z" == lines["anthropic-ratelimit-tokens-reset"]


TIMES = StageTimes(("auth", "read"), (1.25, 2.5))


def _further(lines: AnswerLines) -> bytes:
    """The header lines behind those of every answer."""
    form, shown = lines
    fields = ("id", "openai", "model", 1, "auth;dur=1.250")
    said = [one.encode() if isinstance(one, str) else one for one in fields]
    rendered, shared = form % (*said, *shown), ANSWER_FIELDS % tuple(said)
    assert rendered.startswith(shared)
    return rendered[len(shared) :]


def _openai_lines(states: Sequence[LimitState]) -> bytes:
    """The header lines of an answer on `/v1`, without its time."""
    lines, time = _further(openai_lines(TIMES, states)), processing_ms(TIMES)
    assert b"openai-processing-ms: 3\r\n" == time == lines[: len(time)]
    return lines[len(time) :]


def test_what_nobody_counted_is_told_by_the_standard_alone() -> None:
    assert b"" == render_openai_limits([LimitState(AT_ONCE)])
    assert render_limits([LimitState(AT_ONCE)]) == _openai_lines([LimitState(AT_ONCE)])


@pytest.mark.parametrize("states", [(), NO_LIMITS, LimitsLeft((), ())])
def test_without_limits_there_are_no_lines(states: LimitsLeft) -> None:
    assert b"" == _openai_lines(states) == _further(limit_lines(states))


_QUOTAS = st.integers(1, 2**40)
_OF_REQUESTS = st.tuples(st.sampled_from(["minute", "hour"]), _QUOTAS, st.sampled_from([60, 3600]))
_POLICIES = _OF_REQUESTS.map(lambda fields: LimitPolicy(*fields)) | st.sampled_from([TOKENS, AT_ONCE])


@st.composite
def _states(draw: st.DrawFn) -> list[LimitState]:
    policies = draw(st.lists(_POLICIES, max_size=5))
    left = [draw(st.none() | st.integers(0, policy.quota)) for policy in policies]
    return [LimitState(policy, one, draw(st.integers(0, 3600))) for policy, one in zip(policies, left, strict=True)]


@given(_states())
def test_an_answer_has_the_lines_of_both(states: list[LimitState]) -> None:
    expected = render_limits(states) + render_openai_limits(states) if states else b""

    assert expected == _openai_lines(states)
    left = LimitsLeft(tuple(one.policy for one in states), [(one.remaining, one.next_s) for one in states])
    assert expected == _openai_lines(left)


@given(_states())
def test_the_standards_lines_are_the_same_in_one_format(states: list[LimitState]) -> None:
    expected = render_limits(states) if states else b""

    assert expected == _further(limit_lines(states))
    left = LimitsLeft(tuple(one.policy for one in states), [(one.remaining, one.next_s) for one in states])
    assert expected == _further(limit_lines(left))


@given(_states())
def test_no_other_limit_has_a_smaller_share_left(states: list[LimitState]) -> None:
    lines = _lines(render_openai_limits(states))

    for unit, kind in ((None, "requests"), ("tokens", "tokens")):
        of_kind = [one for one in states if one.policy.unit == unit and one.remaining is not None]
        if f"x-ratelimit-limit-{kind}" in lines:
            told = float(Fraction(int(lines[f"x-ratelimit-remaining-{kind}"]), int(lines[f"x-ratelimit-limit-{kind}"])))
            assert told == min(one.remaining / one.policy.quota for one in of_kind if one.remaining is not None)
        else:
            assert all(one.remaining == one.policy.quota for one in of_kind)
