"""Concurrent uses of a key, over all nodes (contract: ledger/protocols.py, Leases).

Rules:
1. A permit is a member of the key's sorted set, and its score is the time of its end by Redis's clock. One task renews
   all permits of a worker together, so the permits of a killed worker are free within PERMIT_S.
2. A permit whose call still runs is put back if it has ended meanwhile (Redis was away, or has lost its data).
3. Giving back is sent without waiting.
4. While Redis is away, a node has its share of the limit. All its workers' permits are counted in the memory that they
   share, also those from Redis, because their calls still run.
5. When Redis is back, each worker renews its permits first, and for a moment a permit needs both (redis_return.py).
6. A node whose name another gateway has claimed (node.py) acquires and renews nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from uuid import uuid4

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.keys import MARK, node_key, permits_key
from pg_trio.cluster.redis.redis_data import DataLost
from pg_trio.cluster.redis.redis_return import RedisReturn
from pg_trio.cluster.redis.resp import Argument, Reply, encode_command
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.cluster.share import share_of
from pg_trio.errors import Overloaded
from pg_trio.ledger.immediate import SyncLeases
from pg_trio.ledger.protocols import MUST_WAIT, MustWait

ACQUIRE, RENEW, COUNT = read_script("acquire", 2), read_script("renew"), read_script("count", 1)

# A killed node's permits must be free within 10 s.
PERMIT_S = 8.0
# Three more tries before a permit ends.
RENEW_EVERY_S = 2.0
# Permits that are renewed by one command: it takes Redis 1 ms.
PERMITS_A_CALL = 1000
RETRY_AFTER_S = 1
# What Redis has given counts, however many there are.
NO_LIMIT = 2**31 - 1


@define(slots=True)
class _Held:
    """The permits of one key that this worker holds. `counted`: how many of them the node's own memory counts."""

    permits: list[str] = field(factory=list)
    counted: int = 0


@define(eq=False)
class RedisPermits:
    """See the rules. `run` renews."""

    client: RedisClient
    node: Node
    # The node's own counts, for when Redis is away.
    shared: SyncLeases
    refuses: bool
    clock: Callable[[], float] = time.monotonic
    _held: dict[bytes, _Held] = field(factory=dict)
    _return: RedisReturn = field(init=False)
    _worker: str = field(factory=lambda: uuid4().hex)
    _numbers: Iterator[int] = field(factory=count)

    @_return.default
    def _make_return(self) -> RedisReturn:
        return RedisReturn(self.client, self.clock)

    def acquire_nowait(self, key: bytes, limit: int) -> bool | MustWait:
        """See Leases."""
        return MUST_WAIT if self.client.is_up else self._acquire_of_share(key, limit)

    async def acquire(self, key: bytes, limit: int) -> bool:
        """See Leases."""
        if not self.client.is_up:
            return self._acquire_of_share(key, limit)
        if self.refuses or not self._return.is_under_way(self.clock()):
            return await self._acquire_there(key, limit)
        return await self._acquire_of_both(key, limit)

    async def _acquire_of_both(self, key: bytes, limit: int) -> bool:
        """From Redis, if this node's share has one, too. Raises Overloaded."""
        if not self.shared.acquire(key, share_of(limit, self.node.live_nodes)):
            return False
        permit, is_taken = self._new_permit(), False
        try:
            is_taken = await self._ask(key, limit, permit)
        except EngineAway:
            # Another name: a reply that comes too late takes this one back.
            permit, is_taken = self._new_permit(), True
        finally:
            if is_taken:
                self._hold(key, permit, is_counted=True)
            else:
                self.shared.release(key)
        return is_taken

    async def _acquire_there(self, key: bytes, limit: int) -> bool:
        """From Redis; without it, of the node's share. Raises Overloaded."""
        permit = self._new_permit()
        try:
            is_taken = await self._ask(key, limit, permit)
        except DataLost:
            await self.client.data.wait_for_beat(self.client.limit_s)
            return self._acquire_of_share(key, limit) if self.refuses else await self._acquire_of_both(key, limit)
        except EngineAway:
            return self._acquire_of_share(key, limit)
        if is_taken:
            # Redis has said that it is within the limit.
            self._hold(key, permit, is_counted=self._count(key, NO_LIMIT))
        return is_taken

    async def _ask(self, key: bytes, limit: int, permit: str) -> bool:
        """Whether Redis gives the permit. Raises EngineAway, Overloaded."""

        def undo(_: Reply) -> None:
            self._drop(key, permit)

        arguments = (self.node.id, limit, permit, int(PERMIT_S * 1000), self.client.data.mark)
        keys = (permits_key(key), node_key(self.node.name), MARK)
        answer, *_ = await self.client.run_script(ACQUIRE, keys, arguments, undo)
        if answer == -1:
            raise Overloaded(RETRY_AFTER_S)
        if answer not in (0, 1):
            raise EngineAway("Redis answered a script with something else")
        return answer == 1

    def release_nowait(self, key: bytes) -> None:
        """See Leases."""
        held = self._held.get(key)
        if held is None:
            return
        permit = held.permits.pop()
        if held.counted > len(held.permits):
            held.counted -= 1
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
            out, *_ = await self.client.run_script(COUNT, (permits_key(key),), ())
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

    def catch_up(self, has_lost_data: bool) -> None:
        """Redis has answered a beat: a fresh link, and fresh data, begin with the permits that are held."""
        if self._return.note_beat(has_lost_data):
            self._tell_held()

    def hear_again(self) -> None:
        """Redis answers, which it did not in time."""
        self._return.note_late()
        self._tell_held()

    def _tell_held(self) -> None:
        for keys, arguments in self._chunks():
            self.client.tell(RENEW.call(keys, arguments))

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

    def _acquire_of_share(self, key: bytes, limit: int) -> bool:
        if self.refuses:
            raise Overloaded(RETRY_AFTER_S)
        if not self.shared.acquire(key, share_of(limit, self.node.live_nodes)):
            return False
        self._hold(key, self._new_permit(), is_counted=True)
        return True

    def _count(self, key: bytes, limit: int) -> bool:
        """Whether the node's memory counts one more; not where it has no room for the key."""
        try:
            return self.shared.acquire(key, limit)
        except Overloaded:
            return False

    def _hold(self, key: bytes, permit: str, *, is_counted: bool) -> None:
        held = self._held.setdefault(key, _Held())
        held.permits.append(permit)
        held.counted += is_counted

    def _drop(self, key: bytes, permit: str) -> None:
        self.client.tell(encode_command("ZREM", permits_key(key), permit))

    def _new_permit(self) -> str:
        return f"{self._worker}:{next(self._numbers)}"
