"""OpenAI's and Anthropic's header fields for limits, of the limit with the least left of each kind.

`x-ratelimit-limit-requests`, `-remaining-requests` and `-reset-requests`, and the same three of `-tokens`; Anthropic's
begin with `anthropic-ratelimit-`, with the kind before the word. A reset is when the bucket is full again: a duration
(`1s`, `6m0s`) for OpenAI, an RFC 3339 time for Anthropic.

Sources, read 2026-11: OpenAI, "Rate limits", section "Rate limits in headers"; Anthropic, "Rate limits", section
"Response headers".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.domain.value import value

# A client is told of these two kinds, by the unit of the limit's policy.
_KINDS = {None: b"requests", "tokens": b"tokens"}
_OPENAI = (
    b"x-ratelimit-limit-%(kind)b: %(quota)d\r\nx-ratelimit-remaining-%(kind)b: %%d\r\n"
    b"x-ratelimit-reset-%(kind)b: %%b\r\n"
)
_ANTHROPIC = (
    b"anthropic-ratelimit-%(kind)b-limit: %(quota)d\r\nanthropic-ratelimit-%(kind)b-remaining: %%d\r\n"
    b"anthropic-ratelimit-%(kind)b-reset: %%b\r\n"
)


@value(slots=True)
class _Kind:
    """The limits of one kind: their places among the request's, and the lines of each."""

    places: tuple[int, ...]
    lines: tuple[bytes, ...]


def render_openai_limits(states: Sequence[LimitState]) -> bytes:
    """The header lines in OpenAI's form; empty without limits."""
    return _render(states, _OPENAI, _duration) if states else b""


def render_anthropic_limits(states: Sequence[LimitState], now_s: float) -> bytes:
    """The header lines in Anthropic's form. `now_s` is Unix seconds."""
    return _render(states, _ANTHROPIC, lambda reset_s: _moment(now_s + reset_s)) if states else b""


def _render(states: Sequence[LimitState], form: bytes, show_reset: Callable[[int], bytes]) -> bytes:
    lines = b""
    for kind in _kinds_of(tuple([state.policy for state in states]), form):
        chosen = 0 if len(kind.places) == 1 else _find_tightest(states, kind.places)
        state = states[kind.places[chosen]]
        remaining = state.remaining
        if remaining is not None:
            quota, window_s = state.policy.quota, state.policy.window_s or 0
            # Buckets refill evenly.
            lines += kind.lines[chosen] % (remaining, show_reset(-(-(quota - remaining) * window_s // quota)))
    return lines


def _find_tightest(states: Sequence[LimitState], places: tuple[int, ...]) -> int:
    """Which of the places has the limit with the smallest share left."""
    shares = [
        1.0 if (remaining := states[place].remaining) is None else remaining / states[place].policy.quota
        for place in places
    ]
    return shares.index(min(shares))


# One entry for each endpoint and token with limits, as for the standard's fields.
@lru_cache(maxsize=10_000)
def _kinds_of(policies: tuple[LimitPolicy, ...], form: bytes) -> list[_Kind]:
    kinds = []
    for unit, name in _KINDS.items():
        places = tuple(place for place, policy in enumerate(policies) if policy.unit == unit)
        lines = tuple(form % {b"kind": name, b"quota": policies[place].quota} for place in places)
        if places:
            kinds.append(_Kind(places, lines))
    return kinds


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
