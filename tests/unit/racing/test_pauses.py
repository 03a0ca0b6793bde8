from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.racing.pauses import BEAT_S, MOST_KEPT, SHORTEST_S, Pauses


async def pause(clock: MockClock, pauses: Pauses, pause_s: float) -> None:
    """The process stops right after a beat, and the beat is noted as late."""
    clock.jump(BEAT_S)
    await wait_all_tasks_blocked()
    clock.jump(BEAT_S + pause_s)
    await wait_all_tasks_blocked()


@pytest.mark.parametrize(("pause_s", "is_blamed"), [(0.0, True), (SHORTEST_S / 2, True), (2.0, False)])
async def test_long_pause_takes_the_blame(
    mock_clock: MockClock, nursery: trio.Nursery, pause_s: float, is_blamed: bool
) -> None:
    pauses = Pauses()
    nursery.start_soon(pauses.run)
    await wait_all_tasks_blocked()
    since = trio.current_time()

    await pause(mock_clock, pauses, pause_s)

    assert is_blamed != pauses.took_most_of(since, trio.current_time())


async def test_pause_counts_before_its_beat_has_come(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    pauses = Pauses()
    nursery.start_soon(pauses.run)
    await wait_all_tasks_blocked()
    since = trio.current_time()

    # Another task's deadline may run first in the pass after a pause.
    mock_clock.jump(5)

    assert pauses.took_most_of(since, trio.current_time())


async def test_pause_counts_only_where_it_took_half_of_the_time(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    pauses = Pauses()
    nursery.start_soon(pauses.run)
    await wait_all_tasks_blocked()
    began = trio.current_time()
    await pause(mock_clock, pauses, 2.0)
    ended = trio.current_time()

    assert pauses.took_most_of(ended - 4.0, ended)
    assert pauses.took_most_of(began, began + 4.0)
    assert not pauses.took_most_of(ended - 4.1, ended)
    assert not pauses.took_most_of(ended, ended)


async def test_several_pauses_add_up_and_few_are_kept(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    pauses = Pauses()
    nursery.start_soon(pauses.run)
    await wait_all_tasks_blocked()
    since = trio.current_time()
    for _ in range(MOST_KEPT + 8):
        await pause(mock_clock, pauses, 1.0)

    # Two beats of 0.25 s with each second of pause; those before the last MOST_KEPT are forgotten.
    assert pauses.took_most_of(since, trio.current_time())
    assert not pauses.took_most_of(since, since + 8.0)


@pytest.mark.parametrize(("pause_s", "since_s", "has"), [(2.0, 0.5, True), (2.0, 1.5, False), (0.5, 0.1, False)])
async def test_aftermath_of_a_long_pause_is_a_second(
    mock_clock: MockClock, nursery: trio.Nursery, pause_s: float, since_s: float, has: bool
) -> None:
    pauses = Pauses()
    nursery.start_soon(pauses.run)
    await wait_all_tasks_blocked()
    await pause(mock_clock, pauses, pause_s)
    ended = trio.current_time()

    while (left_s := ended + since_s - trio.current_time()) > 0:
        mock_clock.jump(min(BEAT_S, left_s))
        await wait_all_tasks_blocked()

    assert has == pauses.has_just_ended(trio.current_time())


async def test_pause_overlaps_what_it_fell_into(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    pauses = Pauses()
    nursery.start_soon(pauses.run)
    await wait_all_tasks_blocked()
    since = trio.current_time()
    assert not pauses.overlap(since, since)
    mock_clock.jump(5)
    # Its beat may come after who asks.
    assert pauses.overlap(since, trio.current_time())
    await wait_all_tasks_blocked()
    ended = trio.current_time()

    assert pauses.overlap(since, ended)
    assert not pauses.overlap(ended, ended)


def test_without_its_task_there_are_no_pauses() -> None:
    assert not Pauses().took_most_of(0.0, 9.0)


async def test_ended_task_leaves_no_pause(mock_clock: MockClock) -> None:
    pauses = Pauses()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pauses.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    mock_clock.jump(9)

    assert not pauses.took_most_of(0.0, 9.0)
