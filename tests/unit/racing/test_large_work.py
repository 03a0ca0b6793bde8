"""Large work leaves the event loop; small work does not."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pg_trio.racing.large_work import LARGE_BYTES, LargeWork, work_owner


async def test_small_work_stays_here() -> None:
    assert threading.get_ident() == await LargeWork().call(LARGE_BYTES, threading.get_ident)


async def test_large_work_is_done_elsewhere() -> None:
    assert threading.get_ident() != await LargeWork().call(LARGE_BYTES + 1, threading.get_ident)


@pytest.mark.parametrize("size", [1, LARGE_BYTES + 1])
async def test_errors_come_back(size: int) -> None:
    with pytest.raises(ValueError, match="no number"):
        await LargeWork().call(size, int, "no number")


async def test_loop_lives_while_large_work_runs(nursery: trio.Nursery) -> None:
    lived = threading.Event()

    async def live() -> None:
        await trio.lowlevel.checkpoint()
        lived.set()

    nursery.start_soon(live)

    assert await LargeWork().call(LARGE_BYTES + 1, lived.wait, 20)


async def test_cancelled_caller_leaves_at_once() -> None:
    release = threading.Event()
    work = LargeWork()

    with trio.move_on_after(0.01) as scope:
        await work.call(LARGE_BYTES + 1, release.wait, 20)
    release.set()

    assert scope.cancelled_caught
    assert 7 == await work.call(LARGE_BYTES + 1, int, "7")


async def test_anothers_work_does_not_wait_for_endless_work(nursery: trio.Nursery) -> None:
    release, work = threading.Event(), LargeWork()
    for _ in range(20):
        nursery.start_soon(call_for, "noisy", work, release.wait, 20)
    await wait_all_tasks_blocked()

    with trio.fail_after(10):
        assert 7 == await call_for("neighbour", work, int, "7")

    release.set()


async def test_abandoned_work_keeps_its_owners_turn(nursery: trio.Nursery) -> None:
    """A thread cannot be stopped: were it not counted, an owner could start one after the other."""
    release, work = threading.Event(), LargeWork()
    started = []

    def run() -> None:
        started.append(1)
        release.wait(20)

    for _ in range(3):
        with trio.move_on_after(0.05):
            await call_for("noisy", work, run)

    assert [1] == started
    release.set()
    assert 7 == await call_for("noisy", work, int, "7")


async def call_for(owner: str, work: LargeWork, *args: Any) -> object:
    work_owner.set(owner)
    return await work.call(LARGE_BYTES + 1, *args)


async def test_large_work_is_done_one_by_one() -> None:
    work, meeting = LargeWork(), threading.Barrier(2)
    met: list[bool] = []

    def meet() -> None:
        try:
            # Long enough for another thread to come by, were there one.
            meeting.wait(0.1)
        except threading.BrokenBarrierError:
            met.append(False)
        else:
            met.append(True)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(work.call, LARGE_BYTES + 1, meet)

    assert [False, False] == met
