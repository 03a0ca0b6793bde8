"""Which data Redis has, as one worker knows it.

With its first key comes a mark (beat.lua). Data without it, or with another one, is not what this worker has told of:
Redis was emptied (FLUSHALL), maybe under a link that stays. Scripts that ration compare the mark, and refuse (LOST),
until the worker has beaten again and told what it has used. A request waits for this beat (`wait_for_beat`), because
what other workers have told may leave it less than its node's share.
"""

from __future__ import annotations

import math

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway

LOST = "LOST"
# For other workers that have requests: they have met it, too, and have told by then. A few replies of a busy server.
OTHERS_TELL_S = 0.03


class DataLost(EngineAway):
    """A script has met other data."""


@define(eq=False)
class RedisData:
    """The mark (b"" before the first beat), and when Redis lost its data last, by Trio's clock."""

    mark: bytes = b""
    lost_at: float = -math.inf
    # Set when a script has refused.
    is_suspect: trio.Event = field(factory=trio.Event)
    # Set with the next beat.
    _has_beaten: trio.Event = field(factory=trio.Event, init=False)

    def suspect(self) -> None:
        """A script met other data."""
        self.is_suspect.set()

    async def wait_for_beat(self, limit_s: float) -> None:
        """Until the worker has beaten and told, and others have had a moment for it; or a limit."""
        with trio.move_on_after(limit_s):
            await self._has_beaten.wait()
            await trio.sleep(OTHERS_TELL_S)

    def note_mark(self, mark: bytes) -> bool:
        """A beat has met data with this mark. Whether it is other data than before.

        Those who wait for the beat go on when its caller has told.
        """
        is_lost = bool(self.mark) and mark != self.mark
        self.mark = mark
        if self.is_suspect.is_set():
            # Else the heart waits for it.
            self.is_suspect = trio.Event()
        self._has_beaten.set()
        self._has_beaten = trio.Event()
        if is_lost:
            self.lost_at = trio.current_time()
        return is_lost
