"""Which data Redis has, as one worker knows it.

With its first key comes a mark (beat.lua). Data without it, or with another one, is not what this worker has told of:
Redis was emptied (FLUSHALL), maybe under a link that stays. Scripts that ration compare the mark, and refuse (LOST),
until the worker has beaten again and told what it has used.
"""

from __future__ import annotations

import math

import trio
from attrs import define, field

LOST = "LOST"


@define(eq=False)
class RedisData:
    """The mark (b"" before the first beat), and when Redis lost its data last, by Trio's clock."""

    mark: bytes = b""
    lost_at: float = -math.inf
    # Set when a script has refused.
    is_suspect: trio.Event = field(factory=trio.Event)

    def suspect(self) -> None:
        """A script met other data."""
        self.is_suspect.set()

    def note_mark(self, mark: bytes) -> bool:
        """A beat has met data with this mark. Whether it is other data than before."""
        is_lost = bool(self.mark) and mark != self.mark
        self.mark = mark
        self.is_suspect = trio.Event()
        if is_lost:
            self.lost_at = trio.current_time()
        return is_lost
