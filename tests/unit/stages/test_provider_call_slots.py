"""Bounded concurrency of a credential's calls: who is passed over, who is waited for, who is turned away."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.domain.log_row import Attempts
from pg_trio.domain.project import Candidate, Endpoint
from pg_trio.errors import Overloaded, ProviderCallFailed
from tests.support.stages_now import PlannedCall
from tests.unit.stages.test_provider_call import (
    PROMPT,
    FakeResponse,
    FakeTransport,
    endpoint,
    good_for_ever,
    provider_call,
    refused,
)


def limited(*names: str, only: str = "ab", **settings: Any) -> Endpoint:
    """An endpoint whose candidates named in `only` have one slot each."""

    def limit(candidate: Candidate) -> Candidate:
        credential = candidate.credential
        if credential.name not in only:
            return candidate
        return evolve(candidate, credential=evolve(credential, max_concurrent=1, **settings))

    whole = endpoint(*names, attempt_timeout_ms=60_000)
    return evolve(whole, candidates=tuple(limit(candidate) for candidate in whole.candidates))


@asynccontextmanager
async def busy(call: PlannedCall, asked: Endpoint) -> AsyncIterator[None]:
    """One call to the endpoint is under way inside."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, call, asked)
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def ask(call: PlannedCall, asked: Endpoint, attempts: Attempts | None = None) -> str | None:
    answered = await call.ask(asked, PROMPT, math.inf, attempts or Attempts(trio.current_time()))
    return answered.reply.content


async def test_full_candidate_fails_over_at_once(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("a"), "b": good_for_ever("b")}, after_s={"a": 5})
    call, both = provider_call(transport), limited("a", "b", only="a")

    async with busy(call, both):
        content = await ask(call, both)
        answered_at = trio.current_time()

    assert ("b", 0) == (content, answered_at)
    assert ["a", "b"] == transport.asked


async def test_full_candidate_is_waited_for_when_last(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("a"), "b": refused(500)}, after_s={"a": 0.5})
    call, both = provider_call(transport), limited("a", "b", only="a")
    attempts = Attempts(0)

    async with busy(call, both):
        content = await ask(call, both, attempts)

    assert ("a", 1) == (content, trio.current_time())
    assert [("model-b", 0, "failed: HTTP 500"), ("model-a", 0, "won")] == [
        (row.model, row.started_ms, row.outcome) for row in attempts.rows
    ]


async def test_good_one_is_waited_for_before_a_bad_one_is_tried(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("a"), "b": refused(500)}, after_s={"a": 0.5})
    call, both = provider_call(transport), limited("a", "b", only="a")
    for _ in range(3):
        with pytest.raises(ProviderCallFailed):
            await ask(call, endpoint("b"))
    transport.asked.clear()

    async with busy(call, both):
        content = await ask(call, both)

    assert ("a", ["a", "a"]) == (content, transport.asked)


async def test_no_slot_in_time_is_overload(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("a")}, after_s={"a": 9})
    call, one = provider_call(transport), limited("a", slot_wait_ms=700)
    attempts = Attempts(0)

    async with busy(call, one):
        with pytest.raises(Overloaded) as caught:
            await ask(call, one, attempts)
        turned_away_at = trio.current_time()

    assert 0.7 == turned_away_at
    assert ("Gateway is overloaded.", {"Retry-After": "1"}) == (caught.value.text, caught.value.headers())
    assert ["a"] == transport.asked
    assert ["passed over: openai: no slot free for another call"] == [row.outcome for row in attempts.rows]


async def test_full_line_is_overload_at_once(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("a")}, after_s={"a": 9})
    call, one = provider_call(transport), limited("a", max_waiting=0)

    async with busy(call, one):
        with pytest.raises(Overloaded):
            await ask(call, one)

        assert 0 == trio.current_time()


async def test_waiting_blames_nobody(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("a")}, after_s={"a": 99})
    call, one = provider_call(transport), limited("a", slot_wait_ms=100)

    async with busy(call, one):
        for _ in range(20):
            with pytest.raises(Overloaded):
                await ask(call, one)

    transport.after_s = {}
    assert "a" == await ask(call, one)


async def test_deadline_holds_over_the_line(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("a")}, after_s={"a": 9})
    call, one = provider_call(transport), limited("a", slot_wait_ms=5_000)
    attempts = Attempts(0)

    async with busy(call, one):
        with trio.move_on_after(2):
            await ask(call, one, attempts)
        cut_at = trio.current_time()
    transport.after_s = {}

    assert (2, "cancelled: deadline") == (cut_at, attempts.rows[0].outcome)
    assert "a" == await ask(call, one)


@pytest.mark.parametrize("bad", [refused(500), FakeResponse([], stalls=True)])
async def test_slot_comes_back_whatever_happens(autojump_clock: MockClock, bad: FakeResponse) -> None:
    transport = FakeTransport({"a": bad})
    call, one = provider_call(transport), limited("a", max_waiting=0)
    with trio.move_on_after(1):
        with pytest.raises(ProviderCallFailed):
            await ask(call, one)

    transport.script["a"] = good_for_ever("a")

    assert "a" == await ask(call, one)


async def test_whole_answer_to_a_stream_holds_nothing(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("a")})
    call, one = provider_call(transport), limited("a", max_waiting=0)

    stream = await call.open_stream(one, PROMPT, math.inf, Attempts(0))
    content = await ask(call, one)
    await stream.aclose()

    assert "a" == content


async def test_no_hedge_goes_to_a_full_candidate(autojump_clock: MockClock) -> None:
    transport = FakeTransport({"a": good_for_ever("a"), "b": good_for_ever("b")}, after_s={"a": 5, "b": 50})
    call = provider_call(transport)
    hedged = evolve(limited("a", "b", only="b"), hedge_after_ms=100)

    async with busy(call, limited("b")):
        content = await ask(call, hedged)

    assert ("a", ["b", "a"]) == (content, transport.asked)


async def test_storm_leaves_every_slot_free(autojump_clock: MockClock) -> None:
    transport = FakeTransport(
        {"a": good_for_ever("a"), "b": good_for_ever("b"), "c": refused(500)}, {"a": 0.3, "b": 0.2}
    )
    call, random = provider_call(transport), Random(7)
    asked = [
        evolve(limited("a", "b", max_waiting=3, slot_wait_ms=200), hedge_after_ms=100),
        limited("b", "a", max_waiting=3, slot_wait_ms=200),
        limited("c", "a", only="ac"),
    ]
    outcomes: Counter[str] = Counter()

    async def ask_and_leave() -> None:
        await trio.sleep(random.uniform(0, 20))
        with trio.move_on_after(random.choice([0.05, 0.25, 9])) as scope:
            try:
                await ask(call, random.choice(asked))
                outcomes["answered"] += 1
            except (Overloaded, ProviderCallFailed) as error:
                outcomes[error.code] += 1
        outcomes["left"] += scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(ask_and_leave)

    # Every way to end was taken, and nothing is left of any of them.
    assert {"answered", "Overloaded", "left"} <= {name for name, count in outcomes.items() if count > 5}
    for endpoint_asked in asked:
        for candidate in endpoint_asked.candidates:
            assert call.describe(candidate)["slots"] == {"limit": 1, "in_use": 0, "waiting": 0}
