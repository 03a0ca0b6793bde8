"""Does a worker grow over a million requests; and with --workers, what does a second worker bring?

Rules
1. Each tenth is one run of wrk that stops at its number of answers. Memory and files are read after it, when its
   connections are closed. Requests that were out when wrk stopped are cut, as those of a client that leaves.
2. The first half warms up: caches, pools and the allocator fill. Growth is the memory after the last tenth over that
   after the fifth.
3. Several workers, the load and the upstream share the cores. The workers' shares of the cores are told, and what they
   would answer with a core each follows from the CPU time a request: the faster a worker, the larger the load's share.
Exit status 1 if memory or open files grew, or any answer was not 200. Needs nginx and wrk.
"""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate

from scripts.bench.harness.cli import Options, Parser, Reports, positive, say, take_turns
from scripts.bench.harness.gateway import set_up_wide
from scripts.bench.harness.process_stats import count_files, measure_memory_bytes
from scripts.bench.harness.site import Site, open_site
from scripts.bench.harness.tables import Figures, Report, tabulate
from scripts.bench.harness.target import QUESTION
from scripts.bench.harness.wrk import CONNECTIONS, Load

ROUNDS = (3, 3)
TENTHS = 10
# The slowest tenth that is still worth waiting for: 20 requests a second.
_SLOWEST_PER_S = 20
_GROWTH_LIMIT = 0.05
# The pool opens and closes connections to the upstream as it needs them; a leak would be one a request or one a run.
_FILES_LIMIT = 16
_SCALING_NOTE = (
    "With a core each: reckoned from the CPU time a request, because the load and the upstream share these cores. "
    "The bar is 1.7."
)
SOAK_COLUMNS = {
    "requests": "",
    "req/s": "{per_s:,.0f}",
    "CPU µs/req": "{cpu_us:,.0f}",
    "p99 ms": "{p99_ms:.1f}",
    "MB": "{memory_mb:.1f}",
    "files": "{files:.0f}",
    "errors": "{errors:.0f}",
}
SCALING_COLUMNS = {
    "workers": "",
    "req/s": "{per_s:,.0f}",
    "ratio": "{per_s_ratio:.2f}",
    "CPU µs/req": "{cpu_us:,.0f}",
    "dearer": "{cpu_us_ratio:.2f}",
    "cores that they had": "{cores:.2f}",
    "with a core each": "{whole_ratio:.2f}",
    "errors": "{errors_sum:.0f}",
}


def add_options(parser: Parser) -> None:
    parser.add_argument("--requests", type=positive, metavar="N", help="(default 1,000,000, quick 50,000)")
    workers = "instead: throughput with each of these numbers of workers, for example 1,2 (--rounds are theirs)"
    parser.add_argument("--workers", type=_read_counts, default=[], metavar="N,N", help=workers)


def _read_counts(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count.isdecimal() and 1 <= int(count) <= 16 for count in counts):
        raise ArgumentTypeError("numbers from 1 to 16, separated by commas")
    return [int(count) for count in counts]


def run(options: Options) -> Reports:
    with open_site("nginx", "wrk") as site, site.run_upstream() as upstream:
        if options.workers:
            measure, duration_s = partial(measure_workers, site, upstream.base_url), 2 if options.quick else 8
            rows = {str(workers): partial(measure, workers, duration_s) for workers in sorted(options.workers)}
            found = take_turns(options.rounds, rows, "{per_s:,.0f}/s, {cpu_us:,.0f} µs a request")
            errors = sum(one["errors_sum"] for rounds in found.values() for one in rounds)
            table = tabulate(found, SCALING_COLUMNS, base=next(iter(found)), notes=(_SCALING_NOTE,))
            yield Report([table], {"scaling": found}, [f"{errors:.0f} requests were not answered"] if errors else [])
            return
        requests = max(TENTHS, options.requests or (50_000 if options.quick else 1_000_000))
        tenths = list(soak(site, upstream.base_url, requests))
        done = accumulate(tenth["requests"] for tenth in tenths)
        found = {f"{count:,.0f}": [tenth] for count, tenth in zip(done, tenths, strict=True)}
        yield Report([tabulate(found, SOAK_COLUMNS)], {"tenths": tenths}, judge(tenths, requests))


def soak(site: Site, upstream: str, requests: int) -> Iterator[dict[str, float]]:
    with site.run_gateway(set_up_wide(site.make_folder("gateway"), upstream)) as gateway:
        tenth_s = max(1, requests // TENTHS // _SLOWEST_PER_S)
        target = gateway.target("e0", {"message": QUESTION})
        load = Load(target, CONNECTIONS, tenth_s, stop_after=requests // TENTHS)
        for number in range(1, TENTHS + 1):
            result, used_s = gateway.run_load(load)
            time.sleep(0.2)  # The worker notices that the clients have left.
            tenth = {
                "requests": result.requests,
                "per_s": result.per_s,
                "cpu_us": used_s / result.requests * 1e6,
                "p99_ms": result.p99_us / 1e3,
                "errors": result.errors,
                "memory_mb": measure_memory_bytes(gateway.worker) / 1e6,
                "files": count_files(gateway.worker),
            }
            say("{} of {}: {per_s:,.0f}/s, {memory_mb:.1f} MB, {errors:.0f} errors".format(number, TENTHS, **tenth))
            yield tenth


def judge(tenths: Sequence[Figures], requests: int) -> list[str]:
    middle, last = tenths[TENTHS // 2 - 1], tenths[-1]
    growth = last["memory_mb"] / middle["memory_mb"] - 1
    wrong = []
    if growth > _GROWTH_LIMIT:
        wrong.append(f"memory grew by {growth:.1%} in the second half; allowed are {_GROWTH_LIMIT:.0%}")
    if last["files"] - middle["files"] > _FILES_LIMIT:
        wrong.append(f"open files grew from {middle['files']:.0f} to {last['files']:.0f} in the second half")
    if errors := sum(tenth["errors"] for tenth in tenths):
        wrong.append(f"{errors:.0f} requests were not answered with 200")
    if (missing := requests // TENTHS * TENTHS - sum(tenth["requests"] for tenth in tenths)) > 0:
        wrong.append(f"{missing:.0f} requests were not sent in time")
    return wrong


def measure_workers(site: Site, upstream: str, workers: int, duration_s: int) -> dict[str, float]:
    """One run. `cores`: how much of a core the workers had together. `whole`: what they would do with a core each."""
    files = set_up_wide(site.make_folder("gateway"), upstream)
    with site.run_gateway(files, workers=workers, cores=site.cores.both) as gateway:
        load = Load(gateway.target("e0", {"message": QUESTION}), CONNECTIONS * workers, duration_s)
        gateway.run_load(load)  # warm-up
        result, used_s = gateway.run_load(load)
    cpu_us, cores = used_s / result.requests * 1e6, used_s / result.duration_us * 1e6
    whole = workers / cpu_us
    return {"per_s": result.per_s, "cpu_us": cpu_us, "cores": cores, "whole": whole, "errors_sum": result.errors}
