"""Gauges of what all workers share: breakers, slots, budgets. Read in the event loop, a few at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import trio
from attrs import frozen

from pg_trio.domain.project import Candidate, Endpoint, Project
from pg_trio.observe.metric_families import GaugeFamily

# A look at a breaker or a budget takes some 20 µs.
LOOKS_AT_ONCE = 20
_STATES = {"closed": 0.0, "half-open": 1.0, "open": 2.0}
_MODEL, _ENDPOINT = ("provider", "model"), ("project", "endpoint")


@frozen(eq=False)
class GatewayGauges:
    """Reads them. `describe` is a candidate's state (ProviderCall.describe), `find_endpoint` an endpoint as it holds
    now. `read_spends` gives this month's spend by endpoints: settled and reserved, in billionths of a dollar. It gives
    none if the spend cannot be known now."""

    projects: Mapping[Any, Project]
    describe: Callable[[Candidate], Mapping[str, Any]]
    find_endpoint: Callable[[Project, str], Endpoint]
    read_spends: Callable[[Iterable[Endpoint]], Awaitable[Mapping[UUID, tuple[int, int]]]]

    async def read(self) -> list[GaugeFamily]:
        """The gauges of now. Breakers of equal labels show the worst, slots their sum."""
        return [*await self._read_candidates(), *await self._read_budgets()]

    async def _read_candidates(self) -> list[GaugeFamily]:
        breakers: dict[tuple[str, ...], float] = {}
        slots: dict[tuple[str, ...], float] = {}
        for number, candidate in enumerate(self._list_candidates()):
            if number % LOOKS_AT_ONCE == LOOKS_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            labels, described = (candidate.provider, candidate.model), self.describe(candidate)
            states = [described[name]["state"] for name in ("model_breaker", "credential_breaker")]
            breakers[labels] = max(breakers.get(labels, 0.0), *[_STATES.get(state, 2.0) for state in states])
            if described["slots"] is not None:
                slots[labels] = slots.get(labels, 0.0) + described["slots"]["in_use"]
        return [
            GaugeFamily("pg_trio_breaker_state", "0 closed, 1 half-open, 2 open.", _MODEL, breakers),
            GaugeFamily("pg_trio_candidate_slots_used", "Calls under way of credentials with a limit.", _MODEL, slots),
        ]

    async def _read_budgets(self) -> list[GaugeFamily]:
        spent: dict[tuple[str, ...], float] = {}
        reserved: dict[tuple[str, ...], float] = {}
        limits: dict[tuple[str, ...], float] = {}
        budgets = list(self._list_budgets())
        spends = await self.read_spends(endpoint for _, endpoint in budgets)
        for project, endpoint in budgets:
            labels = (project.slug, endpoint.slug)
            limits[labels] = float(endpoint.monthly_budget_usd or 0)
            if spend := spends.get(endpoint.uuid):
                spent[labels], reserved[labels] = spend[0] / 1e9, spend[1] / 1e9
        return [
            GaugeFamily("pg_trio_budget_spent_usd", "Spent this month.", _ENDPOINT, spent),
            GaugeFamily("pg_trio_budget_reserved_usd", "Reserved by requests under way.", _ENDPOINT, reserved),
            GaugeFamily("pg_trio_budget_limit_usd", "The month's budget.", _ENDPOINT, limits),
        ]

    def _list_candidates(self) -> Iterable[Candidate]:
        own = [each for project in self.projects.values() for each in project.endpoints.values()]
        return dict.fromkeys(candidate for endpoint in own for candidate in endpoint.candidates)

    def _list_budgets(self) -> Iterator[tuple[Project, Endpoint]]:
        for project in self.projects.values():
            for slug in project.endpoints:
                endpoint = self.find_endpoint(project, slug)
                if endpoint.monthly_budget_usd is not None:
                    yield project, endpoint
            # Opened credentials, whose budget counts for all of their models together.
            for opened in project.providers:
                if opened.endpoint.monthly_budget_usd is not None:
                    yield project, opened.endpoint
