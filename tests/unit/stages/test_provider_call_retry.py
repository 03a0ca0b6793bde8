"""Retries within one request: who is asked again, when, how often, and who is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock

from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Endpoint
from pg_trio.domain.upstream import WireRequest
from pg_trio.errors import (
    AttemptFailed,
    AttemptTimedOut,
    Overloaded,
    ProviderCallFailed,
    UpstreamBroken,
    UpstreamNonsense,
    UpstreamRefused,
    UpstreamUnreachable,
)
from pg_trio.racing.attempt import Attempt, AttemptEnd, Outcome
from pg_trio.racing.breaker import Fault
from pg_trio.racing.retry_budget import RetryBudget
from pg_trio.stages.provider_call import Memory
from pg_trio.stages.provider_call.retry import PAUSE_LIMIT_S, SLACK_S
from pg_trio.stages.provider_call.runner import blame, tell
from tests.support.stages_now import PlannedCall
from tests.unit.stages.test_provider_call import (
    PROMPT,
    FakePermit,
    FakeResponse,
    candidate,
    endpoint,
    good,
    provider_call,
    refused,
)

Step = FakeResponse | Exception | Callable[[], FakeResponse]


@define
class ScriptedTransport:
    """Each candidate's answers, one after the other, the last one for ever; `times` is when each was asked."""

    script: dict[str, list[Step]]
    took_s: dict[str, float] = field(factory=dict)
    times: list[tuple[str, float]] = field(factory=list)

    async def open_response(self, request: WireRequest) -> FakeResponse:
        self.times.append((request.url, round(trio.current_time(), 6)))
        await trio.sleep(self.took_s.get(request.url, 0))
        steps = self.script[request.url]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, Exception):
            raise step
        return evolve(step, pieces=list(step.pieces)) if isinstance(step, FakeResponse) else step()

    async def aclose(self) -> None:
        pass

    @property
    def asked(self) -> str:
        return "".join(url for url, _ in self.times)


def calling(transport: ScriptedTransport, **memory: Any) -> PlannedCall:
    return provider_call(transport, memory=Memory(**memory))  # type: ignore[arg-type]


async def ask(call: PlannedCall, asked: Endpoint, ends_at: float = 100, attempts: Attempts | None = None) -> str:
    answered = await call.ask(asked, PROMPT, ends_at, attempts or Attempts(0))
    return str(answered.reply.content)


PASSING = [
    *(refused(status) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
    UpstreamUnreachable("connection refused"),
    UpstreamBroken("reset"),
    UpstreamNonsense("no JSON"),
    AttemptTimedOut("slow"),
]


@pytest.mark.parametrize("failure", PASSING, ids=lambda failure: getattr(failure, "status", type(failure).__name__))
async def test_lone_candidate_is_asked_again(autojump_clock: MockClock, failure: FakeResponse | AttemptFailed) -> None:
    transport = ScriptedTransport({"a": [failure, failure, good()]})

    assert "Hello" == await ask(calling(transport), endpoint("a"))

    first, second, third = (at for _, at in transport.times)
    # 100 ms, then 200, of which chance takes up to a half.
    assert (0, True, True) == (first, 0.05 <= second <= 0.1, 0.1 <= third - second <= 0.2)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 301, 204, 400, 413, 422])
async def test_what_does_not_pass_is_not_asked_again(autojump_clock: MockClock, status: int) -> None:
    transport = ScriptedTransport({"a": [refused(status)]})

    with pytest.raises(ProviderCallFailed):
        await ask(calling(transport), endpoint("a"))

    assert [("a", 0)] == transport.times


async def test_own_pause_is_waited_for(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(429, "7"), refused(503, "2"), good()]})

    await ask(calling(transport), endpoint("a"))

    assert [0, 7 + SLACK_S, 9 + 2 * SLACK_S] == [at for _, at in transport.times]


async def test_pause_told_to_another_request_is_waited_for(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(429, "7"), good()]})
    call = calling(transport)
    with pytest.raises(ProviderCallFailed):
        await ask(call, endpoint("a"), ends_at=1)
    attempts = Attempts(0)

    await trio.sleep(2)
    await ask(call, endpoint("a"), attempts=attempts)

    assert [0, 7 + SLACK_S] == [at for _, at in transport.times]
    assert [("passed over", "asked for a pause"), ("won", "")] == [
        (row.outcome.partition(":")[0], row.why) for row in attempts.rows
    ]
    assert 1 == len(attempts.tries)


async def test_all_who_wait_for_one_pause_are_answered_behind_one_probe(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(429, "1"), good()]}, took_s={"a": 0.3})
    call = calling(transport)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask, call, endpoint("a"), 5.0)
            await trio.sleep(0.01)

    # Those who were under way already fail with the first; then there is one probe, and all others after it.
    later = [at for _, at in transport.times if at > 1]
    assert [1.301, True] == [later[0], all(at >= 1.601 for at in later[1:])]


@pytest.mark.parametrize(("wait_s", "is_waited_for"), [("9", True), ("10", False)])
async def test_pause_beyond_the_deadline_fails_at_once(
    autojump_clock: MockClock, wait_s: str, is_waited_for: bool
) -> None:
    transport = ScriptedTransport({"a": [refused(429, wait_s), good()]})
    call = calling(transport)

    if is_waited_for:
        assert "Hello" == await ask(call, endpoint("a"), ends_at=10)
    else:
        with pytest.raises(ProviderCallFailed) as caught:
            await ask(call, endpoint("a"), ends_at=10)
        assert ({"Retry-After": "10"}, 0) == (caught.value.headers(), trio.current_time())


async def test_what_it_usually_takes_must_fit_too(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [good(), refused(429, "5")]}, took_s={"a": 6})
    call, asked = calling(transport), endpoint("a")
    await ask(call, asked, ends_at=100)

    with pytest.raises(ProviderCallFailed):
        await ask(call, asked, ends_at=12 + 5 + 5)

    assert (12, 2) == (trio.current_time(), len(transport.times))


async def test_deadline_is_exact_over_pauses_and_tries(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(429, "2"), good()]}, took_s={"a": 2})
    attempts = Attempts(0)

    with trio.move_on_at(5) as scope:
        await ask(calling(transport), endpoint("a"), ends_at=5, attempts=attempts)

    assert (True, 5) == (scope.cancelled_caught, trio.current_time())
    assert ["failed: HTTP 429", "cancelled: deadline"] == [row.outcome for row in attempts.rows]


async def test_all_candidates_are_asked_before_any_is_asked_again(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(500), refused(500), good("a")], "b": [refused(503)]})

    assert "a" == await ask(calling(transport), endpoint("a", "b"))

    assert "ababa" == transport.asked


async def test_soonest_is_asked_first(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(429, "3"), good("a")], "b": [refused(429, "1"), good("b")]})

    assert "b" == await ask(calling(transport), endpoint("a", "b"))

    assert 1 + SLACK_S == trio.current_time()


async def test_refused_key_is_out_while_the_others_are_asked_again(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(401)], "b": [refused(500), refused(500), good("b")]})

    assert "b" == await ask(calling(transport), endpoint("a", "b"))

    assert "abbb" == transport.asked


async def test_malformed_ends_it_also_in_a_later_round(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(500), refused(400)], "b": [refused(500)]})

    with pytest.raises(ProviderCallFailed):
        await ask(calling(transport), endpoint("a", "b"))

    assert "aba" == transport.asked


@pytest.mark.parametrize(("most", "asked"), [(None, "ab" * 4), (5, "ababa"), (1, "a"), (2, "ab")])
async def test_tries_are_bounded(autojump_clock: MockClock, most: int | None, asked: str) -> None:
    transport = ScriptedTransport({"a": [refused(500)], "b": [refused(500)]})

    with pytest.raises(ProviderCallFailed):
        await ask(calling(transport), evolve(endpoint("a", "b"), max_attempts=most))

    assert asked == transport.asked


async def test_one_try_is_kept_for_each_own_pause(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(429, "30"), good("a")], "b": [refused(500)]})

    assert "a" == await ask(calling(transport), evolve(endpoint("a", "b"), max_attempts=4))

    assert "abba" == transport.asked


async def test_no_try_is_kept_for_a_pause_that_ends_too_late(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(429, "300"), good("a")], "b": [refused(500)]})

    with pytest.raises(ProviderCallFailed):
        await ask(calling(transport), evolve(endpoint("a", "b"), max_attempts=4))

    assert "abbb" == transport.asked


@define
class FewRetries:
    """A bucket that holds so many, for ever."""

    left: int
    keys: set[str] = field(factory=set)

    def take(self, key: str, per_s: int, now: float) -> bool:
        self.keys.add(key)
        self.left -= 1
        return self.left >= 0


async def test_spent_budget_ends_it(autojump_clock: MockClock) -> None:
    transport, attempts = ScriptedTransport({"a": [refused(500)]}), Attempts(0)
    bucket = FewRetries(2)

    with pytest.raises(ProviderCallFailed):
        await ask(calling(transport, retry_budget=RetryBudget(0.2, bucket)), endpoint("a"), attempts=attempts)

    assert (3, {"a"}) == (len(transport.times), bucket.keys)
    assert ["HTTP 500"] * 3 + ["retry budget spent"] == [row.why for row in attempts.rows]


async def test_failover_is_no_retry(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(500)], "b": [good("b")]})

    assert "b" == await ask(calling(transport, retry_budget=RetryBudget(0.2, FewRetries(0))), endpoint("a", "b"))


async def test_no_budget_no_retries(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(500), good()]})

    with pytest.raises(ProviderCallFailed):
        await ask(calling(transport, retry_budget=RetryBudget(0.0)), endpoint("a"))

    assert 1 == len(transport.times)


@pytest.mark.parametrize(
    ("failure", "budget", "asked"),
    [(UpstreamBroken("cut"), 5, "ab"), (refused(500), 5, "ab" * 4), (UpstreamBroken("cut"), None, "ab" * 4)],
)
async def test_no_more_is_charged_than_was_reserved(
    autojump_clock: MockClock, failure: FakeResponse | AttemptFailed, budget: int | None, asked: str
) -> None:
    transport = ScriptedTransport({"a": [failure], "b": [failure]})

    with pytest.raises(ProviderCallFailed):
        await ask(
            calling(transport),
            evolve(endpoint("a", "b"), monthly_budget_usd=None if budget is None else Decimal(budget)),
        )

    assert asked == transport.asked


async def test_hedged_endpoint_is_retried(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport(
        {"a": [refused(500), good("slow")], "b": [refused(429, "1"), good("b")]}, took_s={"a": 0.4}
    )
    hedged = evolve(endpoint("a", "b", attempt_timeout_ms=60_000), hedge_after_ms=100)

    assert "slow" == await ask(calling(transport), hedged)

    assert "aba" == transport.asked


async def test_one_requests_retries_are_one_failure(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(500)]})
    call = calling(transport)
    states = []

    for _ in range(3):
        with pytest.raises(ProviderCallFailed):
            await ask(call, endpoint("a"), ends_at=trio.current_time() + 100)
        states.append(call.describe(endpoint("a").candidates[0])["model_breaker"]["state"])  # type: ignore[index]

    assert (["closed", "closed", "open"], 12) == (states, len(transport.times))


async def test_open_breaker_repeats_what_the_provider_said(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [UpstreamRefused("HTTP 503: we move house", 503)]})
    call, attempts = calling(transport), Attempts(0)
    for _ in range(3):
        with pytest.raises(ProviderCallFailed):
            await ask(call, evolve(endpoint("a"), max_attempts=1))

    with pytest.raises(ProviderCallFailed) as caught:
        await ask(call, endpoint("a"), attempts=attempts)

    said = "HTTP 503: we move house (openai failed in its last calls; not asked for another 5 s)"
    assert (f"Provider call failed: {said}", {"Retry-After": "5"}) == (caught.value.text, caught.value.headers())
    assert [f"passed over: {said}"] == [row.outcome for row in attempts.rows]
    assert 3 == len(transport.times)


async def test_refused_key_says_so(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    transport = ScriptedTransport({"a": [UpstreamRefused("HTTP 401: bad key", 401)]})
    call = calling(transport)
    for _ in range(2):
        with pytest.raises(ProviderCallFailed):
            await ask(call, endpoint("a"))

    with pytest.raises(ProviderCallFailed) as caught:
        await ask(call, endpoint("a"))

    said = "HTTP 401: bad key (openai refused the credential; not asked for another 60 s)"
    assert (f"Provider call failed: {said}", {"Retry-After": "60"}) == (caught.value.text, caught.value.headers())
    assert "the provider refused the credential" in caplog.text
    assert "HTTP 401: bad key" in caplog.text
    assert 2 == len(transport.times)


async def test_own_overload_blames_nobody_and_is_503(autojump_clock: MockClock) -> None:
    transport, attempts = ScriptedTransport({"a": [Overloaded(1), good()]}), Attempts(0)
    call = calling(transport)

    with pytest.raises(Overloaded):
        await ask(call, endpoint("a"), attempts=attempts)

    assert ([("passed over: Gateway is overloaded.", "gateway overloaded")], 0) == (
        [(row.outcome, row.why) for row in attempts.rows],
        attempts.lost,
    )
    breaker = call.describe(endpoint("a").candidates[0])["model_breaker"]
    assert 0 == breaker["window"]["failed"]  # type: ignore[index]


async def test_own_overload_of_a_hedge_leaves_the_first_alone(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [good("a")], "b": [Overloaded(1)]}, took_s={"a": 2})
    hedged = evolve(endpoint("a", "b", attempt_timeout_ms=60_000), hedge_after_ms=100)

    assert "a" == await ask(calling(transport), hedged)


async def test_lone_failure_is_told_once_where_nobody_is_left(autojump_clock: MockClock) -> None:
    transport, attempts = ScriptedTransport({"a": [refused(404)], "b": [refused(500)]}), Attempts(0)

    with pytest.raises(ProviderCallFailed) as caught:
        await ask(calling(transport), evolve(endpoint("a", "b"), max_attempts=3), attempts=attempts)

    assert ("Provider call failed: HTTP 500", ["HTTP 404", "HTTP 500", "HTTP 500"]) == (
        caught.value.text,
        [row.why for row in attempts.rows],
    )


@pytest.mark.parametrize(
    ("concerns", "fault"),
    [("key", Fault.CREDENTIAL), ("credit", Fault.CREDENTIAL), ("model", Fault.TARGET), ("context", Fault.NOBODY)],
)
def test_refusal_blames_what_it_concerns(concerns: Any, fault: Fault) -> None:
    assert fault is blame(UpstreamRefused("no", 400, None, concerns))


@pytest.mark.parametrize(("is_probe", "faults"), [(False, []), (True, [Fault.TARGET])])
def test_repeated_failure_is_told_of_a_probe_alone(is_probe: bool, faults: list[Fault]) -> None:
    permit, attempt = FakePermit(is_probe=is_probe), Attempt(candidate("a"), 1, False, 0.0, 9.0)

    end = AttemptEnd(attempt, 1.0, Outcome.FAILED, UpstreamBroken("cut"))

    tell(permit, end, Fault.TARGET, is_repeated=True)

    assert (faults, True) == (permit.faults, permit.is_given_back)


# ── chaos ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@define
class ChaosTransport(ScriptedTransport):
    """Every candidate fails 70 % of the time, each time in another way."""

    random: Random = field(factory=lambda: Random(7))

    async def open_response(self, request: WireRequest) -> FakeResponse:
        self.times.append((request.url, trio.current_time()))
        await trio.sleep(0.2)
        if self.random.random() >= 0.7:
            return good()
        failure = self.random.choice([refused(429, "1"), refused(500), UpstreamBroken("reset"), FakeResponse([]), None])
        if isinstance(failure, Exception):
            raise failure
        if failure is None:
            await trio.sleep(2)
            raise UpstreamBroken("slow, and then nothing")
        return failure


async def succeed_in_chaos(asked: Endpoint, share: float) -> float:
    """The share of 400 requests, five a second, that are answered within 30 s."""
    call, answered = calling(ChaosTransport({}), retry_budget=RetryBudget(share)), 0

    async def visit() -> None:
        nonlocal answered
        ends_at = trio.current_time() + 30
        with trio.move_on_at(ends_at):
            try:
                await ask(call, asked, ends_at)
                answered += 1
            except ProviderCallFailed:
                pass

    async with trio.open_nursery() as nursery:
        for _ in range(400):
            nursery.start_soon(visit)
            await trio.sleep(0.2)
    return answered / 400


async def test_chaos_is_survived_better_than_by_asking_each_once(autojump_clock: MockClock) -> None:
    four = endpoint("a", "b", "c", "d", attempt_timeout_ms=5_000)

    once = await succeed_in_chaos(evolve(four, max_attempts=4), share=0.0)
    again = await succeed_in_chaos(four, share=0.2)

    # Each asked once: 1 - 0.7 ** 4.
    assert once <= 0.76 + 0.05
    assert again >= 0.97


async def test_lone_candidate_in_chaos_waits_no_longer_than_it_may(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(429, "1")]})

    with pytest.raises(ProviderCallFailed):
        await ask(calling(transport), endpoint("a"), ends_at=math.inf)

    assert 4 == len(transport.times)


# ── silent candidates ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_silent_one_is_given_up_for_one_that_is_waited_for(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(429, "3"), good("a")], "b": [good("late")]}, took_s={"b": 50})
    call, both = calling(transport), endpoint("a", "b")
    with pytest.raises(ProviderCallFailed):
        await ask(call, endpoint("a"), ends_at=1)

    assert "a" == await ask(call, both)

    # The attempt limit is a second; in the meantime it is given another chance or two.
    assert {"b"} == set(transport.asked[1:-1])
    assert 3 < transport.times[-1][1] < 3 + 1 + PAUSE_LIMIT_S


async def test_silent_retry_is_given_up_for_another(autojump_clock: MockClock) -> None:
    stalled = FakeResponse([], stalls=True)
    transport = ScriptedTransport({"a": [refused(500), stalled], "b": [refused(500), stalled, good("b")]})

    assert "b" == await ask(calling(transport), endpoint("a", "b"))

    assert "ababab" == transport.asked


async def test_last_of_the_first_round_has_all_that_remains(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(500)], "b": [good("b")]}, took_s={"b": 50})

    assert "b" == await ask(calling(transport), endpoint("a", "b"))

    assert 50 == trio.current_time()


async def test_lone_candidate_has_all_that_remains_each_time(autojump_clock: MockClock) -> None:
    transport = ScriptedTransport({"a": [refused(500), good()]}, took_s={"a": 40})

    assert "Hello" == await ask(calling(transport), endpoint("a"))

    assert 80 < trio.current_time() <= 80.1
