"""The admin API's lists of what is configured and how it fares: providers, endpoints, budgets, the audit, the
configuration. No answer has a key, a token or another secret."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs
from quart_trio import QuartTrio

from pg_trio.domain.log_row import AttemptRow, LogRow
from pg_trio.domain.operator import AuditRow
from pg_trio.domain.project import Candidate, Credential, Endpoint, Project, Token
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.request_filter import RowChoice
from pg_trio.domain.request_sums import LatencyClass, percentile
from pg_trio.domain.secret import MASK, Secret
from pg_trio.web.admin.api_changes import API
from pg_trio.web.admin.paging import MOST_ID, page, page_of, read_cursor, read_limit
from pg_trio.web.admin.request_shapes import NANO
from pg_trio.web.introspection import describe_endpoint

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import AdminGateway, Desk

# A candidate's calls are counted from the newest rows of the last quarter of an hour.
FARES_WITHIN_S = 900.0
FARES_ROWS = 1_000


def add_list_routes(app: QuartTrio, desk: Desk) -> None:
    """Add the routes."""

    @app.get(f"{API}/providers")
    async def list_providers() -> dict[str, Any]:
        await desk.require()
        gateway = desk.gateway
        used = _candidates_of(gateway)
        chosen, following = page_of(sorted({*used, *_overridden(gateway, "provider:")} & PROVIDERS.keys()))
        choice = RowChoice(since=time.time() - FARES_WITHIN_S)
        rows, _ = await gateway.log_view.page(choice, None, FARES_ROWS)
        fares = count_attempts([row for _, row in rows])
        return page([describe_provider(gateway, name, used.get(name, {}), fares) for name in chosen], following)

    @app.get(f"{API}/endpoints")
    async def list_endpoints() -> dict[str, Any]:
        await desk.require()
        chosen, following = page_of(_endpoints_of(desk.gateway))
        return page([await describe_place(desk.gateway, project, slug) for project, slug in chosen], following)

    @app.get(f"{API}/budgets")
    async def list_budgets() -> dict[str, Any]:
        await desk.require()
        gateway = desk.gateway
        budgets = [
            (project, slug)
            for project, slug in _endpoints_of(gateway)
            if gateway.overrides.endpoint(project, slug).monthly_budget_usd is not None
        ]
        chosen, following = page_of(budgets)
        endpoints = [gateway.overrides.endpoint(project, slug) for project, slug in chosen]
        spends = await describe_spends(gateway, endpoints)
        described = [
            {"project": str(project.uuid), "project_slug": project.slug, "slug": slug, **spend}
            for (project, slug), spend in zip(chosen, spends, strict=True)
        ]
        return page(described, following)

    @app.get(f"{API}/audit")
    async def list_audit() -> dict[str, Any]:
        await desk.require()
        limit, cursor = read_limit(), read_cursor(1)
        before = MOST_ID if cursor is None else int(cursor[0])
        rows: list[AuditRow] = await desk.gateway.operators.read_audit(before, limit + 1)
        following = (rows[limit - 1].id,) if len(rows) > limit else None
        return page([attrs.asdict(row) for row in rows[:limit]], following)

    @app.get(f"{API}/config")
    async def show_config() -> dict[str, Any]:
        await desk.require()
        return {"ok": True, "data": describe_configuration(desk.gateway)}


def describe_provider(
    gateway: AdminGateway,
    name: str,
    candidates: Mapping[Candidate, Sequence[dict[str, str]]],
    fares: Mapping[tuple[str, str], dict[str, Any]],
) -> dict[str, Any]:
    """A provider, and how its candidates fare."""
    overrides = gateway.overrides.held.get(f"provider:{name}", {})
    return {
        "name": name,
        "is_active": name not in gateway.disabled_providers,
        "overrides": overrides,
        "candidates": [
            {
                "credential": candidate.credential.name,
                "model": candidate.model,
                "endpoints": endpoints,
                **gateway.describe_candidate(candidate),
                "recent": fares.get((candidate.credential.name, candidate.model), _fare([])),
            }
            for candidate, endpoints in candidates.items()
        ],
        # Of the worker that answers.
        "connections": gateway.describe_connections() if candidates else "",
    }


def count_attempts(rows: Sequence[LogRow]) -> dict[tuple[str, str], dict[str, Any]]:
    """How recent attempts ended, by credential and model."""
    found: dict[tuple[str, str], list[AttemptRow]] = {}
    for row in rows:
        for attempt in row.attempts:
            if attempt.is_try:
                found.setdefault((attempt.credential, attempt.model), []).append(attempt)
    return {key: _fare(attempts) for key, attempts in found.items()}


def _fare(attempts: Sequence[AttemptRow]) -> dict[str, Any]:
    kinds = [attempt.kind for attempt in attempts]
    took_ms = [one.ended_ms - one.started_ms for one in attempts if one.kind == "won"]
    classes = [LatencyClass(1, each, each) for each in took_ms]
    judged = kinds.count("won") + kinds.count("failed")
    return {
        "attempts": len(kinds),
        **{kind: kinds.count(kind) for kind in ("won", "lost", "failed", "cancelled")},
        "error_share": kinds.count("failed") / judged if judged else None,
        "p50_ms": percentile(classes, 0.5),
        "p95_ms": percentile(classes, 0.95),
    }


async def describe_place(gateway: AdminGateway, project: Project, slug: str) -> dict[str, Any]:
    """An endpoint with its settings as they hold, its overrides, and its spend."""
    endpoint = gateway.overrides.endpoint(project, slug)
    settings = describe_endpoint(endpoint)
    return {
        "project": str(project.uuid),
        "project_slug": project.slug,
        "slug": slug,
        "name": endpoint.name,
        "is_active": endpoint.is_active,
        "overrides": gateway.overrides.held.get(f"endpoint:{project.uuid}/{slug}", {}),
        "settings": settings,
        "spend": (await describe_spends(gateway, [endpoint]))[0],
        "limits": await describe_limits(gateway, endpoint),
    }


async def describe_limits(gateway: AdminGateway, asked: Endpoint | Token) -> list[dict[str, Any]]:
    """The limits of an endpoint or a token, and what is left of them now."""
    return [
        {
            "scope": state.policy.name,
            "limit": state.policy.quota,
            "window_s": state.policy.window_s,
            "remaining": state.remaining,
        }
        for state in await gateway.read_limits(asked)
    ]


async def describe_spends(gateway: AdminGateway, endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    """This month's spend of each endpoint against its budget, in US dollars; all None without a budget."""
    spends = await gateway.read_spends(endpoints)
    described: list[dict[str, Any]] = []
    for endpoint in endpoints:
        limit, spend = endpoint.monthly_budget_usd, spends.get(endpoint.uuid)
        described.append(
            {
                "budget_usd": None if limit is None else float(limit),
                "spent_usd": None if spend is None else spend[0] / NANO,
                "reserved_usd": None if spend is None else spend[1] / NANO,
            }
        )
    return described


def describe_configuration(gateway: AdminGateway) -> dict[str, Any]:
    """The configuration as it holds, secrets masked, and the overrides."""
    settings = gateway.settings
    return {
        **{
            name: {each.name: _plain(getattr(section, each.name)) for each in attrs.fields(type(section))}
            for name, section in _sections(gateway).items()
        },
        "credentials": [_describe_credential(one) for one in settings.credentials.values()],
        "disabled_providers": sorted(gateway.disabled_providers),
        "projects": [
            {
                "uuid": str(project.uuid),
                "name": project.name,
                "slug": project.slug,
                "project_type": project.project_type,
                "env": project.env,
                "is_active": project.is_active,
                "endpoints": list(project.endpoints),
            }
            for project in settings.projects.values()
        ],
        "overrides": gateway.overrides.held,
    }


def _sections(gateway: AdminGateway) -> dict[str, Any]:
    settings = gateway.settings
    return {name: getattr(settings, name) for name in ("gateway", "upstream", "server", "observe")}


def _describe_credential(credential: Credential) -> dict[str, Any]:
    return {
        "name": credential.name,
        "provider": credential.provider,
        "base_url": credential.base_url,
        "api_key": None if credential.api_key is None else MASK,
        "transport": credential.transport,
        "max_concurrent": credential.max_concurrent,
        "headers": [name for name, _ in credential.headers],
        "query": [name for name, _ in credential.query],
    }


def _plain(value: object) -> Any:
    """A setting's value for JSON."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Path | UUID | Decimal | IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return value


def _candidates_of(gateway: AdminGateway) -> dict[str, dict[Candidate, list[dict[str, str]]]]:
    """The candidates by provider, each with the endpoints that ask it."""
    found: dict[str, dict[Candidate, list[dict[str, str]]]] = {
        credential.provider: {} for credential in gateway.settings.credentials.values()
    }
    for project, slug in _endpoints_of(gateway):
        for candidate in project.endpoints[slug].candidates:
            users = found[candidate.provider].setdefault(candidate, [])
            place = {"project": str(project.uuid), "slug": slug}
            if place not in users:
                users.append(place)
    return found


def _overridden(gateway: AdminGateway, kind: str) -> list[str]:
    return [target.removeprefix(kind) for target in gateway.overrides.held if target.startswith(kind)]


def _endpoints_of(gateway: AdminGateway) -> list[tuple[Project, str]]:
    return [(project, slug) for project in gateway.settings.projects.values() for slug in project.endpoints]
