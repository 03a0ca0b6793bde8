"""Streams read from one target, and what they looked like. Run as a module of its own, on the load's core."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from attrs import asdict, evolve, frozen

from scripts.bench.harness.processes import ask_module
from scripts.bench.harness.stream_reads import LIMIT_S, Read, read_in_turn, read_streams
from scripts.bench.harness.tables import quantile
from scripts.bench.harness.target import StreamOrder, Target

# Five times the pace: what a reader would see as a halt.
STALL_MS = 100.0


@frozen(slots=True)
class StreamLoad:
    """`duration_s`: connections ask for one stream after the other for so long; None: once, and all together.

    With a duration, the first stream of each connection is not measured: not all of the others are under way yet.
    """

    target: Target
    order: StreamOrder
    duration_s: float | None = None


@frozen(slots=True)
class StreamResult:
    """Every token of every stream came once and in order; else there is no result. `unmeasured`: streams read besides.

    `reads`: how many pieces it all came in. `first`: from sending the request to the first token's arrival. `lag`:
    from a token's leaving the source to its arrival. `steady`: streams without `STALL_MS` between two tokens.
    """

    streams: int
    tokens: int
    seconds: float
    reads: int
    first_p50_us: float
    first_p99_us: float
    lag_p50_us: float
    lag_p99_us: float
    steady: int
    longest_gap_ms: float
    unmeasured: int = 0

    @property
    def per_s(self) -> float:
        return self.tokens / self.seconds

    @property
    def tokens_a_read(self) -> float:
        return self.tokens / self.reads


def summarise_reads(reads: Sequence[Read]) -> StreamResult:
    """Raises: ValueError if a byte of any stream is not as it was sent."""
    tokens = [read.tokens() for read in reads]
    firsts_us = [(sent[0][1] - read.asked_ns) / 1e3 for read, sent in zip(reads, tokens, strict=True)]
    lags_us = [(came_ns - sent_ns) / 1e3 for stream in tokens for sent_ns, came_ns in stream]
    gaps_ms = [max(after - before for (_, before), (_, after) in pairwise(stream)) / 1e6 for stream in tokens]
    return StreamResult(
        streams=len(reads),
        tokens=len(lags_us),
        seconds=(max(read.times[-1] for read in reads) - min(read.asked_ns for read in reads)) / 1e9,
        reads=sum(len(read.pieces) for read in reads),
        first_p50_us=quantile(firsts_us, 0.50),
        first_p99_us=quantile(firsts_us, 0.99),
        lag_p50_us=quantile(lags_us, 0.50),
        lag_p99_us=quantile(lags_us, 0.99),
        steady=sum(gap_ms < STALL_MS for gap_ms in gaps_ms),
        longest_gap_ms=max(gaps_ms),
    )


def read_load(file: Path) -> StreamLoad:
    """A load as `ask_module` wrote it."""
    raw = json.loads(file.read_text())
    return StreamLoad(Target(**raw["target"]), StreamOrder(**raw["order"]), raw["duration_s"])


def run(load: StreamLoad) -> StreamResult:
    """Read the streams here. Raises: OSError, ValueError."""
    if load.duration_s is None:
        reads = read_streams(load.target, load.order)
    else:
        reads = read_in_turn(load.target, load.order, load.duration_s)
    for read in reads:
        if (count := len(read.tokens())) != load.order.tokens:
            raise ValueError(f"stream {read.number}: {count} tokens of {load.order.tokens} came")
    measured = [read for read in reads if load.duration_s is None or read.number >= load.order.streams]
    return evolve(summarise_reads(measured), unmeasured=len(reads) - len(measured))


def run_stream_load(load: StreamLoad, folder: Path, core: int) -> StreamResult:
    """The same in a process on that core. Raises: PeerUnavailableError with what is wrong, TimeoutError."""
    limit_s = (load.duration_s or 0.0) + LIMIT_S + 30.0
    return StreamResult(**ask_module(__name__, load, core=core, folder=folder, limit_s=limit_s))


def main(file: str) -> None:
    gc.disable()  # A collection would count as the peer's latency; the pieces are kept anyway.
    print(json.dumps(asdict(run(read_load(Path(file))))))


if __name__ == "__main__":
    main(sys.argv[1])
