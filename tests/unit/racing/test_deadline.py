"""Deadlines hold to the tick, under Trio's mock clock."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from pg_trio.racing.deadline import Deadline, DeadlinePassed


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


async def test_error_inside_passes(autojump_clock: MockClock) -> None:
    with pytest.raises(ValueError, match="bug"), Deadline(trio.current_time() + 5):
        raise ValueError("bug")
