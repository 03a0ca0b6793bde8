"""The tries of a request: who was asked, who was passed over, and what a client may know of it."""

from __future__ import annotations

import pytest

from pg_trio.domain.log_row import AttemptRow, Attempts
from pg_trio.domain.project import Candidate, Credential
from pg_trio.errors import (
    AttemptFailed,
    AttemptTimedOut,
    UpstreamBroken,
    UpstreamNonsense,
    UpstreamRefused,
    UpstreamUnreachable,
)
from pg_trio.surfaces.gateway.answers import describe_attempts

A, B = (Candidate(Credential(name, "openai", "http://127.0.0.1:1"), f"model-{name}") for name in "ab")


def test_candidate_that_is_passed_over_is_no_try() -> None:
    attempts = Attempts(0.0)
    attempts.pass_over(A, 1.0, "HTTP 429 (openai asked for a pause)", "asked for a pause")
    attempts.add(B, 1.0, 2.0, "won")

    assert (["model-b"], ["model-a", "model-b"]) == (
        [row.model for row in attempts.tries],
        [row.model for row in attempts.rows],
    )
    assert (False, True) == (attempts.has_failed(A), attempts.has_failed(B))


def test_same_reason_is_noted_once() -> None:
    attempts = Attempts(0.0)
    for why in ("no slot", "no slot", "breaker open", "no slot"):
        attempts.pass_over(A, 1.0, "said", why)
    attempts.pass_over(B, 1.0, "said", "no slot")

    assert ["no slot", "breaker open", "no slot"] == [row.why for row in attempts.rows]


@pytest.mark.parametrize(
    ("outcome", "why", "shown"),
    [
        ("won", "", "won"),
        ("failed: sk-secret said", "HTTP 503", "failed: HTTP 503"),
        ("failed: sk-secret said", "", "failed"),
        ("cancelled: deadline", "", "cancelled: deadline"),
        ("passed over: HTTP 429: words", "asked for a pause", "passed over: asked for a pause"),
    ],
)
def test_client_is_told_why_in_our_words(outcome: str, why: str, shown: str) -> None:
    row = AttemptRow("openai", "m", "main", 1.0, 2.0, outcome, why=why)

    assert [shown] == [described["outcome"] for described in describe_attempts([row])]


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (UpstreamRefused("no", 503), "HTTP 503"),
        (UpstreamRefused("no", 401), "HTTP 401, credential refused"),
        (UpstreamRefused("no", 402), "HTTP 402, credential refused"),
        (UpstreamRefused("no", 400, None, "key"), "HTTP 400, credential refused"),
        (UpstreamRefused("no", 400, None, "model"), "HTTP 400, model unknown"),
        (UpstreamRefused("no", 400, None, "context"), "HTTP 400, request too long for it"),
        (UpstreamUnreachable("no"), "no connection"),
        (UpstreamBroken("no"), "connection broke"),
        (UpstreamNonsense("no"), "unreadable answer"),
        (AttemptTimedOut("no"), "time limit"),
    ],
)
def test_failure_has_a_reason(failure: AttemptFailed, why: str) -> None:
    assert why == failure.why


def test_cut_stream_has_a_reason() -> None:
    attempts = Attempts(0.0)
    attempts.add(A, 0.0, 1.0, "won")

    attempts.end_stream(2.0, "failed: cut")

    assert ["stream broke off"] == [row.why for row in attempts.rows]
