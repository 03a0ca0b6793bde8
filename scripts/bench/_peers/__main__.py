"""Start here: read the options, install the peers, visit each in turn, print the table, keep the raw figures.

Rounds are interleaved (A B C, A B C …), so that a slow minute of the machine hits everybody. Everything that was
started is stopped whichever way this ends: processes live in `with` blocks, and SIGTERM unwinds them as Ctrl-C does.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from attrs import asdict, evolve

from scripts.bench._peers.catalogue import PEERS, Peer
from scripts.bench._peers.errors import BenchError, PeerUnavailableError
from scripts.bench._peers.machine import check_tools, choose_cores, describe_machine
from scripts.bench._peers.measure import Bench, Visit, open_bench
from scripts.bench._peers.plan import FULL, QUICK
from scripts.bench._peers.report import Findings, format_report
from scripts.bench._peers.streams import StreamVisit, open_stream_bench
from scripts.bench._peers.summary import BASELINE

_ROOT = Path(__file__).resolve().parents[3]
_NAMES = [peer.name for peer in PEERS]
_TABLES = ("requests", "streams")
V = TypeVar("V", Visit, StreamVisit)


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; usage errors and --help end the program."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench/peers",
        description="Compare the gateway with its peers: the same load, the same upstream, one core each.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="two short rounds, one for streams: three minutes once installed"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds (default {FULL.rounds}, quick {QUICK.rounds})")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=_NAMES, help=f"of {', '.join(_NAMES)}; {BASELINE} always runs"
    )
    parser.add_argument("--tables", nargs="+", choices=_TABLES, default=_TABLES, help="one of the two tables alone")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="raw figures (default: results-TIME.json in the cache)"
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", default=_ROOT / "build/peers", help="installed peers (default build/peers)"
    )
    parsed = parser.parse_args(arguments)
    if parsed.rounds is not None and parsed.rounds < 1:
        parser.error("--rounds must be at least 1")
    return parsed


def run(options: argparse.Namespace) -> int:
    """Measure and report; the exit status: 0, or 1 if not even one peer besides the upstream could be measured."""
    plan = QUICK if options.quick else FULL
    if options.rounds:
        plan = evolve(plan, rounds=options.rounds, streams=evolve(plan.streams, rounds=options.rounds))
    check_tools()
    cores = choose_cores()
    cache = options.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    chosen = [peer for peer in PEERS if not options.only or peer.name in (*options.only, BASELINE)]
    machine = describe_machine()

    with hold_machine(cache):
        installed, left_out = install_peers(chosen, cache)
        with (
            tempfile.TemporaryDirectory(prefix="run-", dir=cache) as folder,
            open_bench(plan, cores, Path(folder), cache) as bench,
        ):
            found = visit_peers(bench, installed, Findings((), left_out, plan, machine), options.tables)

    file = options.json or cache / f"results-{datetime.now().astimezone():%Y%m%d-%H%M%S}.json"
    write_raw(file, found)
    print(f"\n{format_report(found)}")
    print(f"\nRaw figures: {file}")
    measured = {visit.peer for visit in found.visits} | {visit.peer for visit in found.streams}
    return 0 if measured - {BASELINE} else 1


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


def visit_peers(bench: Bench, peers: Sequence[Peer], findings: Findings, tables: Sequence[str]) -> Findings:
    """Everybody is visited once a round for each table. A peer that fails is not started again for that table."""
    visits: list[Visit] = []
    streams: list[StreamVisit] = []
    failed, no_streams = dict(findings.left_out), dict[str, str]()
    with open_stream_bench(bench) as stream_bench:
        for number in range(1, bench.plan.rounds + 1):
            streaming = "streams" in tables and number <= bench.plan.streams.rounds
            for peer in peers:
                if "requests" in tables and (visit := visit_once(bench.visit, peer, number, failed)):
                    visits.append(visit)
                if streaming and (streamed := visit_once(stream_bench.visit, peer, number, no_streams)):
                    streams.append(streamed)
    return evolve(findings, visits=tuple(visits), left_out=failed, streams=tuple(streams), no_streams=no_streams)


def visit_once(visit: Callable[[Peer, int], V], peer: Peer, number: int, failed: dict[str, str]) -> V | None:
    """The visit, told; nothing where the peer has `failed`, now or before."""
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


def write_raw(file: Path, findings: Findings) -> None:
    """Every figure of every visit is in `file`, with what is needed to read it."""
    raw = {
        "command": shlex.join(["scripts/bench/peers", *sys.argv[1:]]),
        "switched_on": {peer.name: peer.switched_on for peer in PEERS},
        **asdict(findings),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")


def say(text: str) -> None:
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    # A terminated comparison unwinds its `with` blocks as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(read_arguments(sys.argv[1:]))
    except BenchError as error:
        say(f"peers: {error}")
        return 1
    except KeyboardInterrupt:
        say("peers: interrupted; everything that was started has been stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
