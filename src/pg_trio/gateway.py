"""One worker's gateway: every room opened in order, composed, and what runs in the background.

What is opened here is closed by the exit stack that comes along, the last one first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from hashlib import sha256
from typing import TypeAlias, TypeVar
from uuid import UUID

import trio
from attrs import evolve, field, frozen

from pg_trio.attachment import OwnedWorks
from pg_trio.attachment.answer_store import AnswerStore
from pg_trio.catalogue import Catalogue, PlanCompiler
from pg_trio.config.settings import ServerSettings, Settings
from pg_trio.config.time_zone import find_zone
from pg_trio.domain.call import EmbeddingAnswer, Kept, RequestHead, WholeAnswer
from pg_trio.domain.client_grant import ClientGrant
from pg_trio.domain.limits import LimitState
from pg_trio.domain.mint_terms import MintTerms
from pg_trio.domain.project import Access, Caller, Candidate, Endpoint, ModelName, Project, Token
from pg_trio.domain.upstream import Transport
from pg_trio.embedding_pipeline import EmbeddingPipeline
from pg_trio.errors import BadRequest, EndpointNotFound, GatewayError, StoreError
from pg_trio.ledger.protocols import Spend
from pg_trio.metering import MeteredParts, Metering
from pg_trio.observe.metrics_page import MetricsPage
from pg_trio.observe.request_log import RequestLog
from pg_trio.overrides import Overrides
from pg_trio.pipeline import Pipeline
from pg_trio.preparation import prepare_rules
from pg_trio.providers import adapter_for, embeddings_for
from pg_trio.racing.byte_room import ByteRoom
from pg_trio.racing.deadline import LastingScope
from pg_trio.racing.deadline_keeper import DeadlineKeeper
from pg_trio.racing.large_work import LARGE_BYTES, LargeWork, work_owner
from pg_trio.recorder import LiveSubscriber, Recorders, Subscriber
from pg_trio.stages.admission import Admission
from pg_trio.stages.authenticate import Authenticate
from pg_trio.stages.budget import Budget
from pg_trio.stages.guardrails import RemoteCaller
from pg_trio.stages.open_session import Sessions
from pg_trio.stages.provider_call import Memory, ProviderCall
from pg_trio.stages.provider_call.exchange import Exchange
from pg_trio.stages.rate_limit import RateLimit
from pg_trio.stores.administration import TokenAdministration, administer
from pg_trio.stores.client_tokens import ClientTokens, mint_for
from pg_trio.stores.opening import open_stores
from pg_trio.stores.playground_tokens import PlaygroundTokens
from pg_trio.stores.store_protocols import Engines, Ledger, Lifetime, Operators, Stores, Task, ViewedLog
from pg_trio.surfaces.v1.embeddings.embedding_answer import write_vectors
from pg_trio.traces import Traces, open_traces
from pg_trio.transport.direct import DirectTransport
from pg_trio.transport.prewarm import keep_warm
from pg_trio.transports import list_warm, open_direct, open_transports
from pg_trio.web.asgi_call import event_bytes
from pg_trio.web.asgi_types import AsgiEvent
from pg_trio.web.idempotent_call import KeyTerms
from pg_trio.web.websocket import HandshakeCall, OpenSockets

T = TypeVar("T")
Answering: TypeAlias = Callable[..., Awaitable[WholeAnswer | EmbeddingAnswer | None]]

logger = logging.getLogger("pg_trio.gateway")


@frozen
class RunningGateway:
    """One worker's gateway while it runs: the pipeline, and what introspection reads."""

    settings: Settings
    pipeline: Pipeline
    stores: Stores
    recorders: Recorders
    operators: Operators
    overrides: Overrides
    playground: PlaygroundTokens
    direct: DirectTransport
    deadlines: DeadlineKeeper
    # The works that may outlive their clients' connections.
    works: OwnedWorks[AsgiEvent]
    sockets: OpenSockets
    # None where requests are not counted.
    metrics: MetricsPage | None = None
    # See Pipeline.answer. Not a method, which would cost each request another call.
    answer: Answering = field(init=False, repr=False)

    @answer.default
    def _find_answer(self) -> Answering:
        return self.pipeline.answer

    @property
    def disabled_providers(self) -> frozenset[str]:
        """The providers that are switched off now."""
        return self.pipeline.provider_call.disabled_providers

    @property
    def log_view(self) -> ViewedLog:
        """The log as operators see it."""
        return self.stores.log_view

    @property
    def answers(self) -> AnswerStore | None:
        """Where answers are kept for clients that come back; None if none is."""
        return self.stores.answers

    @property
    def key_terms(self) -> KeyTerms:
        """For how long the answer of a request with an `Idempotency-Key` is kept, and how many bytes of it."""
        limits = self.settings.gateway
        return KeyTerms(limits.idempotency_ttl_seconds, limits.idempotency_bytes)

    async def open_keyed_answers(self) -> AnswerStore | None:
        """Where these answers are kept; None if nothing can be kept now."""
        return None if self.stores.open_keyed is None else await self.stores.open_keyed()

    async def digest_of(self, body: bytes) -> bytes:
        """The SHA-256 of a body; of a large one on a thread."""
        if len(body) <= LARGE_BYTES:
            return sha256(body).digest()
        return await self.pipeline.large_work.call(len(body), lambda: sha256(body).digest())

    def make_lasting_scope(self) -> LastingScope:
        """For a client's connection, whose task answers its calls one after the other."""
        return LastingScope(self.deadlines)

    async def find_caller(self, authorization: Sequence[str], project: str, access: Access, at: float) -> Caller:
        """See Authenticate.find_caller."""
        return await self.pipeline.authenticate.find_caller(authorization, project, access, at)

    # ── what WebSockets ask: see web.websocket ───────────────────────────────────────────────────────────────────────

    @property
    def socket_limits(self) -> ServerSettings:
        """What bounds a socket."""
        return self.settings.server

    @property
    def max_body_bytes(self) -> int:
        """The longest message."""
        return self.settings.gateway.max_body_bytes

    def find_endpoint(self, caller: Caller, slug: str) -> Endpoint:
        """An active endpoint of the caller's project. Raises EndpointNotFound."""
        return self.pipeline.catalogue.find_for(caller, slug).endpoint

    async def take_room(self, caller: Caller, size_bytes: int) -> Kept | None:
        """Room for a large message of a socket; None if there is none in time."""
        wait_s = self.settings.gateway.admission_wait_ms / 1000
        return await self.pipeline.body_room.take(caller.token.id, size_bytes, wait_s)

    async def call_large(self, caller: Caller, size_bytes: int, work: Callable[..., T], *given: object) -> T:
        """The result of `work`: in a thread, if the input is large."""
        if size_bytes > LARGE_BYTES:
            work_owner.set(caller.token.id)
        return await self.pipeline.large_work.call(size_bytes, work, *given)

    def note_refused(self, head: RequestHead, error: GatewayError) -> None:
        """Write the row of a WebSocket's handshake that was refused."""
        with suppress(GatewayError), self.recorders.open(HandshakeCall(head)):
            raise error

    def playground_token(self, project: str) -> str | None:
        """See PlaygroundTokens.of."""
        return self.playground.of(project)

    def list_model_names(self, project: Project) -> Iterable[ModelName]:
        """See Catalogue.list_names."""
        return self.pipeline.catalogue.list_names(project)

    def find_model_name(self, project: Project, name: str) -> ModelName:
        """The name, if it is listed or a request may give it as its model. Raises ModelNotFound."""
        if name.endswith(":*"):
            # No model has it: the list has it for all of a provider's.
            listed = next((each for each in self.list_model_names(project) if each.id == name), None)
            if listed is not None:
                return listed
        plan = self.pipeline.catalogue.find_model(project, name)
        return ModelName(name, is_alias=plan.endpoint.slug in project.endpoints)

    def describe_candidate(self, candidate: Candidate) -> dict[str, object]:
        """See ProviderCall.describe."""
        return self.pipeline.provider_call.describe(candidate)

    async def mint(self, caller: Caller, terms: MintTerms) -> tuple[ClientGrant, str]:
        """A new client token, and its text. Raises BadRequest, TooManyHolders, TokensUnavailable, Overloaded."""
        for slug in sorted(terms.endpoints):
            try:
                self.pipeline.catalogue.find(caller.project, slug)
            except EndpointNotFound as error:
                raise BadRequest(f"endpoints: {error.text}") from None
        ledger = self.stores.ledger
        return await mint_for(ClientTokens(self.stores.tokens), ledger.open_holders, caller.token, terms)

    async def list_tokens(self, project_uuid: UUID) -> Sequence[Token]:
        """A project's tokens, revoked ones included."""
        return await self.stores.tokens.list_tokens(project_uuid)

    async def administer_tokens(self, work: Callable[[TokenAdministration], T]) -> T:
        """The result of `work` with the tokens of all projects, on a thread. Raises what it raises, and StoreError."""

        def administered() -> T:
            with administer(self.settings.gateway.data_dir, self.settings.cluster).open_tokens() as tokens:
                return work(tokens)

        # Not abandoned: an operator must learn whether the change was made.
        return await trio.to_thread.run_sync(administered, limiter=trio.CapacityLimiter(1))

    def describe_connections(self) -> str:
        """This worker's connections to providers, in one line."""
        return self.direct.describe()

    async def read_limits(self, asked: Endpoint | Token) -> Sequence[LimitState]:
        """See RateLimit.read_left."""
        return await self.pipeline.rate_limit.read_left(asked)

    async def read_spends(self, endpoints: Iterable[Endpoint]) -> Mapping[UUID, Spend]:
        """See Budget.read."""
        return await self.pipeline.budget.read(endpoints)


@frozen(eq=False)
class Surroundings:
    """What a gateway runs in. `live` are told every fact of every request. `engines`: see open_stores.

    `seat` is the worker's place among the gateway's workers, None without a supervisor. `count_connections` is the
    number of clients' connections, as far as the server tells it.
    """

    live: Sequence[LiveSubscriber] = ()
    engines: Engines | None = None
    seat: int | None = None
    count_connections: Callable[[], int] = lambda: 0


ALONE = Surroundings()


async def open_gateway(
    settings: Settings, stack: AsyncExitStack, around: Surroundings = ALONE
) -> tuple[RunningGateway, list[Task]]:
    """A gateway, opened, and the background tasks that it needs; `stack` closes what it holds.

    Raises StoreError, or ConfigError for what only shows when it is used.
    """
    lifetime = Lifetime(stack)
    last = stack.enter_context(ExitStack())
    stores = await open_stores(settings, lifetime, around.engines)
    metering = open_metering(settings, around.seat, last)
    traces = open_traces(settings, around.seat, lifetime)
    recorders = make_recorders(settings, stores, metering, traces)
    for subscriber in around.live:
        stack.enter_context(recorders.watch(subscriber))
    direct = open_direct(settings)
    transports = open_transports(settings, direct, stack)
    playground = PlaygroundTokens(stores.tokens, settings.projects)
    pipeline, compiler = make_pipeline(settings, evolve(stores, tokens=playground), transports, recorders)
    overrides = Overrides(settings, pipeline.catalogue, compiler)
    operators = stores.operators
    # Before the first request: what was switched off stays so after a restart.
    overrides.apply(await operators.read_overrides())
    lifetime.run(partial(operators.watch, overrides.apply))
    # A worker that was stopped looks for operators' changes before it serves a token from memory.
    stores.tokens.poll_after(operators.catch_up)
    memory = pipeline.provider_call.memory
    warm = list_warm(settings, memory)
    deadlines, works = DeadlineKeeper(), OwnedWorks(event_bytes)
    sockets = OpenSockets(settings.server.websocket_max_open, pipeline.authenticate.find_caller)
    lifetime.run(deadlines.run, direct.run, pipeline.admission.run, partial(keep_warm, direct, warm), works.run)
    lifetime.run(memory.pauses.run, pipeline.stream_clocks.run, sockets.watch)
    lifetime.run(partial(prepare_rules, settings.projects.values()))
    counts = around.count_connections, sockets.__len__
    parts = MeteredParts(settings, pipeline, stores, recorders, overrides, *counts)
    page = None if metering is None else metering.make_page(parts, lifetime, {} if traces is None else traces.counts)
    running = RunningGateway(
        settings,
        pipeline,
        stores,
        recorders,
        operators,
        overrides,
        playground,
        direct,
        deadlines,
        works,
        sockets,
        page,
    )
    return running, lifetime.tasks


def open_metering(settings: Settings, seat: int | None, last: ExitStack) -> Metering | None:
    """The metrics; None where they are switched off, or have no file: a gateway also serves without what observes."""
    if not settings.observe.metrics:
        return None
    try:
        return Metering.open(settings, seat, last)
    except StoreError as error:
        logger.error("requests are not counted, and /metrics is off: %s", error)
        return None


def make_recorders(settings: Settings, stores: Stores, metering: Metering | None, traces: Traces | None) -> Recorders:
    """What each request is told to at its end: metrics, the log, traces."""
    subscribers: list[Subscriber] = [RequestLog(stores.log, settings.gateway.log_body_chars)]
    if metering is not None:
        # The first: a failure of the others must not keep it from counting.
        subscribers.insert(0, metering.subscriber)
    if traces is not None:
        subscribers.append(traces.subscriber)
    recorders = Recorders(subscribers, begin_trace=None if traces is None else traces.begin)
    recorders.keeps_texts = settings.observe.capture_content and traces is not None
    return recorders


def make_pipeline(
    settings: Settings, stores: Stores, transports: dict[str, Transport], recorders: Recorders
) -> tuple[Pipeline, PlanCompiler]:
    """The stages, composed, and what compiles an endpoint's plan: when the endpoint is first asked for."""
    limits, large_work = settings.gateway, LargeWork()
    exchange = Exchange(
        adapter_for,
        transports,
        time.time,
        large_work,
        settings.upstream.max_body_bytes,
        ByteRoom(limits.max_inflight_body_bytes),
    )
    compiler = make_compiler(settings, stores.ledger, exchange)
    sessions = stores.sessions
    pipeline = Pipeline(
        settings=limits,
        admission=Admission(limits.max_concurrent_requests, shortest_wait_s(settings), recorders.tell_shed),
        authenticate=Authenticate(stores.tokens, settings.projects, ClientTokens(stores.tokens)),
        catalogue=Catalogue(compiler.compile),
        rate_limit=compiler.rate_limit,
        budget=compiler.budget,
        provider_call=compiler.provider_call,
        embeddings=EmbeddingPipeline(
            compiler.rate_limit, compiler.budget, compiler.provider_call, exchange, embeddings_for, write_vectors
        ),
        large_work=large_work,
        body_room=ByteRoom(limits.max_inflight_body_bytes),
        recorders=recorders,
        sessions=None if sessions is None else Sessions(sessions, time.time, limits.max_session_bytes),
    )
    return pipeline, compiler


def make_compiler(settings: Settings, ledger: Ledger, exchange: Exchange) -> PlanCompiler:
    """The stages that take part in an endpoint's plan."""
    limits = settings.gateway
    zone, hedge_share = find_zone(limits.timezone), limits.hedge_budget_percent / 100
    memory = Memory.over(ledger.health, limits.retry_budget_percent / 100, settings.server.workers)
    holders = ledger.open_holders or ledger.share_books
    return PlanCompiler(
        RateLimit(ledger.buckets, ledger.leases, time.monotonic, limits.default_output_tokens, holders),
        Budget(ledger.spend, time.time, limits.default_output_tokens, zone, holders),
        ProviderCall(exchange, settings.disabled_providers, hedge_share, memory),
        RemoteCaller(exchange.transports, exchange.large_work, memory.pauses),
    )


def shortest_wait_s(settings: Settings) -> float:
    """How long a request may wait for admission: less than any endpoint's deadline, so that none expires there."""
    deadlines_ms = [one.deadline_ms for project in settings.projects.values() for one in project.callable_endpoints]
    return min([settings.gateway.admission_wait_ms, *deadlines_ms]) / 1000
