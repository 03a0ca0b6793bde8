"""What a request, a token, a stream and a start cost in this checkout, beside the releases before it.

Each release keeps its figures in a file of `docs/history/`; `--keep NAME` measures, and writes one. Bytecodes do not
depend on what else the machine does, so they are compared as they are. CPU times and memory depend on the machine: the
last column divides this checkout's by the last kept ones, and means little if the machines differ (the file names its
own). Needs nginx and wrk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from attrs import frozen

from scripts.bench.benches import relay, steps
from scripts.bench.harness.cli import Options, Parser, Reports, read_options, say, write_json
from scripts.bench.harness.gateway import set_up_full
from scripts.bench.harness.machine import describe_machine
from scripts.bench.harness.processes import ROOT, BenchError
from scripts.bench.harness.site import Site, open_site
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import QUESTION
from scripts.bench.harness.wrk import CONNECTIONS, Load, run_load

HISTORY = ROOT / "docs" / "history"
STEPS = {
    "bytecodes a request": (),
    "bytecodes a plain request": ("--plain",),
    "bytecodes a request to /v1": ("--v1",),
    "bytecodes a lone token": ("--tokens",),
}
_LOAD_S = {False: 10, True: 3}


@frozen
class Kept:
    """The figures of one release, by their names with units. `name` is the file's."""

    name: str
    figures: Mapping[str, float]


def add_options(parser: Parser) -> None:
    parser.add_argument("--keep", metavar="NAME", help="write this checkout's figures to docs/history/NAME.json")


def run(options: Options) -> Reports:
    if options.keep is not None and (not options.keep or "/" in options.keep):
        raise BenchError(f"--keep {options.keep}: a release's name, such as 0.2.0")
    kept, now = read_history(HISTORY), measure(options.quick)
    if options.keep is not None:
        write_json(HISTORY / f"{options.keep}.json", {"machine": describe_machine(), "figures": now})
        say(f"kept as docs/history/{options.keep}.json")
    yield Report([tabulate_history(kept, now)], {"figures": now})


def read_history(folder: Path) -> list[Kept]:
    """The kept figures, in the order of their files' names. Raises: BenchError for a file that has none."""
    try:
        return [Kept(file.stem, json.loads(file.read_text())["figures"]) for file in sorted(folder.glob("*.json"))]
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{folder}: not a file of figures: {error!r}") from error


def measure(quick: bool) -> dict[str, float]:
    """This checkout's figures."""
    speed = ["--quick"] if quick else []
    figures: dict[str, float] = {}
    for name, more in STEPS.items():
        raw = _find_raw(steps, [*speed, *more])
        figures[name] = round(raw.get("bytecodes_a_request") or raw["bytecodes_a_token"])
        say(f"{name}: {figures[name]:,}")
    loads = _find_raw(relay, [*speed, "--only", "lone", "many"])["loads"]
    figures["CPU µs a lone token"] = round(loads["lone"][0]["cpu_us"], 1)
    figures["KB a stream"] = round(loads["many"][0]["stream_kb"], 1)
    with open_site("nginx", "wrk") as site:
        figures |= _measure_gateway(site, _LOAD_S[quick])
    return figures


def _find_raw(bench: ModuleType, arguments: list[str]) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    for report in bench.run(read_options(bench.__name__.rpartition(".")[2], bench, arguments)):
        raw |= report.raw
    return raw


def _measure_gateway(site: Site, duration_s: int) -> dict[str, float]:
    """The start, an idle worker, and a request's CPU time, with every stage switched on."""
    with site.run_upstream() as upstream:
        files = set_up_full(site.make_folder("full"), upstream.base_url, plain=False)
        with site.run_gateway(files) as gateway:
            target = gateway.target("support", {"message": QUESTION})
            run_load(Load(target, CONNECTIONS, 2), site.folder / "warm", site.cores.load)
            before_s = gateway.process.measure_cpu_s()
            loaded = run_load(Load(target, CONNECTIONS, duration_s), site.folder / "load", site.cores.load)
            if not loaded.requests or loaded.not_ok:
                raise BenchError(f"{loaded.requests} answers, {loaded.not_ok} of them errors")
            cpu_us = (gateway.process.measure_cpu_s() - before_s) / loaded.requests * 1e6
            return {
                "CPU µs a request": round(cpu_us, 1),
                "seconds to the first answer": round(gateway.start_s, 2),
                "MB an idle worker": round(gateway.idle_bytes / 1e6, 1),
            }


def tabulate_history(kept: list[Kept], now: Mapping[str, float]) -> Table:
    """A row for each figure, a column for each release, and this checkout's over the last."""
    rows = []
    for name, figure in now.items():
        before = [each.figures.get(name) for each in kept]
        last = before[-1] if before else None
        change = f"{figure / last:.2f}" if last else "–"
        rows.append((name, *("–" if one is None else f"{one:,g}" for one in before), f"{figure:,g}", change))
    return Table(("what", *(each.name for each in kept), "this checkout", "over the last"), rows)
