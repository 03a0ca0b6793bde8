"""What relaying a stream costs, over real sockets: CPU a token, lag, memory a stream.

Three processes: the gateway (`pg-trio serve`, one worker, tokens checked, everything logged) on the first core; on the
second the source (a provider that sends each token as an event of its own in a send of its own) and the client. Each
row is a load:

  lone    64 streams, a token every 20 ms each: every token comes alone, as from a model
  busy    512 streams, a token every 20 ms each: 25,600 tokens a second
  flood   32 streams as fast as they go: what came together is relayed together
  many    --streams at once (2,000), a token every second each: memory a stream

`tokens/s/core` is tokens a second of the gateway's CPU time, which stays comparable on a busy machine. `tokens/read`
is how many came to the client together. `lag` is from the source's send to the client's read, both on the same core,
at p50 and p99. Every byte that came is checked: order, loss, streams mixed up. With `--root DIR` the gateway comes from
another checkout, for a comparison of two versions in alternating runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from scripts.bench._peers.processes import Pinned, clean_environment, run_pinned
from scripts.bench._streams.client import Load, Target, read_streams
from scripts.bench._streams.running import run_source, wait_said

ROOT = Path(__file__).resolve().parents[3]
PROJECT = "6f1c2a54-0d3e-4b7a-9c68-2f5b8e1d7a90"
CONFIGURATION = """\
[gateway]
data_dir = "data"
max_concurrent_requests = 10000

[[credentials]]
name = "source"
provider = "openai"
api_key = "sk-source"
base_url = "http://127.0.0.1:{port}/v1"

[[projects]]
uuid = "{project}"
name = "Bench"

[[projects.endpoints]]
slug = "relay"
credential = "source"
model = "gpt-4o-mini"
streaming_enabled = true
"""


@frozen(slots=True)
class Row:
    """What one load cost."""

    name: str
    load: Load
    seconds: float
    cpu_s: float
    lags_us: list[float]
    reads: int
    stream_bytes: float

    def __str__(self) -> str:
        tokens = self.load.all_tokens
        ordered = sorted(self.lags_us)
        p50, p99 = (ordered[int(len(ordered) * share)] / 1000 for share in (0.5, 0.99))
        return (
            f"{self.name:6} {self.load.streams:8,} {tokens:9,} {tokens / self.seconds:9,.0f} "
            f"{self.cpu_s / tokens * 1e6:13.1f} {tokens / self.cpu_s:14,.0f} {tokens / self.reads:11.1f} "
            f"{p50:11.2f} {p99:11.2f} {self.stream_bytes / 1024:10.1f}"
        )


HEAD = (
    f"{'load':6} {'streams':>8} {'tokens':>9} {'tokens/s':>9} {'CPU µs/token':>13} {'tokens/s/core':>14} "
    f"{'tokens/read':>11} {'lag p50 ms':>11} {'lag p99 ms':>11} {'KB/stream':>10}"
)


def main() -> None:
    """Run the loads and print the table."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench/relay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="short loads and 200 streams: half a minute, rough figures"
    )
    parser.add_argument("--streams", type=int, default=None, help="how many at once in `many` (2000)")
    parser.add_argument("--only", nargs="+", choices=["lone", "busy", "flood", "many"], help="these loads alone")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout whose gateway is measured (this one)")
    options = parser.parse_args()
    allow_many_files()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    many = options.streams or (200 if options.quick else 2000)
    factor = 1 if options.quick else 4
    loads = {
        "lone": Load(streams=64, tokens=100 * factor, pace_us=20_000),
        "busy": Load(streams=512, tokens=100 * factor, pace_us=20_000),
        "flood": Load(streams=32, tokens=1000 * factor, pace_us=0),
        "many": Load(streams=many, tokens=4 + 2 * factor, pace_us=1_000_000),
    }
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), options.root.resolve(), cores) as found:
        gateway, target = found
        read_streams(target, Load(streams=4, tokens=200, pace_us=0))
        print(HEAD)
        for name, load in loads.items():
            if options.only and name not in options.only:
                continue
            print(measure(name, load, gateway, target), flush=True)


def measure(name: str, load: Load, gateway: Pinned, target: Target) -> Row:
    """One load, from before it until all of it is read and checked."""
    memory: list[int] = [max(gateway.measure_memory_bytes())]
    started, cpu_s = time.monotonic(), gateway.measure_cpu_s()
    reads = read_streams(target, load, lambda: memory.append(max(gateway.measure_memory_bytes())))
    seconds, cpu_s = time.monotonic() - started, gateway.measure_cpu_s() - cpu_s
    lags = [lag for read in reads for lag in read.lags_us()]
    if len(lags) != load.all_tokens:
        raise ValueError(f"{len(lags)} tokens of {load.all_tokens} came")
    grown = memory[-1] - memory[0] if load.pace_us else 0
    pieces = sum(len(read.pieces) for read in reads)
    return Row(name, load, seconds, cpu_s, lags, pieces, grown / load.streams)


@contextmanager
def serving(folder: Path, root: Path, cores: list[int]) -> Iterator[tuple[Pinned, Target]]:
    """The source and the gateway, ready."""
    with run_source(core=cores[-1], log=folder / "source") as (_, source_port):
        configuration = folder / "gateway.toml"
        configuration.write_text(CONFIGURATION.format(port=source_port, project=PROJECT), encoding="utf-8")
        there = {"PYTHONPATH": str(root / "src")}
        create = ["token", "create", "--config", str(configuration), "--project", PROJECT, "--name", "bench"]
        command = [sys.executable, "-m", "pg_trio"]
        environment = clean_environment() | there
        made = subprocess.run([*command, *create], capture_output=True, text=True, check=True, env=environment)
        serve = [*command, "serve", "--config", str(configuration), "--bind", "127.0.0.1:0", "--workers", "1"]
        with run_pinned("gateway", serve, core=cores[0], log=folder / "log", environment=there) as gateway:
            port = wait_said(gateway, "http://127.0.0.1:")
            yield gateway, Target(port, f"/api/{PROJECT}/relay", made.stdout.strip())


def allow_many_files() -> None:
    """Two sockets a stream in the gateway, and as many again for it to be at half of its limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
