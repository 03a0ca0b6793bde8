"""The race to the tick: who starts when, who wins, what becomes of the others."""

from __future__ import annotations

import gc
import math
import weakref
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from pg_trio.racing.attempt import AllFailed, Attempt, Outcome, Won
from tests.support.racing import FakeAttempt, FakeRunner, FinalRefusal, Refusal, run_race

# ── failover ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_first_answers(autojump_clock: MockClock) -> None:
    first, second = FakeAttempt("first", after_s=2), FakeAttempt("second", after_s=0)
    runner = FakeRunner()

    won = await run_race([first, second], runner)

    assert ("first", 2) == (won.value, trio.current_time())
    assert [("first", 0, 2, "won")] == runner.story
    assert [] == second.starts


@pytest.mark.parametrize(
    ("error", "said"),
    [(None, "won"), (Refusal("no"), "failed: no"), (ValueError("bug"), "crashed: ValueError")],
)
async def test_lone_attempt_is_reported_once(autojump_clock: MockClock, error: Exception | None, said: str) -> None:
    runner = FakeRunner()

    with suppress(AllFailed, ValueError):
        await run_race([FakeAttempt("lone", 2, error)], runner)

    assert [("lone", 0, 2, said)] == runner.story


async def test_failure_starts_next_at_once(autojump_clock: MockClock) -> None:
    broken, good = FakeAttempt("broken", after_s=1, error=Refusal("no")), FakeAttempt("good", after_s=2)
    runner = FakeRunner()

    won = await run_race([broken, good], runner)

    assert ("good", 3) == (won.value, trio.current_time())
    assert [("broken", 0, 1, "failed: no"), ("good", 1, 3, "won")] == runner.story


async def test_failures_come_back_in_order(autojump_clock: MockClock) -> None:
    first, second = Refusal("one"), Refusal("two")

    with pytest.raises(AllFailed) as raised:
        await run_race([FakeAttempt("a", 1, first), FakeAttempt("b", 1, second)], FakeRunner())

    assert [("a", first), ("b", second)] == [(end.attempt.candidate.name, end.error) for end in raised.value.ends]
    assert "failed: one; failed: two" == str(raised.value)


async def test_final_error_tries_nobody_else(autojump_clock: MockClock) -> None:
    malformed, other = FakeAttempt("malformed", 1, FinalRefusal("400")), FakeAttempt("other", 1)
    runner = FakeRunner()

    with pytest.raises(AllFailed):
        await run_race([malformed, other], runner)

    assert [] == other.starts
    assert [("malformed", 0, 1, "failed: 400")] == runner.story


class TaskRunner(FakeRunner):
    """Notes whether attempts run in the race's own task: a nursery's child would be another."""

    own: trio.lowlevel.Task
    in_own_task: list[bool]

    async def start(self, attempt: Attempt[FakeAttempt]) -> str:
        self.in_own_task.append(trio.lowlevel.current_task() is self.own)
        return await super().start(attempt)


def make_task_runner(hedging_after_s: float) -> TaskRunner:
    runner = TaskRunner(hedging_after_s=hedging_after_s)
    runner.own, runner.in_own_task = trio.lowlevel.current_task(), []
    return runner


@pytest.mark.parametrize(
    ("hedging_after_s", "errors", "in_own_task"),
    [
        pytest.param(math.inf, [Refusal("a"), None], [True, True], id="failover"),
        pytest.param(2, [None], [True], id="lone candidate"),
        pytest.param(2, [Refusal("a"), None], [False, True], id="last one after a failure"),
    ],
)
async def test_nursery_only_where_attempts_may_overlap(
    autojump_clock: MockClock, hedging_after_s: float, errors: list[Exception | None], in_own_task: list[bool]
) -> None:
    runner = make_task_runner(hedging_after_s)

    await run_race([FakeAttempt("a", 1, error) for error in errors], runner)

    assert in_own_task == runner.in_own_task


# ── hedging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_slow_first_lets_second_win(autojump_clock: MockClock) -> None:
    slow, quick = FakeAttempt("slow", after_s=9), FakeAttempt("quick", after_s=0.1)
    runner = FakeRunner(hedging_after_s=0.5)

    won = await run_race([slow, quick], runner)

    assert ("quick", 0.6) == (won.value, trio.current_time())
    assert won.attempt.is_hedge
    assert 0.6 == slow.cancelled_at
    assert [("slow", 0, 0.6, "cancelled: hedge lost"), ("quick", 0.5, 0.6, "won")] == runner.story


async def test_hedged_first_may_still_win(autojump_clock: MockClock) -> None:
    first, second = FakeAttempt("first", after_s=2), FakeAttempt("second", after_s=9)
    runner = FakeRunner(hedging_after_s=1)

    won = await run_race([first, second], runner)

    assert ("first", 2) == (won.value, trio.current_time())
    assert 2 == second.cancelled_at


async def test_failure_before_hedge_starts_next_at_once(autojump_clock: MockClock) -> None:
    broken, good = FakeAttempt("broken", 0.25, Refusal("no")), FakeAttempt("good", 1)
    runner = FakeRunner(hedging_after_s=1)

    won = await run_race([broken, good], runner)

    assert [("broken", 0, 0.25, "failed: no"), ("good", 0.25, 1.25, "won")] == runner.story
    assert not won.attempt.is_hedge
    assert [] == runner.hedge_questions


async def test_failed_hedge_starts_next_at_once(autojump_clock: MockClock) -> None:
    slow, broken, good = FakeAttempt("slow", 9), FakeAttempt("broken", 0.25, Refusal("no")), FakeAttempt("good", 1)
    runner = FakeRunner(hedging_after_s=1)

    won = await run_race([slow, broken, good], runner)

    assert ("good", 2.25) == (won.value, trio.current_time())
    assert not won.attempt.is_hedge
    assert ["broken"] == runner.hedge_questions


async def test_older_failure_leaves_newer_alone(autojump_clock: MockClock) -> None:
    older, newer, third = FakeAttempt("older", 1.5, Refusal("no")), FakeAttempt("newer", 0.75), FakeAttempt("third", 1)
    runner = FakeRunner(hedging_after_s=1)

    won = await run_race([older, newer, third], runner)

    assert ("newer", 1.75) == (won.value, trio.current_time())
    assert [] == third.starts


async def test_every_silence_starts_another(autojump_clock: MockClock) -> None:
    silent = [FakeAttempt("a"), FakeAttempt("b"), FakeAttempt("c", after_s=0.5)]

    won = await run_race(silent, FakeRunner(hedging_after_s=1))

    assert ("c", 2.5) == (won.value, trio.current_time())
    assert [[0], [1], [2]] == [attempt.starts for attempt in silent]


async def test_zero_starts_all_at_once(autojump_clock: MockClock) -> None:
    candidates = [FakeAttempt("a", 3), FakeAttempt("b", 2), FakeAttempt("c", 1)]

    won = await run_race(candidates, FakeRunner(hedging_after_s=0))

    assert ("c", 1) == (won.value, trio.current_time())
    assert [[0], [0], [0]] == [attempt.starts for attempt in candidates]


async def test_refused_hedge_waits_for_failure(autojump_clock: MockClock) -> None:
    slow, other = FakeAttempt("slow", 5, Refusal("late")), FakeAttempt("other", 1)
    runner = FakeRunner(hedging_after_s=1, may_hedge_to=lambda candidate: False)

    won = await run_race([slow, other], runner)

    assert ("other", 6) == (won.value, trio.current_time())
    assert [5] == other.starts
    assert ["other"] == runner.hedge_questions


async def test_hedge_goes_to_first_who_may(autojump_clock: MockClock) -> None:
    slow, full, free = FakeAttempt("slow"), FakeAttempt("full", 1), FakeAttempt("free", 1)
    runner = FakeRunner(hedging_after_s=1, may_hedge_to=lambda candidate: candidate is free)

    won = await run_race([slow, full, free], runner)

    assert ("free", 2) == (won.value, trio.current_time())
    assert [] == full.starts


async def test_lone_candidate_is_never_hedged(autojump_clock: MockClock) -> None:
    runner = FakeRunner(hedging_after_s=1)

    won = await run_race([FakeAttempt("only", 9)], runner)

    assert ("only", 9) == (won.value, trio.current_time())
    assert [] == runner.hedge_questions


async def test_final_error_cancels_the_rest(autojump_clock: MockClock) -> None:
    slow, malformed, third = (
        FakeAttempt("slow", 9),
        FakeAttempt("malformed", 0.5, FinalRefusal("400")),
        FakeAttempt("c"),
    )
    runner = FakeRunner(hedging_after_s=1)

    with pytest.raises(AllFailed) as raised:
        await run_race([slow, malformed, third], runner)

    assert 1.5 == trio.current_time()
    assert ["malformed"] == [end.attempt.candidate.name for end in raised.value.ends]
    assert [] == third.starts
    assert ("slow", 0, 1.5, "cancelled: refused elsewhere") == runner.story[1]


async def test_all_hedged_fail(autojump_clock: MockClock) -> None:
    candidates = [FakeAttempt("a", 3, Refusal("a")), FakeAttempt("b", 1, Refusal("b"))]
    runner = FakeRunner(hedging_after_s=1)

    with pytest.raises(AllFailed) as raised:
        await run_race(candidates, runner)

    assert 3 == trio.current_time()
    assert ["b", "a"] == [end.attempt.candidate.name for end in raised.value.ends]


# ── several in one tick ──────────────────────────────────────────────────────────────────────────────────────────────


async def race_to_gate(runner: FakeRunner, *errors: Exception | None) -> Won[FakeAttempt, str]:
    """A race of one attempt for each error (None: it answers), started together and ending in one tick, after 1 s."""
    gate = trio.Event()
    candidates = [FakeAttempt("abc"[index], error=error, gate=gate) for index, error in enumerate(errors)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_after, gate, 1)
        try:
            return await run_race(candidates, runner)
        finally:
            assert all([0] == candidate.starts for candidate in candidates)


async def open_after(gate: trio.Event, wait_s: float) -> None:
    await trio.sleep(wait_s)
    gate.set()


async def test_two_winners_keep_one(autojump_clock: MockClock) -> None:
    runner = FakeRunner(hedging_after_s=0)

    won = await race_to_gate(runner, None, None)

    assert sorted([won.value, *runner.discarded]) == ["a", "b"]
    assert ["cancelled: hedge lost", "won"] == [str(end) for end in runner.ends]


# Within one tick Trio runs tasks in either order, at random: twenty tries see both.
BOTH_ORDERS = range(20)


async def test_win_in_tick_of_hedge_starts_nobody_after_it(autojump_clock: MockClock) -> None:
    for _ in BOTH_ORDERS:
        gate = trio.Event()
        order: list[str] = []

        class OrderRunner(FakeRunner):
            async def start(self, attempt: Attempt[FakeAttempt], order: list[str] = order) -> str:
                order.append(f"start {attempt.candidate.name}")
                answer = await super().start(attempt)
                order.append(f"answer {answer}")
                return answer

            def may_hedge(self, candidate: FakeAttempt, gate: trio.Event = gate) -> bool:
                gate.set()
                return True

        runner = OrderRunner(hedging_after_s=1)
        won = await run_race([FakeAttempt("a", gate=gate), FakeAttempt("b")], runner)

        assert "a" == won.value
        assert order in (["start a", "answer a"], ["start a", "start b", "answer a"])
        assert ["cancelled: hedge lost", "won"] == [str(end) for end in runner.ends]


async def test_win_in_tick_of_failure_starts_nobody_else(autojump_clock: MockClock) -> None:
    for _ in BOTH_ORDERS:
        gate = trio.Event()
        runner = FakeRunner(hedging_after_s=1)
        good, failing = FakeAttempt("good", gate=gate), FakeAttempt("failing", error=Refusal("no"), gate=gate)
        silent, never = FakeAttempt("silent"), FakeAttempt("never")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_after, gate, 2.5)
            won = await run_race([good, silent, failing, never], runner)

        assert "good" == won.value
        assert {"good", "silent", "failing"} == {end.attempt.candidate.name for end in runner.ends}


async def test_answer_beats_final_error_of_same_tick(autojump_clock: MockClock) -> None:
    won = await race_to_gate(FakeRunner(hedging_after_s=0), FinalRefusal("400"), None)

    assert "b" == won.value


async def test_hanging_discard_is_cut(autojump_clock: MockClock) -> None:
    runner = FakeRunner(hedging_after_s=0, discard_s=100)

    await race_to_gate(runner, None, None)

    assert 2 == trio.current_time()
    assert ([], 0) == (runner.discarded, runner.alive)


async def test_failed_discard_harms_nobody(autojump_clock: MockClock) -> None:
    runner = FakeRunner(hedging_after_s=0, discard_error=Refusal("reset"))

    won = await race_to_gate(runner, None, None)

    assert won.value in {"a", "b"}


async def test_late_success_is_discarded(autojump_clock: MockClock) -> None:
    runner = FakeRunner(hedging_after_s=1)

    won = await run_race([FakeAttempt("slow", 3, is_stubborn=True), FakeAttempt("quick", 1)], runner)

    assert ("quick", 3) == (won.value, trio.current_time())
    assert ["slow"] == runner.discarded
    assert [("slow", 0, 3, "cancelled: hedge lost"), ("quick", 1, 2, "won")] == runner.story


# ── bugs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hedging_after_s", [1, float("inf")])
async def test_bug_leaves_alone(autojump_clock: MockClock, hedging_after_s: float) -> None:
    bug = ValueError("bug")
    runner = FakeRunner(hedging_after_s=hedging_after_s)

    with pytest.raises(ValueError, match="bug") as raised:
        await run_race([FakeAttempt("buggy", 3, bug), FakeAttempt("other")], runner)

    assert bug is raised.value
    assert raised.value.__context__ is None
    assert "crashed: ValueError" == str(runner.ends[0])
    assert 0 == runner.alive


async def test_two_bugs_leave_as_group(autojump_clock: MockClock) -> None:
    bugs = ValueError("a"), TypeError("b")
    gate = trio.Event()
    candidates = [FakeAttempt("a", error=bugs[0], gate=gate), FakeAttempt("b", error=bugs[1], gate=gate)]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_after, gate, 1)
        with pytest.raises(ExceptionGroup) as raised:
            await run_race(candidates, FakeRunner(hedging_after_s=0))

    assert set(bugs) == set(raised.value.exceptions)


async def test_bug_of_loser_drops_winner(autojump_clock: MockClock) -> None:
    runner = FakeRunner(hedging_after_s=1)

    with pytest.raises(ValueError, match="bug"):
        await run_race([FakeAttempt("slow", 3, ValueError("bug"), is_stubborn=True), FakeAttempt("quick", 1)], runner)

    assert ["quick"] == runner.discarded
    assert ["crashed: ValueError", "cancelled: another attempt crashed"] == [str(end) for end in runner.ends]


# ── cancelled from outside ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hedging_after_s", [1, float("inf")])
async def test_leaving_client_cancels_all(autojump_clock: MockClock, hedging_after_s: float) -> None:
    runner = FakeRunner(hedging_after_s=hedging_after_s)

    with trio.CancelScope() as request:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_race, [FakeAttempt("a"), FakeAttempt("b")], runner)
            await trio.sleep(3)
            request.cancel(reason="client left")

    assert {"cancelled: client left"} == {str(end) for end in runner.ends}
    assert (3, 0) == (trio.current_time(), runner.alive)


@pytest.mark.parametrize("hedging_after_s", [1, float("inf")])
async def test_deadline_is_told_as_reason(autojump_clock: MockClock, hedging_after_s: float) -> None:
    runner = FakeRunner(hedging_after_s=hedging_after_s)

    with trio.move_on_after(3):
        await run_race([FakeAttempt("a"), FakeAttempt("b")], runner)

    assert {"cancelled: deadline"} == {str(end) for end in runner.ends}


async def test_error_beside_the_race_is_not_told(autojump_clock: MockClock) -> None:
    runner = FakeRunner()

    async def race_beside_an_error() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_race, [FakeAttempt("a"), FakeAttempt("b")], runner)
            await trio.sleep(1)
            raise ValueError("what a client sent")

    with pytest.raises(ExceptionGroup):
        await race_beside_an_error()

    assert ["cancelled: nursery"] == [str(end) for end in runner.ends]


async def test_cancellation_leaves_ungrouped(autojump_clock: MockClock) -> None:
    seen: list[BaseException] = []

    with trio.move_on_after(3):
        try:
            await run_race([FakeAttempt("a"), FakeAttempt("b")], FakeRunner(hedging_after_s=1))
        except BaseException as error:
            seen.append(error)
            raise

    assert [trio.Cancelled] == [type(error) for error in seen]


@pytest.mark.parametrize("hedging_after_s", [0.5, math.inf])
@pytest.mark.parametrize("last_error", [None, Refusal("no")])
async def test_race_leaves_no_cycle(
    autojump_clock: MockClock, hedging_after_s: float, last_error: Exception | None
) -> None:
    class Marked(Refusal):
        """Exceptions of a class of our own can be referred to weakly."""

    errors: list[weakref.ref[Marked]] = []

    class MarkingRunner(FakeRunner):
        async def start(self, attempt: Attempt[FakeAttempt]) -> str:
            if attempt.number > 0:
                return await super().start(attempt)
            await trio.sleep(1)
            error = Marked("no")
            errors.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

        def record(self, end: object) -> None:
            pass

    gc.collect()
    gc.disable()
    try:
        with suppress(AllFailed):
            await run_race([FakeAttempt("a"), FakeAttempt("b", 9, last_error)], MarkingRunner(hedging_after_s))
        assert [None] == [error() for error in errors]
    finally:
        gc.enable()


async def test_cancelled_race_leaves_no_cycle(autojump_clock: MockClock) -> None:
    cancellations: list[weakref.ref[BaseException]] = []

    gc.collect()
    gc.disable()
    try:
        with trio.move_on_after(3):
            try:
                await run_race([FakeAttempt("a"), FakeAttempt("b")], FakeRunner(hedging_after_s=1))
            except trio.Cancelled as error:
                cancellations.append(weakref.ref(error))
                raise
        assert [None] == [cancelled() for cancelled in cancellations]
    finally:
        gc.enable()


async def test_reason_is_found_in_groups(autojump_clock: MockClock) -> None:
    class NestedRunner(FakeRunner):
        async def start(self, attempt: Attempt[FakeAttempt]) -> str:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep_forever)
            raise AssertionError("never gets here")

    runner = NestedRunner()

    with trio.move_on_after(3):
        await run_race([FakeAttempt("a")], runner)

    assert [(Outcome.CANCELLED, "deadline")] == [(end.outcome, end.reason) for end in runner.ends]


async def test_winner_survives_cancellation_during_cleanup(autojump_clock: MockClock) -> None:
    slow_to_leave, quick = FakeAttempt("slow", cleanup_s=5), FakeAttempt("quick", 1)
    runner = FakeRunner(hedging_after_s=1)

    with trio.move_on_after(4):
        won = await run_race([slow_to_leave, quick], runner)

    assert ("quick", "won") == (won.value, str(runner.ends[-1]))
    assert 7 == trio.current_time()
