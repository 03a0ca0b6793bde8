"""The engines of many machines.

Limits and concurrent uses are in Redis, budgets in PostgreSQL, those of the holders of client tokens included. Shared
memory has what this node has leased of them, and what is the node's own. While an engine is away a gateway opens all
the same, and goes on with what it has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from uuid import UUID, uuid4

import psycopg
import trio
from attrs import define, evolve, frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.node import Node, open_node, read_node_id
from pg_trio.cluster.postgres.lease_term import LeaseTerm, holder_of
from pg_trio.cluster.postgres.leased_spend import LeasedSpend
from pg_trio.cluster.postgres.log_forwarding import LogForwarder
from pg_trio.cluster.postgres.lost_budgets import REBUILD_LIMIT_S, rebuild_budgets
from pg_trio.cluster.postgres.postgres_log_view import (
    STATEMENT_LIMIT_S,
    VIEW_CONNECTIONS,
    PostgresLogView,
    log_conninfo,
)
from pg_trio.cluster.postgres.postgres_operators import PostgresOperators
from pg_trio.cluster.postgres.postgres_pool import PostgresPool, say
from pg_trio.cluster.postgres.postgres_sessions import PostgresSessions
from pg_trio.cluster.postgres.postgres_tokens import PostgresTokens
from pg_trio.cluster.postgres.schema import migrate_schema, read_steps
from pg_trio.cluster.redis.answer_writing import AnswerKeys
from pg_trio.cluster.redis.away_buckets import AwayBuckets
from pg_trio.cluster.redis.bucket_wire import GIVE, TAKE
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.dialing import connect_to, greet_for
from pg_trio.cluster.redis.heartbeat import BEAT, Heartbeat
from pg_trio.cluster.redis.redis_answers import RedisAnswerStore
from pg_trio.cluster.redis.redis_buckets import RedisBuckets
from pg_trio.cluster.redis.redis_permits import ACQUIRE, COUNT, RENEW, RedisPermits
from pg_trio.cluster.redis.redis_slots import SLOTS
from pg_trio.cluster.redis.sightings import SIGHTED, NodeSightings
from pg_trio.cluster.redis.told_breakers import EXCHANGE
from pg_trio.cluster.redis.told_latencies import LATENCIES
from pg_trio.config.cluster_settings import ClusterSettings
from pg_trio.config.settings import GatewaySettings, Settings
from pg_trio.config.time_zone import find_zone
from pg_trio.domain.signing_key import CLIENT_TOKEN_MOST_S
from pg_trio.errors import StoreError
from pg_trio.ledger.protocols import HolderBooks, OpenHolders
from pg_trio.shared_memory.segment import Segment
from pg_trio.store.log_spool import LogSpool
from pg_trio.stores.cluster_answers import ClusterAnswers, worker_id
from pg_trio.stores.cluster_health import HealthOfNodes
from pg_trio.stores.cluster_holders import ACCOUNTS, HolderBudgets, SplitBuckets, SplitLeases
from pg_trio.stores.embedded import EMBEDDED, SharedParts, open_answers, open_shared_parts
from pg_trio.stores.holder_file import CLOCK_SLACK_S, HolderFile, HolderParts
from pg_trio.stores.month_start import sum_months
from pg_trio.stores.store_protocols import AnswerKind, Engines, Ledger, Lifetime, LogBook

logger = logging.getLogger("pg_trio.stores")

# For how long a node that no engine hears goes on inside its leases of budgets.
SPEND_ALONE_S = 40.0
# Beyond that and its longest call: a call that was cancelled is settled by then, and others know late of a beat.
SILENT_MARGIN_S = 20.0
SCRIPTS = (TAKE, GIVE, ACQUIRE, RENEW, COUNT, BEAT, EXCHANGE, SIGHTED, SLOTS, LATENCIES)


def open_cluster(cluster: ClusterSettings) -> Engines:
    """The engines of a `[cluster]`."""
    engines = ClusterEngines(cluster)
    return Engines(
        engines.open_tokens,
        engines.open_log,
        engines.open_sessions,
        engines.open_ledger,
        engines.open_operators,
        engines.open_answers,
        engines.open_log_view,
    )


@define(eq=False)
class ClusterEngines:
    """The openers of one worker's stores. They share the connections to PostgreSQL; the first one opens these."""

    cluster: ClusterSettings
    _pool: PostgresPool | None = None
    _forwarder: LogForwarder | None = None

    async def open_tokens(self, settings: GatewaySettings, lifetime: Lifetime) -> PostgresTokens:
        """See OpenTokens."""
        tokens = PostgresTokens(await self._open_pool(lifetime), settings)
        await tokens.begin()
        lifetime.close_with(tokens.aclose)
        lifetime.run(tokens.run)
        return tokens

    async def open_log(self, settings: GatewaySettings, lifetime: Lifetime) -> LogBook:
        """See OpenLog: this node's own log, whose rows are sent to PostgreSQL.

        Its sums are of this node. No ledger of a cluster begins with them: what was spent is in PostgreSQL.
        """
        node = Node(self.cluster.node, read_node_id(settings.data_dir))
        spool = await LogSpool.open(settings.data_dir)
        forwarder = LogForwarder(await self._open_pool(lifetime), node, spool, settings.log_max_age_days)
        self._forwarder = forwarder
        # Before the log, so that it closes after it.
        lifetime.close_with(forwarder.aclose)
        lifetime.run(forwarder.run)
        return await EMBEDDED.log(settings, lifetime)

    async def open_log_view(self, settings: GatewaySettings, lifetime: Lifetime) -> PostgresLogView:
        """See OpenLogView: the rows of all nodes."""
        own = await EMBEDDED.log_view(settings, lifetime)
        pool = PostgresPool(
            log_conninfo(self.cluster.postgres_url.reveal(), STATEMENT_LIMIT_S),
            self.cluster.postgres_timeout_ms / 1000,
            VIEW_CONNECTIONS,
            tells_outages=False,
        )
        # Until its own first probe: a page that is asked for at once must not be told that the database is away.
        pool.is_up = (await self._open_pool(lifetime)).is_up
        lifetime.close_with(pool.aclose)
        lifetime.run(pool.run)
        return PostgresLogView(pool, self.cluster.node, own.one)

    async def open_sessions(
        self, settings: GatewaySettings, keep_s: Mapping[UUID, float], lifetime: Lifetime
    ) -> PostgresSessions:
        """See OpenSessions."""
        sessions = PostgresSessions(await self._open_pool(lifetime), keep_s)
        lifetime.run(sessions.run)
        return sessions

    async def open_operators(self, settings: GatewaySettings, lifetime: Lifetime) -> PostgresOperators:
        """See OpenOperators."""
        return PostgresOperators(await self._open_pool(lifetime))

    async def open_answers(self, settings: GatewaySettings, lifetime: Lifetime, kind: AnswerKind) -> ClusterAnswers:
        """See OpenAnswers. Redis may be away: then each node has its own."""
        here = await open_answers(settings, lifetime, kind)
        keys = AnswerKeys(kind, settings.max_kept_bytes, settings.max_kept_answers)
        address, limit_s = self.cluster.redis, self.cluster.redis_timeout_ms / 1000
        worker = uuid4().hex if here is None else worker_id(here.worker)
        shared = RedisAnswerStore(connect_to(address), greet_for(address), limit_s, keys, worker)
        lifetime.run(shared.run)
        return ClusterAnswers(here, shared, kind == "keyed" and self.cluster.when_redis_is_away == "refuse")

    async def open_ledger(self, settings: Settings, log: LogBook, lifetime: Lifetime) -> Ledger:
        """See OpenLedger."""
        pool = await self._open_pool(lifetime)
        await rebuild_lost_budgets(pool, settings)
        ledger = await open_ledger(self.cluster, pool, settings, lifetime)
        return evolve(ledger, gauges={**ledger.gauges, "pg_trio_log_unsent_rows": self._count_unsent})

    def _count_unsent(self) -> int:
        return 0 if self._forwarder is None else self._forwarder.unsent

    async def _open_pool(self, lifetime: Lifetime) -> PostgresPool:
        if self._pool is None:
            self._pool = await open_postgres(self.cluster, lifetime)
        return self._pool


async def open_ledger(cluster: ClusterSettings, pool: PostgresPool, settings: Settings, lifetime: Lifetime) -> Ledger:
    """See OpenLedger. Raises StoreError also if another gateway runs under this node's name.

    If Redis is away, the gateway opens all the same, and says so: its limits are this node's share of them.
    """
    node = open_node(cluster.node, settings.gateway.data_dir)
    parts = await open_shared_parts(settings, begin_empty, lifetime)
    redis = await open_redis(cluster, node, lifetime)
    sightings = NodeSightings(redis.client)
    make_term = partial(
        LeaseTerm, node, SPEND_ALONE_S + longest_call_s(settings) + SILENT_MARGIN_S, SPEND_ALONE_S, sightings.living
    )
    spend = open_spend(pool, make_term(), parts, lifetime)
    refuses = cluster.when_redis_is_away == "refuse"
    here = NodeCounts(SplitBuckets(parts.buckets), SplitLeases(parts.leases))
    buckets = RedisBuckets(redis.client, AwayBuckets(node, here.buckets, refuses))
    permits = RedisPermits(redis.client, node, here.leases, refuses)
    redis.heartbeat.on_beat += (buckets.catch_up, permits.catch_up)
    redis.client.on_prompt += (buckets.hear_again, permits.hear_again)
    lifetime.run(buckets.run, permits.run, sightings.run)
    budgets = HolderBudgets(pool, make_term)

    def join(holders: HolderParts) -> HolderBooks:
        here.buckets.of_holders, here.leases.of_holders = holders.buckets, holders.leases
        return HolderBooks(buckets, budgets.start(holders), permits, holders.has_room)

    open_holders = watch_holders(HolderFile(settings, None, join, ACCOUNTS), budgets, lifetime)
    gauges = {
        "pg_trio_redis_up": lambda: redis.client.is_up,
        "pg_trio_postgres_up": lambda: pool.can_write,
        "pg_trio_cluster_nodes": lambda: node.live_nodes,
    }
    health = HealthOfNodes(settings, redis.client, node, refuses).open(parts, lifetime)
    return Ledger(buckets, spend, permits, health, open_holders, gauges)


@frozen(slots=True, eq=False)
class NodeCounts:
    """What this node counts of limits while Redis is away."""

    buckets: SplitBuckets
    leases: SplitLeases


def watch_holders(file: HolderFile, budgets: HolderBudgets, lifetime: Lifetime) -> OpenHolders:
    """Opens the books of holders; their tasks are the lifetime's."""
    lifetime.stack.callback(file.close)
    # Before the file is closed.
    lifetime.close_with(budgets.aclose)
    lifetime.run(file.watch, budgets.run)
    return file.open


async def rebuild_lost_budgets(pool: PostgresPool, settings: Settings) -> None:
    """If the tables of budgets were lost, begin with the month's spend from the log. What goes wrong is logged: a
    gateway also starts without PostgreSQL."""
    now = time.time()
    months = partial(sum_months, now_s=now, zone=find_zone(settings.gateway.timezone))
    tokens_at = now - CLIENT_TOKEN_MOST_S - CLOCK_SLACK_S
    try:
        rebuilt = await pool.use(partial(rebuild_budgets, sum_months=months, tokens_at=tokens_at), REBUILD_LIMIT_S)
    except (EngineAway, psycopg.Error) as error:
        logger.error("it is not known whether the tables of budgets were lost: %s", say(error))
        return
    if rebuilt:
        logger.warning("the tables of budgets were empty: %d begin with the spend in the log", rebuilt)


async def begin_empty() -> Callable[[Segment], None]:
    """See MakeFill. What was spent is in PostgreSQL, so a new file begins with nothing."""
    await trio.lowlevel.checkpoint()
    return lambda _: None


def open_spend(pool: PostgresPool, term: LeaseTerm, parts: SharedParts, lifetime: Lifetime) -> LeasedSpend:
    """The budgets of all nodes."""
    spend = LeasedSpend(pool, holder_of(parts.file.segment, term.node), parts.spend, term)
    parts.file.parts.append(spend)
    lifetime.close_with(spend.aclose)
    lifetime.run(spend.run)
    return spend


async def open_postgres(cluster: ClusterSettings, lifetime: Lifetime) -> PostgresPool:
    """A worker's connections; the tables are made. Raises StoreError."""
    pool = PostgresPool(cluster.postgres_url.reveal(), cluster.postgres_timeout_ms / 1000)
    migrate = partial(migrate_schema, steps=read_steps())
    try:
        await pool.check(migrate)
    except (EngineAway, OSError) as away:
        pool.prepare = migrate
        logger.error("PostgreSQL: %s. The gateway starts without it, and tries again until it works", away)
    except psycopg.Error as refused:
        raise StoreError(f"PostgreSQL: {say(refused)} (cluster.postgres_url)") from None
    lifetime.close_with(pool.aclose)
    lifetime.run(pool.run)
    return pool


def longest_call_s(settings: Settings) -> float:
    """How long a call may last."""
    endpoints = [endpoint for project in settings.projects.values() for endpoint in project.callable_endpoints]
    return max([max(one.deadline_ms, one.stream_deadline_ms) for one in endpoints], default=0) / 1000


@frozen(slots=True, eq=False)
class RedisParts:
    """The client, and the node's heartbeat."""

    client: RedisClient
    heartbeat: Heartbeat


async def open_redis(cluster: ClusterSettings, node: Node, lifetime: Lifetime) -> RedisParts:
    """The client of Redis and the node's heartbeat; their tasks are the lifetime's. Raises StoreError."""
    client = RedisClient(
        connect_to(cluster.redis), cluster.redis_timeout_ms / 1000, SCRIPTS, [greet_for(cluster.redis)]
    )
    heartbeat = Heartbeat(client, node)
    client.opening = heartbeat.open
    try:
        await client.check(heartbeat.claim)
    except EngineAway as away:
        logger.error("%s. The gateway starts without it, and tries again until it works", away)
    lifetime.run(client.run, heartbeat.run)
    return RedisParts(client, heartbeat)
