"""The IETF draft's two fields, byte for byte."""

from __future__ import annotations

from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.web.limit_headers import render_limits

MINUTE = LimitPolicy("minute", 600, 60)
HOUR = LimitPolicy("hour", 10_000, 3600)


def test_each_limit_is_an_item() -> None:
    headers = render_limits([LimitState(MINUTE, 599, 1), LimitState(HOUR, 0, 36)])

    assert [
        (b"ratelimit-policy", b'"minute";q=600;w=60, "hour";q=10000;w=3600'),
        (b"ratelimit", b'"minute";r=599;t=1, "hour";r=0;t=36'),
    ] == headers


def test_units_other_than_requests_are_named() -> None:
    tokens = LimitPolicy("token_tokens", 90_000, 60, "tokens")

    headers = render_limits([LimitState(tokens, 88_976, 1)])

    assert (b"ratelimit-policy", b'"token_tokens";q=90000;w=60;qu="tokens"') == headers[0]


def test_what_nobody_counted_has_a_policy_only() -> None:
    at_once = LimitPolicy("token_concurrent", 8, None, "concurrent-requests")

    headers = render_limits([LimitState(at_once)])

    assert [(b"ratelimit-policy", b'"token_concurrent";q=8;qu="concurrent-requests"')] == headers


def test_no_window_ends_after_retry_after() -> None:
    headers = render_limits([LimitState(MINUTE, 0, 1), LimitState(HOUR, 7, 36)], retry_after_s=1)

    assert (b"ratelimit", b'"minute";r=0;t=1, "hour";r=7;t=1') == headers[1]
