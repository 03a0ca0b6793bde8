"""The queue: order, bounds, and exactness whatever is cancelled when."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.racing.wait_queue import QueueFull, Waiter, WaitQueue


class Visitors:
    """Tasks that wait in a queue; who was served, in order, and who was sent home or left."""

    def __init__(self, nursery: trio.Nursery, queue: WaitQueue) -> None:
        self.queue = queue
        self.served: list[str] = []
        self.sent_home: list[str] = []
        self._nursery = nursery

    async def come(self, *names: str) -> None:
        """In the queue before anything else starts. A name's first letter is its owner."""
        for name in names:
            self._nursery.start_soon(self._wait, name)
            await wait_all_tasks_blocked()

    async def _wait(self, name: str) -> None:
        with self.queue.join(name[0]) as waiter:
            await waiter.wait()
        (self.served if waiter.is_served else self.sent_home).append(name)

    def serve(self, count: int = 1) -> None:
        for _ in range(count):
            head = self.queue.head()
            assert head is not None
            self.queue.serve(head)


async def test_one_owner_is_first_come_first_served(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    visitors = Visitors(nursery, WaitQueue())
    await visitors.come("a1", "a2", "a3")

    for _ in range(3):
        visitors.serve()
        await wait_all_tasks_blocked()

    assert ["a1", "a2", "a3"] == visitors.served


async def test_owners_take_turns(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    visitors = Visitors(nursery, WaitQueue())
    await visitors.come("a1", "a2", "a3", "b1", "c1", "b2")

    for _ in range(6):
        visitors.serve()
        await wait_all_tasks_blocked()

    assert ["a1", "b1", "c1", "a2", "b2", "a3"] == visitors.served


async def test_length_is_bounded(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    visitors = Visitors(nursery, WaitQueue(limit=2))
    await visitors.come("a1", "a2")
    await trio.sleep(3)

    with pytest.raises(QueueFull) as raised:
        visitors.queue.join("a")

    assert (2, 3.0) == (visitors.queue.length, raised.value.age_s)
    nursery.cancel_scope.cancel()


def test_no_place_means_no_queue() -> None:
    with pytest.raises(QueueFull):
        WaitQueue(limit=0).join()


async def test_standing_queue_refuses_until_it_moves(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    visitors = Visitors(nursery, WaitQueue(standing_limit_s=2.0))
    await visitors.come("a1")
    await trio.sleep(1)
    await visitors.come("a2")
    await trio.sleep(1)

    with pytest.raises(QueueFull):
        visitors.queue.join("a")
    visitors.serve()
    await visitors.come("a3")

    assert (["a1"], 2) == (visitors.served, visitors.queue.length)
    nursery.cancel_scope.cancel()


async def test_sent_home_is_not_served(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    visitors = Visitors(nursery, WaitQueue())
    await visitors.come("a1", "a2")

    head = visitors.queue.head()
    assert head is not None
    visitors.queue.send_home(head)
    await wait_all_tasks_blocked()
    visitors.serve()
    await wait_all_tasks_blocked()

    assert (["a2"], ["a1"]) == (visitors.served, visitors.sent_home)


async def test_time_to_look_keeps_the_place(autojump_clock: MockClock) -> None:
    queue = WaitQueue()

    with queue.join("a") as waiter:
        await waiter.wait(look_at=2.0)
        looked = (trio.current_time(), waiter.is_served, queue.head() is waiter)
    left = queue.length

    assert ((2.0, False, True), 0) == (looked, left)


async def test_called_before_it_waits_looks_at_once(autojump_clock: MockClock) -> None:
    queue = WaitQueue()

    with queue.join("a") as waiter:
        queue.call(waiter)
        await waiter.wait(look_at=5.0)
        first_at = trio.current_time()
        await waiter.wait(look_at=5.0)

    assert (0.0, 5.0) == (first_at, trio.current_time())


@pytest.mark.parametrize("look_at", [100.0, float("inf")])
async def test_cancelled_waiter_cannot_be_served(
    nursery: trio.Nursery, autojump_clock: MockClock, look_at: float
) -> None:
    queue, waiters = WaitQueue(), list[Waiter]()

    async def wait() -> None:
        with queue.join() as waiter:
            waiters.append(waiter)
            await waiter.wait(look_at)

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    # Cancelled, and not run since: what comes free in this moment must not go to it.
    nursery.cancel_scope.cancel()

    assert queue.head() is None
    with trio.CancelScope(shield=True):
        await trio.testing.wait_all_tasks_blocked()
    assert (False, 0) == (waiters[0].is_served, queue.length)


@pytest.mark.parametrize("look_at", [100.0, float("inf")])
async def test_served_waiter_is_not_cancelled(nursery: trio.Nursery, autojump_clock: MockClock, look_at: float) -> None:
    queue, reached = WaitQueue(), list[bool]()

    async def wait() -> None:
        with queue.join() as waiter:
            await waiter.wait(look_at)
            reached.append(waiter.is_served)

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    head = queue.head()
    assert head is not None
    queue.serve(head)
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await wait_all_tasks_blocked()

    assert [True] == reached


async def run_storm(seed: int) -> list[tuple[str, str, float]]:
    """Hundreds of waiters, some with a time to look, some cancelled, while things come free: what became of each."""
    random, queue, ends = Random(seed), WaitQueue(limit=20, standing_limit_s=3.0), list[tuple[str, str, float]]()

    async def visit(name: str, looks: bool, leave_after_s: float) -> None:
        end = "left"
        with trio.move_on_after(leave_after_s):
            try:
                with queue.join(name[0]) as waiter:
                    while not waiter.is_served:
                        await waiter.wait(trio.current_time() + 0.3 if looks else float("inf"))
                    end = "served"
            except QueueFull:
                end = "refused"
        ends.append((name, end, trio.current_time()))

    async with trio.open_nursery() as nursery:
        for number in range(400):
            name = f"{random.choice('abc')}{number}"
            nursery.start_soon(visit, name, random.random() < 0.5, random.uniform(0.1, 4.0))
            await trio.sleep(random.uniform(0.0, 0.1))
            if random.random() < 0.5 and (head := queue.head()) is not None:
                queue.serve(head)
    assert 0 == queue.length
    return ends


@pytest.mark.parametrize("seed", range(3))
async def test_storm_leaves_nothing_and_repeats_itself(autojump_clock: MockClock, seed: int) -> None:
    began_at = trio.current_time()
    first = [(name, end, round(at - began_at, 3)) for name, end, at in await run_storm(seed)]
    began_at = trio.current_time()
    second = [(name, end, round(at - began_at, 3)) for name, end, at in await run_storm(seed)]

    assert {"served", "left", "refused"} == {end for _, end, _ in first}
    assert first == second
