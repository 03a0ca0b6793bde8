"""Limits of attempts: who is ended for whose sake, and when."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock

from pg_trio.racing.attempt import AllFailed, AttemptLimitPassed, Limits
from tests.support.racing import FakeAttempt, FakeRunner, Refusal, run_race


async def test_limit_ends_try_where_another_is_left(autojump_clock: MockClock) -> None:
    silent, good = FakeAttempt("silent"), FakeAttempt("good", 1)
    runner = FakeRunner()

    won = await run_race([silent, good], runner, Limits(attempt_limit_s=2))

    assert ("good", 3) == (won.value, trio.current_time())
    assert [("silent", 0, 2, "cancelled: attempt limit"), ("good", 2, 3, "won")] == runner.story
    assert isinstance(runner.ends[0].error, AttemptLimitPassed)


async def test_last_has_all_the_time(autojump_clock: MockClock) -> None:
    broken, last = FakeAttempt("broken", 1, Refusal("no")), FakeAttempt("last", 50)

    won = await run_race([broken, last], FakeRunner(), Limits(attempt_limit_s=2))

    assert ("last", 51) == (won.value, trio.current_time())


async def test_limit_holds_beside_hedge(autojump_clock: MockClock) -> None:
    silent, slow = FakeAttempt("silent"), FakeAttempt("slow", 9)
    runner = FakeRunner(hedging_after_s=1)

    won = await run_race([silent, slow], runner, Limits(attempt_limit_s=4))

    assert ("slow", 10) == (won.value, trio.current_time())
    assert ("silent", 0, 4, "cancelled: attempt limit") == runner.story[0]


async def test_failed_hedge_leaves_first_all_the_time(autojump_clock: MockClock) -> None:
    slow, broken = FakeAttempt("slow", 30), FakeAttempt("broken", 1, Refusal("no"))

    won = await run_race([slow, broken], FakeRunner(hedging_after_s=1), Limits(attempt_limit_s=4))

    assert ("slow", 30) == (won.value, trio.current_time())


async def test_parallel_start_leaves_one_all_the_time(autojump_clock: MockClock) -> None:
    first, second = FakeAttempt("first", 30), FakeAttempt("second", 20)
    runner = FakeRunner(hedging_after_s=0)

    won = await run_race([first, second], runner, Limits(attempt_limit_s=4))

    assert ("second", 20) == (won.value, trio.current_time())
    assert 4 == first.cancelled_at


async def test_answer_in_tick_of_limit_is_kept(autojump_clock: MockClock) -> None:
    candidates = [FakeAttempt("a", 2, is_stubborn=True), FakeAttempt("b")]

    won = await run_race(candidates, FakeRunner(), Limits(attempt_limit_s=2))

    assert ("a", 2) == (won.value, trio.current_time())


async def test_all_but_last_run_into_limit(autojump_clock: MockClock) -> None:
    candidates = [FakeAttempt("a"), FakeAttempt("b"), FakeAttempt("c", 1, Refusal("no"))]

    with pytest.raises(AllFailed) as raised:
        await run_race(candidates, FakeRunner(), Limits(attempt_limit_s=2))

    assert "cancelled: attempt limit; cancelled: attempt limit; failed: no" == str(raised.value)
    assert 5 == trio.current_time()


# ── the reserve ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reserve_s", "starts"),
    [
        pytest.param(2, [0, 6, 8], id="two seconds for each one left"),
        pytest.param(4, [0, 10 / 3, 20 / 3], id="more than there is: equal shares"),
    ],
)
async def test_reserve_is_kept_for_the_rest(autojump_clock: MockClock, reserve_s: float, starts: list[float]) -> None:
    candidates = [FakeAttempt("a"), FakeAttempt("b"), FakeAttempt("c")]
    limits = Limits(ends_at=10, reserve_s=reserve_s)

    with trio.CancelScope(deadline=10):
        await run_race(candidates, FakeRunner(), limits)

    assert pytest.approx(starts) == [attempt.starts[0] for attempt in candidates]
    assert 10 == candidates[-1].cancelled_at


async def test_attempt_is_told_its_end(autojump_clock: MockClock) -> None:
    first, last = FakeAttempt("first"), FakeAttempt("last", 1)

    await run_race([first, last], FakeRunner(), Limits(ends_at=10, reserve_s=3))

    assert (7, 10) == (first.told_ends_at, last.told_ends_at)


async def test_lone_attempt_is_told_the_deadline(autojump_clock: MockClock) -> None:
    lone = FakeAttempt("lone", 1)

    await run_race([lone], FakeRunner(), Limits(ends_at=10, attempt_limit_s=2, reserve_s=3))

    assert 10 == lone.told_ends_at


async def test_started_hedge_frees_the_reserve(autojump_clock: MockClock) -> None:
    slow, silent = FakeAttempt("slow", 9), FakeAttempt("silent")

    won = await run_race([slow, silent], FakeRunner(hedging_after_s=1), Limits(ends_at=10, reserve_s=3))

    assert ("slow", 9) == (won.value, trio.current_time())


async def test_deadline_is_nobodys_failure(autojump_clock: MockClock) -> None:
    runner = FakeRunner()

    with trio.CancelScope(deadline=5) as request:
        await run_race([FakeAttempt("a"), FakeAttempt("b")], runner, Limits(ends_at=5, attempt_limit_s=5))

    assert request.cancelled_caught
    assert ["cancelled: deadline"] == [str(end) for end in runner.ends]


async def test_no_limits_cut_nobody(autojump_clock: MockClock) -> None:
    first = FakeAttempt("first", 1_000_000)

    await run_race([first, FakeAttempt("second")], FakeRunner())

    assert math.inf == first.told_ends_at
