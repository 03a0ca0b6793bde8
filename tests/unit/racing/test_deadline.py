"""Deadlines hold to the tick, under Trio's mock clock."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pg_trio.racing.deadline import DEADLINE, Deadline, DeadlinePassed, LastingScope
from pg_trio.racing.deadline_keeper import FEWEST_VOID, DeadlineKeeper


@pytest.fixture(params=["Trio's own", "kept"])
async def keeper(nursery: trio.Nursery, request: pytest.FixtureRequest) -> DeadlineKeeper | None:
    """What keeps lasting scopes' deadlines: a keeper, or each scope for itself."""
    if request.param != "kept":
        return None
    kept = DeadlineKeeper()
    nursery.start_soon(kept.run)
    return kept


async def test_block_ends_at_deadline(autojump_clock: MockClock) -> None:
    start = trio.current_time()

    with pytest.raises(DeadlinePassed), Deadline(start + 2):
        await trio.sleep(9)

    assert start + 2 == trio.current_time()


async def test_moved_deadline_holds(autojump_clock: MockClock) -> None:
    start = trio.current_time()

    async def sleep_past(deadline: Deadline) -> None:
        deadline.move(start + 3)
        await trio.sleep(9)

    with pytest.raises(DeadlinePassed), Deadline(start + 1) as deadline:
        await sleep_past(deadline)

    assert start + 3 == trio.current_time()


async def test_finished_block_is_kept(autojump_clock: MockClock) -> None:
    with Deadline(trio.current_time() + 1):
        await trio.sleep(0.5)
        result = "done"

    assert "done" == result


async def test_late_result_is_late(mock_clock: MockClock) -> None:
    with pytest.raises(DeadlinePassed), Deadline(trio.current_time() + 1):
        mock_clock.jump(2)  # as work does that never waits


async def test_late_error_is_late(mock_clock: MockClock) -> None:
    def fail_late() -> None:
        mock_clock.jump(2)
        raise ValueError("too late to matter")

    with pytest.raises(DeadlinePassed), Deadline(trio.current_time() + 1):
        fail_late()


async def test_outer_cancellation_is_not_deadline(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as outer, Deadline(trio.current_time() + 5):
        await trio.sleep(9)

    assert outer.cancelled_caught


async def test_outer_cancellation_passes_late_too(mock_clock: MockClock) -> None:
    with trio.CancelScope() as outer, Deadline(trio.current_time() + 1):
        outer.cancel(reason="client left")
        mock_clock.jump(2)
        await trio.lowlevel.checkpoint()

    assert outer.cancelled_caught


async def test_block_in_time_for_moved_deadline_is_kept(autojump_clock: MockClock) -> None:
    start = trio.current_time()

    with Deadline(start + 1) as deadline:
        deadline.move(start + 3)
        await trio.sleep(2)

    assert start + 2 == trio.current_time()


async def test_deadline_can_be_moved_back(autojump_clock: MockClock) -> None:
    start = trio.current_time()

    async def sleep_past(deadline: Deadline) -> None:
        deadline.move(start + 3)
        deadline.move(start + 1)
        await trio.sleep(9)

    with pytest.raises(DeadlinePassed), Deadline(start + 1) as deadline:
        await sleep_past(deadline)

    assert start + 1 == trio.current_time()


async def test_error_inside_passes(autojump_clock: MockClock) -> None:
    with pytest.raises(ValueError, match="bug"), Deadline(trio.current_time() + 5):
        raise ValueError("bug")


async def test_block_without_time_ends_when_it_is_given_one(autojump_clock: MockClock) -> None:
    start = trio.current_time()

    async def wait_with(deadline: Deadline) -> None:
        await trio.sleep(5)
        deadline.move(start + 7)
        await trio.sleep(9)

    with pytest.raises(DeadlinePassed), Deadline() as deadline:
        await wait_with(deadline)

    assert start + 7 == trio.current_time()


async def test_lasting_scope_serves_one_deadline_after_the_other(
    autojump_clock: MockClock, keeper: DeadlineKeeper | None
) -> None:
    start = trio.current_time()

    with LastingScope(keeper) as lasting:
        with Deadline(start + 2, lasting):
            await trio.sleep(1)
        # A deadline does not cancel anything after its block has ended.
        await trio.sleep(5)
        for at in (start + 7, start + 8):
            with pytest.raises(DeadlinePassed), Deadline(at, lasting):
                await trio.sleep(9)
            assert at == trio.current_time()
        with Deadline(start + 10, lasting):
            await trio.sleep(1)

    assert start + 9 == trio.current_time()


async def test_late_result_spends_no_lasting_scope_of_the_next(
    mock_clock: MockClock, keeper: DeadlineKeeper | None
) -> None:
    with LastingScope(keeper) as lasting:
        with pytest.raises(DeadlinePassed), Deadline(trio.current_time() + 1, lasting):
            mock_clock.jump(2)

        with Deadline(trio.current_time() + 1, lasting):
            await trio.lowlevel.checkpoint()
            result = "done"

    assert "done" == result


async def test_time_moved_after_it_came_is_still_passed(mock_clock: MockClock, keeper: DeadlineKeeper | None) -> None:
    async def move_late(deadline: Deadline) -> None:
        mock_clock.jump(2)
        assert deadline.has_come
        deadline.move(math.inf)
        await trio.lowlevel.checkpoint()

    in_a_second = trio.current_time() + 1
    with LastingScope(keeper) as lasting, pytest.raises(DeadlinePassed), Deadline(in_a_second, lasting) as deadline:
        await move_late(deadline)


async def test_outer_cancellation_passes_a_lasting_scope(
    autojump_clock: MockClock, keeper: DeadlineKeeper | None
) -> None:
    with trio.move_on_after(1) as outer, LastingScope(keeper) as lasting, Deadline(trio.current_time() + 5, lasting):
        await trio.sleep(9)

    assert outer.cancelled_caught
    # Nothing of it is left behind: another scope of the task can be left in turn.
    with trio.move_on_after(1) as after:
        await trio.sleep(9)
    assert after.cancelled_caught


async def test_lasting_scope_is_left_between_deadlines(
    autojump_clock: MockClock, keeper: DeadlineKeeper | None
) -> None:
    with trio.move_on_after(1) as outer, LastingScope(keeper) as lasting:
        with Deadline(trio.current_time() + 0.5, lasting):
            await trio.lowlevel.checkpoint()
        await trio.sleep(9)

    assert outer.cancelled_caught


# ── many deadlines, one keeper ───────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(1, 50), st.lists(st.integers(1, 50), max_size=5)), min_size=1, max_size=8))
def test_each_deadline_ends_at_its_time(moves: list[tuple[int, list[int]]]) -> None:
    """Connections whose requests finish (each after its list of times) and then have one that is cut."""
    ended: list[tuple[float, float]] = []

    async def connect(last: int, times: list[int], keeper: DeadlineKeeper) -> None:
        with LastingScope(keeper) as lasting:
            for lasts_s in times:
                with Deadline(trio.current_time() + lasts_s, lasting):
                    await trio.sleep(lasts_s / 2)
            cut_at = trio.current_time() + last
            with pytest.raises(DeadlinePassed), Deadline(cut_at, lasting):
                await trio.sleep(10_000)
            ended.append((cut_at, trio.current_time()))

    async def run_all() -> None:
        keeper = DeadlineKeeper()
        async with trio.open_nursery() as background:
            background.start_soon(keeper.run)
            async with trio.open_nursery() as connections:
                for last, times in moves:
                    connections.start_soon(connect, last, times, keeper)
            background.cancel_scope.cancel()

    trio.run(run_all, clock=MockClock(autojump_threshold=0))

    assert len(moves) == len(ended)
    assert [at for at, _ in ended] == [at for _, at in ended]


async def test_later_deadlines_are_only_noted(autojump_clock: MockClock) -> None:
    keeper = DeadlineKeeper()

    with LastingScope(keeper) as lasting:
        for _ in range(100):
            with Deadline(trio.current_time() + 30, lasting):
                await trio.sleep(0.1)

    assert 1 == len(keeper)


async def test_void_entries_are_cleared(autojump_clock: MockClock) -> None:
    keeper = DeadlineKeeper()

    # Clients that leave after a request, and one whose every request ends earlier than the one before.
    for _ in range(100 * FEWEST_VOID):
        with LastingScope(keeper) as lasting, Deadline(trio.current_time() + 86_400, lasting):
            pass
    with LastingScope(keeper) as lasting:
        for number in range(100 * FEWEST_VOID):
            with Deadline(trio.current_time() + 86_400 - number, lasting):
                pass

    assert len(keeper) <= FEWEST_VOID + 2


async def test_cut_task_learns_that_it_was_the_deadline(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    keeper = DeadlineKeeper()
    nursery.start_soon(keeper.run)
    cancelled: list[trio.Cancelled] = []

    async def wait() -> None:
        try:
            await trio.sleep(9)
        except trio.Cancelled as exc:
            cancelled.append(exc)
            raise

    in_a_second = trio.current_time() + 1
    with LastingScope(keeper) as lasting, pytest.raises(DeadlinePassed), Deadline(in_a_second, lasting):
        await wait()

    assert [DEADLINE] == [one.reason for one in cancelled]
