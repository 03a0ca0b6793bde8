"""The demonstration (`pg-trio serve --demo`) under load, started as a user starts it: it must neither fail nor grow.

Memory is of the whole process tree: the parent with the simulated provider, and the workers. Exit status 1 if any
answer was not a 200, or if memory grew by more than a tenth in the second half.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from itertools import count

import trio
from attrs import define, field

from scripts.bench.harness.cli import positive, say
from scripts.bench.harness.client import Caller, CutShort, Hung
from scripts.bench.harness.gateway import PG_TRIO
from scripts.bench.harness.processes import HOST, Pinned, run_pinned, wait_said
from scripts.bench.harness.site import open_site
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import Target

GROWTH_LIMIT = 1.10
# An answer that takes longer is a failure.
ANSWER_LIMIT_S = 60.0
_CURL = r"http://127\.0\.0\.1:(\d+)(\S+) -H 'Authorization: Bearer (\S+)'"


@define
class Load:
    """What is sent, and what has come back. `memory_mib`: after each tenth of the requests."""

    demo: Pinned
    target: Target
    total: int
    statuses: Counter[str] = field(factory=Counter)
    memory_mib: list[float] = field(factory=list)

    def note(self, status: str) -> None:
        """Count an answer; read the memory at each tenth."""
        self.statuses[status] += 1
        done = self.statuses.total()
        if done % max(1, self.total // 10) == 0:
            self.memory_mib.append(sum(self.demo.measure_memory_bytes()) / 2**20)
            say(f"{done:,} answers, {self.memory_mib[-1]:.1f} MiB")


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--requests", type=positive, help="(default 20,000, quick 2,000)")
    parser.add_argument("--connections", type=positive, default=64, help="(default 64)")


def run(options: Namespace) -> Iterator[Report]:
    """All requests over all connections at once."""
    total = options.requests or (2_000 if options.quick else 20_000)
    command = [PG_TRIO, "serve", "--demo", "--bind", f"{HOST}:0"]
    with open_site() as site, run_pinned("demo", command, core=site.cores.both, log=site.folder / "log") as demo:
        port, path, token = wait_said(demo, _CURL).groups()
        body = '{"message": "Hello! What can you do?"}'
        load = Load(demo, Target(int(port), path, {"Authorization": f"Bearer {token}"}, body), total)
        started = time.perf_counter()
        trio.run(_send_all, load, options.connections)
        per_s = total / (time.perf_counter() - started)
    yield _report(load, per_s, options.connections)


async def _send_all(load: Load, connections: int) -> None:
    numbers = count()
    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(_run_connection, load, numbers)


async def _run_connection(load: Load, numbers: Iterator[int]) -> None:
    async with await Caller.connect(load.target.port) as caller:
        while next(numbers) < load.total:
            try:
                load.note(str((await caller.call(load.target.as_bytes(), ANSWER_LIMIT_S)).status))
            except (Hung, CutShort) as error:
                load.note(type(error).__name__)
                return


def _report(load: Load, per_s: float, connections: int) -> Report:
    growth = load.memory_mib[-1] / load.memory_mib[len(load.memory_mib) // 2]
    statuses = " · ".join(f"{status}: {times}" for status, times in sorted(load.statuses.items()))
    memory = " ".join(f"{mib:.1f}" for mib in load.memory_mib)
    head = ("requests", "connections", "requests/s", "by status", "MiB at each tenth", "growth, end over half-way")
    row = (f"{load.total:,}", str(connections), f"{per_s:,.0f}", statuses, memory, f"{growth:.3f}")
    wrong = [] if load.statuses == {"200": load.total} else [f"answers: {statuses}"]
    wrong += [f"memory grew {growth:.3f} times in the second half"] if growth > GROWTH_LIMIT else []
    return Report([Table(head, [row])], {"memory_mib": load.memory_mib}, wrong)
