"""`scripts/bench/overload --noisy`: what one token's large bodies cost the others.

A neighbour asks again and again, once with a small request and once with one of 300 KB: first alone, then while another
token keeps some connections busy with bodies of 4 MiB. Closed loops: each sends when its last answer has come.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import trio
from attrs import define, evolve, field

from scripts.bench.harness.cli import say
from scripts.bench.harness.client import Caller, CutShort, run_crowd
from scripts.bench.harness.gateway import name_token, set_up_wide
from scripts.bench.harness.process_stats import measure_memory_bytes
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.tables import Table, spread
from scripts.bench.harness.target import repeat

NOISY_CONNECTIONS = 16
_NOISY_BYTES = 4 * 1024 * 1024 - 1024
_ANSWER_LIMIT_S = 120.0
NEIGHBOURS = {
    "small request": "Say hello to the world.",
    "300 KB request": repeat("some words of a long text ", 300_000),
}


@define(eq=False)
class Neighbour:
    """A client that asks until the time is over, and once at least; beside which noise, and how it fared.

    `statuses`: how many answers had which (0: cut); `noisy_answers`: the same of the noise.
    """

    kind: str
    noise: str
    port: int
    request: bytes = field(repr=False)
    latencies_ms: list[float] = field(factory=list)
    statuses: Counter[int] = field(factory=Counter)
    noisy_answers: Mapping[int, int] = field(factory=dict)
    worker_bytes: int = 0

    async def run(self, ends_at: float) -> None:
        while not self.latencies_ms or trio.current_time() < ends_at:
            async with await Caller.connect(self.port) as caller:
                # Where the gateway closes the connection after its answer, the next one goes over a new one.
                while await self._ask(caller) and trio.current_time() < ends_at:
                    pass

    async def _ask(self, caller: Caller) -> bool:
        began, status, is_kept = trio.current_time(), 0, False
        try:
            answer = await caller.call(self.request, _ANSWER_LIMIT_S)
            status, is_kept = answer.status, answer.headers.get("connection") != "close" and not answer.failure
        except CutShort:
            pass
        self.latencies_ms.append((trio.current_time() - began) * 1000)
        self.statuses[status] += 1
        return is_kept


def make_noises() -> dict[str, str]:
    """Bodies of 4 MiB that cost much, each in its own way; the first noise is none."""
    parts = [{"type": "text", "text": "word"}] * 80_000
    addresses = repeat("12 Main St, mail a.b@example.org or 10.1.2.3; ", _NOISY_BYTES)
    return {
        "none": "",
        "addresses": json.dumps({"message": addresses}),
        "text parts": json.dumps({"messages": [{"role": "user", "content": parts}]}),
        "lists": '{"message":"Hi","x":[' + "[]," * 249_000 + "0]}",
        "plain text": json.dumps({"message": repeat("a word and another ", _NOISY_BYTES)}),
    }


def measure_noise(site: Site, upstream: str, duration_s: float) -> list[Neighbour]:
    files = set_up_wide(site.make_folder("gateway"), upstream, tokens=2)
    with site.run_gateway(files) as gateway:
        noises = [trio.run(_measure, gateway, *noise, duration_s) for noise in make_noises().items()]
    return [neighbour for noise in noises for neighbour in noise]


async def _measure(gateway: RunningGateway, noise: str, body: str, duration_s: float) -> list[Neighbour]:
    loud, quiet = (gateway.target("e0", {}, token=name_token(number)) for number in (1, 0))
    bodies = {kind: json.dumps({"message": text}) for kind, text in NEIGHBOURS.items()}
    requests = {kind: evolve(quiet, body=text).as_bytes() for kind, text in bodies.items()}
    neighbours = [Neighbour(kind, noise, gateway.port, request) for kind, request in requests.items()]
    request = evolve(loud, body=body).as_bytes()
    noisy = [Neighbour("noisy", noise, gateway.port, request) for _ in range(NOISY_CONNECTIONS if body else 0)]
    clients, ends_at = [*neighbours, *noisy], trio.current_time() + duration_s
    await run_crowd(len(clients), lambda number: clients[number].run(ends_at))
    for one in neighbours:
        one.noisy_answers = sum((other.statuses for other in noisy), Counter[int]())
        one.worker_bytes = measure_memory_bytes(gateway.worker)
        say(
            f"{noise}: {one.kind}: most {max(one.latencies_ms):.0f} ms of {len(one.latencies_ms)}, {dict(one.statuses)}"
        )
    return neighbours


def make_noise_table(found: Sequence[Neighbour]) -> Table:
    rows = []
    for one in sorted(found, key=lambda one: one.kind, reverse=True):
        answers = ", ".join(f"{times} × {status or 'cut'}" for status, times in sorted(one.noisy_answers.items()))
        count, latencies = len(one.latencies_ms), " / ".join(spread(one.latencies_ms))
        figures = (f"{count:,}", latencies, str(count - one.statuses.get(200, 0)), answers or "–")
        rows.append((f"{one.kind}, noise: {one.noise}", *figures, f"{one.worker_bytes / 1e6:,.0f}"))
    return Table(("", "answers", "ms, p50 / p99 / most", "other than 200", "noisy answers", "MB"), rows)
