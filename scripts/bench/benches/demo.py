"""The demonstration (`pg-trio serve --demo`) under load, started as a user starts it: it must neither fail nor grow.

Memory is of the whole process tree: the parent with the simulated provider, and the workers. Exit status 1 if any
answer was not a 200, or if memory grew by more than a tenth in the second half.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import count

import trio

from scripts.bench.harness.cli import Options, Parser, Reports, positive, say
from scripts.bench.harness.client import Answer, Caller, CutShort, run_crowd
from scripts.bench.harness.gateway import PG_TRIO
from scripts.bench.harness.processes import HOST, run_pinned, wait_said
from scripts.bench.harness.site import open_site
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import Target

GROWTH_LIMIT = 1.10
_CURL = r"http://127\.0\.0\.1:(\d+)(\S+) -H 'Authorization: Bearer (\S+)'"
_HEAD = ("requests", "connections", "requests/s", "by status", "MiB at each tenth", "growth, end over half-way")


def add_options(parser: Parser) -> None:
    parser.add_argument("--requests", type=positive, help="(default 20,000, quick 2,000)")
    parser.add_argument("--connections", type=positive, default=64, help="(default 64)")


def run(options: Options) -> Reports:
    total, numbers = options.requests or (2_000 if options.quick else 20_000), count()
    statuses: Counter[str] = Counter()
    memory_mib: list[float] = []
    command = [PG_TRIO, "serve", "--demo", "--bind", f"{HOST}:0"]
    with open_site() as site, run_pinned("demo", command, core=site.cores.both, log=site.folder / "log") as demo:
        port, path, token = wait_said(demo, _CURL).groups()
        target = Target(int(port), path, {"Authorization": f"Bearer {token}"}, '{"message": "Hello! What can you do?"}')

        async def keep_asking(_: int) -> None:
            async with await Caller.connect(target.port) as caller:
                while next(numbers) < total:
                    try:
                        answer = await caller.call(target.as_bytes())
                    except CutShort as error:
                        answer = Answer(0, failure=f"CutShort: {error}")
                    statuses[answer.failure or str(answer.status)] += 1
                    if (done := statuses.total()) % max(1, total // 10) == 0:
                        memory_mib.append(sum(demo.measure_memory_bytes()) / 2**20)
                        say(f"{done:,} answers, {memory_mib[-1]:.1f} MiB")
                    if answer.failure:
                        return

        started = time.perf_counter()
        trio.run(run_crowd, options.connections, keep_asking)
        per_s = total / (time.perf_counter() - started)
    growth = memory_mib[-1] / memory_mib[len(memory_mib) // 2]
    by_status = " · ".join(f"{status}: {times}" for status, times in sorted(statuses.items()))
    memory = " ".join(f"{mib:.1f}" for mib in memory_mib)
    row = (f"{total:,}", str(options.connections), f"{per_s:,.0f}", by_status, memory, f"{growth:.3f}")
    wrong = [] if statuses == {"200": total} else [f"answers: {by_status}"]
    wrong += [f"memory grew {growth:.3f} times in the second half"] if growth > GROWTH_LIMIT else []
    yield Report([Table(_HEAD, [row])], {"memory_mib": memory_mib}, wrong)
