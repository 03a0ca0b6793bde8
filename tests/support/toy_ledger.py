"""A ledger in one file, whose every step waits: as an engine over a network is, and an example of adding a store.

Each step goes to the engine and back. Cancelled on the way there, the engine was never asked; cancelled on the way
back, it has done its part, and the step undoes it.

Breakers never wait: each node keeps its own records, and a task exchanges them with the other nodes of a hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
from attrs import define, evolve, field

from pg_trio.config.settings import Settings
from pg_trio.ledger.immediate import ImmediateBuckets
from pg_trio.ledger.node_health import NodeHealth
from pg_trio.ledger.protocols import MUST_WAIT, BucketTake, Held, Limits, MustWait, Spend, Taken
from pg_trio.racing.breaker import Record, hear
from pg_trio.racing.stored_breaker import LocalRecords
from pg_trio.shared_memory.leases import LeaseBook
from pg_trio.shared_memory.spend import LocalSpend
from pg_trio.shared_memory.token_bucket import LocalBuckets
from pg_trio.stores.embedded import EMBEDDED
from pg_trio.stores.store_protocols import Engines, Ledger, Lifetime, LogBook


@define(eq=False)
class ToyNetwork:
    """What lies between a step and its engine. `cancel` is called at the way of that number, from 1 on."""

    ways: int = 0
    cancel_at: int = 0
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    async def cross(self) -> None:
        """One way, there or back."""
        self.ways += 1
        if self.ways == self.cancel_at:
            self.scope.cancel()
        await trio.lowlevel.checkpoint()


@define(eq=False)
class ToyBuckets:
    """See Buckets."""

    network: ToyNetwork = field(factory=ToyNetwork)
    engine: LocalBuckets = field(factory=LocalBuckets)

    def take_nowait(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> MustWait:
        return MUST_WAIT

    async def take(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> Taken:
        await self.network.cross()
        taken = self.engine.take(key, limits, now, amount)
        try:
            await self.network.cross()
        except trio.Cancelled:
            if taken.refused is None:
                self.engine.give(key, limits, now, amount)
            raise
        return taken

    async def take_each(self, takes: Sequence[BucketTake], now: float) -> Sequence[Taken]:
        await self.network.cross()
        taken = await ImmediateBuckets(self.engine).take_each(takes, now)
        try:
            await self.network.cross()
        except trio.Cancelled:
            if taken[-1].refused is None:
                for take in takes:
                    self.engine.give(take.key, take.limits, now, take.amount)
            raise
        return taken

    def give_nowait(self, key: bytes, limits: Limits, now: float, amount: int) -> MustWait:
        return MUST_WAIT

    async def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        await self.network.cross()
        self.engine.give(key, limits, now, amount)
        await self.network.cross()

    def peek_nowait(self, key: bytes, limits: Limits, now: float) -> MustWait:
        return MUST_WAIT

    async def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]:
        await self.network.cross()
        return self.engine.peek(key, limits, now)


@define(eq=False)
class ToySpend:
    """See SpendBook."""

    network: ToyNetwork = field(factory=ToyNetwork)
    engine: LocalSpend = field(factory=LocalSpend)

    def reserve_nowait(self, key: bytes, month: int, amount: int, budget: int) -> MustWait:
        return MUST_WAIT

    async def reserve(self, key: bytes, month: int, amount: int, budget: int) -> Spend | None:
        await self.network.cross()
        stood = self.engine.reserve(key, month, amount, budget)
        try:
            await self.network.cross()
        except trio.Cancelled:
            if stood is None:
                self.engine.settle(key, month, amount, 0)
            raise
        return stood

    async def read(self, keys: Sequence[bytes], month: int) -> dict[bytes, Spend]:
        await self.network.cross()
        return {key: self.engine.read(key, month) for key in keys}

    def settle_nowait(self, key: bytes, month: int, reserved_amount: int, spent: int) -> MustWait:
        return MUST_WAIT

    async def settle(self, key: bytes, month: int, reserved_amount: int, spent: int) -> None:
        await self.network.cross()
        self.engine.settle(key, month, reserved_amount, spent)
        await self.network.cross()


@define(eq=False)
class ToyLeases:
    """See protocols.Leases."""

    network: ToyNetwork = field(factory=ToyNetwork)
    engine: LeaseBook = field(factory=lambda: LeaseBook(LocalSpend()))

    def acquire_nowait(self, key: bytes, limit: int) -> MustWait:
        return MUST_WAIT

    async def acquire(self, key: bytes, limit: int) -> bool:
        await self.network.cross()
        acquired = self.engine.acquire(key, limit)
        try:
            await self.network.cross()
        except trio.Cancelled:
            if acquired:
                self.engine.release(key)
            raise
        return acquired

    def release_nowait(self, key: bytes) -> MustWait:
        return MUST_WAIT

    async def release(self, key: bytes) -> None:
        await self.network.cross()
        self.engine.release(key)
        await self.network.cross()

    def count_nowait(self, key: bytes) -> MustWait:
        return MUST_WAIT

    async def count(self, key: bytes) -> int:
        await self.network.cross()
        return self.engine.count(key)


@define(eq=False)
class ToyHub:
    """The newest record that a node has told of each breaker, by its name. A test's nodes share one clock, so times are
    kept here; over a network they would be ages."""

    told: dict[tuple[str, ...], Record] = field(factory=dict)


class ToyRecords(LocalRecords):
    """See BreakerRecords: one node's own. `exchange` tells the hub what changed here, and hears what changed elsewhere.

    Every 10 ms, so that a test need not wait; over a network 200.
    """

    is_shared = True

    def __init__(self, hub: ToyHub) -> None:
        super().__init__()
        self._hub = hub
        self._names: list[tuple[str, ...]] = []
        self._untold: set[int] = set()
        self.heard = 0

    def changes(self) -> int:
        return 2 * self.heard

    def find(self, name: tuple[str, ...]) -> int:
        self._names.append(name)
        return super().find(name)

    def write(self, place: int, record: Sequence[Any]) -> None:
        if Record(*record).generation != self.read(place).generation:
            self._untold.add(place)
        super().write(place, record)

    async def exchange(self) -> None:
        """A task of the node, until it is cancelled."""
        while True:
            await trio.sleep(0.01)
            self.tell_and_hear()

    def tell_and_hear(self) -> None:
        """One exchange with the hub."""
        for place in self._untold:
            self._hub.told[self._names[place]] = self.read(place)
        self._untold.clear()
        for place, name in enumerate(self._names):
            self._hear(place, self._hub.told.get(name))

    def _hear(self, place: int, theirs: Record | None) -> None:
        record = self.read(place)
        heard = record if theirs is None else hear(record, theirs)
        if heard is not record:
            # Not by `write`: what another node told is not told again.
            super().write(place, heard)
            self.heard += 1


@define(eq=False)
class ToyEngine:
    """What a gateway opens, and a test looks into."""

    network: ToyNetwork = field(factory=ToyNetwork)
    hub: ToyHub = field(factory=ToyHub)
    is_open: bool = False
    breakers: ToyRecords = field(init=False)
    buckets: ToyBuckets = field(init=False)
    spend: ToySpend = field(init=False)
    leases: ToyLeases = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.buckets = ToyBuckets(self.network)
        self.spend = ToySpend(self.network)
        self.leases = ToyLeases(self.network)
        self.breakers = ToyRecords(self.hub)

    async def open_ledger(self, settings: Settings, log: LogBook, lifetime: Lifetime) -> Ledger:
        """See OpenLedger."""
        self.is_open = True
        lifetime.close_with(self.aclose)
        lifetime.run(self.breakers.exchange)
        return Ledger(self.buckets, self.spend, self.leases, NodeHealth(self.breakers))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_open = False


def toy_engines(engine: ToyEngine) -> Engines:
    """SQLite for everything but the ledger."""
    return evolve(EMBEDDED, ledger=engine.open_ledger)
