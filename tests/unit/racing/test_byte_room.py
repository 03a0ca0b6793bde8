"""Room for bytes: a bound altogether, a half for each owner, fair turns."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.racing.byte_room import ByteRoom, KeptBytes

LIMIT = 100


async def take(room: ByteRoom, owner: str, size: int, wait_s: float = 1.0) -> KeptBytes:
    kept = await room.take(owner, size, wait_s)
    assert kept is not None
    return kept


async def test_owner_has_half(autojump_clock: MockClock) -> None:
    room = ByteRoom(LIMIT)
    first = await take(room, "a", 40)

    assert await room.take("a", 20, 1.0) is None
    assert 1.0 == trio.current_time()

    first.give_back()
    assert 20 == (await take(room, "a", 20)).size_bytes


async def test_other_owner_finds_room_at_once() -> None:
    room = ByteRoom(LIMIT)
    await take(room, "noisy", 50)

    assert 50 == (await take(room, "neighbour", 50, wait_s=0)).size_bytes


@pytest.mark.parametrize("size", [60, 100, 1_000])
async def test_one_piece_alone_may_be_larger(size: int) -> None:
    room = ByteRoom(LIMIT)

    kept = await take(room, "a", size, wait_s=0)

    assert await room.take("b", 50, 0) is None
    kept.give_back()
    assert 50 == (await take(room, "b", 50, wait_s=0)).size_bytes


async def test_waiting_owners_take_turns(autojump_clock: MockClock) -> None:
    room, order = ByteRoom(LIMIT), []
    held = [await take(room, "x", 50), await take(room, "y", 50)]

    async def work(owner: str) -> None:
        kept = await take(room, owner, 50, wait_s=60)
        order.append(owner)
        await trio.sleep(1)
        kept.give_back()

    async with trio.open_nursery() as nursery:
        for owner in "aaaab":
            nursery.start_soon(work, owner)
            await wait_all_tasks_blocked()
        held[0].give_back()

    # One at a time fits, and of those who waited `b` is second.
    assert ["a", "b", "a", "a", "a"] == order


async def test_large_piece_is_not_passed_for_ever(autojump_clock: MockClock) -> None:
    room, order = ByteRoom(LIMIT), []
    held = [await take(room, owner, 25) for owner in "wxyz"]

    async def work(owner: str, size: int) -> None:
        await take(room, owner, size, wait_s=60)
        order.append(owner)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, "large", 50)
        await wait_all_tasks_blocked()
        nursery.start_soon(work, "small", 10)
        await wait_all_tasks_blocked()
        held[0].give_back()
        await wait_all_tasks_blocked()
        assert [] == order
        held[1].give_back()
        await wait_all_tasks_blocked()
        assert ["large"] == order
        held[2].give_back()

    assert ["large", "small"] == order


async def test_own_share_holds_nobody_up() -> None:
    room = ByteRoom(LIMIT)
    await take(room, "noisy", 40)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.take, "noisy", 40, 60)
        await wait_all_tasks_blocked()

        with trio.fail_after(1):
            await take(room, "neighbour", 40)
        nursery.cancel_scope.cancel()


async def test_growing_never_waits() -> None:
    room = ByteRoom(LIMIT)
    kept, other = room.keep_nothing("a"), room.keep_nothing("b")

    assert kept.grow_nowait(200)
    assert not other.grow_nowait(1)
    kept.shrink(50)
    assert other.grow_nowait(50)
    assert not kept.grow_nowait(1)
    assert 100 == room.used_bytes


async def test_cancelled_ones_keep_nothing(autojump_clock: MockClock) -> None:
    room = ByteRoom(LIMIT)
    held = await take(room, "x", 100)
    with trio.move_on_after(0.5):
        await room.take("a", 10, 60)
    scope = trio.CancelScope()

    async def wait() -> None:
        with scope:
            kept = await take(room, "b", 10, 60)
            try:
                await trio.sleep_forever()
            finally:
                kept.give_back()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        # Given and cancelled in the same tick.
        held.give_back()
        scope.cancel()

    assert 0 == room.used_bytes
    assert 100 == (await take(room, "c", 100)).size_bytes


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.integers(0, 5)), max_size=40)


@given(steps=STEPS)
async def test_bound_holds_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    room, kept = ByteRoom(LIMIT), list[KeptBytes]()
    for owner, size, drop in steps:
        if (new := await room.take(owner, size, 0)) is not None:
            kept.append(new)
        if drop < len(kept):
            kept.pop(drop).give_back()

        assert room.used_bytes == sum(one.size_bytes for one in kept)
        assert room.used_bytes <= LIMIT
    for one in kept:
        one.give_back()
    assert 0 == room.used_bytes
