"""The admin API's overview: what happened in a range of time, summed from the log.

`GET overview?range=1h&filter=&project=` or `?since=&until=`. The range has STEPS steps, for plots.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import trio
from quart_trio import QuartTrio

from pg_trio.domain.project import Project
from pg_trio.domain.request_sums import LatencyClass, Overview, SummedRows, TimeRange, percentile
from pg_trio.errors import BadRequest
from pg_trio.web.admin.api_changes import API
from pg_trio.web.admin.api_lists import describe_spends
from pg_trio.web.admin.api_requests import read_choice, read_filter, read_time
from pg_trio.web.admin.paging import read_one
from pg_trio.web.admin.request_shapes import NANO

if TYPE_CHECKING:
    from pg_trio.web.admin.admin_app import AdminGateway, Desk
    from pg_trio.web.admin.row_names import RowNames

RANGES_S = {"15m": 900.0, "1h": 3_600.0, "6h": 21_600.0, "24h": 86_400.0, "7d": 604_800.0, "30d": 2_592_000.0}
DEFAULT_RANGE = "1h"
# A plot's points: more are not told apart on a phone.
STEPS = 60


def add_overview_route(app: QuartTrio, desk: Desk, names: RowNames) -> None:
    """Add the route."""

    @app.get(f"{API}/overview")
    async def overview() -> dict[str, Any]:
        await desk.require()
        words = read_filter()
        within = read_range(time.time())
        await names.refresh(desk)
        choice = read_choice(words, names)
        found: Overview = await desk.gateway.log_view.overview(choice, within)
        # Some 15,000 classes of latencies are sorted, while the worker serves requests.
        describe = partial(describe_overview, found, within, names.projects)
        described = await trio.to_thread.run_sync(describe, limiter=trio.CapacityLimiter(1))
        return {"ok": True, "data": {**described, **await _budgets(desk.gateway)}}


def read_range(now: float) -> TimeRange:
    """The range that the query asks for: `range`, or `since` and `until`. Raises BadRequest."""
    name = read_one("range")
    if name is not None and name not in RANGES_S:
        raise BadRequest(f"range: must be one of {', '.join(RANGES_S)}.")
    until = read_time("until")
    # The last moment counts, too: a request may have ended in this very millisecond.
    until = now + 1.0 if until is None else until
    since = read_time("since")
    since = until - RANGES_S[name or DEFAULT_RANGE] if since is None else since
    if since >= until:
        raise BadRequest("since: must be before until.")
    return TimeRange(since, until, (until - since) / STEPS)


def describe_overview(found: Overview, within: TimeRange, projects: Mapping[UUID, Project]) -> dict[str, Any]:
    """The sums of the range, of each step, of each endpoint and of each provider."""
    slugs = {
        endpoint.uuid: (str(project.uuid), slug)
        for project in projects.values()
        for slug, endpoint in project.endpoints.items()
    }
    by_step: defaultdict[int, SummedRows] = defaultdict(SummedRows)
    by_endpoint: defaultdict[UUID | None, SummedRows] = defaultdict(SummedRows)
    by_provider: defaultdict[str | None, SummedRows] = defaultdict(SummedRows)
    total = SummedRows()
    for (step, endpoint, provider), sums in found.sums.items():
        total = total.plus(sums)
        by_step[step] = by_step[step].plus(sums)
        by_endpoint[endpoint] = by_endpoint[endpoint].plus(sums)
        by_provider[provider] = by_provider[provider].plus(sums)
    return {
        "since": within.since,
        "until": within.until,
        "step_s": within.step_s,
        "summed_since": found.since,
        "is_partial": found.is_partial,
        "total": {
            **_sums(total),
            **_percentiles(_all(found.latencies), _all(found.first_tokens)),
            "hedges": {"started": total.hedges, "won": total.hedges_won, "saved_ms": found.saved_ms},
        },
        "steps": [
            {
                "at": within.since + step * within.step_s,
                **_sums(by_step[step]),
                **_percentiles(found.latencies.get(step, []), found.first_tokens.get(step, [])),
            }
            for step in range(STEPS)
        ],
        "endpoints": [
            {
                "project": slugs.get(uuid, (None, None))[0] if uuid else None,
                "endpoint": slugs.get(uuid, (None, None))[1] if uuid else None,
                **_sums(sums),
            }
            for uuid, sums in _largest(by_endpoint)
        ],
        "providers": [{"provider": provider, **_sums(sums)} for provider, sums in _largest(by_provider)],
    }


async def _budgets(gateway: AdminGateway) -> dict[str, Any]:
    """This month's spend of all endpoints with a budget, against their budgets."""
    endpoints = [
        gateway.overrides.endpoint(project, slug)
        for project in gateway.settings.projects.values()
        for slug in project.endpoints
    ]
    spends = await describe_spends(gateway, endpoints)
    return {"budget": {name: sum(one[name] or 0.0 for one in spends) for name in _MONEY}}


_MONEY = ("budget_usd", "spent_usd", "reserved_usd")


def _sums(sums: SummedRows) -> dict[str, Any]:
    return {
        "requests": sums.requests,
        "errors": sums.errors,
        "deadline_misses": sums.deadline_misses,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "total_tokens": sums.prompt_tokens + sums.completion_tokens,
        "cost_usd": sums.cost_nano_usd / NANO,
        "mean_ms": sums.latency_ms / sums.requests if sums.requests else None,
    }


def _percentiles(latencies: Iterable[LatencyClass], first_tokens: Iterable[LatencyClass]) -> dict[str, float | None]:
    taken, firsts = list(latencies), list(first_tokens)
    return {
        **{f"p{share}_ms": percentile(taken, share / 100) for share in (50, 95, 99)},
        **{f"first_token_p{share}_ms": percentile(firsts, share / 100) for share in (50, 95)},
    }


def _all(classes: Mapping[int, list[LatencyClass]]) -> list[LatencyClass]:
    return [one for step in classes.values() for one in step]


def _largest(sums: Mapping[Any, SummedRows]) -> list[tuple[Any, SummedRows]]:
    return sorted(sums.items(), key=lambda item: -item[1].requests)
