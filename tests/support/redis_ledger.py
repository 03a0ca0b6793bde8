"""One worker's limits in Redis, as a node opens them, with its tasks running."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import trio
from attrs import frozen

from pg_trio.cluster.node import Node
from pg_trio.cluster.redis.away_buckets import AwayBuckets
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.dialing import connect_to, greet_for
from pg_trio.cluster.redis.heartbeat import Heartbeat
from pg_trio.cluster.redis.redis_buckets import RedisBuckets
from pg_trio.cluster.redis.redis_permits import RedisPermits
from pg_trio.cluster.redis.redis_slots import RedisSlots
from pg_trio.config.cluster_settings import RedisAddress
from pg_trio.shared_memory.leases import CallLeases, LeaseBook
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.slot_grants import SlotGrants
from pg_trio.shared_memory.spend import SharedSpend
from pg_trio.shared_memory.token_bucket import SharedBuckets
from pg_trio.stores.clustered import SCRIPTS
from tests.support.engine_relay import EngineRelay
from tests.support.engines import RedisServer

# Much longer than a slow machine takes: these tests are about what happens, not how fast.
LIMIT_S = 5.0


@frozen
class RedisLedger:
    node: Node
    client: RedisClient
    heartbeat: Heartbeat
    buckets: RedisBuckets
    permits: RedisPermits
    slots: RedisSlots


async def open_redis_ledger(
    nursery: trio.Nursery,
    server: RedisServer | EngineRelay,
    stack: ExitStack,
    folder: Path,
    *,
    name: str = "gw-1",
    refuses: bool = False,
    limit_s: float = LIMIT_S,
    workers: int = 1,
) -> RedisLedger:
    """A worker of a node, which has so many. Its tasks run in the nursery. Workers of one node share its memory."""
    node = Node(name, uuid4().hex if workers == 1 else name)
    segment = stack.enter_context(closing(open_segment(folder / f"{name}.mem", slots=1024)))
    spend = stack.enter_context(closing(SharedSpend(segment)))
    address = RedisAddress((("127.0.0.1", server.port),))
    client = RedisClient(connect_to(address), limit_s, SCRIPTS, [greet_for(address)])
    heartbeat = Heartbeat(client, node)
    client.opening = heartbeat.open
    buckets = RedisBuckets(client, AwayBuckets(node, SharedBuckets(segment), refuses))
    permits = RedisPermits(client, node, LeaseBook(spend), refuses)
    slots = RedisSlots(client, node, CallLeases(LeaseBook(spend)), SlotGrants(segment), refuses)
    heartbeat.on_beat += (buckets.catch_up, permits.catch_up)
    client.on_prompt += (buckets.hear_again, permits.hear_again)
    await client.check(heartbeat.claim)
    for task in (client.run, heartbeat.run, buckets.run, permits.run, slots.run):
        nursery.start_soon(task)
    with trio.fail_after(10):
        while not client.is_up:  # noqa: ASYNC110
            await trio.sleep(0.001)
    return RedisLedger(node, client, heartbeat, buckets, permits, slots)
