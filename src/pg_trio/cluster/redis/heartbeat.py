"""A worker's sign of life for its node: it keeps the node's name, and learns how many nodes live."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from uuid import uuid4

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.keys import BEATS, MARK, NODES, node_key
from pg_trio.cluster.redis.redis_link import RedisLink
from pg_trio.cluster.redis.resp import Argument, Reply
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.errors import StoreError

logger = logging.getLogger("pg_trio.cluster")

BEAT = read_script("beat", 3)

BEAT_EVERY_S = 1.0
# The least time between two beats, also where scripts say that Redis has lost its data.
SUSPECT_PAUSE_S = 0.02
# A node that was silent for three beats does not count. Its share of the limits goes to the others.
NODE_LIFE_S = 3.0
# Of the mark that each script compares.
MARK_CHARS = 12
# A gateway that starts again on a new disk waits for the end of its former self.
CLAIM_TRIES, CLAIM_PAUSE_S = 8, 0.5


@define(eq=False)
class Heartbeat:
    """Beats until cancelled. `on_beat` is called after each beat, with whether Redis has lost its data before it."""

    client: RedisClient
    node: Node
    on_beat: list[Callable[[bool], None]] = field(factory=list)

    async def claim(self) -> None:
        """Claim the node's name. Raises StoreError if a live node has it; EngineAway."""
        for _ in range(CLAIM_TRIES):
            await self._beat()
            if not self.node.is_fenced:
                return
            await trio.sleep(CLAIM_PAUSE_S)
        raise StoreError(
            f"cluster.node: another gateway, with another data_dir, runs as {self.node.name!r}; give each its own name"
        )

    async def run(self) -> None:
        """The task of a worker."""
        while True:
            # Each link begins with a beat (`open`).
            await trio.sleep(SUSPECT_PAUSE_S)
            with trio.move_on_after(BEAT_EVERY_S - SUSPECT_PAUSE_S):
                await self.client.data.is_suspect.wait()
            # The client says that Redis is away. The number of nodes stays as it was, and so does each one's share.
            with suppress(EngineAway):
                await self._beat()

    async def open(self, link: RedisLink) -> Callable[[], None]:
        """The first beat of a fresh link (see client.Opening). So Redis is told what it does not know before it is
        asked for more. Raises EngineAway."""
        sent_at = trio.current_time()
        reply = await link.send(BEAT.call(*self._arguments())).wait()
        return partial(self._note, sent_at, BEAT.read(reply))

    async def _beat(self) -> None:
        sent_at = trio.current_time()
        self._note(sent_at, await self.client.run_script(BEAT, *self._arguments()))

    def _arguments(self) -> tuple[Sequence[Argument], Sequence[Argument]]:
        keys = (node_key(self.node.name), NODES, MARK, BEATS)
        return keys, (self.node.id, self.node.name, int(NODE_LIFE_S * 1000), uuid4().hex[:MARK_CHARS])

    def _note(self, sent_at: float, reply: list[Reply]) -> None:
        is_ours, live, mark = reply[:3]
        if is_ours:
            self.node.note_beat(sent_at)
        if not is_ours and not self.node.is_fenced:
            logger.error("another gateway runs as node %r: give each node a name of its own", self.node.name)
        self.node.is_fenced = not is_ours
        is_lost = self.client.data.note_mark(mark if isinstance(mark, bytes) else b"")
        self._count_nodes(live if isinstance(live, int) else 1)
        if is_lost:
            logger.warning("Redis has lost its data: limits are counted anew, by what each node has used")
        for tell in self.on_beat:
            tell(is_lost)

    def _count_nodes(self, live: int) -> None:
        """When Redis is back, or is emptied, the first node to beat is the only one there: fewer nodes count once all
        had the time."""
        known_since = max(self.client.linked_at, self.client.data.lost_at)
        if live >= self.node.live_nodes or trio.current_time() >= known_since + NODE_LIFE_S:
            self.node.note_nodes(max(1, live))
