"""Deadlines hold to the tick, under Trio's mock clock."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock

from pg_trio.racing.deadline import Deadline, DeadlinePassed, LastingScope


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


async def test_lasting_scope_serves_one_deadline_after_the_other(autojump_clock: MockClock) -> None:
    start = trio.current_time()

    with LastingScope() as lasting:
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


async def test_late_result_spends_no_lasting_scope_of_the_next(mock_clock: MockClock) -> None:
    with LastingScope() as lasting:
        with pytest.raises(DeadlinePassed), Deadline(trio.current_time() + 1, lasting):
            mock_clock.jump(2)

        with Deadline(trio.current_time() + 1, lasting):
            await trio.lowlevel.checkpoint()
            result = "done"

    assert "done" == result


async def test_time_moved_after_it_came_is_still_passed(mock_clock: MockClock) -> None:
    async def move_late(deadline: Deadline) -> None:
        mock_clock.jump(2)
        assert deadline.has_come
        deadline.move(math.inf)
        await trio.lowlevel.checkpoint()

    in_a_second = trio.current_time() + 1
    with LastingScope() as lasting, pytest.raises(DeadlinePassed), Deadline(in_a_second, lasting) as deadline:
        await move_late(deadline)


async def test_outer_cancellation_passes_a_lasting_scope(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as outer, LastingScope() as lasting, Deadline(trio.current_time() + 5, lasting):
        await trio.sleep(9)

    assert outer.cancelled_caught
    # Nothing of it is left behind: another scope of the task can be left in turn.
    with trio.move_on_after(1) as after:
        await trio.sleep(9)
    assert after.cancelled_caught


async def test_lasting_scope_is_left_between_deadlines(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as outer, LastingScope() as lasting:
        with Deadline(trio.current_time() + 0.5, lasting):
            await trio.lowlevel.checkpoint()
        await trio.sleep(9)

    assert outer.cancelled_caught
