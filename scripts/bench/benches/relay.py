"""What relaying a stream costs over real sockets: CPU a token, lag, memory a stream; every byte is checked.

Three processes: the gateway (`pg-trio serve`, one worker, tokens checked, everything logged) on the first core; on the
second the source (a provider that sends each token as an event of its own in a send of its own) and the client. Each
row is a load:

  lone    64 streams, a token every 20 ms each: every token comes alone, as from a model
  busy    512 streams, a token every 20 ms each: 25,600 tokens a second
  flood   32 streams as fast as they go: what came together is relayed together
  many    --streams at once (2,000), a token every second each: memory a stream

`tokens/s/core` is tokens a second of the gateway's CPU time, which stays comparable on a busy machine. `tokens/read`
is how many came to the client together. `lag` is from the source's send to the client's read, both on the same core,
at p50 and p99. Order, loss and streams mixed up are checked in every byte. With `--root DIR` the gateway comes from
another checkout, to compare two versions in alternating runs.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from attrs import evolve

from scripts.bench.harness.cli import say
from scripts.bench.harness.gateway import Endpoint, Place, set_up
from scripts.bench.harness.processes import HOST, ROOT
from scripts.bench.harness.site import RunningGateway, open_site
from scripts.bench.harness.stream_reads import read_streams
from scripts.bench.harness.tables import Report, Table, spread
from scripts.bench.harness.target import QUESTION, StreamOrder, Target

LOADS = ("lone", "busy", "flood", "many")
_HEAD = ("load", "streams", "tokens", "tokens/s", "CPU µs/token", "tokens/s/core", "tokens/read")
HEAD = (*_HEAD, "lag p50 ms", "lag p99 ms", "KB/stream")


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--streams", type=int, help="how many at once in `many` (2000, quick 200)")
    parser.add_argument("--only", nargs="+", choices=LOADS, default=LOADS, help="these loads alone")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout whose gateway is measured (this one)")


def run(options: Namespace) -> Iterator[Report]:
    """One load after the other."""
    factor = 1 if options.quick else 4
    many = options.streams or (200 if options.quick else 2000)
    shapes = ((64, 100 * factor, 20_000), (512, 100 * factor, 20_000), (32, 1000 * factor, 0))
    orders = [StreamOrder(*shape) for shape in (*shapes, (many, 4 + 2 * factor, 1_000_000))]
    source_code = {"PYTHONPATH": str(options.root.resolve() / "src")}
    with open_site() as site, site.run_source() as (_, port):
        os.sched_setaffinity(0, {site.cores.load})
        files = set_up(
            site.make_folder("gateway"),
            {"source": f"http://{HOST}:{port}/v1"},
            [Endpoint("relay", [Place("source")])],
            gateway={"max_concurrent_requests": 10_000},
        )
        files = evolve(files, ready_body={"message": StreamOrder(1, 2, 0).text(0), "stream": True})
        with site.run_gateway(files, environment=source_code) as gateway:
            target = gateway.target("relay", {"message": QUESTION})
            read_streams(target, StreamOrder(streams=4, tokens=200, pace_us=0))
            rows = []
            for name, order in zip(LOADS, orders, strict=True):
                if name in options.only:
                    rows.append(measure(name, order, gateway, target))
                    say("  ".join(rows[-1]))
    yield Report([Table(HEAD, rows)])


def measure(name: str, order: StreamOrder, gateway: RunningGateway, target: Target) -> tuple[str, ...]:
    """One load, from before it until all of it is read and checked. Raises: ValueError if a byte is wrong."""
    process = gateway.process
    memory: list[int] = [max(process.measure_memory_bytes())]
    started, cpu_s = time.monotonic(), process.measure_cpu_s()
    reads = read_streams(target, order, lambda: memory.append(max(process.measure_memory_bytes())))
    seconds, cpu_s = time.monotonic() - started, process.measure_cpu_s() - cpu_s
    lags_us = [lag for read in reads for lag in read.lags_us()]
    tokens, pieces = order.all_tokens, sum(len(read.pieces) for read in reads)
    if len(lags_us) != tokens:
        raise ValueError(f"{len(lags_us)} tokens of {tokens} came")
    stream_kb = (memory[-1] - memory[0]) / order.streams / 1024 if order.pace_us else 0.0
    costs = (
        f"{tokens / seconds:,.0f}",
        f"{cpu_s / tokens * 1e6:.1f}",
        f"{tokens / cpu_s:,.0f}",
        f"{tokens / pieces:.1f}",
    )
    lags = spread(lags_us, scale=1e-3, digits=2, shares=(0.5, 0.99))
    return (name, f"{order.streams:,}", f"{tokens:,}", *costs, *lags, f"{stream_kb:.1f}")
