"""How large a gateway's processes are and what its start costs, every stage and metrics on, after one request and
scrapes of /metrics.

Rows: workers, and endpoints. `resident` is what `ps` and `top` show, shared pages whole in each process; `share` counts
a page that N processes share as an Nth in each (PSS), so that shares add up to what the gateway takes; `own` is what
the end of that process alone would give back. CPU is of all processes until the first answer. A last row is a command
that only says its version. Exit status 1 if a worker has 60 MB or more resident with two endpoints. Needs nginx.
"""

from __future__ import annotations

import resource
import subprocess
import time
import urllib.request
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from scripts.bench.harness.cli import Options, Parser, Reports, say, take_turns
from scripts.bench.harness.gateway import PG_TRIO, GatewayFiles, set_up_full, set_up_wide
from scripts.bench.harness.process_stats import find_tree
from scripts.bench.harness.processes import HOST
from scripts.bench.harness.site import Site, open_site
from scripts.bench.harness.tables import Report, Table, tabulate

ROUNDS = (3, 1)
MOST_MB = 60.0
# Two endpoints, and as many as a configuration file can hold.
FEW, MANY = 2, 10_000
# For what a process does right after its start: it compiles rules, and gives back memory.
_SETTLED_S = 2.0
# So many connections that each of a few workers gets some.
SCRAPES = 16
_SCRAPE_LIMIT_S = 10.0
# Appended to each configuration: the gateways have no address for the pages.
_OBSERVE = "\n[observe]\nmetrics_public = true\n"
_SIZES = {"resident": "Rss:", "share": "Pss:", "own": "Private_Dirty:"}
COLUMNS = {
    "": "",
    "start s": "{start_s:.2f}",
    "CPU s": "{start_cpu_s:.2f}",
    "MB a worker: resident": "{worker_resident:.0f}",
    "share": "{worker_share:.0f}",
    "own": "{worker_own:.0f}",
    "MB of all others: share": "{other_share:.0f}",
    "MB of all": "{all_share:.0f}",
}


def add_options(parser: Parser) -> None:
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="(default 1 2)")


def run(options: Options) -> Reports:
    with open_site("nginx") as site, site.run_upstream() as upstream:
        few = _observed(set_up_full(site.make_folder("few"), upstream.base_url))
        in_turn = {f"{_count(n)}": partial(_measure, site, few, n) for n in options.workers}
        if not options.quick:
            many = _observed(set_up_wide(site.make_folder("many"), upstream.base_url, endpoints=MANY))
            in_turn |= {f"{_count(n)}, {MANY:,} endpoints": partial(_measure, site, many, n) for n in options.workers}
        found = take_turns(options.rounds, in_turn, "{start_cpu_s:.2f} s of CPU, {worker_resident:.0f} MB a worker")
    version_s = median([_time_version() for _ in range(5)])
    say(f"pg-trio --version: {version_s:.2f} s of CPU")
    large = [
        f"{label}: {one['worker_resident']:.0f} MB a worker"
        for label, rounds in found.items()
        for one in rounds
        if one["worker_resident"] >= MOST_MB and f"{MANY:,}" not in label
    ]
    tables = [tabulate(found, COLUMNS), Table(("command", "CPU s"), [("pg-trio --version", f"{version_s:.2f}")])]
    yield Report(tables, {"found": found, "version_s": version_s}, large)


def _observed(files: GatewayFiles) -> GatewayFiles:
    with files.configuration.open("a") as file:
        file.write(_OBSERVE)
    return files


def _count(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


def _measure(site: Site, files: GatewayFiles, workers: int) -> dict[str, float]:
    """Megabytes; those of a worker are of the largest one."""
    with site.run_gateway(files, workers=workers) as gateway:
        for _ in range(SCRAPES):
            with urllib.request.urlopen(f"http://{HOST}:{gateway.port}/metrics", timeout=_SCRAPE_LIMIT_S) as answer:
                answer.read()
        time.sleep(_SETTLED_S)
        sizes = {pid: _read_sizes(pid) for pid in find_tree(gateway.process.leader.pid)}
        largest = max((sizes[pid] for pid in gateway.workers), key=lambda each: each["resident"])
        all_mb = sum(each["share"] for each in sizes.values())
        of_workers_mb = sum(sizes[pid]["share"] for pid in gateway.workers)
        figures: dict[str, float] = {f"worker_{name}": value for name, value in largest.items()}
        figures |= {"all_share": all_mb, "other_share": all_mb - of_workers_mb, "processes": len(sizes)}
        return {**figures, "start_s": gateway.start_s, "start_cpu_s": gateway.start_cpu_s}


def _read_sizes(pid: int) -> dict[str, float]:
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    kib: dict[str, Any] = {line[0]: int(line[1]) for line in lines if len(line) == 3}
    return {name: kib[field] * 1024 / 1e6 for name, field in _SIZES.items()}


def _time_version() -> float:
    """CPU seconds of a command that loads nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([PG_TRIO, "--version"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
