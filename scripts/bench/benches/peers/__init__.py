"""The gateway against its peers and its limits: the same load, the same upstream, one core each.

Rounds are interleaved (A B C, A B C …), so that a slow minute of the machine hits all. The first run installs LiteLLM
and Portkey under build/peers (570 MB). A peer that cannot be installed or started is left out with its reason. Needs
nginx and wrk, and Debian's nodejs and npm for Portkey. See docs/performance.md.
"""

from __future__ import annotations

import fcntl
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from attrs import evolve

from scripts.bench.benches.peers.catalogue import PEERS, Peer
from scripts.bench.benches.peers.report import BASELINE, Findings, make_report
from scripts.bench.benches.peers.visits import FULL, QUICK, Visitor
from scripts.bench.harness.cli import Options, Parser, Reports, say
from scripts.bench.harness.machine import choose_cores, describe_machine, find_tool
from scripts.bench.harness.processes import ROOT, BenchError, PeerUnavailableError
from scripts.bench.harness.site import Site
from scripts.bench.harness.tables import Found

ROUNDS = (FULL.rounds, QUICK.rounds)
TABLES = ("requests", "streams")
_NAMES = [peer.name for peer in PEERS]


def add_options(parser: Parser) -> None:
    only = f"of {', '.join(_NAMES)}; {BASELINE} always runs"
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=_NAMES, default=_NAMES, help=only)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="one of the two tables alone")
    cache = "installed peers and all figures (default build/peers)"
    parser.add_argument("--cache", type=Path, metavar="DIR", default=ROOT / "build/peers", help=cache)


def run(options: Options) -> Reports:
    plan = QUICK if options.quick else FULL
    if options.rounds != plan.rounds:
        plan = evolve(plan, rounds=options.rounds, stream_rounds=options.rounds)
    for tool in ("nginx", "wrk", "taskset"):
        find_tool(tool)
    cores, cache = choose_cores(), options.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    options.json = options.json or cache / f"results-{datetime.now().astimezone():%Y%m%d-%H%M%S}.json"
    with (cache / ".lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="run-", dir=cache) as folder:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BenchError("another comparison is running; two at once would measure each other") from exc
        installed, left_out = install_peers([peer for peer in PEERS if peer.name in (*options.only, BASELINE)], cache)
        found, site = Findings(plan, describe_machine(), left_out=left_out), Site(cores, Path(folder))
        with site.run_upstream() as upstream, site.run_source() as source:
            visitor = Visitor(site, plan, cache, upstream, source)
            visit_peers(visitor, installed, found, options.tables)
    yield make_report(evolve(found, said=visitor.said))
    say(f"all figures: {options.json}")


def install_peers(chosen: Sequence[Peer], cache: Path) -> tuple[list[Peer], dict[str, str]]:
    """The peers that can be started, and why the others cannot."""
    installed, left_out = [], {}
    for peer in chosen:
        try:
            if peer.install:
                peer.install(cache)
            installed.append(peer)
        except PeerUnavailableError as error:
            left_out[peer.name] = str(error)
            say(f"left out: {peer.name}: {error}")
    return installed, left_out


def visit_peers(visitor: Visitor, peers: Sequence[Peer], found: Findings, tables: Sequence[str]) -> None:
    """All peers are visited once a round for each table. A peer that fails is not started again for that table."""
    for number in range(1, visitor.plan.rounds + 1):
        for peer in peers:
            if "requests" in tables and not peer.streams_only:
                visit_once(visitor.visit, peer, number, found.requests, found.left_out)
            if "streams" in tables and number <= visitor.plan.stream_rounds:
                visit_once(visitor.visit_streams, peer, number, found.streams, found.no_streams)


def visit_once(
    visit: Callable[[Peer], dict[str, float]], peer: Peer, number: int, found: Found, failed: dict[str, str]
) -> None:
    """The visit's figures are in `found`, or why there are none in `failed`."""
    if peer.name in failed:
        return
    started_at = time.monotonic()
    try:
        figures = visit(peer)
    except (PeerUnavailableError, TimeoutError) as error:
        failed[peer.name] = str(error)
        say(f"round {number}: {peer.name} failed: {error}")
        return
    found.setdefault(peer.name, []).append({"round": number, **figures})
    what = "tokens" if "a_read" in figures else "requests"
    say(f"round {number}: {peer.title}: {figures['per_s']:,.0f} {what}/s ({time.monotonic() - started_at:.0f} s)")
