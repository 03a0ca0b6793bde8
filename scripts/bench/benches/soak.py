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
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence

from attrs import frozen

from scripts.bench.harness.cli import say
from scripts.bench.harness.gateway import set_up_wide
from scripts.bench.harness.process_stats import count_files, measure_all_cpu_s, measure_cpu_s, measure_memory_bytes
from scripts.bench.harness.processes import HOST
from scripts.bench.harness.site import RunningGateway, Site, open_site
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import QUESTION
from scripts.bench.harness.wrk import CONNECTIONS, Load, run_load

ROUNDS = (3, 3)
TENTHS = 10
# The slowest tenth that is still worth waiting for: 20 requests a second.
_SLOWEST_PER_S = 20
_GROWTH_LIMIT = 0.05
# The pool opens and closes connections to the upstream as it needs them; a leak would be one a request or one a run.
_FILES_LIMIT = 16
_SCALING_BAR = 1.7


@frozen(slots=True)
class Tenth:
    """The worker after one tenth of the requests."""

    requests: int
    per_s: float
    cpu_us: float
    p99_us: float
    errors: int
    memory_bytes: int
    files: int


@frozen(slots=True)
class Scaling:
    """One run of one round. `shares`: how much of a core each worker had."""

    workers: int
    round: int
    per_s: float
    cpu_us: float
    errors: int
    shares: tuple[float, ...]


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, metavar="N", help="(default 1,000,000, quick 50,000)")
    workers = "instead: throughput with each of these numbers of workers, for example 1,2 (--rounds are theirs)"
    parser.add_argument("--workers", type=_read_counts, default=[], metavar="N,N", help=workers)


def _read_counts(text: str) -> list[int]:
    counts = [int(count) for count in text.split(",")]
    if any(not 1 <= count <= 16 for count in counts):
        raise ArgumentTypeError("numbers from 1 to 16, separated by commas")
    return counts


def run(options: Namespace) -> Iterator[Report]:
    """Ten tenths of the requests, or each number of workers in each round."""
    with open_site("nginx", "wrk") as site, site.run_upstream() as (_, port):
        upstream = f"http://{HOST}:{port}/v1"
        if options.workers:
            runs = scale(site, upstream, options)
            note = "With a core each: from the CPU time a request, because load and upstream share these cores. "
            table = make_scaling_table(runs, (f"{note}The bar is {_SCALING_BAR}.",))
            errors = sum(run.errors for run in runs)
            yield Report([table], {"scaling": runs}, [f"{errors} requests were not answered"] if errors else [])
            return
        requests = max(TENTHS, options.requests or (50_000 if options.quick else 1_000_000))
        tenths = list(soak(site, upstream, requests))
        yield Report([make_soak_table(tenths)], {"tenths": tenths}, judge(tenths, requests))


def soak(site: Site, upstream: str, requests: int) -> Iterator[Tenth]:
    """So many requests through one worker, a tenth after the other."""
    with site.run_gateway(set_up_wide(site.make_folder("gateway"), upstream)) as gateway:
        for number in range(1, TENTHS + 1):
            tenth = _run_tenth(site, gateway, requests // TENTHS)
            size = f"{tenth.memory_bytes / 1e6:.1f} MB, {tenth.files} files, {tenth.errors} errors"
            say(f"{number} of {TENTHS}: {tenth.requests:,} requests, {tenth.per_s:,.0f}/s, {size}")
            yield tenth


def _run_tenth(site: Site, gateway: RunningGateway, requests: int) -> Tenth:
    target = gateway.target("e0", {"message": QUESTION})
    load = Load(target, CONNECTIONS, duration_s=max(1, requests // _SLOWEST_PER_S), stop_after=requests)
    before_s = measure_cpu_s(gateway.worker)
    result = run_load(load, site.folder / "load", site.cores.load)
    time.sleep(0.2)  # The worker notices that the clients have left.
    return Tenth(
        requests=result.requests,
        per_s=result.per_s,
        cpu_us=(measure_cpu_s(gateway.worker) - before_s) / max(1, result.requests) * 1e6,
        p99_us=result.p99_us,
        errors=result.errors,
        memory_bytes=measure_memory_bytes(gateway.worker),
        files=count_files(gateway.worker),
    )


def judge(tenths: Sequence[Tenth], requests: int) -> list[str]:
    """What is wrong; empty if nothing is."""
    middle, last = tenths[TENTHS // 2 - 1], tenths[-1]
    growth = last.memory_bytes / middle.memory_bytes - 1
    wrong = []
    if growth > _GROWTH_LIMIT:
        wrong.append(f"memory grew by {growth:.1%} in the second half; allowed are {_GROWTH_LIMIT:.0%}")
    if last.files - middle.files > _FILES_LIMIT:
        wrong.append(f"open files grew from {middle.files} to {last.files} in the second half")
    if errors := sum(tenth.errors for tenth in tenths):
        wrong.append(f"{errors} requests were not answered with 200")
    if (missing := requests // TENTHS * TENTHS - sum(tenth.requests for tenth in tenths)) > 0:
        wrong.append(f"{missing} requests were not sent in time")
    return wrong


def scale(site: Site, upstream: str, options: Namespace) -> list[Scaling]:
    """Throughput with each number of workers, interleaved."""
    runs = []
    for number in range(1, options.rounds + 1):
        for workers in options.workers:
            files = set_up_wide(site.make_folder("gateway"), upstream)
            with site.run_gateway(files, workers=workers, cores=site.cores.both) as gateway:
                run = _measure_workers(site, gateway, 2 if options.quick else 8, number)
            runs.append(run)
            say(f"round {number}: {workers} workers: {run.per_s:,.0f}/s, {run.cpu_us:,.0f} µs a request")
    return runs


def _measure_workers(site: Site, gateway: RunningGateway, duration_s: int, number: int) -> Scaling:
    workers = len(gateway.workers)
    load = Load(gateway.target("e0", {"message": QUESTION}), CONNECTIONS * workers, duration_s)
    run_load(load, site.folder / "load", site.cores.load)  # warm-up
    before_s = measure_all_cpu_s(gateway.workers)
    result = run_load(load, site.folder / "load", site.cores.load)
    used_s = [after - before for after, before in zip(measure_all_cpu_s(gateway.workers), before_s, strict=True)]
    cpu_us, shares = (
        sum(used_s) / max(1, result.requests) * 1e6,
        tuple(used / result.duration_us * 1e6 for used in used_s),
    )
    return Scaling(workers, number, result.per_s, cpu_us, result.errors, shares)


def make_soak_table(tenths: Sequence[Tenth]) -> Table:
    """A row for each tenth."""
    done, rows = 0, []
    for tenth in tenths:
        done += tenth.requests
        figures = (f"{tenth.per_s:,.0f}", f"{tenth.cpu_us:,.0f}", f"{tenth.p99_us / 1e3:.1f}")
        rows.append((f"{done:,}", *figures, f"{tenth.memory_bytes / 1e6:.1f}", str(tenth.files), str(tenth.errors)))
    return Table(("requests", "req/s", "CPU µs/req", "p99 ms", "MB", "files", "errors"), rows)


def make_scaling_table(runs: Sequence[Scaling], notes: Sequence[str] = ()) -> Table:
    """A row for each run, against the fewest workers of the same round."""
    rows = []
    for run in runs:
        base = min((other for other in runs if other.round == run.round), key=lambda other: other.workers)
        shares = " + ".join(f"{share:.0%}" for share in run.shares)
        dearer = run.cpu_us / base.cpu_us
        ratios = (f"{run.per_s / base.per_s:.2f}", f"{run.cpu_us:,.0f}", f"{dearer:.2f}")
        whole = f"{run.workers / base.workers / dearer:.2f}"
        name = f"{run.workers} in round {run.round}"
        rows.append((name, f"{run.per_s:,.0f}", *ratios, shares, whole, str(run.errors)))
    head = ("workers", "req/s", "ratio", "CPU µs/req", "ratio", "cores that they had", "with a core each", "errors")
    return Table(head, rows, notes=notes)
