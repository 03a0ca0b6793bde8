"""What a primary that is wholly down costs each request, once its breaker is open: against an endpoint without it.

Both endpoints are asked in turn over one connection, so that both meet the same moments of the machine. Every minute a
probe goes to the primary; with a silent one it takes the attempt limit, and shows in the most, not in the median.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

import trio
from attrs import asdict, define, field

from scripts.bench._limits.command import format_table, say
from scripts.bench._peers.errors import BenchError
from scripts.bench._peers.ports import HOST, find_free_ports
from scripts.bench._race.client import Caller
from scripts.bench._race.report import Table, quantile
from scripts.bench._race.site import READY, Endpoint, Gateway, Place, Site

ADDED_BAR_MS = 10.0
_FULL_ROUNDS, _QUICK_ROUNDS = 3_000, 300
# Three failures open it; some more, in case the first were answered otherwise.
_OPENING = 8
_SETTINGS = {"attempt_timeout_ms": 1_000}
_ALONE = "alone"
DOWN = {"answers 503": ("first", "fault=status:503"), "silent": ("first", "fault=stall"), "refused": ("refused", "")}


@define(eq=False)
class Way:
    """One way of being down; `seconds` are of requests with the breaker open."""

    name: str
    slug: str
    seconds: list[float] = field(factory=list)
    failed: int = 0


def run(site: Site, *, quick: bool) -> Table:
    """All ways in turn, round after round."""
    ways = [Way(_ALONE, _ALONE), *(Way(name, f"down-{number}") for number, name in enumerate(DOWN))]
    (closed_port,) = find_free_ports(1)
    with contextlib.ExitStack() as stack:
        first, other = (stack.enter_context(site.run_provider(name)) for name in ("first", "other"))
        addresses = {
            "first": first.base_url,
            "refused": f"http://{HOST}:{closed_port}/v1",
            "other": other.base_url,
            READY: other.base_url,
        }
        gateway = stack.enter_context(site.run_gateway(addresses, [_endpoint(way) for way in ways]))
        trio.run(partial(_measure, gateway, ways, _QUICK_ROUNDS if quick else _FULL_ROUNDS))
    return Table("breaker", make_table(ways), {"ways": [asdict(way) for way in ways]}, judge(ways))


def _endpoint(way: Way) -> Endpoint:
    other = Place("other", f"{way.slug}?tokens=20")
    if way.name == _ALONE:
        return Endpoint(way.slug, [other], _SETTINGS)
    credential, behaviour = DOWN[way.name]
    return Endpoint(way.slug, [Place(credential, f"{way.slug}-first?{behaviour}"), other], _SETTINGS)


async def _measure(gateway: Gateway, ways: Sequence[Way], rounds: int) -> None:
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


def make_table(ways: Sequence[Way]) -> str:
    """A line for each way; what it adds is against the endpoint without a primary."""
    header = ("primary", "requests", "failed", "p50 ms", "p99 ms", "most ms", "added at p50, ms", "added at p99, ms")
    alone = ways[0]
    lines = []
    for way in ways:
        own = [quantile(way.seconds, share) * 1e3 for share in (0.5, 0.99, 1.0)]
        base = [quantile(alone.seconds, share) * 1e3 for share in (0.5, 0.99)]
        added = (
            [f"{mine - theirs:.2f}" for mine, theirs in zip(own, base, strict=False)] if way is not alone else ["–"] * 2
        )
        lines.append((way.name, f"{len(way.seconds):,}", str(way.failed), *(f"{ms:.2f}" for ms in own), *added))
    return format_table(header, lines)


def judge(ways: Sequence[Way]) -> list[str]:
    """Which ways cost more than the bar, or failed."""
    alone, *others = ways
    wrong = [f"{way.name}: {way.failed} requests failed" for way in ways if way.failed]
    for way in others:
        added_ms = (quantile(way.seconds, 0.5) - quantile(alone.seconds, 0.5)) * 1e3
        if added_ms >= ADDED_BAR_MS:
            wrong.append(f"{way.name}: {added_ms:.1f} ms added at p50; the bar is {ADDED_BAR_MS:g}")
    return wrong
