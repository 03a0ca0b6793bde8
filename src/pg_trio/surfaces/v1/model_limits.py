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

from pg_trio.domain.limits import LimitState

# A client is told of these two kinds, by the unit of the limit's policy.
_KINDS = {None: b"requests", "tokens": b"tokens"}


def render_openai_limits(states: Sequence[LimitState]) -> bytes:
    """The header lines in OpenAI's form; empty without limits."""
    return _render(states, b"x-ratelimit-%b-%b: %b\r\n", False, _duration)


def render_anthropic_limits(states: Sequence[LimitState], now_s: float) -> bytes:
    """The header lines in Anthropic's form. `now_s` is Unix seconds."""
    return _render(states, b"anthropic-ratelimit-%b-%b: %b\r\n", True, lambda reset_s: _moment(now_s + reset_s))


def _render(states: Sequence[LimitState], line: bytes, kind_first: bool, show_reset: Callable[[int], bytes]) -> bytes:
    lines = b""
    for unit, kind in _KINDS.items():
        known = [state for state in states if state.policy.unit == unit and state.remaining is not None]
        if not known:
            continue
        tightest = min(known, key=lambda state: (state.remaining or 0) / state.policy.quota)
        values = {
            b"limit": b"%d" % tightest.policy.quota,
            b"remaining": b"%d" % (tightest.remaining or 0),
            b"reset": show_reset(_reset_s(tightest)),
        }
        for word, value in values.items():
            lines += line % ((kind, word, value) if kind_first else (word, kind, value))
    return lines


def _reset_s(state: LimitState) -> int:
    """Seconds until the bucket is full, rounded up: buckets refill evenly."""
    quota, window_s = state.policy.quota, state.policy.window_s or 0
    return -(-(quota - (state.remaining or 0)) * window_s // quota)


def _duration(seconds: int) -> bytes:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, rest)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest


def _moment(unix_s: float) -> bytes:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode("ascii")
