"""The application of the admin address.

Each area is a module that adds its routes with a function of its own (`add_…_routes(app, desk)`). A `Desk` is what
they share: the running gateway, and who is asking.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol
from uuid import uuid4

from attrs import field, frozen
from quart import Response, jsonify
from quart_trio import QuartTrio

from pg_trio.config.settings import Settings
from pg_trio.errors import GatewayError, StillStarting
from pg_trio.web.admin.api_changes import add_change_routes
from pg_trio.web.admin.metrics_route import add_metrics_route
from pg_trio.web.admin.operator_access import OperatorAccess, OperatorBook, Visitor
from pg_trio.web.introspection import as_gateway_error

logger = logging.getLogger("pg_trio.web")

# Pages load only from this address, and nothing may frame them.
SECURITY_FIELDS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


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
    def recorders(self) -> Any:
        """See pg_trio.recorder."""

    @property
    def metrics(self) -> Any:
        """See observe/metrics_page.py; None where requests are not counted."""

    @property
    def disabled_providers(self) -> frozenset[str]: ...


@frozen(eq=False)
class Desk:
    """What the areas share. `settings` are the configuration's, also before the gateway runs."""

    _find_gateway: Callable[[], AdminGateway | None]
    settings: Settings
    access: OperatorAccess = field(init=False)

    @access.default
    def _make_access(self) -> OperatorAccess:
        return OperatorAccess(self.settings.server.admin_root_path)

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


def make_operators_app(find_gateway: Callable[[], AdminGateway | None], settings: Settings) -> QuartTrio:
    """The application. `find_gateway` returns the running gateway, or None before it runs."""
    app = QuartTrio("pg_trio.admin", static_folder=None)
    # Quart cuts every response after 60 s by default; what is shown live lasts.
    app.config["RESPONSE_TIMEOUT"] = None
    app.config["BODY_TIMEOUT"] = 30
    app.config["MAX_CONTENT_LENGTH"] = 256 * 1024
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.json.sort_keys = False  # type: ignore[attr-defined]
    desk = Desk(find_gateway, settings)
    add_change_routes(app, desk)
    add_metrics_route(app, desk)
    _add_errors_and_fields(app)
    return app


def data(content: object, **more: object) -> dict[str, object]:
    """The admin API's answer: `{"ok": true, "data": …}` and more fields."""
    return {"ok": True, "data": content, **more}


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

    @app.after_request
    async def finish_head(response: Response) -> Response:
        for name, text in SECURITY_FIELDS.items():
            response.headers.setdefault(name, text)
        response.headers.setdefault("Cache-Control", "no-store")
        return response
