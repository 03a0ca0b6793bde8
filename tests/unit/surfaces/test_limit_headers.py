"""The IETF draft's two fields, byte for byte."""

from __future__ import annotations

from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.surfaces.limit_headers import render_limits

MINUTE = LimitPolicy("minute", 600, 60)
HOUR = LimitPolicy("hour", 10_000, 3600)


def test_each_limit_is_an_item() -> None:
    lines = render_limits([LimitState(MINUTE, 599, 1), LimitState(HOUR, 0, 36)])

    expected = (
        b'ratelimit-policy: "minute";q=600;w=60, "hour";q=10000;w=3600\r\n'
        b'ratelimit: "minute";r=599;t=1, "hour";r=0;t=36\r\n'
    )
    assert expected == lines


def test_units_other_than_requests_are_named() -> None:
    tokens = LimitPolicy("token_tokens", 90_000, 60, "tokens")

    lines = render_limits([LimitState(tokens, 88_976, 1)])

    assert lines.startswith(b'ratelimit-policy: "token_tokens";q=90000;w=60;qu="tokens"\r\n')


def test_what_nobody_counted_has_a_policy_only() -> None:
    at_once = LimitPolicy("token_concurrent", 8, None, "concurrent-requests")

    lines = render_limits([LimitState(at_once)])

    assert b'ratelimit-policy: "token_concurrent";q=8;qu="concurrent-requests"\r\n' == lines


def test_no_window_ends_after_retry_after() -> None:
    lines = render_limits([LimitState(MINUTE, 0, 1), LimitState(HOUR, 7, 36)], retry_after_s=1)

    assert lines.endswith(b'\r\nratelimit: "minute";r=0;t=1, "hour";r=7;t=1\r\n')
