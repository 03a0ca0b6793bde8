"""What a primary that is down costs each request once its breaker is open, against an endpoint without that primary.

All endpoints are asked in turn over one connection, so that all meet the same moments of the machine. Every minute a
probe goes to the primary; with a silent primary it takes the attempt limit, and shows in the most, not in the median.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import trio

from scripts.bench.harness.cli import say
from scripts.bench.harness.client import Answer, Caller
from scripts.bench.harness.gateway import Endpoint, Place
from scripts.bench.harness.processes import HOST, BenchError, find_free_ports
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.tables import Figures, Found, Report, Table, find_spread, tabulate

ADDED_BAR_MS = 10.0
_FULL_ROUNDS, _QUICK_ROUNDS = 3_000, 300
# Three failures open the breaker; some more, in case the first were answered otherwise.
_OPENING = 8
_SETTINGS = {"attempt_timeout_ms": 1_000}
_ALONE = "alone"
# How the primary is down: its credential, and its behaviour.
DOWN = {"answers 503": ("first", "fault=status:503"), "silent": ("first", "fault=stall"), "refused": ("refused", "")}
WAYS = {_ALONE: _ALONE, **{name: f"down-{number}" for number, name in enumerate(DOWN)}}
COLUMNS = {
    "primary": "",
    "requests": "{requests:,.0f}",
    "failed": "{failed:.0f}",
    "p50 ms": "{p50:.2f}",
    "p99 ms": "{p99:.2f}",
    "most ms": "{most:.2f}",
    "added at p50, ms": "{added_p50:.2f}",
    "added at p99, ms": "{added_p99:.2f}",
}


def run(site: Site, *, quick: bool) -> Report:
    """All ways in turn, round after round."""
    (closed_port,) = find_free_ports(1)
    with site.run_providers("first", "other") as (_, addresses):
        addresses["refused"] = f"http://{HOST}:{closed_port}/v1"
        with site.open_gateway(addresses, [_endpoint(*way) for way in WAYS.items()]) as gateway:
            answers = trio.run(partial(_measure, gateway, _QUICK_ROUNDS if quick else _FULL_ROUNDS))
    figures = {name: summarise(own) for name, own in answers.items()}
    return Report([make_table(figures)], {"ways": figures}, judge(figures))


def _endpoint(name: str, slug: str) -> Endpoint:
    """The primary that is down and another candidate, or the other alone."""
    places = [Place("other", f"{slug}?tokens=20")]
    if name != _ALONE:
        credential, behaviour = DOWN[name]
        places.insert(0, Place(credential, f"{slug}-first?{behaviour}"))
    return Endpoint(slug, places, _SETTINGS)


async def _measure(gateway: RunningGateway, rounds: int) -> dict[str, list[Answer]]:
    """The answers of each way, with its breaker open."""
    requests = {name: gateway.request(slug, {"message": "Hello there"}) for name, slug in WAYS.items()}
    answers: dict[str, list[Answer]] = {name: [] for name in WAYS}
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
    """Requests, failures, and milliseconds of all answers."""
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
    """Which ways cost more than the bar, or failed."""
    wrong = [f"{name}: {own['failed']:.0f} requests failed" for name, own in figures.items() if own["failed"]]
    for name, own in figures.items():
        if (added_ms := own["p50"] - figures[_ALONE]["p50"]) >= ADDED_BAR_MS:
            wrong.append(f"{name}: {added_ms:.1f} ms added at p50; the bar is {ADDED_BAR_MS:g}")
    return wrong
