"""Room for bytes that are kept in memory: bounded altogether and for each owner, and given in fair turns.

Rules:
1. A request must fit into what is left. An owner has half of all at most, so that another owner always finds some. One
   piece alone may be larger than its owner's half, and the only piece of all may be larger than the whole.
2. Owners that wait take turns. An owner that waits for others' bytes holds up the owners behind it: otherwise small
   pieces would pass a large one for ever. An owner that waits for its own bytes does not.
3. `grow_nowait` is for a piece that turns out larger. It never waits: two pieces that grow could wait for each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from types import TracebackType
from typing import Self

import trio
from attrs import define

from pg_trio.racing.wait_queue import WaitQueue


@define(eq=False)
class KeptBytes:
    """Bytes that one owner keeps; a `with` block gives them back. `give_back` may be called twice."""

    _room: ByteRoom
    _owner: Hashable
    size_bytes: int

    def grow_nowait(self, more_bytes: int) -> bool:
        """Keep so many more, if there is room now."""
        return self._room.add_nowait(self, more_bytes)

    def shrink(self, size_bytes: int) -> None:
        """Keep only so many."""
        self._room.resize(self, min(size_bytes, self.size_bytes))

    def give_back(self) -> None:
        """Keep none."""
        self._room.resize(self, 0)

    @property
    def owner(self) -> Hashable:
        """The owner of the bytes."""
        return self._owner

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()


class ByteRoom:
    """Room for `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used_by: Counter[Hashable] = Counter()
        self._queue = WaitQueue()
        self.used_bytes = 0

    async def take(self, owner: Hashable, size_bytes: int, wait_s: float) -> KeptBytes | None:
        """Room for so many bytes, or None if there was none within `wait_s`."""
        if self._queue.length or not self._fits(owner, size_bytes):
            is_served = await self._wait(owner, size_bytes, wait_s)
            return KeptBytes(self, owner, size_bytes) if is_served else None
        self._count(owner, size_bytes)
        return KeptBytes(self, owner, size_bytes)

    async def _wait(self, owner: Hashable, size_bytes: int, wait_s: float) -> bool:
        """Whether there was room in time. If so, the bytes are counted."""
        try:
            with self._queue.join(owner, size_bytes) as waiter, trio.move_on_after(wait_s):
                self._serve_waiting()
                await waiter.wait()
            return waiter.is_served
        finally:
            # A waiter that left does not hold up the owners behind it any more (rule 2).
            self._serve_waiting()

    def keep_nothing(self, owner: Hashable) -> KeptBytes:
        """Bytes for a piece that starts empty and grows."""
        return KeptBytes(self, owner, 0)

    def add_nowait(self, kept: KeptBytes, more_bytes: int) -> bool:
        """See KeptBytes.grow_nowait."""
        if not self._fits(kept.owner, more_bytes, alone=self.used_bytes == kept.size_bytes):
            return False
        kept.size_bytes += more_bytes
        self._count(kept.owner, more_bytes)
        return True

    def resize(self, kept: KeptBytes, size_bytes: int) -> None:
        """See KeptBytes.shrink."""
        self._count(kept.owner, size_bytes - kept.size_bytes)
        kept.size_bytes = size_bytes
        self._serve_waiting()

    def _fits(self, owner: Hashable, size_bytes: int, *, alone: bool = False) -> bool:
        if alone or not self.used_bytes:
            return True
        return self.used_bytes + size_bytes <= self._limit and self._has_share(owner, size_bytes)

    def _has_share(self, owner: Hashable, size_bytes: int) -> bool:
        used = self._used_by[owner]
        return not used or used + size_bytes <= self._limit // 2

    def _count(self, owner: Hashable, size_bytes: int) -> None:
        self.used_bytes += size_bytes
        self._used_by[owner] += size_bytes
        if not self._used_by[owner]:
            del self._used_by[owner]

    def _serve_waiting(self) -> None:
        """Give free room to the waiters, in turn."""
        served = True
        while served:
            served = False
            for waiter in list(self._queue.heads()):
                if self._fits(waiter.owner, waiter.size):
                    self._count(waiter.owner, waiter.size)
                    self._queue.serve(waiter)
                    served = True
                elif self._has_share(waiter.owner, waiter.size):
                    # It waits for others' bytes, and no later request passes it.
                    return
