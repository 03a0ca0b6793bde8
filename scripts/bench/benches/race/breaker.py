"""What a primary that is down costs each request once its breaker is open, against an endpoint without that primary.

All endpoints are asked in turn over one connection, so that all meet the same moments of the machine. Every minute a
probe goes to the primary; with a silent primary it takes the attempt limit, and shows in the most, not in the median.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from scripts.bench.harness.cli import say
from scripts.bench.harness.client import Answer, Caller
from scripts.bench.harness.gateway import Endpoint
from scripts.bench.harness.processes import BenchError
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.tables import Figures, Found, Report, Table, find_spread, tabulate

ADDED_BAR_MS = 10.0
_FULL_ROUNDS, _QUICK_ROUNDS = 3_000, 300
# Three failures open the breaker; some more, in case the first were answered otherwise.
_OPENING = 8
_ALONE = "alone"
# How the primary is down: its credential and model.
WAYS: Mapping[str, Mapping[str, str]] = {
    _ALONE: {},
    "answers 503": {"first": "down-503?fault=status:503"},
    "silent": {"first": "down-silent?fault=stall"},
    "refused": {"refused": "down"},
}
COLUMNS = {
    "primary": "",
    "requests": "{requests:,.0f}",
    "failed": "{failed:.0f}",
    "p50 ms": "{p50:.2f}",
    "p99 ms": "{p99:.2f}",
    "most ms": "{most_max:.2f}",
    "added at p50, ms": "{added_p50:.2f}",
    "added at p99, ms": "{added_p99:.2f}",
}


def run(site: Site, *, quick: bool) -> Report:
    slugs = {name: name.replace(" ", "-") for name in WAYS}
    models = {name: {**WAYS[name], "other": f"{slug}?tokens=20"} for name, slug in slugs.items()}
    endpoints = [Endpoint(slug, models[name], {"attempt_timeout_ms": 1_000}) for name, slug in slugs.items()]
    with site.run_providers("first", "other") as (_, addresses), site.open_gateway(addresses, endpoints) as gateway:
        answers = trio.run(_measure, gateway, slugs, _QUICK_ROUNDS if quick else _FULL_ROUNDS)
    figures = {name: summarise(own) for name, own in answers.items()}
    return Report([make_table(figures)], {"ways": figures}, judge(figures))


async def _measure(gateway: RunningGateway, slugs: Mapping[str, str], rounds: int) -> dict[str, list[Answer]]:
    """The answers of each way, with its breaker open."""
    requests = {name: gateway.request(slug, {"message": "Hello there"}) for name, slug in slugs.items()}
    answers: dict[str, list[Answer]] = {name: [] for name in slugs}
    async with await Caller.connect(gateway.port) as caller:
        for name, request in requests.items():
            for _ in range(_OPENING):
                answer = await caller.call(request)
                if answer.status != 200:
                    raise BenchError(f"{name}: status {answer.status} {answer.body[:200]!r}")
        say("breakers are open")
        for _ in range(rounds):
            for name, request in requests.items():
                answers[name].append(await caller.call(request))
    return answers


def summarise(answers: Sequence[Answer]) -> dict[str, float]:
    failed = sum(answer.status != 200 for answer in answers)
    return {"requests": len(answers), "failed": failed, **find_spread([one.seconds for one in answers], scale=1e3)}


def make_table(figures: Mapping[str, Figures]) -> Table:
    """A row for each way; what it adds is against the endpoint without a primary."""
    found: Found = {}
    for name, own in figures.items():
        added = {f"added_{which}": own[which] - figures[_ALONE][which] for which in ("p50", "p99") if name != _ALONE}
        found[name] = [{**own, **added}]
    return tabulate(found, COLUMNS)


def judge(figures: Mapping[str, Figures]) -> list[str]:
    wrong = [f"{name}: {own['failed']:.0f} requests failed" for name, own in figures.items() if own["failed"]]
    for name, own in figures.items():
        if (added_ms := own["p50"] - figures[_ALONE]["p50"]) >= ADDED_BAR_MS:
            wrong.append(f"{name}: {added_ms:.1f} ms added at p50; the bar is {ADDED_BAR_MS:g}")
    return wrong
