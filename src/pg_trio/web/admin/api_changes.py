"""The admin API's changes: switch a provider or an endpoint, override limits, reload the configuration.

Each change writes its audit row in the same transaction, and holds in every worker within a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import trio
from quart import request
from quart_trio import QuartTrio

from pg_trio.config.changed_settings import ENDPOINT_FIELDS, override_endpoint
from pg_trio.domain.json_value import Json
from pg_trio.domain.operator import Override
from pg_trio.domain.project import Endpoint, Project
from pg_trio.domain.provider import PROVIDERS
from pg_trio.errors import BadRequest, ConfigError, ReloadUnavailable, RouteNotFound
from pg_trio.surfaces.reading.json_body import literal_keys, read_json_object

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import AdminGateway, Desk

API = "/admin/api/v1"
HEDGE_WAYS = ("hedge_after", "hedge_after_ms")
# No field of a change has lists in lists.
MAX_DEPTH = 8
_KEYS = literal_keys((*ENDPOINT_FIELDS, "project", "name", "env", "scopes"))


def add_change_routes(app: QuartTrio, desk: Desk) -> None:
    """Add the routes."""

    @app.patch(f"{API}/providers/<name>")
    async def patch_provider(name: str) -> dict[str, Any]:
        visitor = await desk.require(change=True)
        if name not in PROVIDERS:
            raise RouteNotFound
        changes = await read_object()
        is_active = changes.get("is_active")
        if changes.keys() != {"is_active"} or not isinstance(is_active, bool | None):
            raise BadRequest("is_active: must be true, false, or null for the file's own.")
        target = f"provider:{name}"
        change = visitor.change("provider.change", target, changes)
        await desk.gateway.operators.override([Override(target, "is_active", is_active)], change)
        await apply_overrides(desk.gateway)
        return {"ok": True, "data": {"name": name, "is_active": name not in desk.gateway.disabled_providers}}

    @app.patch(f"{API}/endpoints/<project>/<slug>")
    async def patch_endpoint(project: str, slug: str) -> dict[str, Any]:
        visitor = await desk.require(change=True)
        found, endpoint = find_endpoint(desk.gateway, project, slug)
        changes = await read_object()
        if not changes:
            raise BadRequest("Body must name a setting to change.")
        target = f"endpoint:{found.uuid}/{slug}"
        overridden = desk.gateway.overrides.held.get(target, {})
        changes = take_back_the_other(changes, overridden)
        held = {**overridden, **changes}
        try:
            override_endpoint(endpoint, held)
        except ValueError as error:
            raise BadRequest(str(error).replace("\n", "; ")) from error
        overrides = [Override(target, field, value) for field, value in changes.items()]
        await desk.gateway.operators.override(overrides, visitor.change("endpoint.change", target, changes))
        await apply_overrides(desk.gateway)
        return {"ok": True, "data": describe_endpoint_state(desk.gateway, found, slug)}

    @app.post(f"{API}/config/reload")
    async def reload() -> dict[str, Any]:
        visitor = await desk.require(change=True)
        if desk.ask_reload is None:
            raise ReloadUnavailable
        await desk.gateway.operators.override([], visitor.change("config.reload", "config"))
        try:
            await trio.to_thread.run_sync(desk.ask_reload, limiter=trio.CapacityLimiter(1))
        except ConfigError as error:
            raise BadRequest("; ".join(error.mistakes)) from error
        return {"ok": True, "data": {"asked": True}}


async def read_object() -> Mapping[str, Json]:
    """The JSON object in the body. Raises BadRequest."""
    body: bytes = await request.get_data(as_text=False)  # type: ignore[assignment]
    return read_json_object(body, MAX_DEPTH, _KEYS)


def take_back_the_other(changes: Mapping[str, Json], overridden: Mapping[str, Json]) -> Mapping[str, Json]:
    """The changes; of two ways to say when to hedge, the older override is taken back by the newer one."""
    for one, other in (HEDGE_WAYS, HEDGE_WAYS[::-1]):
        if changes.get(one) is not None and other in overridden and other not in changes:
            return {**changes, other: None}
    return changes


async def apply_overrides(gateway: AdminGateway) -> None:
    """Let the overrides hold in this worker at once; the others follow within a second."""
    gateway.overrides.apply(await gateway.operators.read_overrides())


def find_endpoint(gateway: AdminGateway, project: str, slug: str) -> tuple[Project, Endpoint]:
    """A project by its UUID, and its endpoint as the file has it. Raises RouteNotFound."""
    try:
        found = gateway.settings.projects[UUID(project)]
        return found, found.endpoints[slug]
    except (KeyError, ValueError):
        raise RouteNotFound from None


def describe_endpoint_state(gateway: AdminGateway, project: Project, slug: str) -> dict[str, Any]:
    """An endpoint's state and its overrides."""
    return {
        "project": str(project.uuid),
        "slug": slug,
        "is_active": gateway.overrides.endpoint(project, slug).is_active,
        "overrides": gateway.overrides.held.get(f"endpoint:{project.uuid}/{slug}", {}),
    }
