"""Failover, hedging, deadlines, cancellation and streams: what the race promises, measured from outside.

A gateway (`pg-trio serve`, one worker, a core of its own), providers (`pg-trio simulate`) and our clients are real
processes over real sockets. The provider is asked what it received, and when it saw a client leave. A broken promise is
named, and the exit status is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import evolve

from scripts.bench.benches.race import breaker, chaos, deadlines, hedging, scoreboard, storm, streams
from scripts.bench.harness.cli import Options, Parser, Reports, say
from scripts.bench.harness.site import open_site
from scripts.bench.harness.tables import Report

# Each as `run(site, *, quick)`.
_MODULES = (scoreboard, hedging, breaker, deadlines, storm, streams, chaos)
TABLES: Mapping[str, Callable[..., Report]] = {module.__name__.rpartition(".")[2]: module.run for module in _MODULES}


def add_options(parser: Parser) -> None:
    names = [*TABLES, "all"]
    parser.add_argument("tables", nargs="+", metavar="TABLE", choices=names, help=", ".join(names))


def run(options: Options) -> Reports:
    for name in TABLES if "all" in options.tables else options.tables:
        say(f"race: {name} …")
        with open_site() as site:
            report = TABLES[name](site, quick=options.quick)
        wrong = [f"{name}: {text}" for text in report.wrong]
        yield evolve(report, raw={name: {**report.raw, "wrong": wrong}}, wrong=wrong)
