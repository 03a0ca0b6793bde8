"""The application of the admin address.

Each area is a module that adds its routes with a function of its own (`add_…_routes(app, desk)`). A `Desk` is what
they share: the running gateway, and who is asking.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID, uuid4

from attrs import field, frozen
from quart import Response, jsonify, request
from quart_trio import QuartTrio

from pg_trio.config.settings import Settings
from pg_trio.domain.limits import LimitState
from pg_trio.domain.project import Candidate, Endpoint, Token
from pg_trio.errors import GatewayError, StillStarting
from pg_trio.web.admin.api_changes import add_change_routes
from pg_trio.web.admin.api_lists import add_list_routes
from pg_trio.web.admin.api_overview import add_overview_route
from pg_trio.web.admin.api_requests import add_request_routes
from pg_trio.web.admin.api_tokens import add_token_routes
from pg_trio.web.admin.metrics_route import add_metrics_route
from pg_trio.web.admin.operator_access import OperatorAccess, OperatorBook, Visitor
from pg_trio.web.admin.pages import add_page_routes
from pg_trio.web.admin.playground_calls import PlaygroundCalls
from pg_trio.web.admin.row_names import RowNames
from pg_trio.web.admin.security_fields import SECURITY_FIELDS
from pg_trio.web.asgi_types import AsgiApp
from pg_trio.web.client_address import read_networks
from pg_trio.web.introspection import as_gateway_error
from pg_trio.web.openapi.admin_document import make_admin_document
from pg_trio.web.openapi.document_page import render_page

logger = logging.getLogger("pg_trio.web")


class AdminGateway(Protocol):
    """What the admin address reads and changes of the running gateway."""

    @property
    def settings(self) -> Settings: ...

    @property
    def operators(self) -> Any:
        """See store/operators.py."""

    @property
    def overrides(self) -> Any:
        """See pg_trio.overrides."""

    @property
    def stores(self) -> Any:
        """See stores.store_protocols.Stores."""

    @property
    def pipeline(self) -> Any:
        """See pg_trio.pipeline."""

    @property
    def log_view(self) -> Any:
        """See store/log_view.py."""

    def administer_tokens(self, work: Callable[[Any], Any]) -> Awaitable[Any]:
        """See RunningGateway."""

    def read_spends(self, endpoints: Iterable[Endpoint]) -> Awaitable[Mapping[UUID, tuple[int, int]]]:
        """See RunningGateway."""

    def describe_candidate(self, candidate: Candidate) -> dict[str, object]:
        """See RunningGateway."""

    def read_limits(self, asked: Endpoint | Token) -> Awaitable[Sequence[LimitState]]:
        """See RunningGateway."""

    def describe_connections(self) -> str:
        """See RunningGateway."""

    @property
    def recorders(self) -> Any:
        """See pg_trio.recorder."""

    @property
    def metrics(self) -> Any:
        """See observe/metrics_page.py; None where requests are not counted."""

    @property
    def disabled_providers(self) -> frozenset[str]: ...

    def playground_token(self, project: str) -> str | None:
        """The token for the playground's calls of the project of this UUID; None if there is none."""


@frozen(eq=False)
class Desk:
    """What the areas share. `settings` are the configuration's, also before the gateway runs."""

    _find_gateway: Callable[[], AdminGateway | None]
    settings: Settings
    # None without a supervisor.
    ask_reload: Callable[[], None] | None = None
    access: OperatorAccess = field(init=False)

    @access.default
    def _make_access(self) -> OperatorAccess:
        server = self.settings.server
        return OperatorAccess(server.admin_root_path, read_networks(server.trusted_proxies))

    @property
    def gateway(self) -> AdminGateway:
        """The running gateway. Raises StillStarting."""
        gateway = self._find_gateway()
        if gateway is None:
            raise StillStarting
        return gateway

    @property
    def book(self) -> OperatorBook:
        """The operators."""
        book: OperatorBook = self.gateway.operators
        return book

    async def require(self, *, change: bool = False) -> Visitor:
        """Who is asking. Raises OperatorRefused; for a change also RoleInsufficient and CsrfMissing."""
        return await self.access.require(self.book, change=change)


def make_operators_app(
    find_gateway: Callable[[], AdminGateway | None],
    settings: Settings,
    routes: AsgiApp,
    ask_reload: Callable[[], None] | None = None,
) -> QuartTrio:
    """The application. `find_gateway` returns the running gateway, or None before it runs; `routes` are its public
    ones, for the playground's calls. `ask_reload`: see app.py."""
    app = QuartTrio(__name__, static_folder=None, template_folder="templates")
    # Quart cuts every response after 60 s by default; what is shown live lasts.
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = 30
    app.config["MAX_CONTENT_LENGTH"] = 256 * 1024
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.json.sort_keys = False  # type: ignore[attr-defined]
    desk = Desk(find_gateway, settings, ask_reload)
    add_change_routes(app, desk)
    add_page_routes(app, desk)
    names = RowNames(settings.projects)
    add_request_routes(app, desk, names)
    add_overview_route(app, desk, names)
    add_list_routes(app, desk)
    add_token_routes(app, desk)
    _add_document(app, settings.server.admin_root_path)
    add_metrics_route(app, desk)
    _add_errors_and_fields(app)
    # Hypercorn types ASGI events as one class each, we as mappings.
    app.asgi_app = PlaygroundCalls(app.asgi_app, desk, routes)  # type: ignore[method-assign, assignment, arg-type]
    return app


def data(content: object, **more: object) -> dict[str, object]:
    """The admin API's answer: `{"ok": true, "data": …}` and more fields."""
    return {"ok": True, "data": content, **more}


def _add_document(app: QuartTrio, root_path: str) -> None:
    document = make_admin_document(root_path)

    @app.get("/admin/openapi.json")
    async def admin_document() -> dict[str, Any]:
        return document

    @app.get("/admin/docs")
    async def admin_docs() -> Response:
        return render_page(document, f"{root_path}/admin/openapi.json")


def _add_errors_and_fields(app: QuartTrio) -> None:
    @app.errorhandler(Exception)
    async def failed(error: Exception) -> Response:
        request_id = uuid4()
        ours: GatewayError = as_gateway_error(error, request_id)
        response = jsonify({"ok": False, "error": ours.text, **ours.fields()})
        response.status_code = ours.status
        response.headers.update(ours.headers())
        response.headers["X-Request-Id"] = str(request_id)
        return response

    @app.before_request
    async def read_body() -> None:
        # Also of requests that are refused unread: a connection whose last body is still on its way cannot be used
        # again, and under stock Hypercorn the next request on it may wait for an answer in vain.
        await request.get_data()

    @app.after_request
    async def finish_head(response: Response) -> Response:
        for name, text in SECURITY_FIELDS.items():
            response.headers.setdefault(name, text)
        response.headers.setdefault("Cache-Control", "no-store")
        return response
