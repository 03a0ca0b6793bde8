"""`GET /metrics` for Prometheus: all workers' figures, by any one of them.

At the admin address it takes an operator's key (or a page's session), or from this machine nothing. A request that
came through a proxy is not from this machine, even if its peer is. On the public address it takes nothing, and is
there only if `[observe] metrics_public` says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from quart import Response, request
from quart_trio import QuartTrio

from pg_trio.errors import MetricsUnavailable, RouteNotFound, StillStarting, StoreError
from pg_trio.web.asgi_types import Scope
from pg_trio.web.polled_routes import comes_from_here

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import Desk

logger = logging.getLogger("pg_trio.web")

PATH = "/metrics"


def add_metrics_route(app: QuartTrio, desk: Desk) -> None:
    """Add the route of the admin address."""

    @app.get(PATH)
    async def metrics() -> Response:
        if not comes_from_here(cast(Scope, request.scope)):
            await desk.require()
        return await _render(desk.gateway.metrics)


def add_public_metrics(app: QuartTrio, find_gateway: Callable[[], Any]) -> None:
    """Add the route to the public address's application. `find_gateway` returns None before it runs."""

    @app.get(PATH)
    async def metrics() -> Response:
        gateway = find_gateway()
        if gateway is None:
            raise StillStarting
        return await _render(gateway.metrics)


async def _render(page: Any) -> Response:
    if page is None:
        raise RouteNotFound
    try:
        text, content_type = await page.render(", ".join(request.headers.getlist("Accept")))
    except StoreError as error:
        logger.error("%s", error)
        raise MetricsUnavailable from error
    return Response(text, content_type=content_type)
