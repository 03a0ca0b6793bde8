"""The composition root: settings in, the ASGI application out.

`create_app(settings)` is a Quart-Trio application whose ASGI callable first serves the gateway's own routes (web/asgi)
and owns the gateway's background tasks: they live in one nursery, opened around the server's lifespan call and closed
before the server is told that shutdown is complete. Under stock Hypercorn:

    PG_TRIO_CONFIG=gateway.toml hypercorn -k trio 'pg_trio.app:create_app()'
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import cast
from uuid import UUID

import trio
from attrs import frozen
from quart_trio import QuartTrio

from pg_trio.config import load_settings
from pg_trio.config.location import find_configuration
from pg_trio.config.settings import Settings
from pg_trio.config.time_zone import find_zone
from pg_trio.domain.call import Answer, Call
from pg_trio.domain.project import Caller, Candidate, Credential, Endpoint, Token
from pg_trio.domain.upstream import Transport
from pg_trio.errors import ConfigError, Overloaded, StoreError
from pg_trio.pipeline import Pipeline
from pg_trio.providers import adapter_for
from pg_trio.racing.large_work import LargeWork
from pg_trio.racing.latency import LatencyBoard
from pg_trio.server.http1.types import DOOR, Door
from pg_trio.shared_memory.breaker_board import SharedBreakers
from pg_trio.shared_memory.latency_counts import SharedLatencies
from pg_trio.shared_memory.leases import Leases
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
from pg_trio.stages.provider_call.call import Memory, make_board
from pg_trio.stages.provider_call.exchange import Exchange
from pg_trio.stages.rate_limit import RateLimit
from pg_trio.stages.schemas.stage import Schemas
from pg_trio.stages.session import Sessions
from pg_trio.store.log import LogStore
from pg_trio.store.sessions import SessionStore
from pg_trio.store.tokens import TokenStore
from pg_trio.transport.direct import DirectTransport
from pg_trio.transport.prewarm import WarmAddress, keep_warm
from pg_trio.web.asgi import AsgiApp, AsgiEvent, GatewayRoutes, Receive, Scope, Send, is_own_route
from pg_trio.web.introspection import make_web_app

logger = logging.getLogger("pg_trio")

SEGMENT_NAME = "shared.mem"
# What a killed worker had reserved blocks its endpoints' budgets for at most this long.
REAP_EVERY_S = 1.0


def create_app(settings: Settings | None = None) -> QuartTrio:
    """The application, ready for any ASGI server that runs on Trio and has a lifespan.

    Without settings, the file that $PG_TRIO_CONFIG names is loaded. Raises ConfigError.
    """
    if settings is None:
        settings = load_settings(find_configuration())
    app = make_web_app(lambda: routes.gateway)
    # Hypercorn types ASGI events as one class each, we as mappings.
    routes: GatewayRoutes = GatewayRoutes(cast(AsgiApp, app.asgi_app))
    app.asgi_app = GatewayLifespan(settings, routes)  # type: ignore[method-assign, assignment]
    return app


@frozen
class RunningGateway:
    """One worker's gateway while it runs: the pipeline, and what introspection reads."""

    pipeline: Pipeline
    tokens: TokenStore
    disabled_providers: frozenset[str]

    async def answer(self, call: Call) -> Answer | None:
        """See Pipeline.answer."""
        return await self.pipeline.answer(call)

    async def find_caller(self, authorization: Sequence[str], project: str, scope: str, at: float) -> Caller:
        """See Authenticate.find_caller."""
        return await self.pipeline.authenticate.find_caller(authorization, project, scope, at)

    def describe_candidate(self, candidate: Candidate) -> dict[str, object]:
        """See ProviderCall.describe."""
        return self.pipeline.provider_call.describe(candidate)

    async def list_tokens(self, project_uuid: UUID) -> Sequence[Token]:
        """A project's tokens, revoked ones included."""
        return await self.tokens.list_tokens(project_uuid)


class GatewayLifespan:
    """Wraps an ASGI application: opens the gateway before the server starts it, closes it before shutdown completes."""

    def __init__(self, settings: Settings, routes: GatewayRoutes) -> None:
        self._settings = settings
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._routes(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The server's lifespan: what it is told last, that shutdown is complete, is true when it is told."""
        last: list[AsgiEvent] = []

        async def hold_last(event: AsgiEvent) -> None:
            if event["type"].startswith("lifespan.shutdown."):
                last.append(event)
            else:
                await send(event)

        async with AsyncExitStack() as stack:
            try:
                gateway, tasks = await open_gateway(self._settings, stack)
            except (ConfigError, StoreError) as error:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            async with trio.open_nursery() as nursery:
                for task in tasks:
                    nursery.start_soon(task)
                # For our own server, which can turn requests away for less than calling us costs.
                scope.get("state", {})[DOOR] = Door(gateway.pipeline.admission, is_own_route)
                self._routes.gateway = gateway
                await self._routes(scope, receive, hold_last)
                self._routes.gateway = None
                nursery.cancel_scope.cancel()
        for event in last:
            await send(event)


async def open_gateway(
    settings: Settings, stack: AsyncExitStack
) -> tuple[RunningGateway, list[Callable[[], Awaitable[None]]]]:
    """A gateway, opened, and the background tasks that it needs; `stack` closes what it holds. Raises StoreError."""
    tokens = await TokenStore.open(settings.gateway)
    stack.push_async_callback(tokens.aclose)
    log = await LogStore.open(settings.gateway)
    stack.push_async_callback(log.aclose)
    direct = DirectTransport(settings.upstream)
    stack.push_async_callback(direct.aclose)
    transports: dict[str, Transport] = {"direct": direct}
    for credential in settings.credentials.values():
        if credential.transport == "httpx" and credential.carrier not in transports:
            transports[credential.carrier] = open_httpx(credential, settings)
            stack.push_async_callback(transports[credential.carrier].aclose)
    endpoints = [endpoint for project in settings.projects.values() for endpoint in project.endpoints.values()]
    # The file is made only where somebody uses it.
    sessions: SessionStore | None = None
    if any(endpoint.sessions_enabled for endpoint in endpoints):
        sessions = await SessionStore.open(settings.gateway, session_keep_s(endpoints))
        stack.push_async_callback(sessions.aclose)
    large_work = LargeWork()
    now_s, zone = time.time(), find_zone(settings.gateway.timezone)
    spent = {uuid.bytes: nano_usd for uuid, nano_usd in (await log.spend_since(month_start(now_s, zone))).items()}
    fill = partial(fill_spend, month=month_of(now_s, zone), settled=spent)
    segment = open_segment(settings.gateway.data_dir / SEGMENT_NAME, fill=fill)
    stack.callback(segment.close)
    spend = SharedSpend(segment)
    stack.callback(spend.close)
    memory = share_memory(segment, settings)
    request_log = Log(log, settings.gateway.log_body_chars)
    # Nobody's own deadline is to pass in the line.
    shortest_ms = min([settings.gateway.admission_wait_ms, *(endpoint.deadline_ms for endpoint in endpoints)])
    admission = Admission(settings.gateway.max_concurrent_requests, shortest_ms / 1000, request_log.note_shed)
    pipeline = Pipeline(
        settings=settings.gateway,
        admission=admission,
        authenticate=Authenticate(tokens, settings.projects),
        rate_limit=RateLimit(
            SharedBuckets(segment), Leases(spend), time.monotonic, settings.gateway.default_output_tokens
        ),
        budget=Budget(spend, time.time, settings.gateway.default_output_tokens, zone),
        guardrails=Guardrails(endpoints),
        schemas=Schemas(endpoints),
        provider_call=ProviderCall(
            Exchange(adapter_for, transports, time.time, large_work),
            settings.disabled_providers,
            settings.gateway.hedge_budget_percent / 100,
            memory,
        ),
        large_work=large_work,
        log=request_log,
        sessions=None if sessions is None else Sessions(sessions, time.time, settings.gateway.max_session_bytes),
    )
    gateway = RunningGateway(pipeline, tokens, settings.disabled_providers)
    tasks: list[Callable[[], Awaitable[None]]] = [tokens.watch, log.write, log.retention.run, direct.run, admission.run]
    tasks.append(partial(watch_shared_memory, segment, spend))
    tasks.append(partial(keep_warm, direct, list_warm(settings, memory)))
    if sessions is not None:
        tasks += [sessions.write, sessions.purge]
    return gateway, tasks


def session_keep_s(endpoints: Iterable[Endpoint]) -> dict[UUID, float]:
    """How long a session without a turn stays in the file: its TTL, and the longest call that may be under way."""
    return {
        endpoint.uuid: endpoint.session_ttl_seconds + max(endpoint.deadline_ms, endpoint.stream_deadline_ms) / 1000
        for endpoint in endpoints
        if endpoint.sessions_enabled
    }


def open_httpx(credential: Credential, settings: Settings) -> Transport:
    """The transport of a credential. Raises ConfigError if a certificate or key of it cannot be used."""
    # Loaded only where somebody uses it: it is 4 MB of every worker.
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


def share_memory(segment: Segment, settings: Settings) -> Memory:
    """How candidates fared, known to all workers; to this one alone as far as the file is full, which it has logged."""
    # Trio's clock begins anywhere, and runs as this one does.
    ahead_s = time.monotonic() - trio.current_time()
    identities = {name: credential.fingerprint() for name, credential in settings.credentials.items()}
    latencies = LatencyBoard(SharedLatencies(segment, ahead_s, identities).find)
    try:
        return Memory(make_board(SharedBreakers(segment, ahead_s, identities)), latencies)
    except Overloaded:
        return Memory(make_board(), latencies)


async def watch_shared_memory(segment: Segment, spend: SharedSpend) -> None:
    """Take back what dead workers had reserved, and say what went wrong in the file, or that it was taken away."""
    is_current = True
    while True:
        await trio.sleep(REAP_EVERY_S)
        spend.reap()
        segment.tell_counters()
        if is_current and not segment.is_current():
            is_current = False
            logger.error("the shared file of limits was replaced: this worker counts apart until it is reloaded")
