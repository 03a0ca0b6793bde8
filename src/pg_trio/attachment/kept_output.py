"""What a work has sent, part by part, for readers that come and go.

Rules:
1. Parts are numbered from 0. A reader begins at any part that is still kept, and gets each of them once and in order.
2. While all parts fit into `limit_bytes`, all of them are kept, and the work never waits for a reader.
3. After that the output is not whole any more: only what a present reader has not taken is kept, and the work waits
   until that fits into `limit_bytes` again.
4. The same holds from the beginning if the output is kept elsewhere. Then a part goes straight to the only reader, if
   that waits for it and can take it without waiting: this saves a pass of the event loop for each token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar

import trio

P = TypeVar("P")

# 256 KiB: the end of an answer may hold the whole answer again (`response.completed` of OpenAI's Responses).
LAST_BYTES = 256 * 1024
# 16 KiB: some sixty tokens. While a reader is less behind, a part costs no pass of the event loop.
EAGER_BYTES = 16 * 1024


# Gives a part to a reader's client without waiting. What is left of it, None if the client has taken all.
DeliverNow: TypeAlias = Callable[[P], Awaitable[P | None]]


class OutputCut(Exception):
    """The work ended before its output was complete; the text says why."""


class OutputDropped(Exception):
    """The parts that the reader asks for are not kept any more."""


class KeptOutput(Generic[P]):
    """The output of one work. `size_of` is a part's size in bytes; `note_kept` is told how many bytes more are kept."""

    __slots__ = (
        "_changed",
        "_first",
        "_idle",
        "_parts",
        "_readers",
        "_size_of",
        "cut",
        "has_ended",
        "is_whole",
        "kept_bytes",
        "limit_bytes",
        "low_bytes",
        "note_kept",
    )

    def __init__(self, size_of: Callable[[P], int], limit_bytes: int, note_kept: Callable[[int], None]) -> None:
        self._size_of = size_of
        self.limit_bytes = limit_bytes
        # A work that waits goes on when so little is kept; None: the limit. With less it goes on seldom, and meanwhile
        # what comes from the provider comes together.
        self.low_bytes: int | None = None
        self.note_kept = note_kept
        self._parts: list[P] = []
        # The number of the first part that is kept.
        self._first = 0
        self._readers: set[OutputReader[P]] = set()
        # A reader that waits for the next part.
        self._idle: OutputReader[P] | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self.kept_bytes = 0
        # Whether every part is kept.
        self.is_whole = True
        self.has_ended = False
        # Why the output ends before it is complete.
        self.cut: str | None = None

    @property
    def next_part(self) -> int:
        """The number of the part that comes next."""
        return self._first + len(self._parts)

    async def add(self, part: P) -> None:
        """Keep a part for the readers. Waits only if the output is not whole, until the readers have taken enough."""
        reader = self._idle
        if reader is not None and not self._parts and not self.is_whole and len(self._readers) == 1:
            rest = await reader.take_now(part)
            if rest is None:
                self._first += 1
                await trio.lowlevel.checkpoint_if_cancelled()
                return
            part = rest
        self._parts.append(part)
        self._count(self._size_of(part))
        if self._changed:
            self._changed.unpark_all()
        if self.kept_bytes > self.limit_bytes:
            self.shed()
        if self.kept_bytes > EAGER_BYTES:
            # Its readers must come to run.
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        if self.kept_bytes > self.limit_bytes:
            while self.kept_bytes > self._enough_bytes and self._readers:
                await self._changed.park()

    @property
    def _enough_bytes(self) -> int:
        return self.limit_bytes if self.low_bytes is None else self.low_bytes

    def end(self, cut: str | None = None) -> None:
        """No part follows. `cut` says why, if the output is not complete. Only the first end counts."""
        if not self.has_ended:
            self.has_ended, self.cut = True, cut
            self._changed.unpark_all()

    def shed(self) -> None:
        """Keep only what a present reader has not taken."""
        self.is_whole = False
        place = min((reader.place for reader in self._readers), default=self.next_part)
        if (dropped := place - self._first) > 0:
            self._count(-sum(self._size_of(part) for part in self._parts[:dropped]))
            del self._parts[:dropped]
            self._first = place
            if self._changed and self.kept_bytes <= self._enough_bytes:
                self._changed.unpark_all()

    def let_through(self, more_bytes: int) -> None:
        """Let so many bytes more be kept, before the work waits for a reader."""
        self.limit_bytes, self.low_bytes = max(self.limit_bytes, self.kept_bytes + more_bytes), None
        self._changed.unpark_all()

    def open_reader(self, first_part: int, deliver_now: DeliverNow[P] | None = None) -> OutputReader[P]:
        """A reader that begins with this part, which may be still to come. Raises OutputDropped if it is not kept."""
        if not self._first <= first_part <= self.next_part:
            raise OutputDropped
        reader = OutputReader(self, first_part, deliver_now)
        self._readers.add(reader)
        return reader

    def close_reader(self, reader: OutputReader[P]) -> None:
        """The reader reads no more."""
        self._readers.discard(reader)
        if not self.is_whole:
            self.shed()

    async def wait_part(self, reader: OutputReader[P]) -> bool:
        """Wait for the part that the reader takes next; False if none follows. Raises OutputCut."""
        while reader.place >= self.next_part:
            if self.cut is not None:
                raise OutputCut(self.cut)
            if self.has_ended:
                return False
            self._idle = reader if reader.takes_now else None
            try:
                await self._changed.park()
            finally:
                self._idle = None
        return True

    def take(self, place: int) -> P:
        """The part of that number, which is there."""
        return self._parts[place - self._first]

    def note_taken(self) -> None:
        """A reader went on."""
        if not self.is_whole:
            self.shed()

    def _count(self, more_bytes: int) -> None:
        self.kept_bytes += more_bytes
        self.note_kept(more_bytes)


class OutputReader(Generic[P]):
    """Reads an output. `place` is the number of the part that it takes next."""

    __slots__ = ("_deliver_now", "_output", "place")

    def __init__(self, output: KeptOutput[P], place: int, deliver_now: DeliverNow[P] | None) -> None:
        self._output = output
        self._deliver_now = deliver_now
        self.place = place

    @property
    def takes_now(self) -> bool:
        """Whether its client may take a part while it waits."""
        return self._deliver_now is not None

    async def take_now(self, part: P) -> P | None:
        """Give the next part to its client, which waits for it. What is left of it."""
        assert self._deliver_now is not None
        rest = await self._deliver_now(part)
        if rest is None:
            self.place += 1
        return rest

    async def receive(self) -> P | None:
        """The next part, or None after the last one. Raises OutputCut if the output ends before it is complete."""
        if self.place < self._output.next_part or self._output.has_ended:
            # A client that is far behind must not keep others waiting.
            await trio.lowlevel.checkpoint()
        if not await self._output.wait_part(self):
            return None
        part = self._output.take(self.place)
        self.place += 1
        self._output.note_taken()
        return part
