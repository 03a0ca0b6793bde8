"""What a worker counts against Redis: the time that Redis takes, not the time in which the worker does not run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, memory_stream_pair, wait_all_tasks_blocked

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.redis_link import CHECKS, RedisLink
from pg_trio.cluster.redis.resp import encode_command

LIMIT_S = 0.5
LOOK_S = LIMIT_S / CHECKS
# Far beyond the limit, and beyond what ends a link.
STALL_S = 5.0
PING = encode_command("PING")

Server = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


@asynccontextmanager
async def running_link(clock: MockClock) -> AsyncIterator[tuple[RedisLink, Server]]:
    """A link that has been answered once, so that its limits are under watch, and its server."""
    ours, server = memory_stream_pair()
    link = RedisLink(ours)
    link.limit_s = LIMIT_S
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        first = link.send(PING)
        await wait_all_tasks_blocked()
        await server.send_all(b"+PONG\r\n")
        await first.wait()
        clock.jump(LOOK_S / 2)
        yield link, server
        nursery.cancel_scope.cancel()


async def run_for(clock: MockClock, looks: int) -> None:
    """The worker runs for so many looks at what is late."""
    for _ in range(looks):
        clock.jump(LOOK_S)
        await wait_all_tasks_blocked()


async def test_stall_before_the_write_is_not_redis_s(mock_clock: MockClock) -> None:
    async with running_link(mock_clock) as (link, server):
        pending = link.send(PING)
        mock_clock.jump(STALL_S)
        await run_for(mock_clock, CHECKS - 2)
        assert not pending.is_settled

        await server.send_all(b"+PONG\r\n")

        assert ("PONG", True) == (await pending.wait(), link.is_prompt)


async def test_stall_after_the_write_leaves_time_for_the_reply(mock_clock: MockClock) -> None:
    async with running_link(mock_clock) as (link, server):
        pending = link.send(PING)
        await wait_all_tasks_blocked()
        mock_clock.jump(STALL_S)
        await wait_all_tasks_blocked()
        assert not pending.is_settled

        # The machine was stopped as a whole: the reply comes after the stall.
        await server.send_all(b"+PONG\r\n")

        assert ("PONG", True) == (await pending.wait(), link.is_prompt)


async def test_silence_after_a_stall_is_redis_s(mock_clock: MockClock) -> None:
    async with running_link(mock_clock) as (link, _):
        pending = link.send(PING)
        mock_clock.jump(STALL_S)
        await run_for(mock_clock, 2 * CHECKS - 1)

        assert pending.is_settled
        with pytest.raises(EngineAway, match="in time"):
            await pending.wait()
        assert not link.is_prompt


async def test_later_commands_give_earlier_ones_no_more_time(mock_clock: MockClock) -> None:
    async with running_link(mock_clock) as (link, _):
        pending = link.send(PING)
        for _ in range(2 * CHECKS - 1):
            await run_for(mock_clock, 1)
            link.send(PING)

        assert pending.is_settled
        with pytest.raises(EngineAway, match="in time"):
            await pending.wait()
