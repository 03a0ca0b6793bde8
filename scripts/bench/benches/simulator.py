"""Requests a second that the simulator answers on one core: what it can be, at most, as the upstream of a bench.

The simulator runs on the first core, wrk on the second; plain answers, keep-alive, loopback. Needs wrk.
"""

from __future__ import annotations

from attrs import evolve

from scripts.bench.harness.cli import Options, Parser, Reports, positive
from scripts.bench.harness.processes import PeerUnavailableError
from scripts.bench.harness.site import open_site
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.target import MODEL, QUESTION, Target
from scripts.bench.harness.wrk import Load, run_load


def add_options(parser: Parser) -> None:
    parser.add_argument("--seconds", type=positive, help="how long to measure (default 5, quick 2)")
    parser.add_argument("--connections", type=positive, default=32, help="open connections (default 32)")
    parser.add_argument("--model", default="sim", help="what to ask for (default sim; docs/simulator.md)")


def run(options: Options) -> Reports:
    seconds = options.seconds or (2 if options.quick else 5)
    with open_site("wrk") as site, site.run_provider("simulator", core=site.cores.gateway) as simulator:
        target = Target(simulator.port)
        body = target.body.replace(MODEL, options.model).replace(QUESTION, "Hello, how are you?")
        before_s, load = (
            simulator.process.measure_cpu_s(),
            Load(evolve(target, body=body), options.connections, seconds),
        )
        result = run_load(load, site.folder / "load", site.cores.load)
        cpu_us = (simulator.process.measure_cpu_s() - before_s) / max(1, result.requests) * 1e6
    if result.errors:
        raise PeerUnavailableError(f"some answers were not good: {result}")
    figures = (f"{result.per_s:,.0f}", f"{result.p50_us / 1e3:.2f}", f"{result.p99_us / 1e3:.2f}", f"{cpu_us:.0f}")
    row = (f"one core, {options.connections} connections, model {options.model}", *figures)
    yield Report([Table(("simulator", "req/s", "p50 ms", "p99 ms", "CPU µs/req"), [row])], {"result": result})
