"""Slots that several workers share: exact however they end, first come first served in each, fair between them."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from pg_trio.racing.shared_slots import LOOK_S, SharedSlots
from pg_trio.racing.slots import NoSlot, SlotRules

KEY = b"k"


@define
class Book:
    """LeaseCounter of all workers."""

    out: Counter[bytes] = field(factory=Counter)
    most: int = 0

    def acquire(self, key: bytes, limit: int) -> bool:
        if self.out[key] >= limit:
            return False
        self.out[key] += 1
        self.most = max(self.most, self.out[KEY])
        return True

    def release(self, key: bytes) -> None:
        self.out[key] -= 1

    def count(self, key: bytes) -> int:
        return self.out[key]


def hire(book: Book, limit: int = 1, queue_limit: int = 10, workers: int = 2) -> list[SharedSlots]:
    return [SharedSlots(SlotRules(limit, queue_limit, shed_age_s=100), book, KEY) for _ in range(workers)]


async def test_workers_share_the_limit(autojump_clock: MockClock) -> None:
    one, other = hire(Book(), limit=2)

    async with one.hold(0), other.hold(0):
        with pytest.raises(NoSlot):
            await one.take(0)
        assert (2, 0) == (one.in_use, other.free)

    assert (0, 2) == (one.in_use, other.free)


async def test_slot_of_another_worker_is_found_soon(autojump_clock: MockClock) -> None:
    one, other = hire(Book())
    await one.take(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.take, 5)
        await trio.sleep(1)
        one.give_back()

    assert trio.current_time() <= 1 + LOOK_S
    assert 1 == other.in_use


async def test_own_slot_is_handed_over_at_once(autojump_clock: MockClock) -> None:
    (slots,) = hire(Book(), workers=1)
    await slots.take(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slots.take, 5)
        await trio.sleep(1.0012)
        slots.give_back()

    assert 1.0012 == trio.current_time()


async def test_first_come_first_served(autojump_clock: MockClock) -> None:
    (slots,) = hire(Book(), workers=1)
    served: list[int] = []
    await slots.take(0)

    async def visit(number: int) -> None:
        async with slots.hold(9):
            served.append(number)
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(visit, number)
            await trio.sleep(0.001)
        slots.give_back()

    assert [0, 1, 2, 3, 4] == served


async def test_wait_is_bounded_also_behind_others(autojump_clock: MockClock) -> None:
    (slots,) = hire(Book(), workers=1)
    await slots.take(0)

    async with trio.open_nursery() as nursery:

        async def wait(wait_s: float) -> None:
            with pytest.raises(NoSlot):
                await slots.take(wait_s)
            assert round(wait_s, 3) == round(trio.current_time(), 3)

        nursery.start_soon(wait, 3)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wait, 2)

    assert (0, 1) == (slots.waiting, slots.in_use)


async def test_busy_worker_leaves_the_other_its_share(autojump_clock: MockClock) -> None:
    one, other = hire(Book(), queue_limit=100)
    served: Counter[str] = Counter()

    async def visit(name: str, slots: SharedSlots) -> None:
        while True:
            async with slots.hold(100):
                served[name] += 1
                # Not in step with the looks.
                await trio.sleep(0.0131)

    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(visit, "one", one)
            nursery.start_soon(visit, "other", other)

    assert served["other"] > 0.15 * served["one"]


@pytest.mark.parametrize("seed", range(3))
async def test_storm_leaves_nothing(autojump_clock: MockClock, seed: int) -> None:
    book, random, outcomes = Book(), Random(seed), Counter[str]()
    workers = hire(book, limit=3, queue_limit=20, workers=3)

    async def visit(slots: SharedSlots) -> None:
        await trio.sleep(random.uniform(0, 30))
        with trio.move_on_after(random.uniform(0, 2)):
            try:
                async with slots.hold(random.choice([0, 0.1, 1])):
                    outcomes["served"] += 1
                    await trio.sleep(random.uniform(0, 0.5))
            except NoSlot:
                outcomes["turned away"] += 1
            return
        outcomes["left"] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(900):
            nursery.start_soon(visit, random.choice(workers))

    assert {"served", "turned away", "left"} == set(outcomes)
    assert (3, {0}, [0, 0, 0]) == (book.most, set(book.out.values()), [slots.waiting for slots in workers])
