"""What a race knows and rations on a node of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve, frozen

from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.redis_slots import RedisSlots
from pg_trio.cluster.redis.told_breakers import ToldBreakers
from pg_trio.cluster.redis.told_latencies import ToldLatencies
from pg_trio.cluster.share import SharedOutRetries
from pg_trio.config.settings import Settings
from pg_trio.ledger.node_health import FindCounts, NodeHealth
from pg_trio.racing.latency import LatencyRules
from pg_trio.shared_memory.slot_grants import SlotGrants
from pg_trio.stages.provider_call.pace import KINDS, learned_names
from pg_trio.stores.embedded import SharedParts
from pg_trio.stores.store_protocols import Lifetime


@frozen(slots=True, eq=False)
class HealthOfNodes:
    """Opens what this node shares with the others: breakers and latencies are told to them, slots are leased, and
    retries are an equal share. `refuses`: there are no slots while Redis is away."""

    settings: Settings
    client: RedisClient
    node: Node
    refuses: bool

    def open(self, parts: SharedParts, lifetime: Lifetime) -> NodeHealth:
        """The node's health; the tasks are the lifetime's."""
        health = parts.health
        return evolve(
            health,
            breakers=self._open_breakers(health, lifetime),
            find_latencies=self._open_latencies(health, lifetime),
            retries=None if health.retries is None else SharedOutRetries(health.retries, self.node),
            slots=None,
            slot_leases=self._open_slots(parts, lifetime),
        )

    def _open_breakers(self, health: NodeHealth, lifetime: Lifetime) -> ToldBreakers | None:
        if health.breakers is None:
            return None
        breakers = ToldBreakers(health.breakers, self.client, self.node, self._identities())
        lifetime.run(breakers.run)
        return breakers

    def _open_latencies(self, health: NodeHealth, lifetime: Lifetime) -> FindCounts | None:
        if health.find_latencies is None:
            return None
        latencies = ToldLatencies(health.find_latencies, self.client, self.node, self._identities())
        latencies.expect(expected_names(self.settings), LatencyRules().window_s / 2)
        lifetime.run(latencies.run)
        return latencies.find

    def _identities(self) -> Mapping[str, bytes]:
        return {name: credential.fingerprint() for name, credential in self.settings.credentials.items()}

    def _open_slots(self, parts: SharedParts, lifetime: Lifetime) -> RedisSlots | None:
        if parts.health.slots is None:
            return None
        grants = SlotGrants(parts.file.segment)
        parts.file.parts.append(grants)
        slots = RedisSlots(self.client, self.node, parts.health.slots, grants, self.refuses)
        lifetime.run(slots.run)
        return slots


def expected_names(settings: Settings) -> Iterator[tuple[str, ...]]:
    """What endpoints will learn of their candidates once they are used."""
    for project in settings.projects.values():
        for endpoint in project.callable_endpoints:
            for kind in KINDS:
                yield from learned_names(endpoint, kind)
