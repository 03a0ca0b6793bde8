"""The gateway against its peers and its limits: the same load, the same upstream, one core each.

Rounds are interleaved (A B C, A B C …), so that a slow minute of the machine hits all. The first run installs LiteLLM
and Portkey under build/peers (570 MB). A peer that cannot be installed or started is left out with its reason. Needs
nginx and wrk, and Debian's nodejs and npm for Portkey. See docs/performance.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from attrs import evolve

from scripts.bench.benches.peers.catalogue import PEERS, Peer
from scripts.bench.benches.peers.plan import FULL, QUICK, Plan
from scripts.bench.benches.peers.report import Findings, make_report
from scripts.bench.benches.peers.request_visit import Visit
from scripts.bench.benches.peers.stream_visit import StreamVisit
from scripts.bench.benches.peers.summary import BASELINE
from scripts.bench.benches.peers.visiting import Visitor
from scripts.bench.harness.cli import say
from scripts.bench.harness.machine import check_tools, choose_cores, describe_machine
from scripts.bench.harness.processes import ROOT, BenchError, PeerUnavailableError
from scripts.bench.harness.site import Site
from scripts.bench.harness.tables import Report

ROUNDS = (FULL.rounds, QUICK.rounds)
TABLES = ("requests", "streams")
_NAMES = [peer.name for peer in PEERS]
V = TypeVar("V", Visit, StreamVisit)


def add_options(parser: ArgumentParser) -> None:
    only = f"of {', '.join(_NAMES)}; {BASELINE} always runs"
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=_NAMES, default=_NAMES, help=only)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="one of the two tables alone")
    cache = "installed peers and all figures (default build/peers)"
    parser.add_argument("--cache", type=Path, metavar="DIR", default=ROOT / "build/peers", help=cache)


def run(options: Namespace) -> Iterator[Report]:
    """Install the peers, visit each in turn, report."""
    full = QUICK if options.quick else FULL
    # The streams of a quick run have one round, unless more are asked for.
    streams = min(options.rounds, full.streams.rounds) if options.rounds == full.rounds else options.rounds
    plan = evolve(full, rounds=options.rounds, streams=evolve(full.streams, rounds=streams))
    check_tools("nginx", "wrk", "taskset")
    cores, cache = choose_cores(), options.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    options.json = options.json or cache / f"results-{datetime.now().astimezone():%Y%m%d-%H%M%S}.json"
    chosen = [peer for peer in PEERS if peer.name in (*options.only, BASELINE)]
    with hold_machine(cache), tempfile.TemporaryDirectory(prefix="run-", dir=cache) as folder:
        installed, left_out = install_peers(chosen, cache)
        found = Findings((), left_out, plan, describe_machine())
        site = Site(cores, Path(folder))
        with site.run_upstream() as upstream, site.run_source() as source:
            found = visit_peers(Visitor(site, plan, cache, upstream, source), installed, found, options.tables)
    yield make_report(found)
    say(f"all figures: {options.json}")


@contextlib.contextmanager
def hold_machine(cache: Path) -> Iterator[None]:
    """No second comparison with this cache runs meanwhile: each would measure the other. Raises: BenchError."""
    with (cache / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BenchError("another comparison is running; two at once would measure each other") from exc
        yield


def install_peers(chosen: Sequence[Peer], cache: Path) -> tuple[list[Peer], dict[str, str]]:
    """The peers that can be started, and why the others cannot."""
    installed, left_out = [], {}
    for peer in chosen:
        try:
            if peer.install:
                peer.install(cache)
        except PeerUnavailableError as error:
            left_out[peer.name] = str(error)
            say(f"left out: {peer.name}: {error}")
        else:
            installed.append(peer)
    return installed, left_out


def visit_peers(visitor: Visitor, peers: Sequence[Peer], findings: Findings, tables: Sequence[str]) -> Findings:
    """All peers are visited once a round for each table. A peer that fails is not started again for that table."""
    visits: list[Visit] = []
    streams: list[StreamVisit] = []
    failed, no_streams = dict(findings.left_out), dict[str, str]()
    plan: Plan = visitor.plan
    for number in range(1, plan.rounds + 1):
        streaming = "streams" in tables and number <= plan.streams.rounds
        for peer in peers:
            if "requests" in tables and (visit := visit_once(visitor.visit, peer, number, failed)):
                visits.append(visit)
            if streaming and (streamed := visit_once(visitor.visit_streams, peer, number, no_streams)):
                streams.append(streamed)
    return evolve(findings, visits=tuple(visits), left_out=failed, streams=tuple(streams), no_streams=no_streams)


def visit_once(visit: Callable[[Peer, int], V], peer: Peer, number: int, failed: dict[str, str]) -> V | None:
    """The visit, told; None where the peer has `failed`, now or before."""
    if peer.name in failed:
        return None
    started_at = time.monotonic()
    try:
        visited = visit(peer, number)
    except (PeerUnavailableError, TimeoutError) as error:
        failed[peer.name] = str(error)
        say(f"round {number}: {peer.name} failed: {error}")
        return None
    say(f"round {number}: {peer.title}: {visited} ({time.monotonic() - started_at:.0f} s)")
    return visited
