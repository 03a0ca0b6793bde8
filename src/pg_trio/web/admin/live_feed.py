"""The requests of all workers as they end, for pages that show them live.

Rules:
1. The log's file is followed: its new rows are those of all workers. A row is there about 50 ms after its request's end
   (`log_batch_ms`).
2. A worker reads the file at most once in POLL_S, however many readers it has, and only while it has some. Rows are
   kept in a ring of RING_ROWS for all of them.
3. A reader that is behind the ring's oldest row is told so and dropped. Readers are bounded, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import orjson
import trio
from attrs import define, field, frozen
from quart.wrappers.response import ResponseBody

from pg_trio.domain.log_row import LogRow
from pg_trio.domain.request_filter import RequestFilter
from pg_trio.errors import LogUnavailable, Overloaded, StillStarting, StoreError
from pg_trio.web.admin.request_shapes import describe_request, texts_of_row

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import Desk
    from pg_trio.web.admin.row_names import RowNames

# To a person rows appear at once, and a worker looks five times a second at most.
POLL_S = 0.2
# 2,000 rows: two seconds of a thousand requests each second, a megabyte.
RING_ROWS = 2_000
MOST_READERS = 64
# The comment that keeps proxies from closing a silent stream; nginx's proxy_read_timeout is 60 s.
KEEP_ALIVE_S = 15.0


@frozen
class LiveRow:
    """A row, and how the API shows it."""

    id: int
    row: LogRow
    shown: bytes


@define(eq=False)
class LiveFeed:
    """The newest rows of the file, while there are readers."""

    _desk: Desk
    _names: RowNames
    _ring: deque[LiveRow] = field(factory=lambda: deque(maxlen=RING_ROWS))
    # The last row that was read; None before the first reader.
    _last: int | None = None
    _read_at: float = 0.0
    _lock: trio.Lock = field(factory=trio.Lock)
    _readers: int = 0

    def check_room(self) -> None:
        """Return if there may be one more reader. Raises Overloaded."""
        if self._readers >= MOST_READERS:
            raise Overloaded(1)

    def join(self) -> None:
        """One more reader."""
        self._readers += 1

    def leave(self) -> None:
        """One reader less."""
        self._readers -= 1

    async def begin(self, seen: int | None) -> tuple[int, list[LiveRow]]:
        """Where a new reader begins, and the rows that it has missed since the last one that it has seen, if it came
        back soon. Raises StoreError."""
        view = self._desk.gateway.log_view
        async with self._lock:
            if not self._readers or self._last is None:
                # Nothing was read while there were no readers.
                self._ring.clear()
                self._last = await view.newest_id()
            last = self._last
        if seen is None or seen >= last:
            return last, []
        missed = [(row_id, row) for row_id, row in await view.after(seen, RING_ROWS + 1) if row_id <= last]
        return last, await self._show(missed) if len(missed) <= RING_ROWS else []

    async def after(self, row_id: int) -> list[LiveRow] | None:
        """The rows after that one; None if some of them are gone from the ring. Raises StoreError, StillStarting."""
        async with self._lock:
            if trio.current_time() - self._read_at >= POLL_S:
                await self._read()
        if self._ring and self._ring[0].id > row_id + 1 and len(self._ring) == RING_ROWS:
            return None
        return [one for one in self._ring if one.id > row_id]

    async def _read(self) -> None:
        view = self._desk.gateway.log_view
        if self._last is None:
            self._last = await view.newest_id()
        full = True
        while full:
            found = await view.after(self._last, RING_ROWS)
            self._read_at = trio.current_time()
            self._ring.extend(await self._show(found))
            self._last = found[-1][0] if found else self._last
            full = len(found) == RING_ROWS

    async def _show(self, found: list[tuple[int, LogRow]]) -> list[LiveRow]:
        if any(row.token_id is not None and row.token_id not in self._names.tokens for _, row in found):
            await self._names.refresh(self._desk)
        return [LiveRow(row_id, row, orjson.dumps(describe_request(row, self._names))) for row_id, row in found]


@define(eq=False)
class LiveBody(ResponseBody):
    """The body of a stream: server-sent events, one a request. Quart closes it, also when the client has left."""

    _feed: LiveFeed
    _words: RequestFilter
    _names: RowNames
    # The last row that this reader was given, and rows before it that it is given first.
    _last: int
    _missed: list[LiveRow]
    _events: Any = field(default=None, init=False)

    async def __aenter__(self) -> AsyncIterator[bytes]:
        self._feed.join()
        self._events = self._follow()
        events: AsyncIterator[bytes] = self._events
        return events

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.leave()
        # It holds nothing that would wait.
        await self._events.aclose()

    async def _follow(self) -> AsyncIterator[bytes]:
        # Opens the stream in the browser at once; after a cut it comes back in 2 s, where it was.
        yield b"retry: 2000\n: live\n\n"
        if self._missed:
            yield self._choose(self._missed)
        silent_since = trio.current_time()
        while True:
            try:
                rows = await self._feed.after(self._last)
            except (StoreError, LogUnavailable, StillStarting):
                return
            if rows is None:
                yield b'event: dropped\ndata: {"ok":false,"error":"Requests came faster than they were read."}\n\n'
                return
            if rows:
                self._last = rows[-1].id
            if events := self._choose(rows):
                silent_since = trio.current_time()
                yield events
            elif trio.current_time() - silent_since >= KEEP_ALIVE_S:
                silent_since = trio.current_time()
                yield b": keep-alive\n\n"
            await trio.sleep(POLL_S)

    def _choose(self, rows: list[LiveRow]) -> bytes:
        """The events of those rows that the filter selects."""
        chosen = [one for one in rows if self._words.holds(one.row.status, texts_of_row(one.row, self._names))]
        return b"".join([b"id: %d\ndata: %b\n\n" % (one.id, one.shown) for one in chosen])
