"""The rate-limit stage: which limit is named, and the time to wait."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.domain.project import Candidate, Credential, Endpoint
from pg_trio.errors import RateLimited
from pg_trio.shared_memory.token_bucket import LocalBuckets
from pg_trio.stages.rate_limit import RateLimit


def endpoint(per_minute: int | None, per_hour: int | None) -> Endpoint:
    candidate = Candidate(Credential("c", "openai", "http://127.0.0.1:1"), "m")
    return Endpoint(
        uuid=UUID(int=2),
        slug="a",
        name="a",
        candidates=(candidate,),
        rate_limit_per_minute=per_minute,
        rate_limit_per_hour=per_hour,
    )


class Client:
    """Whom the stage tells what is left; keeps the last word."""

    states: Sequence[LimitState] = ()

    def show_limits(self, states: Sequence[LimitState]) -> None:
        self.states = states


CLIENT = Client()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("limited", "scope", "retry_after_s"),
    [(endpoint(1, None), "minute", 60), (endpoint(None, 1), "hour", 3600), (endpoint(7, 1), "hour", 3600)],
)
def test_refusal_names_limit_and_wait(limited: Endpoint, scope: str, retry_after_s: int) -> None:
    stage = RateLimit(LocalBuckets(), Clock())
    stage.take(CLIENT, limited)

    with pytest.raises(RateLimited) as caught:
        stage.take(CLIENT, limited)

    assert {"scope": scope, "retry_after": retry_after_s} == caught.value.fields()
    assert {"Retry-After": str(retry_after_s)} == caught.value.headers()


def test_wait_is_rounded_up_to_a_second() -> None:
    stage, limited = RateLimit(LocalBuckets(), Clock()), endpoint(600, None)
    for _ in range(600):
        stage.take(CLIENT, limited)

    with pytest.raises(RateLimited) as caught:
        stage.take(CLIENT, limited)

    assert 1 == caught.value.retry_after_s


def test_told_wait_is_enough() -> None:
    clock = Clock()
    stage, limited = RateLimit(LocalBuckets(), clock), endpoint(7, None)
    for _ in range(7):
        stage.take(CLIENT, limited)
    with pytest.raises(RateLimited) as caught:
        stage.take(CLIENT, limited)

    clock.now = caught.value.retry_after_s

    stage.take(CLIENT, limited)


def test_no_limit_never_refuses() -> None:
    stage = RateLimit(LocalBuckets(), Clock())

    taken = [stage.take(CLIENT, endpoint(None, None)) for _ in range(1000)]  # type: ignore[func-returns-value]

    assert [None] * 1000 == taken


def test_client_is_told_what_is_left() -> None:
    clock, client = Clock(), Client()
    stage, limited = RateLimit(LocalBuckets(), clock), endpoint(7, 100)
    stage.take(client, limited)
    clock.now = 3.0

    stage.take(client, limited)

    # 60 / 7 s a token: the first one's was two thirds away. 36 s for one of the hour's.
    minute, hour = LimitPolicy("minute", 7, 60), LimitPolicy("hour", 100, 3600)
    assert [LimitState(minute, 5, 6), LimitState(hour, 98, 33)] == client.states


def test_refused_client_is_told_what_is_left() -> None:
    client = Client()
    stage, limited = RateLimit(LocalBuckets(), Clock()), endpoint(1, 100)
    stage.take(client, limited)

    with pytest.raises(RateLimited):
        stage.take(client, limited)

    assert [("minute", 0, 60), ("hour", 99, 36)] == [
        (state.policy.name, state.remaining, state.next_s) for state in client.states
    ]


def test_unlimited_client_is_told_nothing() -> None:
    client = Client()

    RateLimit(LocalBuckets(), Clock()).take(client, endpoint(None, None))

    assert () == client.states
