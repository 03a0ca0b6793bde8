"""Which data Redis has: the heart is woken by whoever finds out, and requests by the heart."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pg_trio.cluster.redis.redis_data import OTHERS_TELL_S, RedisData


async def test_other_mark_says_that_data_is_lost() -> None:
    data = RedisData()

    assert [False, False, True] == [data.note_mark(mark) for mark in (b"a", b"a", b"b")]


def test_who_waits_for_a_suspicion_is_woken_after_a_beat_of_a_fresh_link() -> None:
    data = RedisData()
    awaited = data.is_suspect

    data.note_mark(b"a")
    data.suspect()

    assert awaited.is_set()


def test_beat_ends_a_suspicion() -> None:
    data = RedisData()
    data.suspect()

    data.note_mark(b"b")

    assert not data.is_suspect.is_set()


async def test_request_waits_for_the_beat_and_for_others(autojump_clock: MockClock) -> None:
    data, went_on = RedisData(), []

    async def request() -> None:
        await data.wait_for_beat(1.0)
        went_on.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request)
        await trio.sleep(0.5)
        beaten_at = trio.current_time()
        data.note_mark(b"b")
        await wait_all_tasks_blocked()
        assert not went_on

    assert [beaten_at + OTHERS_TELL_S] == went_on


async def test_wait_for_a_beat_has_a_limit(autojump_clock: MockClock) -> None:
    began_at = trio.current_time()

    await RedisData().wait_for_beat(0.05)

    assert trio.current_time() == began_at + 0.05
