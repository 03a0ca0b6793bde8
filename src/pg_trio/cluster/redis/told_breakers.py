"""Breakers of this node, told to the others and heard from them (ledger/node_health.py has the rules).

Rules:
1. A request reads and writes the node's own records only. One task of each worker exchanges them with Redis, every
   EXCHANGE_S.
2. Told is a state that a call of this worker has changed: what it became, how long it is open, and its age. Redis's
   clock makes a time of the age, so the clocks of nodes do not matter.
3. What was heard is not told again. A node does not hear itself.
4. While Redis is away each node has its own. What is untold then is told later, with its age.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.keys import BREAKERS, BREAKERS_VERSION, digest_of
from pg_trio.cluster.redis.resp import Argument, Reply
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.ledger.node_health import BreakerRecords
from pg_trio.racing.breaker import FAULTS, FRESH, Record, hear

logger = logging.getLogger("pg_trio.cluster")

EXCHANGE = read_script("breakers", 1)
# Others hear of a change within this time.
EXCHANGE_S = 0.2
MICRO = 1_000_000
# Values of one state in a reply.
STATE_PARTS = 4


@define(eq=False)
class ToldBreakers:
    """See BreakerRecords. `identities`: by credential, what it is beside its name. `clock`: the one of the records."""

    records: BreakerRecords
    client: RedisClient
    node: Node
    identities: Mapping[str, bytes]
    clock: Callable[[], float] = trio.current_time
    is_shared: bool = True
    _places: dict[bytes, int] = field(factory=dict)
    _names: dict[int, bytes] = field(factory=dict)
    _untold: set[int] = field(factory=set)
    _version: bytes = b""

    def changes(self) -> int:
        """See BreakerRecords."""
        return self.records.changes()

    def find(self, name: tuple[str, ...]) -> int | None:
        """See BreakerRecords."""
        place = self.records.find(name)
        if place is not None:
            key = digest_of(name, self.identities.get(name[1], b"")).encode()
            self._places[key], self._names[place] = place, key
            # What was told of it before is heard at the next exchange.
            self._version = b""
        return place

    def hold(self) -> bool:
        """See BreakerRecords."""
        return self.records.hold()

    def release(self) -> None:
        """See BreakerRecords."""
        self.records.release()

    def read(self, place: int) -> tuple[Any, ...]:
        """See BreakerRecords."""
        return self.records.read(place)

    def write(self, place: int, record: Sequence[Any]) -> None:
        """See BreakerRecords."""
        if Record(*record).generation != Record(*self.records.read(place)).generation:
            self._untold.add(place)
        self.records.write(place, record)

    async def run(self) -> None:
        """Exchange until cancelled."""
        while True:
            await trio.sleep(EXCHANGE_S)
            try:
                await self.exchange()
            except EngineAway as away:
                logger.debug("breakers were not exchanged: %s", away)

    async def exchange(self) -> None:
        """Tell and hear, once. Raises EngineAway; then what was untold still is."""
        untold = set(self._untold)
        told = [part for place in untold for part in self._parts_of(place)]
        reply = await self.client.run_script(
            EXCHANGE, (BREAKERS, BREAKERS_VERSION), (self.node.id, self._version, *told)
        )
        # What has changed meanwhile is told again.
        self._untold -= untold
        if self._hear_all(reply[1:]) and isinstance(reply[0], bytes):
            self._version = reply[0]

    def _parts_of(self, place: int) -> tuple[Argument, ...]:
        record = Record(*self.records.read(place))
        age = round(max(0.0, self.clock() - record.changed_at) * MICRO)
        return self._names[place], age, f"{record.why}:{record.level}", f"{record.open_for_s:.6f}"

    def _hear_all(self, parts: Sequence[Reply]) -> bool:
        """Take over what others have told; False if that is to be tried again."""
        is_done = True
        for start in range(0, len(parts) - STATE_PARTS + 1, STATE_PARTS):
            name, *state = (part for part in parts[start : start + STATE_PARTS] if isinstance(part, bytes))
            place = self._places.get(name)
            if place is not None and len(state) == STATE_PARTS - 1:
                try:
                    theirs = self._read_state(*state)
                except ValueError:
                    # Not of this release's form.
                    continue
                is_done = self._hear(place, theirs) and is_done
        return is_done

    def _read_state(self, age: bytes, what: bytes, open_for: bytes) -> Record:
        """What another node has told. Raises ValueError."""
        why, _, level = what.decode().partition(":")
        if not 0 <= int(why) < len(FAULTS):
            raise ValueError("a newer release's")
        changed_at = self.clock() - int(age) / MICRO
        return FRESH._replace(why=int(why), level=int(level), changed_at=changed_at, open_for_s=float(open_for))

    def _hear(self, place: int, theirs: Record) -> bool:
        record = Record(*self.records.read(place))
        if hear(record, theirs) is record:
            return True
        if not self.records.hold():
            return False
        try:
            record = Record(*self.records.read(place))
            heard = hear(record, theirs)
            if heard is not record:
                self.records.write(place, heard)
        finally:
            self.records.release()
        return True
