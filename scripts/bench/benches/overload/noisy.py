"""`scripts/bench/overload --noisy`: what one token's large bodies cost the others.

A neighbour asks again and again, once with a small request and once with one of 300 KB: first alone, then while another
token keeps some connections busy with bodies of 4 MiB. Closed loops: each sends when its last answer has come.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import trio
from attrs import define, evolve, field, frozen

from scripts.bench.harness.cli import say
from scripts.bench.harness.client import Caller, CutShort
from scripts.bench.harness.gateway import name_token, set_up_wide
from scripts.bench.harness.process_stats import measure_memory_bytes
from scripts.bench.harness.site import RunningGateway, Site
from scripts.bench.harness.tables import Table, spread

NOISY_CONNECTIONS = 16
_NOISY_BYTES = 4 * 1024 * 1024 - 1024
_NEIGHBOUR_BYTES = 300_000
_ANSWER_LIMIT_S = 120.0


@frozen(slots=True)
class Neighbour:
    """How a neighbour fared: milliseconds of each answer, and how many had which status (0: cut)."""

    kind: str
    noise: str
    latencies_ms: Sequence[float]
    statuses: Mapping[int, int]
    worker_bytes: int
    noisy_answers: Mapping[int, int] = field(factory=dict)


@define(eq=False)
class Loop:
    """One client that asks until it is told to stop."""

    request: bytes
    latencies_ms: list[float] = field(factory=list)
    statuses: Counter[int] = field(factory=Counter)

    async def run(self, port: int, is_over: Callable[[], bool]) -> None:
        """Ask again and again; once at least."""
        while not (is_over() and self.latencies_ms):
            with contextlib.suppress(CutShort):
                async with await Caller.connect(port) as caller:
                    while await self._ask(caller) and not is_over():
                        pass

    async def _ask(self, caller: Caller) -> bool:
        """False if the gateway closes the connection after its answer."""
        began, status = trio.current_time(), 0
        try:
            answer = await caller.call(self.request, _ANSWER_LIMIT_S)
            status = answer.status
            return answer.headers.get("connection") != "close"
        finally:
            self.latencies_ms.append((trio.current_time() - began) * 1000)
            self.statuses[status] += 1


def repeat(text: str, size: int) -> str:
    return (text * (size // len(text) + 1))[:size]


NEIGHBOURS: Mapping[str, dict[str, object]] = {
    "small request": {"message": "Say hello to the world."},
    "300 KB request": {"message": repeat("some words of a long text ", _NEIGHBOUR_BYTES)},
}


def make_noises() -> dict[str, bytes | None]:
    """Bodies of 4 MiB that cost much, each in its own way; the first noise is none."""
    parts = [{"type": "text", "text": "word"}] * 80_000
    addresses = repeat("12 Main St, mail a.b@example.org or 10.1.2.3; ", _NOISY_BYTES)
    return {
        "none": None,
        "addresses": json.dumps({"message": addresses}).encode(),
        "text parts": json.dumps({"messages": [{"role": "user", "content": parts}]}).encode(),
        "lists": b'{"message":"Hi","x":[' + b"[]," * 249_000 + b"0]}",
        "plain text": json.dumps({"message": repeat("a word and another ", _NOISY_BYTES)}).encode(),
    }


def measure_noise(site: Site, upstream: str, duration_s: float) -> list[Neighbour]:
    """Every kind of noise in turn."""
    files = set_up_wide(site.make_folder("gateway"), upstream, tokens=2)
    found = []
    with site.run_gateway(files) as gateway:
        for noise, body in make_noises().items():
            found += trio.run(_measure, gateway, noise, body, duration_s)
    return found


async def _measure(gateway: RunningGateway, noise: str, body: bytes | None, duration_s: float) -> list[Neighbour]:
    target = gateway.target("e0", {}, token=name_token(0))
    loops = {kind: Loop(evolve(target, body=json.dumps(text)).as_bytes()) for kind, text in NEIGHBOURS.items()}
    noisy = []
    if body is not None:
        target = gateway.target("e0", {}, token=name_token(1))
        request = evolve(target, body=body.decode()).as_bytes()
        noisy = [Loop(request) for _ in range(NOISY_CONNECTIONS)]
    ends_at = trio.current_time() + duration_s
    async with trio.open_nursery() as nursery:
        for loop in (*loops.values(), *noisy):
            nursery.start_soon(loop.run, gateway.port, lambda: trio.current_time() > ends_at)
    used, heard = measure_memory_bytes(gateway.worker), sum((loop.statuses for loop in noisy), Counter[int]())
    for kind, loop in loops.items():
        say(f"{noise}: {kind}: most {max(loop.latencies_ms):.0f} ms of {len(loop.latencies_ms)}, {dict(loop.statuses)}")
    return [Neighbour(kind, noise, loop.latencies_ms, loop.statuses, used, heard) for kind, loop in loops.items()]


def make_noise_table(found: Sequence[Neighbour]) -> Table:
    """A row for each kind of neighbour and of noise."""
    rows = []
    for one in sorted(found, key=lambda one: one.kind, reverse=True):
        answers = ", ".join(f"{times} × {status or 'cut'}" for status, times in sorted(one.noisy_answers.items()))
        rows.append(
            (
                f"{one.kind}, noise: {one.noise}",
                f"{len(one.latencies_ms):,}",
                " / ".join(spread(one.latencies_ms)),
                str(len(one.latencies_ms) - one.statuses.get(200, 0)),
                answers or "–",
                f"{one.worker_bytes / 1e6:,.0f}",
            )
        )
    return Table(("", "answers", "ms, p50 / p99 / most", "other than 200", "noisy answers", "MB"), rows)
