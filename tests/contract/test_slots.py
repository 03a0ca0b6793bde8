"""The contract of slots (racing/slots.py), over one process, the workers of a machine, and nodes that share Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import pytest
import trio

from pg_trio.racing.leased_slots import LeasedSlots
from pg_trio.racing.shared_slots import SharedSlots
from pg_trio.racing.slots import NoSlot, SlotRules, Slots
from pg_trio.shared_memory.leases import CallLeases, LeaseBook
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend
from tests.support.engines import RedisServer
from tests.support.redis_ledger import open_redis_ledger

KEY = bytes(20)
LONG_S = 30.0

# Two users of the same slots: (limit, length of the queue).
Hire = Callable[[int, int], Awaitable[list[Slots]]]


@pytest.fixture(params=["process", "workers", "nodes"])
async def hire(
    request: pytest.FixtureRequest, nursery: trio.Nursery, redis: RedisServer, stack: ExitStack, tmp_path: Path
) -> Hire:
    def open_worker() -> CallLeases:
        segment = stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=1024)))
        return CallLeases(LeaseBook(stack.enter_context(closing(SharedSpend(segment)))))

    async def hire_two(limit: int, queue_limit: int = 100) -> list[Slots]:
        rules = SlotRules(limit, queue_limit, shed_age_s=LONG_S)
        if request.param == "process":
            return [Slots(rules)] * 2
        if request.param == "workers":
            return [SharedSlots(rules, open_worker(), KEY) for _ in range(2)]
        nodes = [await open_redis_ledger(nursery, redis, stack, tmp_path, name=name) for name in ("gw-1", "gw-2")]
        return [LeasedSlots(rules, node.slots, KEY) for node in nodes]

    return hire_two


async def test_limit_is_of_all_users(hire: Hire) -> None:
    one, other = await hire(3, 100)
    await one.take(0)
    await one.take(0)
    await other.take(LONG_S)

    for slots in (one, other):
        with pytest.raises(NoSlot):
            await slots.take(0)


async def test_slot_that_is_given_back_is_another_users(hire: Hire) -> None:
    one, other = await hire(1, 100)

    with trio.fail_after(LONG_S):
        for slots in (one, other, one, other):
            await slots.take(LONG_S)
            slots.give_back()


async def test_no_request_overtakes_its_queue(hire: Hire) -> None:
    one, other = await hire(1, 100)
    await other.take(0)
    served: list[int] = []

    async def visit(number: int) -> None:
        async with one.hold(LONG_S):
            served.append(number)

    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(visit, number)
                while one.waiting <= number:  # noqa: ASYNC110
                    await trio.sleep(0.001)
            other.give_back()

    assert [0, 1, 2, 3, 4] == served


async def test_wait_and_queue_are_bounded(hire: Hire) -> None:
    one, other = await hire(1, 1)
    await other.take(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.take, LONG_S)
        while one.waiting == 0:  # noqa: ASYNC110
            await trio.sleep(0.001)
        with pytest.raises(NoSlot):
            await one.take(LONG_S)
        nursery.cancel_scope.cancel()

    with pytest.raises(NoSlot):
        await one.take(0.01)
    assert 0 == one.waiting


@pytest.mark.parametrize("seed", range(3))
async def test_cancelled_and_served_in_any_order(hire: Hire, seed: int) -> None:
    luck, limit = Random(seed), (1, 2, 5)[seed]
    users = await hire(limit, 1000)
    at_once = most = 0

    async def visit() -> None:
        nonlocal at_once, most
        slots, hold_s = luck.choice(users), luck.random() * 0.01
        await trio.sleep(luck.random() * 0.3)
        with trio.move_on_after(luck.choice([0.0, 0.001, 0.01, LONG_S])):
            async with slots.hold(LONG_S):
                at_once += 1
                most = max(most, at_once)
                try:
                    await trio.sleep(hold_s)
                finally:
                    at_once -= 1

    with trio.fail_after(LONG_S):
        async with trio.open_nursery() as nursery:
            for _ in range(150):
                nursery.start_soon(visit)
        # All of it is there again, for any user.
        for _ in range(limit):
            await users[seed % 2].take(LONG_S)

    assert 0 < most <= limit
    assert [0, 0] == [slots.waiting for slots in users]
