"""When each node last gave a sign of life by way of Redis, as one worker has seen it.

Rules:
1. What is not known is told as such: while Redis is away, and until it has been watched for as long as is asked for. A
   Redis that has lost its data, or another one after a failover, is watched anew.
2. Times are of this worker's monotonic clock. Redis gives the length of a node's silence by its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from contextlib import suppress

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.keys import BEATS, MARK
from pg_trio.cluster.redis.resp import Reply
from pg_trio.cluster.redis.scripts import read_script

SIGHTED = read_script("sighted", 1)

LOOK_EVERY_S = 5.0
# Two looks may fail: a call has a limit of some milliseconds.
GOOD_FOR_S = 3 * LOOK_EVERY_S


@define(eq=False)
class NodeSightings:
    """See the rules. `run` looks."""

    client: RedisClient
    clock: Callable[[], float] = trio.current_time
    _seen_at: dict[str, float] = field(factory=dict)
    _looked_at: float = -math.inf
    _watched_since: float = math.inf
    # Which data of which Redis was seen: its mark, and when the link to it was made.
    _seen: tuple[Reply, float] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(EngineAway):
                await self.look()
            await trio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once. Raises EngineAway."""
        mark, *silences = await self.client.run_script(SIGHTED, (BEATS, MARK), ())
        now = self.clock()
        if self._seen != (mark, self.client.linked_at):
            self._seen, self._watched_since = (mark, self.client.linked_at), now
        for node_id, silent_ms in zip(silences[::2], silences[1::2], strict=False):
            if isinstance(node_id, bytes) and isinstance(silent_ms, int):
                name = node_id.decode("ascii", "replace")
                self._seen_at[name] = max(self._seen_at.get(name, -math.inf), now - silent_ms / 1000)
        self._looked_at = now

    def living(self, silent_s: float) -> Collection[str] | None:
        """The ids of the nodes that gave a sign of life within `silent_s`; None if it is not known."""
        now = self.clock()
        if now - self._looked_at >= GOOD_FOR_S or now - self._watched_since < silent_s:
            return None
        self._seen_at = {name: at for name, at in self._seen_at.items() if now - at < silent_s}
        return list(self._seen_at)
