"""The engines of one machine. Tokens, log and sessions are in SQLite; the ledger is in shared memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias
from uuid import UUID

import trio
from attrs import frozen

from pg_trio.config.settings import GatewaySettings, Settings
from pg_trio.config.time_zone import find_zone
from pg_trio.errors import Overloaded, StoreError
from pg_trio.ledger.immediate import ImmediateBuckets, ImmediateLeases, ImmediateSpend
from pg_trio.ledger.node_health import NodeHealth
from pg_trio.shared_memory.breaker_records import SharedBreakers
from pg_trio.shared_memory.hedge_counts import SharedHedges
from pg_trio.shared_memory.latency_counts import SharedLatencies
from pg_trio.shared_memory.leases import CallLeases, LeaseBook
from pg_trio.shared_memory.renewal import SharedFile
from pg_trio.shared_memory.retry_buckets import SharedRetryBuckets
from pg_trio.shared_memory.segment import Segment
from pg_trio.shared_memory.segment_file import SEGMENT_NAME, open_segment
from pg_trio.shared_memory.spend import SharedSpend, fill_spend
from pg_trio.shared_memory.token_bucket import SharedBuckets
from pg_trio.store.file_answers import FileAnswerStore
from pg_trio.store.log import LogStore
from pg_trio.store.log_view import LogView
from pg_trio.store.operators import OperatorStore
from pg_trio.store.outage import Outage
from pg_trio.store.sessions import SessionStore
from pg_trio.store.tokens import TokenStore
from pg_trio.stores.holder_file import HolderFile
from pg_trio.stores.month_start import sum_months
from pg_trio.stores.store_protocols import AnswerKind, Engines, Ledger, Lifetime, LogBook

logger = logging.getLogger("pg_trio.stores")

# The reservations of a killed worker block its endpoints' budgets for at most this long.
REAP_EVERY_S = 1.0

# Makes a function that writes the initial contents of a new file.
MakeFill: TypeAlias = Callable[[], Awaitable[Callable[[Segment], None]]]


async def open_tokens(settings: GatewaySettings, lifetime: Lifetime) -> TokenStore:
    """See OpenTokens: `tokens.db`."""
    tokens = await TokenStore.open(settings)
    lifetime.close_with(tokens.aclose)
    lifetime.run(tokens.watch)
    return tokens


async def open_log(settings: GatewaySettings, lifetime: Lifetime) -> LogStore:
    """See OpenLog: `log.db`."""
    log = await LogStore.open(settings)
    lifetime.close_with(log.aclose)
    lifetime.run(log.write, log.retention.run)
    return log


async def open_sessions(settings: GatewaySettings, keep_s: Mapping[UUID, float], lifetime: Lifetime) -> SessionStore:
    """See OpenSessions: `sessions.db`."""
    sessions = await SessionStore.open(settings, keep_s)
    lifetime.close_with(sessions.aclose)
    lifetime.run(sessions.write, sessions.upkeep.run)
    return sessions


@frozen(slots=True, eq=False)
class SharedParts:
    """What the workers of one machine share, in one file of memory."""

    file: SharedFile
    buckets: SharedBuckets
    spend: SharedSpend
    leases: LeaseBook
    health: NodeHealth


async def open_ledger(settings: Settings, log: LogBook, lifetime: Lifetime) -> Ledger:
    """See OpenLedger: one file of shared memory."""
    parts = await open_shared_parts(settings, partial(make_fill, settings, log), lifetime)
    holders = HolderFile(settings, log)
    lifetime.stack.callback(holders.close)
    lifetime.run(holders.watch)
    return Ledger(
        ImmediateBuckets(parts.buckets),
        ImmediateSpend(parts.spend),
        ImmediateLeases(parts.leases),
        parts.health,
        holders.open,
    )


async def open_shared_parts(settings: Settings, make_fill: MakeFill, lifetime: Lifetime) -> SharedParts:
    """The file of shared memory, open. Raises StoreError."""
    shared = SharedFile(open_segment(settings.gateway.data_dir / SEGMENT_NAME, fill=await make_fill()))
    lifetime.stack.callback(shared.close)
    spend = SharedSpend(shared.segment)
    lifetime.stack.callback(spend.close)
    shared.parts.append(spend)
    buckets = SharedBuckets(shared.segment)
    shared.parts.append(buckets)
    health = share_health(shared, spend, buckets, settings)
    lifetime.run(partial(watch_shared_memory, shared, spend, make_fill))
    return SharedParts(shared, buckets, spend, LeaseBook(spend), health)


async def open_operators(settings: GatewaySettings, lifetime: Lifetime) -> OperatorStore:
    """See OpenOperators: `operators.db`."""
    operators = await OperatorStore.open(settings.data_dir)
    lifetime.close_with(operators.aclose)
    return operators


async def open_answers(settings: GatewaySettings, lifetime: Lifetime, kind: AnswerKind) -> FileAnswerStore | None:
    """See OpenAnswers: the folder `answers`. Each kind has a data directory of its own."""
    try:
        answers = FileAnswerStore(settings.data_dir, settings.max_kept_bytes, settings.max_kept_answers)
    except OSError as error:
        logger.error("answers are not kept for clients that come back: %s", error)
        return None
    lifetime.close_with(answers.aclose)
    lifetime.run(answers.run)
    return answers


async def open_log_view(settings: GatewaySettings, lifetime: Lifetime) -> LogView:
    """See OpenLogView: `log.db`."""
    view = LogView(settings.data_dir)
    lifetime.close_with(view.aclose)
    await trio.lowlevel.checkpoint()
    return view


EMBEDDED = Engines(open_tokens, open_log, open_sessions, open_ledger, open_operators, open_answers, open_log_view)


async def make_fill(settings: Settings, log: LogBook) -> Callable[[Segment], None]:
    """A function that writes the initial contents of a new file. Raises StoreError if the log cannot be read."""

    async def sum_since(at: float) -> dict[bytes, int]:
        return {uuid.bytes: nano_usd for uuid, nano_usd in (await log.spend_since(at)).items()}

    spent = await sum_months(sum_since, time.time(), find_zone(settings.gateway.timezone))

    def fill(segment: Segment) -> None:
        for month, settled in spent.items():
            fill_spend(segment, month, settled)

    return fill


def share_health(shared: SharedFile, spend: SharedSpend, buckets: SharedBuckets, settings: Settings) -> NodeHealth:
    """The state of breakers and budgets that all workers share. If the file is full, the rest is this worker's own, and
    that is logged."""
    # Trio's clock has an arbitrary start and the same rate as this one.
    ahead_s = time.monotonic() - trio.current_time()
    identities = {name: credential.fingerprint() for name, credential in settings.credentials.items()}
    counts = SharedLatencies(shared.segment, ahead_s, identities)
    shared.parts.append(counts)
    try:
        records: SharedBreakers | None = SharedBreakers(shared.segment, ahead_s, identities)
    except Overloaded:
        records = None
    if records is not None:
        shared.parts.append(records)
    return NodeHealth(
        records,
        counts.find,
        partial(open_hedges, shared, ahead_s),
        SharedRetryBuckets(buckets, ahead_s),
        CallLeases(LeaseBook(spend)),
    )


def open_hedges(
    shared: SharedFile, ahead_s: float, *, share: float, reserve: float, min_per_s: float, now: float
) -> SharedHedges | None:
    """The hedge budget of all workers; None if the file is full, which it has logged."""
    try:
        hedges = SharedHedges(shared.segment, share, reserve, min_per_s, ahead_s)
    except Overloaded:
        return None
    shared.parts.append(hedges)
    return hedges


async def watch_shared_memory(shared: SharedFile, spend: SharedSpend, make_fill: MakeFill) -> None:
    """Free the reservations of dead workers and report problems of the file. If the file was damaged or removed, move
    to a new one."""
    renewals = Outage(logger, "the shared file of limits is damaged or gone, and cannot be made anew")
    while True:
        await trio.sleep(REAP_EVERY_S)
        if shared.needs_renewal():
            try:
                shared.renew(await make_fill())
            except StoreError as error:
                renewals.failed(error)
                continue
            renewals.succeeded()
        spend.reap()
        shared.segment.tell_counters()
        shared.segment.let_pages_go()
