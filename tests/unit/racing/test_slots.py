"""Slots to the tick: the order of service, refusals, and exact counts under cancellation."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.racing.slots import NoSlot, SlotRules, Slots


def make_slots(limit: int = 1, queue_limit: int = 10, shed_age_s: float = 100.0) -> Slots:
    return Slots(SlotRules(limit, queue_limit, shed_age_s))


async def hold_for(slots: Slots, hold_s: float, wait_s: float = 100.0, served: list[float] | None = None) -> None:
    async with slots.hold(wait_s):
        if served is not None:
            served.append(trio.current_time())
        await trio.sleep(hold_s)


async def test_free_slot_costs_no_checkpoint(autojump_clock: MockClock) -> None:
    slots = make_slots(2)

    with trio.CancelScope() as scope:
        scope.cancel(reason="a checkpoint would raise")
        async with slots.hold(1):
            counted = (slots.in_use, slots.free)
        reached = True

    assert reached
    assert ((1, 1), 0) == (counted, slots.in_use)


async def test_first_come_first_served(autojump_clock: MockClock) -> None:
    slots = make_slots()
    served: list[list[float]] = [[], [], []]

    async with trio.open_nursery() as nursery:
        for mine in served:
            nursery.start_soon(hold_for, slots, 2, 100.0, mine)
            await wait_all_tasks_blocked()

    assert [[0], [2], [4]] == served
    assert (0, 0) == (slots.in_use, slots.waiting)


async def test_wait_is_bounded(autojump_clock: MockClock) -> None:
    slots = make_slots()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_for, slots, 9)
        await wait_all_tasks_blocked()
        with pytest.raises(NoSlot) as raised:
            await hold_for(slots, 1, wait_s=0.5)
        assert (0.5, 0.5) == (trio.current_time(), raised.value.queue_age_s)
        assert 0 == slots.waiting


@pytest.mark.parametrize("wait_s", [0.0, -1.0])
async def test_no_wait_is_now_or_never(autojump_clock: MockClock, wait_s: float) -> None:
    slots = make_slots(limit=0)

    with pytest.raises(NoSlot):
        await hold_for(slots, 1, wait_s)

    assert 0 == trio.current_time()


async def test_line_is_bounded(autojump_clock: MockClock) -> None:
    slots = make_slots(queue_limit=1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_for, slots, 1)
        await wait_all_tasks_blocked()
        nursery.start_soon(hold_for, slots, 1)
        await wait_all_tasks_blocked()
        with pytest.raises(NoSlot):
            await hold_for(slots, 1)


async def test_standing_line_sheds_newcomers(autojump_clock: MockClock) -> None:
    slots = make_slots(shed_age_s=2.0)
    served: list[float] = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_for, slots, 5)
        await wait_all_tasks_blocked()
        nursery.start_soon(hold_for, slots, 1, 100.0, served)
        await trio.sleep(3)
        with pytest.raises(NoSlot) as raised:
            await hold_for(slots, 1)
        assert (3, 3) == (trio.current_time(), raised.value.queue_age_s)

    assert [5] == served


async def test_line_is_as_old_as_its_head(autojump_clock: MockClock) -> None:
    slots = make_slots(shed_age_s=2.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_for, slots, 5)
        for _ in range(2):
            await wait_all_tasks_blocked()
            nursery.start_soon(hold_for, slots, 1)
            await trio.sleep(1.5)
        with pytest.raises(NoSlot) as raised:
            await hold_for(slots, 1)

    assert 3.0 == raised.value.queue_age_s


async def test_moving_line_sheds_nobody(autojump_clock: MockClock) -> None:
    slots = make_slots(shed_age_s=2.0)
    served: list[float] = []

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(hold_for, slots, 1, 100.0, served)
            await trio.sleep(1)

    assert 10 == len(served)


async def test_cancelled_waiter_is_passed_over(autojump_clock: MockClock) -> None:
    slots = make_slots()
    served: list[float] = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_for, slots, 3)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await hold_for(slots, 1)
        await hold_for(slots, 1, served=served)

    assert [3] == served
    assert (0, 0) == (slots.in_use, slots.waiting)


async def test_slot_given_in_tick_of_cancellation_is_not_lost(autojump_clock: MockClock) -> None:
    slots = make_slots()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as leaving:
            async with trio.open_nursery() as inner:
                async with slots.hold(0):
                    inner.start_soon(hold_for, slots, 9)
                    await wait_all_tasks_blocked()
                # The slot has just been handed to the waiter, which has not run since.
                leaving.cancel(reason="client left")
        nursery.cancel_scope.cancel(reason="the end")

    assert (0, 0) == (slots.in_use, slots.waiting)


@pytest.mark.parametrize("seed", range(5))
async def test_counts_are_exact_after_any_cancellations(autojump_clock: MockClock, seed: int) -> None:
    random = Random(seed)
    slots = make_slots(limit=7, queue_limit=40, shed_age_s=1.5)
    peak = 0
    refused = 0

    async def visit(wait_s: float, hold_s: float, leave_after_s: float) -> None:
        nonlocal peak, refused
        with trio.move_on_after(leave_after_s):
            try:
                async with slots.hold(wait_s):
                    peak = max(peak, slots.in_use)
                    await trio.sleep(hold_s)
            except NoSlot:
                refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            # Whole tenths, so that waits, holds and cancellations often fall into one tick.
            wait_s, hold_s, leave_after_s = (random.randrange(20) / 10 for _ in range(3))
            nursery.start_soon(visit, wait_s, hold_s, leave_after_s)
            await trio.sleep(random.randrange(2) / 10)

    assert (7, 0, 0) == (peak, slots.in_use, slots.waiting)
    assert refused > 0
