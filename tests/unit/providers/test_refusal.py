"""Failure statuses: what is passed on of them, and for how long a candidate is put aside."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.domain.project import Candidate, Credential
from pg_trio.domain.secret import Secret
from pg_trio.errors import UpstreamRefused
from pg_trio.providers.refusal import read_refusal
from pg_trio.providers.retry_after import read_retry_after

KEY = "0a1b2c3d4e5f60718293"
CANDIDATE = Candidate(Credential("main", "openai", "https://api.openai.com/v1", Secret(KEY)), "gpt-4o-mini")
KEYLESS = Candidate(Credential("local", "ollama", "http://localhost:11434/v1"), "llama3.2")
NOON = 1_795_348_800.0  # Sun, 22 Nov 2026 12:00:00 GMT


def refusal(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> UpstreamRefused:
    return read_refusal(status, headers or {}, body, CANDIDATE, now_s=NOON)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"message":"Rate limit reached"}}', "HTTP 429: Rate limit reached"),
        (b'{"error":"busy"}', "HTTP 429: busy"),
        (b'{"message":"slow down"}', "HTTP 429: slow down"),
        (b'{"detail":"not now"}', "HTTP 429: not now"),
        (b'{"detail":[{"loc":["body","model"],"msg":"Field required"}]}', "HTTP 429: body.model: Field required"),
        (b'{"detail":[{"msg":"Field required"}]}', "HTTP 429: Field required"),
        (b'{"detail":[{"loc":["body"]}]}', "HTTP 429"),
        (b'{"detail":[]}', "HTTP 429"),
        (b'{"error":{"error":{"error":{"message":"deep"}}}}', "HTTP 429: deep"),
        (b'{"error":{"message":null},"message":"x"}', "HTTP 429: x"),
        (b'{"error":{"code":7}}', "HTTP 429"),
        (b'{"error":null,"message":"still"}', "HTTP 429: still"),
        (b'{"error":true,"message":"still"}', "HTTP 429: still"),
        (b'"just a string"', "HTTP 429: just a string"),
        (b"[1]", "HTTP 429"),
        (b"null", "HTTP 429"),
        (b"", "HTTP 429"),
        (b"upstream connect error\r\nreset: overflow", "HTTP 429: upstream connect error reset: overflow"),
        (b'{"error":{"message":"cut sho', "HTTP 429: cut sho"),
        (b'{"error":{"mess', "HTTP 429"),
        (b"\x1f\x8b\x08\x00\x00\x00", "HTTP 429"),
        (b"\xff\xfe\xfd\xfc", "HTTP 429"),
        (b"<!DOCTYPE html><title>Just a moment</title>", "HTTP 429: HTML page: Just a moment"),
        (b" \n<html>", "HTTP 429: HTML page"),
        (b"x" * 1_100_000, "HTTP 429"),
    ],
)
def test_words_of_a_refusal(body: bytes, said: str) -> None:
    assert said == refusal(429, body).said


def test_html_by_its_content_type() -> None:
    assert "HTTP 503: HTML page" == refusal(503, b"Sorry", {"content-type": "Text/HTML; charset=utf-8"}).said


def test_key_is_masked() -> None:
    said = refusal(401, f'{{"error":{{"message":"Bad key {KEY} (sk-abcdefghijkl)"}}}}'.encode()).said

    assert "HTTP 401: Bad key [redacted] ([redacted])" == said


def test_candidate_without_key() -> None:
    assert "HTTP 500: oh" == read_refusal(500, {}, b'{"error":"oh"}', KEYLESS, now_s=NOON).said


def test_long_message_is_cut() -> None:
    said = refusal(500, b'{"error":"' + b"ab " * 10_000 + b'"}').said

    assert (500, "…") == (len(said), said[-1])


@pytest.mark.parametrize("status", [301, 307, 308, 401, 402, 403, 404, 408, 409, 425, 429, 500, 503, 529, 100])
def test_status_fails_over(status: int) -> None:
    assert (status, True) == (refusal(status, b"").upstream_status, refusal(status, b"").fails_over)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_malformed_request_does_not_fail_over(status: int) -> None:
    assert not refusal(status, b"").fails_over


def test_redirect_is_not_followed() -> None:
    refused = refusal(302, b"", {"location": "https://elsewhere.example/v1"})

    assert ("HTTP 302", True) == (refused.said, refused.fails_over)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e8"}, 3_600.0),
        ({"retry-after": "9" * 5000}, 3_600.0),
        ({"retry-after": "inf"}, 3_600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Sunday, 22-Nov-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun Nov 22 12:00:30 2026"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2027 12:00:00 GMT"}, 3_600.0),
        ({"retry-after": "Sun, 99 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 +99999999999999999999"}, None),
        ({"retry-after-ms": "6521"}, 6.521),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after-ms": "-1"}, 0.0),
        ({"retry-after-ms": "nan"}, None),
    ],
)
def test_wait_is_understood(headers: dict[str, str], wait_s: float | None) -> None:
    assert wait_s == read_retry_after(headers, NOON)


def test_refusal_carries_the_wait() -> None:
    assert refusal(503, b"", {"retry-after": "12"}).retry_after_s == 12.0


dates = st.from_regex(
    r"(Sun, )?[0-9]{1,3} (Nov|Feb|Foo) [0-9]{1,9} [0-9]{1,3}:[0-9]{1,3}(:[0-9]{1,3})? (GMT|[+-][0-9]{1,6})?"
)


@given(st.text() | dates, st.sampled_from(["retry-after", "retry-after-ms"]))
def test_any_wait_is_bounded(value: str, name: str) -> None:
    wait_s = read_retry_after({name: value}, NOON)

    assert wait_s is None or 0 <= wait_s <= 3_600
