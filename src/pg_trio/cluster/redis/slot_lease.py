"""One credential's slots as a node holds them (redis_slots.py has the rules).

Synchronous: what a request does, what is told, and what is done with the reply. `now` is of the clock that the node's
workers share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from attrs import define, field, frozen

from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.resp import Argument
from pg_trio.cluster.share import share_of
from pg_trio.ledger.node_health import LeaseCounter
from pg_trio.shared_memory.slot_grants import GrantRecord, SlotGrant

NOTHING = SlotGrant(0, 0, 0, 0, False, 0.0, 0.0, 0.0)
# A killed node's slots must be free within 10 s.
LEASE_S = 8.0
# By the node's own clock a lease ends earlier: a slow processor must not use one that has ended in Redis.
USABLE_S = 7.0
# While this worker does not reach Redis, what the node's others heard counts for so long.
ALONE_S = 0.3
# What other nodes use, for people to see, and to know that a candidate is full. A node that uses no slot itself asks
# for it every FIGURES_EVERY_S, until LOOKED_AT_S after it was last looked at.
FIGURES_S, FIGURES_EVERY_S, LOOKED_AT_S = 2.5, 1.0, 60.0
# A node that has used no slot for so long holds no idle one.
BUSY_S = 1.0
# A request that was refused and has left counts as a need for so long, so that others leave a slot for the next one.
MISSED_S = 0.5
# After a refusal by Redis, this worker does not ask again for as long.
ASK_AGAIN_S = 0.02


@frozen(slots=True)
class SlotMessage:
    """What is told of one credential; see `slots.lua`."""

    number: int
    limit: int
    held: int
    used: int
    need: int
    want: int

    def arguments(self) -> Sequence[Argument]:
        """In the script's order."""
        return (self.limit, self.number, self.held, self.used, self.need, self.want)


class SlotReply(NamedTuple):
    """What is heard of one credential; see `slots.lua`. `granted` is -1 if the message was too late."""

    granted: int
    keep: int
    others: int
    is_short: int


@define(slots=True, eq=False)
class SlotLease:
    """See the module. `counted` has the calls of all workers of the node. `waiting`: this worker's waiting requests."""

    key: bytes
    limit: int
    node: Node
    counted: LeaseCounter
    # None: the file is full. Then the node has its share.
    record: GrantRecord | None
    # With `when_redis_is_away = "refuse"`.
    refuses: bool
    waiting: int = 0
    # A request waits for the next reply.
    is_asked: bool = False
    refused_at: float = -math.inf
    missed_at: float = -math.inf
    used_at: float = -math.inf
    looked_at: float = -math.inf
    wall_clock: Callable[[], float] = field(default=time.time)

    def acquire(self, now: float, is_away: bool) -> bool:
        """Take a slot, if the node may use one more."""
        usable = self.usable(now, is_away)
        while usable > 0 and self.counted.acquire(self.key, usable):
            # Fewer may be usable by now: what was given back meanwhile is another node's.
            left = self.usable(now, is_away)
            if left >= usable:
                self.used_at, self.missed_at = now, -math.inf
                return True
            self.counted.release(self.key)
            usable = left
        self.missed_at = now
        return False

    def usable(self, now: float, is_away: bool) -> int:
        """How many slots the node may use."""
        if self.node.is_fenced:
            return 0
        if self.record is None:
            return self._share()
        grant = self.record.read()
        if now - grant.heard_at < (ALONE_S if is_away else USABLE_S):
            return min(grant.granted, grant.keep, self.limit)
        return self._share() if is_away else 0

    def _share(self) -> int:
        return 0 if self.refuses else share_of(self.limit, self.node.live_nodes)

    def count(self, now: float) -> int:
        """How many calls run, at all nodes as far as is known."""
        self.looked_at = now
        own = self.counted.count(self.key)
        if self.record is None:
            return own
        grant = self.record.read()
        return own + (grant.others if now - grant.heard_at < FIGURES_S else 0)

    def must_give_back(self) -> bool:
        """Whether other nodes need slots that this one holds and does not use."""
        grant = NOTHING if self.record is None else self.record.read()
        if not grant.is_short or grant.granted <= self.counted.count(self.key):
            return False
        return grant.granted > grant.keep or not self._count_waiting()

    def may_ask(self, now: float) -> bool:
        """Whether Redis may grant more than it did."""
        return self.record is not None and now >= self.refused_at + ASK_AGAIN_S

    def is_due(self, now: float, every_s: float) -> bool:
        """Whether it is time to tell Redis something."""
        if self.record is None:
            return False
        if self.is_asked or now < self.missed_at + every_s:
            return self.may_ask(now)
        heard_at = self.record.read().heard_at
        if now < heard_at + every_s:
            return self.must_give_back()
        return now >= heard_at + FIGURES_EVERY_S or not self._is_idle(now)

    def is_quiet(self, now: float) -> bool:
        """Whether there is nothing to tell or to ask until the next call."""
        return self._is_idle(now) and now >= self.looked_at + LOOKED_AT_S

    def _is_idle(self, now: float) -> bool:
        """Whether the node holds no slot and needs none, and Redis knows it."""
        if self.record is None:
            return True
        is_needed = self.is_asked or now < self.missed_at + 2 * MISSED_S
        return not is_needed and not self.record.read().granted and not self.counted.count(self.key)

    def draw(self, now: float, most: int | None, reply_s: float) -> SlotMessage | None:
        """What to tell now; None if a reply to another worker is still expected. Idle slots are given back with it.

        `most`: so many are asked for at most. `reply_s`: how long a reply is expected.
        """
        record = self.record
        if record is None or not record.hold():
            return None
        try:
            grant = record.read()
            if grant.asked_at and now < grant.asked_at + reply_s:
                return None
            return self._tell(record, grant, now, most)
        finally:
            record.release()

    def _tell(self, record: GrantRecord, grant: SlotGrant, now: float, most: int | None) -> SlotMessage:
        used = self.counted.count(self.key)
        busy_at = max(grant.busy_at, self.used_at)
        need = used + self._missing(now)
        if most is not None:
            need = max(used, min(need, most))
        is_ahead = now < busy_at + BUSY_S and most is None and not grant.is_short
        ahead = max(1, need // 2) if is_ahead else 0
        held = held_after(grant, used, need + ahead) if now < grant.heard_at + USABLE_S else 0
        number = max(grant.number + 1, round(self.wall_clock() * 1000))
        grant = grant._replace(number=number, granted=held, asked_at=now, busy_at=busy_at)
        record.write(grant)
        # A worker that took one of the given slots before it could see this: then that slot is not given.
        used = self.counted.count(self.key)
        if held < used:
            record.write(grant._replace(granted=used))
        return SlotMessage(number, self.limit, max(held, used), used, max(need, used), max(need + ahead, used))

    def _missing(self, now: float) -> int:
        """Slots that requests wait for; or one for a request that has left."""
        return max(self._count_waiting(), now < self.missed_at + MISSED_S)

    def _count_waiting(self) -> int:
        """Requests that wait at this worker, and one for each other worker with a queue."""
        heads = self.counted.count(heads_key(self.key)) - (self.waiting > 0)
        return self.waiting + max(0, heads)

    def hear(self, message: SlotMessage, sent_at: float, reply: SlotReply) -> None:
        """Redis's reply. It does not count if the node has told something else since."""
        if reply.granted < max(message.need, min(message.want, message.used + 1)):
            self.refused_at = sent_at
        self.is_asked = False
        self._change(message.number, reply, sent_at)

    def forget(self, message: SlotMessage) -> None:
        """No reply is expected any more."""
        self.is_asked = False
        self._change(message.number, None, 0.0)

    def _change(self, number: int, reply: SlotReply | None, heard_at: float) -> None:
        record = self.record
        if record is None or not record.hold():
            return
        try:
            grant = record.read()
            if grant.number == number:
                grant = grant._replace(asked_at=0.0)
                if reply is not None and reply.granted >= 0:
                    counts = {**reply._asdict(), "is_short": bool(reply.is_short)}
                    grant = grant._replace(**counts, heard_at=heard_at)
                record.write(grant)
        finally:
            record.release()


def heads_key(key: bytes) -> bytes:
    """What counts the workers with a queue for a key."""
    return key + b"!"


def held_after(grant: SlotGrant, used: int, want: int) -> int:
    """How many slots a node holds on to: none that others need, and half of those that it does not want itself."""
    most = min(grant.granted, grant.keep)
    idle = most - max(want, used)
    if idle > 0:
        most -= idle if want == 0 or grant.is_short else math.ceil(idle / 2)
    return max(min(used, grant.granted), most)
