"""The moments after Redis's return, in which it does not know yet what was admitted without it.

Until all workers have told, what the others admitted is within their nodes' shares. So a request needs both: Redis and
its node's share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from attrs import define, field

from pg_trio.cluster.redis.client import RedisClient

# After an absence of more than SHORT_S, every worker that can reach Redis has a link within SETTLE_S (RECONNECT_S,
# SILENT_LIMIT_S), and has told. After a shorter one the links are there, and tell at once.
SHORT_S, SETTLE_S = 1.0, 1.5
SHORT_SETTLE_S = 0.25


@define(eq=False)
class RedisReturn:
    """Knows whether all have told. Times are `clock`'s seconds."""

    client: RedisClient
    clock: Callable[[], float] = time.monotonic
    _linked_at: float = 0.0
    _until: float = field(default=-math.inf)
    _lost_until: float = field(default=-math.inf)

    def is_under_way(self, now: float) -> bool:
        """Whether Redis does not know all yet."""
        return now < self._until

    def is_after_loss(self, now: float) -> bool:
        """The same where Redis has lost its data: it may be told of more than its buckets hold."""
        return now < self._lost_until

    def note_beat(self, has_lost_data: bool) -> bool:
        """Redis has answered a beat. Whether it must be told all: with the first beat of a link, or after lost data."""
        if has_lost_data:
            # Each worker beats within a second, and tells.
            self._hold(SETTLE_S)
            self._lost_until = self._until
        if self._linked_at == self.client.linked_at:
            return has_lost_data
        self._linked_at = self.client.linked_at
        if self.client.away_s:
            self._hold(SETTLE_S if self.client.away_s > SHORT_S else SHORT_SETTLE_S)
        return True

    def note_late(self) -> None:
        """Redis answers, which it did not in time."""
        self._hold(SHORT_SETTLE_S)

    def _hold(self, time_s: float) -> None:
        self._until = max(self._until, self.clock() + time_s)
