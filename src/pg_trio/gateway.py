"""One worker's gateway: every room opened in order, composed, and what runs in the background.

What is opened here is closed by the exit stack that comes along, the last one first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import tzinfo
from functools import partial
from uuid import UUID

import trio
from attrs import frozen

from pg_trio.config.settings import Settings
from pg_trio.config.time_zone import find_zone
from pg_trio.domain.call import Answer, Call
from pg_trio.domain.project import Caller, Candidate, Credential, Endpoint, Token
from pg_trio.domain.upstream import Transport
from pg_trio.errors import ConfigError, Overloaded, StoreError
from pg_trio.pipeline import Pipeline
from pg_trio.providers import adapter_for
from pg_trio.racing.byte_room import ByteRoom
from pg_trio.racing.deadline import LastingScope
from pg_trio.racing.hedge_budget import HedgeBudget, HedgeRules, Hedges
from pg_trio.racing.large_work import LargeWork
from pg_trio.racing.latency import LatencyBoard
from pg_trio.racing.retry_budget import RetryBudget
from pg_trio.shared_memory.breaker_board import SharedBreakers
from pg_trio.shared_memory.hedge_budget import SharedHedges
from pg_trio.shared_memory.latency_counts import SharedLatencies
from pg_trio.shared_memory.leases import CallLeases, Leases
from pg_trio.shared_memory.renewal import SharedFile
from pg_trio.shared_memory.retry_buckets import SharedRetryBuckets
from pg_trio.shared_memory.segment import Segment
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend, fill_spend
from pg_trio.shared_memory.token_bucket import SharedBuckets
from pg_trio.stages.admission import Admission
from pg_trio.stages.authenticate import Authenticate
from pg_trio.stages.budget import Budget, month_of, month_start
from pg_trio.stages.guardrails.stage import Guardrails
from pg_trio.stages.log import Log
from pg_trio.stages.provider_call import ProviderCall
from pg_trio.stages.provider_call.exchange import Exchange
from pg_trio.stages.provider_call.memory import Memory, make_board
from pg_trio.stages.rate_limit import RateLimit
from pg_trio.stages.schemas.stage import Schemas
from pg_trio.stages.session import Sessions
from pg_trio.store.log import LogStore
from pg_trio.store.outage import Outage
from pg_trio.store.sessions import SessionStore
from pg_trio.store.tokens import TokenStore
from pg_trio.transport.direct import DirectTransport
from pg_trio.transport.prewarm import WarmAddress, keep_warm

logger = logging.getLogger("pg_trio")

SEGMENT_NAME = "shared.mem"
# What a killed worker had reserved blocks its endpoints' budgets for at most this long.
REAP_EVERY_S = 1.0
# A day: so long after a month's start its clock may still be set back over it. (The time server's steps are of minutes,
# a wrong time zone's of hours.) Summing a month takes a second where it has ten million rows.
SET_BACK_S = 86_400.0


@frozen
class RunningGateway:
    """One worker's gateway while it runs: the pipeline, and what introspection reads."""

    pipeline: Pipeline
    tokens: TokenStore
    disabled_providers: frozenset[str]

    def answer(self, call: Call, lasting: LastingScope | None = None) -> Awaitable[Answer | None]:
        """See Pipeline.answer."""
        return self.pipeline.answer(call, lasting)

    def make_lasting_scope(self) -> LastingScope:
        """For a client's connection, whose task answers its calls one after the other."""
        return LastingScope()

    async def find_caller(self, authorization: Sequence[str], project: str, scope: str, at: float) -> Caller:
        """See Authenticate.find_caller."""
        return await self.pipeline.authenticate.find_caller(authorization, project, scope, at)

    def describe_candidate(self, candidate: Candidate) -> dict[str, object]:
        """See ProviderCall.describe."""
        return self.pipeline.provider_call.describe(candidate)

    async def list_tokens(self, project_uuid: UUID) -> Sequence[Token]:
        """A project's tokens, revoked ones included."""
        return await self.tokens.list_tokens(project_uuid)


Task = Callable[[], Awaitable[None]]


async def open_gateway(settings: Settings, stack: AsyncExitStack) -> tuple[RunningGateway, list[Task]]:
    """A gateway, opened, and the background tasks that it needs; `stack` closes what it holds.

    Raises StoreError, or ConfigError for what only shows when it is used.
    """
    limits = settings.gateway
    endpoints = [endpoint for project in settings.projects.values() for endpoint in project.endpoints.values()]
    tokens = await TokenStore.open(limits)
    stack.push_async_callback(tokens.aclose)
    log = await LogStore.open(limits)
    stack.push_async_callback(log.aclose)
    direct = DirectTransport(settings.upstream)
    transports = open_transports(settings, direct, stack)
    sessions = await open_sessions(settings, endpoints, stack)
    shared, spend = await open_shared_memory(settings, log, stack)
    buckets = SharedBuckets(shared.segment)
    shared.parts.append(buckets)
    memory = share_memory(shared, spend, buckets, settings)
    request_log = Log(log, limits.log_body_chars)
    # A request must not expire while it waits for admission.
    shortest_ms = min([limits.admission_wait_ms, *(endpoint.deadline_ms for endpoint in endpoints)])
    large_work = LargeWork()
    exchange = Exchange(
        adapter_for,
        transports,
        time.time,
        large_work,
        settings.upstream.max_body_bytes,
        ByteRoom(limits.max_inflight_body_bytes),
    )
    hedge_share = limits.hedge_budget_percent / 100
    pipeline = Pipeline(
        settings=limits,
        admission=Admission(limits.max_concurrent_requests, shortest_ms / 1000, request_log.note_shed),
        authenticate=Authenticate(tokens, settings.projects),
        rate_limit=RateLimit(buckets, Leases(spend), time.monotonic, limits.default_output_tokens),
        budget=Budget(spend, time.time, limits.default_output_tokens, find_zone(limits.timezone)),
        guardrails=Guardrails(endpoints),
        schemas=Schemas(endpoints),
        provider_call=ProviderCall(exchange, settings.disabled_providers, hedge_share, memory),
        large_work=large_work,
        body_room=ByteRoom(limits.max_inflight_body_bytes),
        log=request_log,
        sessions=None if sessions is None else Sessions(sessions, time.time, limits.max_session_bytes),
    )
    tasks: list[Task] = [
        tokens.watch,
        log.write,
        log.retention.run,
        direct.run,
        pipeline.admission.run,
        partial(watch_shared_memory, shared, spend, partial(make_fill, settings, log)),
        partial(keep_warm, direct, list_warm(settings, memory)),
    ]
    if sessions is not None:
        tasks += [sessions.write, sessions.upkeep.run]
    return RunningGateway(pipeline, tokens, settings.disabled_providers), tasks


def open_transports(settings: Settings, direct: DirectTransport, stack: AsyncExitStack) -> dict[str, Transport]:
    """Every way to reach providers, by the name that credentials have for it (`Credential.carrier`)."""
    stack.push_async_callback(direct.aclose)
    transports: dict[str, Transport] = {"direct": direct}
    for credential in settings.credentials.values():
        if credential.transport == "httpx" and credential.carrier not in transports:
            transports[credential.carrier] = open_httpx(credential, settings)
            stack.push_async_callback(transports[credential.carrier].aclose)
    return transports


async def open_sessions(
    settings: Settings, endpoints: Sequence[Endpoint], stack: AsyncExitStack
) -> SessionStore | None:
    """The store of sessions; its file is made only where an endpoint has any."""
    if not any(endpoint.sessions_enabled for endpoint in endpoints):
        return None
    sessions = await SessionStore.open(settings.gateway, session_keep_s(endpoints))
    stack.push_async_callback(sessions.aclose)
    return sessions


async def open_shared_memory(
    settings: Settings, log: LogStore, stack: AsyncExitStack
) -> tuple[SharedFile, SharedSpend]:
    """What all workers share; a new file begins with the month's spend as the log knows it."""
    fill = await make_fill(settings, log)
    shared = SharedFile(open_segment(settings.gateway.data_dir / SEGMENT_NAME, fill=fill))
    stack.callback(shared.close)
    spend = SharedSpend(shared.segment)
    stack.callback(spend.close)
    shared.parts.append(spend)
    return shared, spend


async def make_fill(settings: Settings, log: LogStore) -> Callable[[Segment], None]:
    """What writes into a new file what it begins with. Raises StoreError if the log cannot be read."""
    spent = await sum_months(log, time.time(), find_zone(settings.gateway.timezone))

    def fill(segment: Segment) -> None:
        for month, settled in spent.items():
            fill_spend(segment, month, settled)

    return fill


async def sum_months(log: LogStore, now_s: float, zone: tzinfo) -> dict[int, dict[bytes, int]]:
    """This month's spend by endpoint; and the next one's if the log has any (the clock was set back), or the last one's
    where that may be the month again (SET_BACK_S)."""

    async def sum_since(at: float) -> dict[bytes, int]:
        return {uuid.bytes: nano_usd for uuid, nano_usd in (await log.spend_since(at)).items()}

    start = month_start(now_s, zone)
    # 32 days after a month's start is in the next one.
    end = month_start(start + 32 * 86_400, zone)
    since_start, later = await sum_since(start), await sum_since(end)
    sums = {month_of(now_s, zone): subtract(since_start, later)}
    if later:
        sums[month_of(end, zone)] = later
    elif now_s - start < SET_BACK_S:
        last = month_start(start - 1, zone)
        sums[month_of(last, zone)] = subtract(await sum_since(last), since_start)
    return sums


def subtract(spent: Mapping[bytes, int], later: Mapping[bytes, int]) -> dict[bytes, int]:
    """What was spent, without what was spent later."""
    return {key: nano_usd - later.get(key, 0) for key, nano_usd in spent.items()}


def session_keep_s(endpoints: Iterable[Endpoint]) -> dict[UUID, float]:
    """How long a session without a turn stays in the file: its TTL, and the longest call that may be under way."""
    return {
        endpoint.uuid: endpoint.session_ttl_seconds + max(endpoint.deadline_ms, endpoint.stream_deadline_ms) / 1000
        for endpoint in endpoints
        if endpoint.sessions_enabled
    }


def open_httpx(credential: Credential, settings: Settings) -> Transport:
    """The transport of a credential. Raises ConfigError if a certificate or key of it cannot be used."""
    # Loaded only if it is used, because it takes 4 MB in every worker.
    from pg_trio.transport.httpx_transport import HttpxTransport

    try:
        return HttpxTransport(settings.upstream, options=credential.httpx)
    except ValueError as exc:
        raise ConfigError(f"credential {credential.name}", [str(exc)]) from exc


def list_warm(settings: Settings, memory: Memory) -> list[WarmAddress]:
    """The addresses to which connections are kept open: of credentials that say so and that an endpoint asks."""
    endpoints = [endpoint for project in settings.projects.values() for endpoint in project.endpoints.values()]
    candidates = {
        candidate
        for endpoint in endpoints
        for candidate in endpoint.candidates
        if candidate.credential.prewarm_connections and candidate.provider not in settings.disabled_providers
    }
    return [
        WarmAddress(
            url=credential.base_url,
            # More would be closed as soon as they are idle.
            count=min(credential.prewarm_connections, settings.upstream.pool_idle_connections),
            allow_private=credential.allow_private_addresses,
            may_ask=partial(_may_ask_one, memory, [one for one in candidates if one.credential == credential]),
        )
        for credential in {candidate.credential for candidate in candidates}
    ]


def _may_ask_one(memory: Memory, candidates: Sequence[Candidate]) -> bool:
    now = trio.current_time()
    return any(memory.breakers.may_ask(candidate, now) for candidate in candidates)


def share_memory(shared: SharedFile, spend: SharedSpend, buckets: SharedBuckets, settings: Settings) -> Memory:
    """How candidates fared and what is rationed, known to all workers; to this one alone as far as the file is full,
    which it has logged."""
    # Trio's clock begins anywhere, and runs as this one does.
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
    retries = SharedRetryBuckets(buckets, ahead_s)
    return Memory(
        make_board(records),
        LatencyBoard(counts.find),
        partial(open_hedges, shared, ahead_s),
        CallLeases(Leases(spend)),
        RetryBudget(settings.gateway.retry_budget_percent / 100, retries, settings.server.workers),
    )


def open_hedges(shared: SharedFile, ahead_s: float, rules: HedgeRules, now: float) -> Hedges:
    """The hedge budget of all workers; of this one alone where the file is full, which it has logged."""
    try:
        hedges = SharedHedges(shared.segment, rules.share, rules.reserve, rules.min_per_s, ahead_s)
    except Overloaded:
        return HedgeBudget(rules, now)
    shared.parts.append(hedges)
    return hedges


async def watch_shared_memory(
    shared: SharedFile, spend: SharedSpend, make_fill: Callable[[], Awaitable[Callable[[Segment], None]]]
) -> None:
    """Take back the reservations of dead workers, and report problems of the file. Move to another file if it was
    damaged or removed."""
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
