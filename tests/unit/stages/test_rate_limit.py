"""The rate-limit stage: which limit is named, the time to wait, and that all are taken from or none."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from attrs import evolve

from pg_trio.domain.chat import ChatRequest, Message, Usage
from pg_trio.domain.limits import LimitPolicy, LimitState
from pg_trio.domain.project import Candidate, Credential, Endpoint, Token, TokenLimits
from pg_trio.errors import RateLimited
from pg_trio.ledger.immediate import ImmediateBuckets, ImmediateLeases
from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.spend import LocalSpend
from pg_trio.shared_memory.token_bucket import LocalBuckets
from pg_trio.stages.rate_limit import NOTHING_LENT, RateLimit
from tests.support.stages_now import RateLimitNow


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


def token(*limits: int | None) -> Token:
    """A token with these limits: requests a minute, a model's tokens a minute, requests at once."""
    return Token(
        id=7,
        project_uuid=UUID(int=1),
        name="ci",
        prefix="pg_live_AAAAAAAA",
        digest=bytes(32),
        env="live",
        scopes=("chat",),
        is_active=True,
        created_at=0.0,
        limits=TokenLimits(*limits) if limits else None,
    )


FREE = token()
# 400 characters are 100 tokens, and 1,000 are reserved for an answer.
REQUEST = ChatRequest(messages=(Message("user", "x" * 400),), body={})
UNLIMITED = endpoint(None, None)


def make_stage(clock: Clock | None = None, book: LocalSpend | None = None) -> RateLimitNow:
    buckets, leases = ImmediateBuckets(LocalBuckets()), ImmediateLeases(LeaseBook(book or LocalSpend()))
    return RateLimitNow(RateLimit(buckets, leases, clock or Clock(), default_output_tokens=1_000))


class Client:
    """The call that the stage shows the remaining quota; keeps the last state."""

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
    stage = make_stage()
    stage.take(CLIENT, FREE, limited, REQUEST)

    with pytest.raises(RateLimited) as caught:
        stage.take(CLIENT, FREE, limited, REQUEST)

    assert {"scope": scope, "retry_after": retry_after_s} == caught.value.fields()
    assert {"Retry-After": str(retry_after_s)} == caught.value.headers()


def test_wait_is_rounded_up_to_a_second() -> None:
    stage, limited = make_stage(), endpoint(600, None)
    for _ in range(600):
        stage.take(CLIENT, FREE, limited, REQUEST)

    with pytest.raises(RateLimited) as caught:
        stage.take(CLIENT, FREE, limited, REQUEST)

    assert 1 == caught.value.retry_after_s


def test_told_wait_is_enough() -> None:
    clock = Clock()
    stage, limited = make_stage(clock), endpoint(7, None)
    for _ in range(7):
        stage.take(CLIENT, FREE, limited, REQUEST)
    with pytest.raises(RateLimited) as caught:
        stage.take(CLIENT, FREE, limited, REQUEST)

    clock.now = caught.value.retry_after_s

    stage.take(CLIENT, FREE, limited, REQUEST)


def test_no_limit_never_refuses() -> None:
    stage = make_stage()

    lent = {stage.take(CLIENT, FREE, endpoint(None, None), REQUEST).held for _ in range(1000)}

    assert {NOTHING_LENT} == lent


def test_client_is_told_what_is_left() -> None:
    clock, client = Clock(), Client()
    stage, limited = make_stage(clock), endpoint(7, 100)
    stage.take(client, FREE, limited, REQUEST)
    clock.now = 3.0

    stage.take(client, FREE, limited, REQUEST)

    # 60 / 7 s a token: the first one's was two thirds away. 36 s for one of the hour's.
    minute, hour = LimitPolicy("minute", 7, 60), LimitPolicy("hour", 100, 3600)
    assert [LimitState(minute, 5, 6), LimitState(hour, 98, 33)] == client.states


def test_refused_client_is_told_what_is_left() -> None:
    client = Client()
    stage, limited = make_stage(), endpoint(1, 100)
    stage.take(client, FREE, limited, REQUEST)

    with pytest.raises(RateLimited):
        stage.take(client, FREE, limited, REQUEST)

    assert [("minute", 0, 60), ("hour", 99, 36)] == [
        (state.policy.name, state.remaining, state.next_s) for state in client.states
    ]


def test_unlimited_client_is_told_nothing() -> None:
    client = Client()

    make_stage().take(client, FREE, endpoint(None, None), REQUEST)

    assert () == client.states


@pytest.mark.parametrize(
    ("limited", "scope", "retry_after_s"),
    [
        (token(1, None, None), "token_minute", 60),
        # 1,100 of 1,500 are taken: 700 more come in 28 s.
        (token(None, 1_500, None), "token_tokens", 28),
        (token(None, None, 1), "token_concurrent", 1),
        (token(1, 1_500, 1), "token_concurrent", 1),
    ],
)
def test_token_refusal_names_limit_and_wait(limited: Token, scope: str, retry_after_s: int) -> None:
    stage = make_stage()
    stage.take(CLIENT, limited, UNLIMITED, REQUEST)

    with pytest.raises(RateLimited) as caught:
        stage.take(CLIENT, limited, UNLIMITED, REQUEST)

    assert (scope, retry_after_s) == (caught.value.scope, caught.value.retry_after_s)


def left(stage: RateLimitNow, caller: Token, limited: Endpoint) -> dict[str, int | None]:
    """What is left of each limit after one more request that ends at once."""
    client = Client()
    with stage.take(client, caller, limited, REQUEST):
        pass
    return {state.policy.name: state.remaining for state in client.states}


def test_tokens_own_limit_is_named_before_the_shared_one() -> None:
    stage, shared, limited = make_stage(), endpoint(1, None), token(1)
    stage.take(CLIENT, limited, shared, REQUEST)

    with pytest.raises(RateLimited) as caught:
        stage.take(CLIENT, limited, shared, REQUEST)

    assert "token_minute" == caught.value.fields()["scope"]


def test_refused_by_endpoint_takes_nothing_of_token() -> None:
    clock, book = Clock(), LocalSpend()
    stage, caller, narrow = make_stage(clock, book), token(10, 10_000, 3), endpoint(1, None)
    with stage.take(CLIENT, FREE, narrow, REQUEST):
        pass

    for _ in range(5):
        with pytest.raises(RateLimited, match="Rate limit exceeded"):
            stage.take(CLIENT, caller, narrow, REQUEST)

    assert {"token_concurrent": None, "token_minute": 9, "token_tokens": 8_900} == left(stage, caller, UNLIMITED)
    assert (0, 0) == book.read(b"c" + (7).to_bytes(8, "big"), 0)


def test_refused_by_token_takes_nothing_of_endpoint() -> None:
    stage, caller, wide = make_stage(), token(None, 1_500, None), endpoint(10, None)
    stage.take(CLIENT, caller, wide, REQUEST)

    for _ in range(5):
        with pytest.raises(RateLimited):
            stage.take(CLIENT, caller, wide, REQUEST)

    assert {"minute": 8} == left(stage, FREE, wide)


def test_real_usage_is_settled() -> None:
    stage, caller = make_stage(), token(None, 10_000, None)

    with stage.take(CLIENT, caller, UNLIMITED, REQUEST) as quota:
        quota.settle(Usage(90, 10))
    after_less = left(stage, caller, UNLIMITED)
    with stage.take(CLIENT, caller, UNLIMITED, REQUEST) as quota:
        quota.settle(Usage(90, 5_000))

    # What the look itself reserves, 1,100, is not left while it looks.
    assert {"token_tokens": 10_000 - 100 - 1_100} == after_less
    assert {"token_tokens": 10_000 - 100 - 5_090 - 1_100} == left(stage, caller, UNLIMITED)


def test_failure_gives_back_what_was_lent() -> None:
    stage, caller = make_stage(), token(5, 10_000, 1)

    for _ in range(3):
        with pytest.raises(RuntimeError), stage.take(CLIENT, caller, UNLIMITED, REQUEST):
            raise RuntimeError

    # A request that failed was one; it used no tokens, and is not under way.
    assert {"token_concurrent": None, "token_minute": 1, "token_tokens": 8_900} == left(stage, caller, UNLIMITED)


def test_request_larger_than_its_limit_waits_for_full_bucket() -> None:
    clock = Clock()
    stage, caller = make_stage(clock), token(None, 600, None)
    with stage.take(CLIENT, caller, UNLIMITED, REQUEST) as quota:
        quota.settle(Usage(100, 50))

    with pytest.raises(RateLimited) as caught:
        stage.take(CLIENT, caller, UNLIMITED, REQUEST)
    clock.now = caught.value.retry_after_s

    assert 15 == caught.value.retry_after_s
    stage.take(CLIENT, caller, UNLIMITED, REQUEST)


def test_endpoints_own_prompt_and_maximum_are_counted() -> None:
    stage, caller = make_stage(), token(None, 10_000, None)
    prompted = Endpoint(UUID(int=3), "b", "b", UNLIMITED.candidates, max_output_tokens=50, prompt="x" * 80)

    assert {"token_tokens": 10_000 - 100 - 20 - 50} == left(stage, caller, prompted)


def test_changed_limits_hold_from_the_next_request() -> None:
    stage = make_stage()
    stage.take(CLIENT, token(None, None, 1), UNLIMITED, REQUEST)

    stage.take(CLIENT, token(None, None, 2), UNLIMITED, REQUEST)
    with pytest.raises(RateLimited):
        stage.take(CLIENT, token(None, None, 2), UNLIMITED, REQUEST)


def test_refused_token_is_told_all_its_limits() -> None:
    stage, caller, client = make_stage(), token(5, 10_000, 1), Client()
    stage.take(client, caller, endpoint(9, None), REQUEST)
    at_first = [(state.policy.name, state.remaining) for state in client.states]

    with pytest.raises(RateLimited):
        stage.take(client, caller, endpoint(9, None), REQUEST)

    assert [("token_concurrent", None), ("token_minute", 4), ("token_tokens", 8_900), ("minute", 8)] == at_first
    assert [("token_concurrent", 0), ("token_minute", None), ("token_tokens", None), ("minute", None)] == [
        (state.policy.name, state.remaining) for state in client.states
    ]


def test_history_is_reserved_too() -> None:
    stage, client = make_stage(), Client()
    limited = token(None, 2_000, None)

    with stage.take(client, limited, UNLIMITED, REQUEST) as quota:
        quota.grow(500)
        # 100 and 1,000, and 500 of 2,000: none is left for as much again.
        with pytest.raises(RateLimited) as refused, stage.take(CLIENT, limited, UNLIMITED, REQUEST):
            pass
        assert "token_tokens" == refused.value.scope
        assert [400] == [state.remaining for state in client.states]

    with stage.take(client, limited, UNLIMITED, REQUEST):
        assert [900] == [state.remaining for state in client.states]


def test_history_that_does_not_fit_is_refused() -> None:
    stage, client = make_stage(), Client()
    limited = token(None, 2_000, 1)

    with stage.take(client, limited, UNLIMITED, REQUEST) as quota:
        quota.settle(Usage(1_000, 500))
    with pytest.raises(RateLimited), stage.take(client, limited, UNLIMITED, REQUEST):
        pass
    small = ChatRequest(messages=(Message("user", "x"),), body={})
    with (
        pytest.raises(RateLimited) as refused,
        stage.take(client, limited, evolve(UNLIMITED, max_output_tokens=99), small) as quota,
    ):
        quota.grow(100_000)

    # The bucket has 500, and a whole one is wanted.
    assert ("token_tokens", 45) == (refused.value.scope, refused.value.retry_after_s)
    with stage.take(client, limited, evolve(UNLIMITED, max_output_tokens=499), small):
        pass


def test_looking_takes_nothing() -> None:
    stage, client = make_stage(), Client()
    limited, owned = endpoint(1, None), token(1, 2_000, 1)

    for _ in range(10):
        stage.check_left(client, owned, limited)

    with stage.take(client, owned, limited, REQUEST):
        pass


@pytest.mark.parametrize(
    ("limits", "per_minute", "scope"),
    [
        ((1, None, None), None, "token_minute"),
        ((None, 1_100, None), None, "token_tokens"),
        ((None, None, 1), None, "token_concurrent"),
        ((), 1, "minute"),
    ],
)
def test_looking_refuses_who_is_over_a_limit(
    limits: tuple[int | None, ...], per_minute: int | None, scope: str
) -> None:
    stage, client = make_stage(), Client()
    owned, limited = token(*limits), endpoint(per_minute, None)
    quota = stage.take(client, owned, limited, REQUEST)
    quota.__enter__()

    with pytest.raises(RateLimited) as refused:
        stage.check_left(client, owned, limited)

    assert (scope, True) == (refused.value.scope, refused.value.retry_after_s >= 1)
    assert [(scope, 0)] == [(state.policy.name, state.remaining) for state in client.states]


def test_looking_without_an_endpoint_asks_the_tokens_limits() -> None:
    stage, client = make_stage(), Client()
    owned = token(1, None, None)
    stage.check_left(client, owned, None)
    with stage.take(client, owned, UNLIMITED, REQUEST), pytest.raises(RateLimited):
        stage.check_left(client, owned, None)
