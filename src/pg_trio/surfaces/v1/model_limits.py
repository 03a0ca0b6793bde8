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
from operator import truediv

from pg_trio.domain.limits import LimitPolicy, LimitsLeft, LimitState
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
    """The limits of one kind: their places among the request's, and the quota, the window and the lines of each.

    `has_all`: no limit of the request is of another kind.
    """

    places: tuple[int, ...]
    has_all: bool
    quotas: tuple[int, ...]
    windows_s: tuple[int, ...]
    lines: tuple[bytes, ...]


def render_openai_limits(states: Sequence[LimitState]) -> bytes:
    """The header lines in OpenAI's form; empty without limits."""
    return _render(LimitsLeft.of(states), _OPENAI, _duration)


def render_anthropic_limits(states: Sequence[LimitState], now_s: float) -> bytes:
    """The header lines in Anthropic's form. `now_s` is Unix seconds."""
    return _render(LimitsLeft.of(states), _ANTHROPIC, lambda reset_s: _moment(now_s + reset_s))


def _render(limits: LimitsLeft, form: bytes, show_reset: Callable[[int], bytes]) -> bytes:
    lines = b""
    for kind in _kinds_of(limits.policies, form):
        # Nearly always all of them are of one kind.
        left, _ = zip(*(limits.left if kind.has_all else map(limits.left.__getitem__, kind.places)))  # noqa: B905
        shares = map(truediv, left, kind.quotas) if None not in left else _share_known(left, kind.quotas)
        _, tightest = min(zip(shares, range(len(left))))  # noqa: B905 # one of each
        has_left, quota = left[tightest], kind.quotas[tightest]
        if has_left is not None:
            # Buckets refill evenly.
            reset_s = -(-(quota - has_left) * kind.windows_s[tightest] // quota)
            lines += kind.lines[tightest] % (has_left, show_reset(reset_s))
    return lines


def _share_known(left: Sequence[int | None], quotas: Sequence[int]) -> Iterable[float]:
    """The share that is left of each limit; all of one that was not looked up."""
    return [1.0 if one is None else one / quota for one, quota in zip(left, quotas, strict=True)]


# One entry for each endpoint and token with limits, as for the standard's fields.
@lru_cache(maxsize=10_000)
def _kinds_of(policies: tuple[LimitPolicy, ...], form: bytes) -> list[_Kind]:
    kinds = []
    for unit, name in _KINDS.items():
        places = tuple(place for place, policy in enumerate(policies) if policy.unit == unit)
        quotas = tuple(policies[place].quota for place in places)
        windows_s = tuple(policies[place].window_s or 0 for place in places)
        if places:
            lines = tuple(form % {b"kind": name, b"quota": quota} for quota in quotas)
            kinds.append(_Kind(places, len(places) == len(policies), quotas, windows_s, lines))
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
