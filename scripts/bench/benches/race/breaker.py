"""What a primary that is down costs each request once its breaker is open, against an endpoint without that primary.

All endpoints are asked in turn over one connection, so that all meet the same moments of the machine. Every minute a
probe goes to the primary; with a silent primary it takes the attempt limit, and shows in the most, not in the median.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

import trio
from attrs import define, field

from scripts.bench.harness.cli import say
from scripts.bench.harness.client import Caller
from scripts.bench.harness.gateway import READY, Endpoint, Place
from scripts.bench.harness.processes import HOST, BenchError, find_free_ports
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.tables import Report, Table, quantile, spread

ADDED_BAR_MS = 10.0
_FULL_ROUNDS, _QUICK_ROUNDS = 3_000, 300
# Three failures open the breaker; some more, in case the first were answered otherwise.
_OPENING = 8
_SETTINGS = {"attempt_timeout_ms": 1_000}
_ALONE = "alone"
DOWN = {"answers 503": ("first", "fault=status:503"), "silent": ("first", "fault=stall"), "refused": ("refused", "")}


@define(eq=False)
class Way:
    """One way of being down; `seconds`: of each request with the breaker open."""

    name: str
    slug: str
    seconds: list[float] = field(factory=list)
    failed: int = 0

    def endpoint(self) -> Endpoint:
        """The primary that is down and another, or the other alone."""
        places = [Place("other", f"{self.slug}?tokens=20")]
        if self.name != _ALONE:
            credential, behaviour = DOWN[self.name]
            places.insert(0, Place(credential, f"{self.slug}-first?{behaviour}"))
        return Endpoint(self.slug, places, _SETTINGS)


def run(site: Site, *, quick: bool) -> Report:
    """All ways in turn, round after round."""
    ways = [Way(_ALONE, _ALONE), *(Way(name, f"down-{number}") for number, name in enumerate(DOWN))]
    (closed_port,) = find_free_ports(1)
    with contextlib.ExitStack() as stack:
        first, other = (stack.enter_context(site.run_provider(name)).base_url for name in ("first", "other"))
        addresses = {"first": first, "refused": f"http://{HOST}:{closed_port}/v1", "other": other, READY: other}
        gateway = stack.enter_context(site.open_gateway(addresses, [way.endpoint() for way in ways]))
        trio.run(partial(_measure, gateway, ways, _QUICK_ROUNDS if quick else _FULL_ROUNDS))
    return Report([make_table(ways)], {"ways": ways}, judge(ways))


async def _measure(gateway: RunningGateway, ways: Sequence[Way], rounds: int) -> None:
    requests = {way.slug: gateway.request(way.slug, {"message": "Hello there"}) for way in ways}
    async with await Caller.connect(gateway.port) as caller:
        for way in ways:
            for _ in range(_OPENING):
                answer = await caller.call(requests[way.slug])
                if answer.status != 200:
                    raise BenchError(f"{way.name}: status {answer.status} {answer.body[:200]!r}")
        say("breakers are open")
        for _ in range(rounds):
            for way in ways:
                answer = await caller.call(requests[way.slug])
                way.seconds.append(answer.seconds)
                way.failed += answer.status != 200


def make_table(ways: Sequence[Way]) -> Table:
    """A row for each way; what it adds is against the endpoint without a primary."""
    alone, rows = ways[0], []
    for way in ways:
        added = (
            f"{(quantile(way.seconds, share) - quantile(alone.seconds, share)) * 1e3:.2f}" if way is not alone else "–"
            for share in (0.5, 0.99)
        )
        rows.append(
            (way.name, f"{len(way.seconds):,}", str(way.failed), *spread(way.seconds, scale=1e3, digits=2), *added)
        )
    head = ("primary", "requests", "failed", "p50 ms", "p99 ms", "most ms", "added at p50, ms", "added at p99, ms")
    return Table(head, rows)


def judge(ways: Sequence[Way]) -> list[str]:
    """Which ways cost more than the bar, or failed."""
    alone, *others = ways
    wrong = [f"{way.name}: {way.failed} requests failed" for way in ways if way.failed]
    for way in others:
        added_ms = (quantile(way.seconds, 0.5) - quantile(alone.seconds, 0.5)) * 1e3
        if added_ms >= ADDED_BAR_MS:
            wrong.append(f"{way.name}: {added_ms:.1f} ms added at p50; the bar is {ADDED_BAR_MS:g}")
    return wrong
