"""OpenAI's and Anthropic's header fields for limits, of the limit with the least left of each kind.

`x-ratelimit-limit-requests`, `-remaining-requests` and `-reset-requests`, and the same three of `-tokens`; Anthropic's
begin with `anthropic-ratelimit-`, with the kind before the word. A reset is when the bucket is full again: a duration
(`1s`, `6m0s`) for OpenAI, an RFC 3339 time for Anthropic.

Sources, read 2026-11: OpenAI, "Rate limits", section "Rate limits in headers"; Anthropic, "Rate limits", section
"Response headers".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from operator import truediv
from typing import Any, TypeAlias

from attrs import evolve

from pg_trio.domain.limits import NO_LIMITS, LimitPolicy, LimitsLeft, LimitState
from pg_trio.domain.stage_times import StageTimes
from pg_trio.domain.value import value
from pg_trio.surfaces.http_answer import ANSWER_FIELDS, AnswerLines
from pg_trio.surfaces.limit_headers import render_limits, standard_format

# A client is told of these two kinds, by the unit of the limit's policy.
_KINDS = {None: b"requests", "tokens": b"tokens"}
_PROCESSING = b"openai-processing-ms: %d\r\n"
_OPENAI = (
    b"x-ratelimit-limit-%(kind)b: %(quota)d\r\nx-ratelimit-remaining-%(kind)b: %%d\r\n"
    b"x-ratelimit-reset-%(kind)b: %%b\r\n"
)
_ANTHROPIC = (
    b"anthropic-ratelimit-%(kind)b-limit: %(quota)d\r\nanthropic-ratelimit-%(kind)b-remaining: %%d\r\n"
    b"anthropic-ratelimit-%(kind)b-reset: %%b\r\n"
)

_FIELDS_AND_TIME = ANSWER_FIELDS + _PROCESSING

# A limit: its place among the request's, its quota, its window in seconds, and its lines.
_Row: TypeAlias = tuple[int, int, int, bytes]


@value(slots=True)
class _Kind:
    """The limits of one kind. `has_all`: no limit of the request is of another kind."""

    rows: tuple[_Row, ...]
    quotas: tuple[int, ...]
    has_all: bool


def openai_lines(times: StageTimes, limits: Sequence[LimitState]) -> AnswerLines:
    """The lines of an answer with OpenAI's own: its time, the standard's limits (limit_headers.py), then OpenAI's."""
    spent_ms = sum(times.durations_ms)
    if limits is NO_LIMITS:
        return _FIELDS_AND_TIME, (spent_ms,)
    if type(limits) is LimitsLeft:
        if (pair := _pair_of(limits.policies)) is not None:
            # Nearly always: an endpoint's limits of a minute and an hour. As below, without a loop.
            (first_left, first_s), (other_left, other_s) = limits.left
            if first_left is not None and other_left is not None:
                (_, quota, window_s, form), other = pair
                has_left = first_left
                if other_left / other[1] < first_left / quota:
                    (_, quota, window_s, form), has_left = other, other_left
                full_s = -(-(quota - has_left) * window_s // quota)
                return form, (spent_ms, first_left, first_s, other_left, other_s, has_left, _duration(full_s))
        kind = _single_kind(limits.policies)
        shown: tuple[Any, ...] = tuple(chain.from_iterable(limits.left))
        if kind is not None and None not in shown:
            left = shown[::2]
            # As `_render` does it.
            _, (_, quota, window_s, form), has_left = min(zip(map(truediv, left, kind.quotas), kind.rows, left))  # noqa: B905
            return form, (spent_ms, *shown, has_left, _duration(-(-(quota - has_left) * window_s // quota)))
    lines = render_limits(limits) + render_openai_limits(limits) if limits else b""
    return _FIELDS_AND_TIME + b"%b", (spent_ms, lines)


def processing_ms(times: StageTimes) -> bytes:
    """The header line `openai-processing-ms`: the time from the request's head to its answer's."""
    return _PROCESSING % sum(times.durations_ms)


def render_openai_limits(states: Sequence[LimitState]) -> bytes:
    """The header lines in OpenAI's form; empty without limits."""
    return _render(LimitsLeft.of(states), _OPENAI, _duration)


def render_anthropic_limits(states: Sequence[LimitState], now_s: float) -> bytes:
    """The header lines in Anthropic's form. `now_s` is Unix seconds."""
    return _render(LimitsLeft.of(states), _ANTHROPIC, lambda reset_s: _moment(now_s + reset_s))


def _render(limits: LimitsLeft, form: bytes, show_reset: Callable[[int], bytes]) -> bytes:
    lines = b""
    for kind in _kinds_of(limits.policies, form):
        left = [limits.left[place][0] for place, *_ in kind.rows]
        # Of limits with the same share left, the first.
        _, (_, quota, window_s, format_), has_left = min(zip(_shares(left, kind.quotas), kind.rows, left, strict=True))
        if has_left is not None:
            # Buckets refill evenly.
            lines += format_ % (has_left, show_reset(-(-(quota - has_left) * window_s // quota)))
    return lines


def _shares(left: Sequence[int | None], quotas: Sequence[int]) -> Iterable[float]:
    """The share that is left of each limit; all of one that was not looked up."""
    return [1.0 if one is None else one / quota for one, quota in zip(left, quotas, strict=True)]


# One entry for each endpoint and token with limits, as for the standard's fields.
@lru_cache(maxsize=10_000)
def _kinds_of(policies: tuple[LimitPolicy, ...], form: bytes) -> list[_Kind]:
    kinds = []
    for unit, name in _KINDS.items():
        rows = tuple(
            (place, policy.quota, policy.window_s or 0, form % {b"kind": name, b"quota": policy.quota})
            for place, policy in enumerate(policies)
            if policy.unit == unit
        )
        if rows:
            kinds.append(_Kind(rows, tuple(row[1] for row in rows), len(rows) == len(policies)))
    return kinds


@lru_cache(maxsize=10_000)
def _single_kind(policies: tuple[LimitPolicy, ...]) -> _Kind | None:
    """The kind of all these limits, with all lines of an answer; None if there are more kinds."""
    kinds = _kinds_of(policies, _OPENAI)
    if len(kinds) != 1 or not kinds[0].has_all:
        return None
    before = _FIELDS_AND_TIME + standard_format(policies)
    return evolve(kinds[0], rows=tuple((*row[:3], before + row[3]) for row in kinds[0].rows))


@lru_cache(maxsize=10_000)
def _pair_of(policies: tuple[LimitPolicy, ...]) -> tuple[_Row, _Row] | None:
    """The limits, if these are two of one kind, in their order."""
    kind = _single_kind(policies)
    if kind is None or len(kind.rows) != 2:
        return None
    first, second = kind.rows
    return first, second


# A day's seconds, of which a minute's are the usual ones.
@lru_cache(maxsize=4_096)
def _duration(seconds: int) -> bytes:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, rest)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest


def _moment(unix_s: float) -> bytes:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode("ascii")
