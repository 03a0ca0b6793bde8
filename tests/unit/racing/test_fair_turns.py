"""Turns: one after the other, each owner in turn, and none for ever."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.racing.fair_turns import FairTurns

TURN_S = 0.1


class Workers:
    """Tasks that take turns and hold them for so long; when each began."""

    def __init__(self, nursery: trio.Nursery, turns: FairTurns | None = None) -> None:
        self.turns = turns or FairTurns(TURN_S, most=3)
        self.began: list[tuple[str, float]] = []
        self.running = 0
        self.most_running = 0
        self._nursery = nursery

    async def start(self, owner: str, *, count: int = 1, work_s: float = 0.01) -> None:
        """In line before anything else starts."""
        for _ in range(count):
            self._nursery.start_soon(self._work, owner, work_s)
            await wait_all_tasks_blocked()

    async def _work(self, owner: str, work_s: float) -> None:
        await self.turns.begin(owner)
        try:
            self.began.append((owner, round(trio.current_time(), 6)))
            self.running += 1
            self.most_running = max(self.running, self.most_running)
            await trio.sleep(work_s)
        finally:
            self.running -= 1
            self.turns.end(owner)

    def order(self) -> str:
        return "".join(owner for owner, _ in self.began)


async def test_one_at_a_time_in_order(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        await workers.start("a", count=5)

    assert 1 == workers.most_running
    assert [0, 0.01, 0.02, 0.03, 0.04] == [at for _, at in workers.began]


async def test_owners_take_turns(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        await workers.start("a", count=20)
        await workers.start("b", count=2)
        await workers.start("c")

    assert "aabcaba" == workers.order()[:7]
    assert 23 == len(workers.began)


async def test_neighbour_waits_for_one_turn_at_most(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        await workers.start("noisy", count=100, work_s=60)
        await workers.start("neighbour", work_s=0.01)
        await trio.sleep(1)

        assert [("noisy", 0), ("neighbour", TURN_S)] == workers.began
        nursery.cancel_scope.cancel()


async def test_owner_has_one_turn_at_a_time(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        await workers.start("noisy", count=5, work_s=1)

    assert 1 == workers.most_running


async def test_endless_owners_fill_all_places(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        for owner in "abcde":
            await workers.start(owner, work_s=10)

    assert 3 == workers.most_running
    assert [("a", 0), ("b", 0.1), ("c", 0.2), ("d", 10), ("e", 10.1)] == workers.began


async def test_next_keeps_the_time_after_the_first_has_left(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        await workers.start("noisy", work_s=60)
        with trio.move_on_after(0.05) as left:
            await workers.turns.begin("left")
        await workers.start("neighbour")
        await trio.sleep(1)

        assert left.cancelled_caught
        assert [("noisy", 0), ("neighbour", TURN_S)] == workers.began
        nursery.cancel_scope.cancel()


async def test_own_second_turn_begins_beside_anothers(autojump_clock: MockClock) -> None:
    """Its first turn ended meanwhile: it may begin, although only the passing of time can tell it."""
    async with trio.open_nursery() as nursery:
        workers = Workers(nursery)
        await workers.start("a", work_s=0.05)
        await workers.start("b", work_s=60)
        await workers.start("a", work_s=0.05)
        await trio.sleep(1)

        assert [("a", 0), ("b", 0.05), ("a", 0.15)] == workers.began
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("cancel_at_s", [0, 0.005, 0.01, 0.015, 0.1, 0.105])
async def test_cancelled_ones_leave_nothing(cancel_at_s: float, autojump_clock: MockClock) -> None:
    turns = FairTurns(TURN_S, most=3)
    with trio.move_on_after(cancel_at_s):
        async with trio.open_nursery() as nursery:
            workers = Workers(nursery, turns)
            await workers.start("a", count=3)
            await workers.start("b", count=3, work_s=1)

    assert 0 == turns.count_waiting()
    for owner in "abc":
        await turns.begin(owner)
        turns.end(owner)


async def test_turn_given_in_the_tick_of_cancellation_is_not_lost(nursery: trio.Nursery) -> None:
    turns = FairTurns(TURN_S, most=1)
    await turns.begin("a")
    scope = trio.CancelScope()

    async def wait() -> None:
        with scope:
            await turns.begin("b")
            try:
                await trio.sleep_forever()
            finally:
                turns.end("b")

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    # Its turn comes and it is cancelled in the same tick.
    turns.end("a")
    scope.cancel()
    await wait_all_tasks_blocked()

    with trio.fail_after(1):
        await turns.begin("c")
