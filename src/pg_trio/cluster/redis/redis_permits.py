"""Concurrent uses of a key, over all nodes (contract: ledger/protocols.py, Leases).

Rules:
1. A permit is a member of the key's sorted set, and its score is the time of its end by Redis's clock. One task renews
   all permits of a worker together, so the permits of a killed worker are free within PERMIT_S.
2. A permit whose call still runs is put back if it has ended meanwhile (Redis was away, or has lost its data).
3. Giving back is sent without waiting.
4. While Redis is away, a node counts its share of the limit in the memory that its workers share. What was acquired
   there is renewed in Redis, too, as soon as it is back.
5. A node whose name another gateway has claimed (node.py) acquires and renews nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from uuid import uuid4

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.keys import node_key, permits_key
from pg_trio.cluster.redis.resp import Argument, Reply, encode_command
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.cluster.share import share_of
from pg_trio.errors import Overloaded
from pg_trio.ledger.immediate import SyncLeases
from pg_trio.ledger.protocols import MUST_WAIT, MustWait

ACQUIRE, RENEW, COUNT = read_script("acquire"), read_script("renew"), read_script("count")

# A killed node's permits must be free within 10 s.
PERMIT_S = 8.0
# Three more tries before a permit ends.
RENEW_EVERY_S = 2.0
# Permits that are renewed by one command: it takes Redis 1 ms.
PERMITS_A_CALL = 1000
RETRY_AFTER_S = 1


@define(slots=True)
class _Held:
    """The permits of one key that this worker holds. `local`: how many of them the node's own memory counts."""

    permits: list[str] = field(factory=list)
    local: int = 0


@define(eq=False)
class RedisPermits:
    """See the rules. `run` renews."""

    client: RedisClient
    node: Node
    # The node's own counts, for when Redis is away.
    shared: SyncLeases
    refuses: bool
    _held: dict[bytes, _Held] = field(factory=dict)
    _worker: str = field(factory=lambda: uuid4().hex)
    _numbers: Iterator[int] = field(factory=count)

    def acquire_nowait(self, key: bytes, limit: int) -> bool | MustWait:
        """See Leases."""
        return MUST_WAIT if self.client.is_up else self._acquire_share(key, limit)

    async def acquire(self, key: bytes, limit: int) -> bool:
        """See Leases."""
        permit = self._new_permit()

        def undo(_: Reply) -> None:
            self._drop(key, permit)

        arguments = (self.node.id, limit, permit, int(PERMIT_S * 1000))
        keys = (permits_key(key), node_key(self.node.name))
        try:
            answer, _ = await self.client.run_script(ACQUIRE, keys, arguments, undo)
        except EngineAway:
            return self._acquire_share(key, limit)
        if answer == -1:
            raise Overloaded(RETRY_AFTER_S)
        if answer == 1:
            self._held.setdefault(key, _Held()).permits.append(permit)
        return answer == 1

    def release_nowait(self, key: bytes) -> None:
        """See Leases."""
        held = self._held.get(key)
        if held is None or not held.permits:
            return
        permit = held.permits.pop()
        if held.local:
            held.local -= 1
            self.shared.release(key)
        if not held.permits:
            del self._held[key]
        self._drop(key, permit)

    async def release(self, key: bytes) -> None:
        """See Leases."""
        self.release_nowait(key)

    def count_nowait(self, key: bytes) -> int | MustWait:
        """See Leases."""
        return MUST_WAIT if self.client.is_up else self.shared.count(key)

    async def count(self, key: bytes) -> int:
        """See Leases."""
        try:
            (out,) = await self.client.run_script(COUNT, (permits_key(key),), ())
        except EngineAway:
            return self.shared.count(key)
        return out if isinstance(out, int) else 0

    async def run(self) -> None:
        """Renew what this worker holds. Until cancelled."""
        while True:
            await trio.sleep(RENEW_EVERY_S)
            await self.renew()

    async def renew(self) -> None:
        """Renew everything now. Does nothing while Redis is away."""
        for keys, arguments in self._chunks():
            try:
                await self.client.run_script(RENEW, keys, arguments)
            except EngineAway:
                return

    def _chunks(self) -> list[tuple[list[Argument], list[Argument]]]:
        """The arguments of each call."""
        calls: list[tuple[list[Argument], list[Argument]]] = []
        room = 0
        for key, held in self._held.items():
            for start in range(0, len(held.permits), PERMITS_A_CALL):
                permits = held.permits[start : start + PERMITS_A_CALL]
                if room < len(permits) or not calls:
                    keys: list[Argument] = [node_key(self.node.name)]
                    arguments: list[Argument] = [self.node.id, int(PERMIT_S * 1000)]
                    calls.append((keys, arguments))
                    room = PERMITS_A_CALL
                keys.append(permits_key(key))
                arguments += [len(permits), *permits]
                room -= len(permits)
        return calls

    def _acquire_share(self, key: bytes, limit: int) -> bool:
        if self.refuses:
            raise Overloaded(RETRY_AFTER_S)
        held = self._held.get(key)
        # What this worker acquired from Redis before runs still, and counts.
        counted = 0 if held is None else len(held.permits) - held.local
        share = share_of(limit, self.node.live_nodes) - counted
        if share <= 0 or not self.shared.acquire(key, share):
            return False
        held = self._held.setdefault(key, _Held())
        held.permits.append(self._new_permit())
        held.local += 1
        return True

    def _drop(self, key: bytes, permit: str) -> None:
        self.client.tell(encode_command("ZREM", permits_key(key), permit))

    def _new_permit(self) -> str:
        return f"{self._worker}:{next(self._numbers)}"
