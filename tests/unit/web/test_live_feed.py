"""The live feed under Trio's test clock: one reading for all readers, a bounded ring, slow readers dropped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock

from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import parse_filter
from pg_trio.errors import Overloaded, StillStarting, StoreError
from pg_trio.web.admin.live_feed import KEEP_ALIVE_S, MOST_READERS, POLL_S, RING_ROWS, LiveBody, LiveFeed
from pg_trio.web.admin.row_names import RowNames

ROW = LogRow(request_id=UUID(int=0), at=0.0, status=200, latency_ms=1.0, endpoint_slug="ask")


@define
class LogOfRows:
    """A log whose rows have the ids 1, 2, …; `failure` is raised in place of an answer."""

    rows: list[LogRow] = field(factory=list)
    reads: int = 0
    failure: Exception | None = None

    def write(self, count: int = 1, **more: Any) -> None:
        self.rows += [evolve(ROW, request_id=UUID(int=len(self.rows) + n + 1), **more) for n in range(count)]

    async def newest_id(self) -> int:
        return len(self.rows)

    async def after(self, row_id: int, limit: int) -> list[tuple[int, LogRow]]:
        self.reads += 1
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        return [(number, row) for number, row in enumerate(self.rows, 1) if number > row_id][:limit]


@define
class OneGateway:
    """A desk whose gateway has this log."""

    log_view: LogOfRows

    @property
    def gateway(self) -> OneGateway:
        return self


@pytest.fixture
def log() -> LogOfRows:
    return LogOfRows()


@pytest.fixture
def feed(log: LogOfRows) -> LiveFeed:
    return LiveFeed(cast(Any, OneGateway(log)), RowNames({}))


@asynccontextmanager
async def reading(feed: LiveFeed, words: str = "", seen: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
    body = LiveBody(feed, parse_filter(words), RowNames({}), *await feed.begin(seen))
    async with body as events:
        assert b": live" in await anext(events)
        yield events


def ids_of(events: bytes) -> list[int]:
    return [UUID(json.loads(line[6:])["request_id"]).int for line in events.splitlines() if line.startswith(b"data: ")]


async def test_reader_gets_the_rows_to_come(feed: LiveFeed, log: LogOfRows, autojump_clock: MockClock) -> None:
    log.write(3)
    async with reading(feed) as events:
        log.write(2)

        assert [4, 5] == ids_of(await anext(events))


async def test_readers_share_their_readings(feed: LiveFeed, log: LogOfRows, autojump_clock: MockClock) -> None:
    async with reading(feed) as one, reading(feed) as other:
        for number in range(1, 6):
            log.write()
            assert [number] == ids_of(await anext(one)) == ids_of(await anext(other))

    # One reading for each row, and perhaps some between them; not one for each reader.
    assert log.reads <= trio.current_time() / POLL_S + 1


async def test_filter_leaves_out_rows(feed: LiveFeed, log: LogOfRows, autojump_clock: MockClock) -> None:
    async with reading(feed, "status:5xx") as events:
        log.write()
        log.write(status=502)

        assert [2] == ids_of(await anext(events))


async def test_slow_reader_is_dropped(feed: LiveFeed, log: LogOfRows, autojump_clock: MockClock) -> None:
    async with reading(feed) as slow, reading(feed) as quick:
        for _ in range(3):
            log.write(RING_ROWS)
            assert RING_ROWS == len(ids_of(await anext(quick)))

        last = await anext(slow)
        assert last.startswith(b"event: dropped\n")
        assert not json.loads(last.partition(b"data: ")[2])["ok"]
        with pytest.raises(StopAsyncIteration):
            await anext(slow)


async def test_reader_just_within_the_ring_misses_nothing(
    feed: LiveFeed, log: LogOfRows, autojump_clock: MockClock
) -> None:
    async with reading(feed) as slow, reading(feed) as quick:
        log.write(RING_ROWS)
        await anext(quick)

        assert list(range(1, RING_ROWS + 1)) == ids_of(await anext(slow))


async def test_silent_stream_is_kept_alive(feed: LiveFeed, autojump_clock: MockClock) -> None:
    async with reading(feed) as events:
        began = trio.current_time()

        assert await anext(events) == b": keep-alive\n\n"
        assert KEEP_ALIVE_S <= trio.current_time() - began <= KEEP_ALIVE_S + 2 * POLL_S


async def test_reader_that_comes_back_gets_what_it_missed(
    feed: LiveFeed, log: LogOfRows, autojump_clock: MockClock
) -> None:
    log.write(5)
    async with reading(feed, seen=3) as events:
        assert [4, 5] == ids_of(await anext(events))
        log.write()
        assert [6] == ids_of(await anext(events))


@pytest.mark.parametrize("seen", [0, 9, 10**17])
async def test_impossible_last_event_begins_anew(
    feed: LiveFeed, log: LogOfRows, autojump_clock: MockClock, seen: int
) -> None:
    log.write(RING_ROWS + 5)
    async with reading(feed, seen=seen if seen != 9 else 1) as events:
        log.write()
        assert [RING_ROWS + 6] == ids_of(await anext(events))


@pytest.mark.parametrize("failure", [StoreError("gone"), StillStarting()])
async def test_stream_ends_where_the_log_cannot_be_read(
    feed: LiveFeed, log: LogOfRows, autojump_clock: MockClock, failure: Exception
) -> None:
    async with reading(feed) as events:
        log.failure = failure
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_readers_are_bounded(feed: LiveFeed) -> None:
    for _ in range(MOST_READERS):
        feed.check_room()
        feed.join()

    with pytest.raises(Overloaded):
        feed.check_room()
    feed.leave()
    feed.check_room()


async def test_reader_that_is_cancelled_leaves(feed: LiveFeed, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        async with reading(feed) as events:
            await anext(events)

    assert 0 == feed._readers
