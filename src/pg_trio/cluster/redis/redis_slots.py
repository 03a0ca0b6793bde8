"""Slots of credentials, over all nodes (contract: ledger/node_health.py, SlotLeases).

Rules:
1. A node holds a lease of some slots of a credential. Its workers use them as on one machine: taking and giving back
   are steps in their shared memory, and no call asks Redis for its slot.
2. Redis has for each credential what each node holds, uses and needs. One script keeps the sum of what nodes hold
   within the limit. It also says what a node may keep: everything, or its even share while another node needs more than
   it has. A node that holds more gives back each slot that becomes free.
3. A node holds half as much again as it needs, so that few calls wait for Redis: those that find no free slot, for one
   reply. What it does not want it gives back by halves, all of it after BUSY_S without a call.
4. One message of a worker has all credentials that are due. It is due every EXCHANGE_S while the node holds, uses or
   needs slots, every second while their figures are looked at, at once when a request finds none or another node needs
   one that has become free. The worker that finds it due sends it: messages of one node have numbers, and neither Redis
   nor the node goes by an older one.
5. The node's memory never has more than Redis: granted is counted there first, given back here first.
6. A lease that is not renewed ends after LEASE_S. What runs still is put back when the node is there again.
7. While Redis is away, a node uses its share. Back after an absence, it asks for no more than its share for SETTLE_S:
   by then all nodes have told what they use.
8. A node whose name another gateway has claimed (node.py) uses and renews nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.keys import MARK, node_key, slots_keys
from pg_trio.cluster.redis.redis_return import SETTLE_S
from pg_trio.cluster.redis.resp import Argument
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.cluster.redis.slot_lease import LEASE_S, SlotLease, SlotMessage, SlotReply
from pg_trio.cluster.share import share_of
from pg_trio.ledger.node_health import LeaseCounter
from pg_trio.shared_memory.slot_grants import SlotGrants

SLOTS = read_script("slots")

# Others hear of a need within this time.
EXCHANGE_S = 0.1
# If another worker of the node expects a reply just now.
RETRY_S = 0.002
# Credentials of one message: it takes Redis 1 ms.
LEASES_A_CALL = 100
REPLY_PARTS = 4


@define(eq=False)
class RedisSlots:
    """See the rules. `counted`: the calls of this node's workers."""

    client: RedisClient
    node: Node
    counted: LeaseCounter
    grants: SlotGrants
    refuses: bool = False
    clock: Callable[[], float] = time.monotonic
    _leases: dict[bytes, SlotLease] = field(factory=dict)
    # Those that may have to be told of.
    _active: set[SlotLease] = field(factory=set)
    _woken: trio.Event = field(factory=trio.Event)
    # Set at the end of each exchange.
    _told: trio.Event = field(factory=trio.Event)
    # Redis answers, and refuses (it is out of memory).
    _is_refused: bool = False

    def open(self, key: bytes, limit: int) -> None:
        """See SlotLeases."""
        lease = self._leases.get(key)
        if lease is None:
            record = self.grants.find(key)
            self._leases[key] = SlotLease(key, limit, self.node, self.counted, record, self.refuses)
        else:
            lease.limit = limit

    def acquire(self, key: bytes, limit: int) -> bool:
        """See LeaseCounter."""
        lease = self._leases.get(key)
        if lease is None:
            return self.counted.acquire(key, limit)
        now = self.clock()
        is_taken = lease.acquire(now, self._is_away)
        self._active.add(lease)
        if not is_taken and lease.may_ask(now):
            self._woken.set()
        return is_taken

    def release(self, key: bytes) -> None:
        """See LeaseCounter."""
        self.counted.release(key)
        lease = self._leases.get(key)
        if lease is not None and lease.must_give_back():
            self._woken.set()

    def count(self, key: bytes) -> int:
        """See LeaseCounter."""
        lease = self._leases.get(key)
        if lease is None:
            return self.counted.count(key)
        self._active.add(lease)
        return lease.count(self.clock())

    def may_ask(self, key: bytes) -> bool:
        """See SlotLeases."""
        return not self._is_away and self._leases[key].may_ask(self.clock())

    async def ask(self, key: bytes) -> None:
        """See SlotLeases."""
        lease = self._leases[key]
        lease.is_asked = True
        self._woken.set()
        with trio.move_on_after(self.client.limit_s):
            while lease.is_asked:
                await self._told.wait()

    def note_waiting(self, key: bytes, change: int) -> None:
        """See SlotLeases."""
        self._leases[key].waiting += change

    @property
    def _is_away(self) -> bool:
        return self._is_refused or not self.client.is_up

    async def run(self) -> None:
        """Tell and hear until cancelled."""
        while True:
            pause_s = RETRY_S if any(lease.is_asked for lease in self._active) else EXCHANGE_S
            with trio.move_on_after(pause_s):
                await self._woken.wait()
            self._woken = trio.Event()
            if self.client.is_up:
                await self.exchange()
            else:
                self._end_asking()

    async def exchange(self) -> None:
        """Tell what is due, and hear, once."""
        now = self.clock()
        due = [lease for lease in self._active if lease.is_due(now, EXCHANGE_S)]
        for start in range(0, len(due), LEASES_A_CALL):
            await self._exchange_some(due[start : start + LEASES_A_CALL])
        now = self.clock()
        self._active = {lease for lease in self._active if not lease.is_quiet(now)}

    async def _exchange_some(self, leases: Sequence[SlotLease]) -> None:
        now, told = self.clock(), []
        for lease in leases:
            message = lease.draw(now, self._most(lease), self.client.limit_s)
            if message is not None:
                told.append((lease, message))
        if not told:
            return
        heard = False
        try:
            await self._tell(told, now)
            heard = True
        except EngineAway:
            # It answers, and refuses, if it is still up.
            self._is_refused = self.client.is_up
        finally:
            if not heard:
                for lease, message in told:
                    lease.forget(message)
            self._wake_asking()

    def _most(self, lease: SlotLease) -> int | None:
        """How many slots may be asked for; None: as many as are needed."""
        back_at = self.client.linked_at if self.client.away_s > 0 else -math.inf
        is_settling = trio.current_time() < max(back_at, self.client.data.lost_at) + SETTLE_S
        return share_of(lease.limit, self.node.live_nodes) if is_settling else None

    async def _tell(self, told: Sequence[tuple[SlotLease, SlotMessage]], now: float) -> None:
        """Send messages, and hear the replies. Raises EngineAway."""
        keys: list[Argument] = [node_key(self.node.name), MARK]
        arguments: list[Argument] = [self.node.id, int(LEASE_S * 1000), self.client.data.mark]
        for lease, message in told:
            keys += slots_keys(lease.key)
            arguments += message.arguments()
        reply = await self.client.run_script(SLOTS, keys, arguments)
        self._is_refused = False
        numbers = [part for part in reply if isinstance(part, int)]
        if len(numbers) != REPLY_PARTS * len(told):
            # Another gateway has this node's name.
            numbers = [0] * REPLY_PARTS * len(told)
        for index, (lease, message) in enumerate(told):
            lease.hear(message, now, SlotReply(*numbers[REPLY_PARTS * index : REPLY_PARTS * (index + 1)]))
            if lease.must_give_back():
                self._woken.set()

    def _wake_asking(self) -> None:
        told, self._told = self._told, trio.Event()
        told.set()

    def _end_asking(self) -> None:
        for lease in self._active:
            lease.is_asked = False
        self._wake_asking()
