"""Room for bytes that are kept in memory: bounded altogether and for each owner, and given in fair turns.

Rules:
1. What is asked for must fit into what is left. An owner has half of all at most, so that another always finds some;
   one piece alone may be larger than its half, and the only one of all may be larger than the whole.
2. Those who wait stand in a line for each owner, and the owners take turns. One that waits for others' bytes holds the
   owners behind it up: otherwise small pieces would pass a large one for ever. One that waits for its own does not.
3. `grow_nowait` is for what turns out larger: it never waits, since two half-kept pieces could wait for each other.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from types import TracebackType
from typing import Self

import trio
from attrs import define, field


@define(eq=False)
class Kept:
    """Bytes that one owner keeps; a `with` block gives them back. `give_back` may be called twice."""

    _room: ByteRoom
    _owner: Hashable
    size_bytes: int
    given: trio.Event | None = field(default=None)

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
        """Whose they are."""
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
        self._line: OrderedDict[Hashable, deque[Kept]] = OrderedDict()
        self.used_bytes = 0

    async def take(self, owner: Hashable, size_bytes: int, wait_s: float) -> Kept | None:
        """Room for so many bytes, or None where there was none within `wait_s`."""
        kept = Kept(self, owner, size_bytes)
        if not self._line and self._fits(owner, size_bytes):
            self._count(owner, size_bytes)
            return kept
        kept.given = trio.Event()
        self._line.setdefault(owner, deque()).append(kept)
        self._give_to_line()
        try:
            with trio.move_on_after(wait_s):
                await kept.given.wait()
        except BaseException:
            self._leave(kept)
            raise
        if not kept.given.is_set():
            self._leave(kept)
            return None
        return kept

    def keep_nothing(self, owner: Hashable) -> Kept:
        """For what grows from nothing."""
        return Kept(self, owner, 0)

    def add_nowait(self, kept: Kept, more_bytes: int) -> bool:
        """See Kept.grow_nowait."""
        if not self._fits(kept.owner, more_bytes, alone=self.used_bytes == kept.size_bytes):
            return False
        kept.size_bytes += more_bytes
        self._count(kept.owner, more_bytes)
        return True

    def resize(self, kept: Kept, size_bytes: int) -> None:
        """See Kept.shrink."""
        self._count(kept.owner, size_bytes - kept.size_bytes)
        kept.size_bytes = size_bytes
        self._give_to_line()

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

    def _give_to_line(self) -> None:
        """Give room to those who wait, in turn, as far as there is any."""
        served = True
        while served:
            served = False
            for owner in list(self._line):
                first = self._line[owner][0]
                if self._fits(owner, first.size_bytes):
                    self._give(owner, first)
                    served = True
                elif self._has_share(owner, first.size_bytes):
                    # It waits for others' bytes, and no later request passes it.
                    return

    def _give(self, owner: Hashable, first: Kept) -> None:
        assert first.given is not None
        line = self._line.pop(owner)
        line.popleft()
        if line:
            # Behind all others.
            self._line[owner] = line
        self._count(owner, first.size_bytes)
        first.given.set()

    def _leave(self, kept: Kept) -> None:
        assert kept.given is not None
        if kept.given.is_set():
            kept.give_back()
            return
        line = self._line[kept.owner]
        line.remove(kept)
        if not line:
            del self._line[kept.owner]
        self._give_to_line()
