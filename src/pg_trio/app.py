"""The composition root: settings in, the ASGI application out.

`create_app(settings)` is a Quart-Trio application whose ASGI callable first serves the gateway's own routes (web/asgi)
and owns the gateway's background tasks: they live in one nursery, opened around the server's lifespan call and closed
before the server is told that shutdown is complete. Under stock Hypercorn:

    PG_TRIO_CONFIG=gateway.toml hypercorn -k trio 'pg_trio.app:create_app()'

Making one also puts a guard around each connection of stock Hypercorn in this process (server/containment.py): without
it, one client's bytes can end the whole server.

A worker of `pg-trio serve` has the same applications, but Quart is loaded when it is first needed (`WorkerApp`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import lru_cache
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

import trio
from attrs import evolve, field, frozen

from pg_trio.config import load_settings
from pg_trio.config.location import find_configuration
from pg_trio.config.settings import Settings
from pg_trio.errors import ConfigError, GatewayError, Overloaded, StoreError
from pg_trio.gateway import RunningGateway, Surroundings, open_gateway
from pg_trio.recorder import LiveSubscriber
from pg_trio.server.http1.busy_answer import BusyAnswer
from pg_trio.server.http1.types import CONNECTIONS, DOOR, Door, HeaderList, LoadGate, OwnAnswer, RequestStart
from pg_trio.stores.store_protocols import Engines
from pg_trio.surfaces import SURFACES, Surface
from pg_trio.web.admin.security_fields import SECURITY_FIELDS
from pg_trio.web.asgi import GatewayRoutes
from pg_trio.web.asgi_types import AsgiApp, AsgiEvent, Receive, Scope, Send
from pg_trio.web.cors import CorsTable
from pg_trio.web.late_app import LateApp
from pg_trio.web.polled_routes import PolledRoutes, answer_health, answer_metrics, comes_from_here
from pg_trio.web.stream_routes import StreamRoutes
from pg_trio.web.websocket import covers_socket

if TYPE_CHECKING:
    from quart_trio import QuartTrio

logger = logging.getLogger("pg_trio.app")

# A kilobyte each. With `*.` in its `cors_origins` a project may have any number of pages.
REFUSALS_KEPT = 256


def create_app(
    settings: Settings | None = None,
    surfaces: Sequence[Surface] = SURFACES,
    live: Sequence[LiveSubscriber] = (),
    engines: Engines | None = None,
    *,
    seat: int | None = None,
) -> QuartTrio:
    """The application, ready for any ASGI server that runs on Trio and has a lifespan.

    Without settings, the file that $PG_TRIO_CONFIG names is loaded. `surfaces` are the dialects that it speaks to
    clients. `live` are told every fact of every request: see pg_trio.recorder. `engines` hold the state; None: those
    that the settings ask for. `seat` is the worker's place among the gateway's workers, None without a supervisor.
    Raises ConfigError.
    """
    # Hypercorn serves this application, perhaps; a worker loads it later, or never.
    from pg_trio.server.containment import contain_hypercorn

    contain_hypercorn()
    if settings is None:
        settings = load_settings(find_configuration())
    find_parts: list[Parts] = []
    app = _make_quart(settings, lambda: find_parts[0])
    # Hypercorn types ASGI events as one class each, we as mappings.
    inner = cast(AsgiApp, app.asgi_app)
    find_parts.append(parts := _make_parts(settings, inner, surfaces, seat))
    around = Surroundings(live, engines, seat)
    parts.routes.lifespan = GatewayLifespan(settings, parts.routes, around)
    app.asgi_app = parts.routes  # type: ignore[method-assign, assignment]
    app.extensions["pg_trio"] = parts
    return app


@frozen(eq=False)
class Parts:
    """What the admin address reads of a worker's application. `routes.gateway` is None until it runs."""

    settings: Settings
    routes: GatewayRoutes
    seat: int | None

    @property
    def gateway(self) -> RunningGateway | None:
        """The running gateway, None before it runs."""
        return cast(RunningGateway | None, self.routes.gateway)


def _make_quart(settings: Settings, find_parts: Callable[[], Parts]) -> QuartTrio:
    """What answers requests that are not for models. Imports Quart."""
    from pg_trio.web.admin.metrics_route import add_public_metrics
    from pg_trio.web.introspection import make_web_app

    app = make_web_app(lambda: find_parts().gateway, lambda: find_parts().routes.is_ready)
    if settings.observe.metrics_public:
        add_public_metrics(app, lambda: find_parts().gateway)
    return app


def _make_parts(settings: Settings, inner: AsgiApp, surfaces: Sequence[Surface], seat: int | None) -> Parts:
    """The routes around `inner`, which serves all but requests for models, and those that programs poll."""
    polled = {"/healthz": answer_health(lambda: True), "/readyz": answer_health(lambda: routes.is_ready)}
    if settings.observe.metrics_public:
        polled["/metrics"] = answer_metrics(lambda: routes.gateway, lambda _: True, {})
    streams, trusted = StreamRoutes(settings.projects), settings.server.trusted_proxies
    rest = PolledRoutes(polled, inner)
    routes: GatewayRoutes = GatewayRoutes(rest, trusted, surfaces, cors=CorsTable(settings.projects), streams=streams)
    return Parts(settings, routes, seat)


def make_admin_app(app: QuartTrio, ask_reload: Callable[[], None] | None = None) -> QuartTrio:
    """The application of the admin address, for a worker whose public application is `app` (see create_app).

    `ask_reload` asks for the configuration to be read again; it raises ConfigError for one with mistakes.
    """
    parts: Parts = app.extensions["pg_trio"]
    return _make_admin(parts, ask_reload)


def _make_admin(parts: Parts, ask_reload: Callable[[], None] | None) -> QuartTrio:
    """Imports Quart."""
    from pg_trio.web.admin.admin_app import make_operators_app

    return make_operators_app(lambda: parts.gateway, parts.settings, parts.routes, ask_reload)


@frozen(eq=False)
class WorkerApp:
    """The applications of one worker: as create_app's, and loading Quart when a request needs it."""

    settings: Settings
    seat: int
    parts: Parts = field(init=False)

    @parts.default
    def _default_parts(self) -> Parts:
        late = LateApp(lambda: cast(AsgiApp, _make_quart(self.settings, lambda: self.parts).asgi_app))
        return _make_parts(self.settings, late, SURFACES, self.seat)

    @property
    def public(self) -> AsgiApp:
        """Of the public address."""
        routes = self.parts.routes
        routes.lifespan = GatewayLifespan(self.settings, routes, Surroundings(seat=self.seat))
        return routes

    def make_admin(self, ask_reload: Callable[[], None]) -> AsgiApp:
        """Of the admin address: see make_admin_app."""
        late = LateApp(lambda: cast(AsgiApp, _make_admin(self.parts, ask_reload).asgi_app))
        metrics = answer_metrics(lambda: self.parts.gateway, comes_from_here, SECURITY_FIELDS)
        return PolledRoutes({"/metrics": metrics}, late)


def make_door(admission: LoadGate, routes: GatewayRoutes) -> Door:
    """What our own server may do in the routes' place while there is no room. A refusal is their surface's own."""
    front = routes.front
    answers = {surface: _make_busy_answer(surface, admission.retry_after_s) for surface in front.surfaces.surfaces}

    # Heads are many, and what their answers say to browsers is nearly always one of a few.
    @lru_cache(maxsize=REFUSALS_KEPT)
    def with_fields(answer: BusyAnswer, fields: bytes) -> BusyAnswer:
        return answer.with_fields(fields)

    def find_refusal(method: str, path: bytes, headers: HeaderList) -> BusyAnswer | None:
        found = front.find_refusal(method, path, headers)
        if found is None:
            return None
        surface, fields = found
        return with_fields(answers[surface], fields)

    def render_error(error: GatewayError, request_id: UUID, start: RequestStart) -> OwnAnswer:
        answer = front.render_error(error, request_id, *start)
        return OwnAnswer(answer.status, answer.fields, answer.body)

    return Door(admission, find_refusal, routes.note_leaving, front.may_wait, render_error, covers_socket)


def _make_busy_answer(surface: Surface, retry_after_s: int) -> BusyAnswer:
    request_id = uuid4()
    answer = surface.render_error(Overloaded(retry_after_s), request_id)
    return BusyAnswer(answer.status, answer.fields, answer.body, request_id)


class GatewayLifespan:
    """Serves the lifespan of an ASGI application: opens the gateway before the server starts it, closes it before
    shutdown completes."""

    def __init__(self, settings: Settings, routes: GatewayRoutes, around: Surroundings) -> None:
        self._settings = settings
        self._routes = routes
        self._around = around

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the lifespan. What the server is told last, that shutdown is complete, is true when it is told."""
        last: list[AsgiEvent] = []

        async def hold_last(event: AsgiEvent) -> None:
            if event["type"].startswith("lifespan.shutdown."):
                last.append(event)
            else:
                await send(event)

        state = scope.get("state", {})
        async with AsyncExitStack() as stack:
            try:
                around = evolve(self._around, count_connections=lambda: len(state.get(CONNECTIONS, ())))
                gateway, tasks = await open_gateway(self._settings, stack, around)
            except (ConfigError, StoreError) as error:
                await refuse_start(str(error), receive, send)
                return
            except Exception:
                # If it were raised, servers would take it for an application without a lifespan, and serve it.
                logger.exception("the gateway cannot start")
                await refuse_start("the gateway cannot start; its error is above", receive, send)
                return
            async with trio.open_nursery() as nursery:
                for task in tasks:
                    nursery.start_soon(task)
                # For our own server, which can turn requests away for less than calling us costs.
                state[DOOR] = make_door(gateway.pipeline.admission, self._routes)
                self._routes.gateway = gateway
                if self._routes.streams is not None:
                    self._routes.streams.gateway = gateway
                try:
                    await self._routes.inner(scope, receive, hold_last)
                finally:
                    # Also where a task of the gateway has failed: other servers than ours go on without it.
                    self._routes.gateway = None
                # The connections are drained. A work without one has had its time with them.
                await gateway.works.drain(0)
                nursery.cancel_scope.cancel()
        for event in last:
            await send(event)


async def refuse_start(message: str, receive: Receive, send: Send) -> None:
    """Tell the server that there is nothing to serve."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": message})
