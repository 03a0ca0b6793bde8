"""`scripts/bench/soak`: does a worker grow over a million requests, and what does a second one bring?

Rules
1. Each tenth is one run of wrk that stops at its number of answers; memory and files are read after it, when the
   connections are closed. The requests that were out when wrk stopped are cut, as a client that leaves does.
2. The first half is warm-up: caches, pools and the allocator fill. Growth is the last tenth's memory over the fifth's.
3. Throughput of N workers: they, the load and the upstream share the cores. What the workers got of them is told, and
   from the CPU time a request follows what they would answer with a core each: the faster a worker, the larger the
   load's share of the cores, and the less throughput says of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from attrs import asdict, frozen

from scripts.bench._limits.command import Site, format_table, make_parser, open_site, report, run_command, say
from scripts.bench._limits.gateway import Running, make_gateway, run_gateway
from scripts.bench._limits.load import Load, run_load
from scripts.bench._limits.worker import count_files, measure_cpu_s, measure_memory_bytes
from scripts.bench._peers.plan import QUESTION

FULL_REQUESTS = 1_000_000
QUICK_REQUESTS = 50_000
_CONNECTIONS = 32
_TENTHS = 10
# The slowest tenth that is still worth waiting for: 20 requests a second.
_SLOWEST_PER_S = 20
_GROWTH_LIMIT = 0.05
# Connections to the upstream come and go with the pool's moods; a leak is one a request or one a run.
_FILES_LIMIT = 16
_SCALING_BAR = 1.7
_SCALING_ROUNDS = 3


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


def soak(site: Site, requests: int) -> list[Tenth]:
    """That many requests through one worker. Raises: PeerUnavailableError, TimeoutError."""
    gateway = make_gateway(site.folder / "soak", site.upstream_url)
    with run_gateway(gateway, str(site.cores.gateway)) as running:
        tenths = []
        for number in range(1, _TENTHS + 1):
            tenth = _run_tenth(site, running, requests // _TENTHS)
            tenths.append(tenth)
            say(
                f"{number} of {_TENTHS}: {tenth.requests:,} requests, {tenth.per_s:,.0f}/s, "
                f"{tenth.memory_bytes / 1e6:.1f} MB, {tenth.files} files, {tenth.errors} errors"
            )
    return tenths


def _run_tenth(site: Site, running: Running, requests: int) -> Tenth:
    (worker,) = running.workers
    target = running.make_target({"message": QUESTION})
    load = Load(target, _CONNECTIONS, duration_s=max(1, requests // _SLOWEST_PER_S), stop_after=requests)
    before_s = measure_cpu_s(worker)
    result = run_load(load, site.folder / "load", site.cores.load)
    time.sleep(0.2)  # the worker notices that the clients have left
    return Tenth(
        requests=result.requests,
        per_s=result.per_s,
        cpu_us=(measure_cpu_s(worker) - before_s) / max(1, result.requests) * 1e6,
        p99_us=result.p99_us,
        errors=result.errors,
        memory_bytes=measure_memory_bytes(worker),
        files=count_files(worker),
    )


def judge(tenths: Sequence[Tenth], requests: int) -> list[str]:
    """What is wrong; empty if nothing is."""
    middle, last = tenths[_TENTHS // 2 - 1], tenths[-1]
    growth = last.memory_bytes / middle.memory_bytes - 1
    wrong = []
    if growth > _GROWTH_LIMIT:
        wrong.append(f"memory grew by {growth:.1%} in the second half; allowed are {_GROWTH_LIMIT:.0%}")
    if last.files - middle.files > _FILES_LIMIT:
        wrong.append(f"open files grew from {middle.files} to {last.files} in the second half")
    if errors := sum(tenth.errors for tenth in tenths):
        wrong.append(f"{errors} requests were not answered with 200")
    if (missing := requests // _TENTHS * _TENTHS - sum(tenth.requests for tenth in tenths)) > 0:
        wrong.append(f"{missing} requests were not sent in time")
    return wrong


def scale(site: Site, counts: Sequence[int], duration_s: int) -> list[Scaling]:
    """Throughput with each number of workers, interleaved. Raises: PeerUnavailableError, TimeoutError."""
    runs = []
    for number in range(1, _SCALING_ROUNDS + 1):
        for workers in counts:
            gateway = make_gateway(site.folder / f"{workers}-workers-{number}", site.upstream_url)
            cores = f"{site.cores.gateway},{site.cores.load}"
            with run_gateway(gateway, cores, workers=workers) as running:
                run = _measure_workers(site, running, duration_s, number)
            runs.append(run)
            say(f"round {number}: {workers} workers: {run.per_s:,.0f}/s, {run.cpu_us:,.0f} µs a request")
    return runs


def _measure_workers(site: Site, running: Running, duration_s: int, number: int) -> Scaling:
    load = Load(running.make_target({"message": QUESTION}), _CONNECTIONS * len(running.workers), duration_s)
    run_load(load, site.folder / "load", site.cores.load)  # warm-up
    before_s = [measure_cpu_s(pid) for pid in running.workers]
    result = run_load(load, site.folder / "load", site.cores.load)
    used_s = [measure_cpu_s(pid) - before for pid, before in zip(running.workers, before_s, strict=True)]
    return Scaling(
        workers=len(running.workers),
        round=number,
        per_s=result.per_s,
        cpu_us=sum(used_s) / max(1, result.requests) * 1e6,
        errors=result.errors,
        shares=tuple(used / result.duration_us * 1e6 for used in used_s),
    )


def make_soak_table(tenths: Sequence[Tenth]) -> str:
    """One row for each tenth."""
    done = 0
    rows = []
    for tenth in tenths:
        done += tenth.requests
        figures = (f"{tenth.per_s:,.0f}", f"{tenth.cpu_us:,.0f}", f"{tenth.p99_us / 1e3:.1f}")
        rows.append((f"{done:,}", *figures, f"{tenth.memory_bytes / 1e6:.1f}", str(tenth.files), str(tenth.errors)))
    return format_table(("requests", "req/s", "CPU µs/req", "p99 ms", "MB", "files", "errors"), rows)


def make_scaling_table(runs: Sequence[Scaling]) -> str:
    """One row for each run, against the fewest workers of the same round."""
    rows = []
    for run in runs:
        base = min((other for other in runs if other.round == run.round), key=lambda other: other.workers)
        shares = " + ".join(f"{share:.0%}" for share in run.shares)
        dearer = run.cpu_us / base.cpu_us
        ratios = (f"{run.per_s / base.per_s:.2f}", f"{run.cpu_us:,.0f}", f"{dearer:.2f}")
        # What a request costs with several workers says what they would answer with a core each.
        whole = f"{run.workers / base.workers / dearer:.2f}"
        rows.append(
            (f"{run.workers} in round {run.round}", f"{run.per_s:,.0f}", *ratios, shares, whole, str(run.errors))
        )
    header = ("workers", "req/s", "ratio", "CPU µs/req", "ratio", "cores that they had", "with a core each", "errors")
    return format_table(header, rows)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; usage errors and --help end the program."""
    parser = make_parser(
        "soak", "Memory, files and errors of one worker over many requests; or several workers' speed."
    )
    parser.add_argument(
        "--requests", type=int, metavar="N", help=f"(default {FULL_REQUESTS:,}, quick {QUICK_REQUESTS:,})"
    )
    parser.add_argument(
        "--workers", metavar="N,N", help="instead: throughput with each of these numbers of workers, for example 1,2"
    )
    parsed = parser.parse_args(arguments)
    if parsed.requests is not None and parsed.requests < _TENTHS:
        parser.error(f"--requests must be at least {_TENTHS}")
    try:
        parsed.counts = [int(count) for count in parsed.workers.split(",")] if parsed.workers else []
    except ValueError:
        parser.error("--workers takes numbers, separated by commas")
    if any(not 1 <= count <= 16 for count in parsed.counts):
        parser.error("--workers takes numbers from 1 to 16")
    return parsed


def run(options: argparse.Namespace) -> int:
    """Measure and report; 1 if the worker grew or a request failed."""
    if options.counts:
        return _run_scaling(options)
    requests = options.requests or (QUICK_REQUESTS if options.quick else FULL_REQUESTS)
    with open_site() as site:
        tenths = soak(site, requests)
    report("soak", make_soak_table(tenths), {"tenths": [asdict(tenth) for tenth in tenths]}, options.json)
    wrong = judge(tenths, requests)
    for line in wrong:
        say(f"soak: {line}")
    return int(bool(wrong))


def _run_scaling(options: argparse.Namespace) -> int:
    with open_site() as site:
        runs = scale(site, options.counts, duration_s=2 if options.quick else 8)
    report("soak", make_scaling_table(runs), {"scaling": [asdict(run) for run in runs]}, options.json)
    say(
        f"The load and the upstream share these cores, so the workers had less than all of them: "
        f"the ratio with a core each is reckoned from the CPU time a request. The bar is {_SCALING_BAR}."
    )
    return int(any(run.errors for run in runs))


if __name__ == "__main__":
    sys.exit(run_command("soak", lambda: run(read_arguments(sys.argv[1:]))))
