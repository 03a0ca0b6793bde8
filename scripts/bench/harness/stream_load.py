"""Streams read from one target, and what they looked like. Run as a module of its own, on the load's core."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from attrs import frozen

from scripts.bench.harness.processes import PeerUnavailableError, Pinned, ask_module
from scripts.bench.harness.stream_reads import LIMIT_S, Read, read_in_turn, read_streams
from scripts.bench.harness.tables import quantile
from scripts.bench.harness.target import StreamOrder, Target

# Five times the pace: what a reader would see as a halt.
STALL_MS = 100.0
# What the reading process may need to start.
_START_S = 0.5


@frozen(slots=True)
class StreamLoad:
    """`duration_s`: connections ask for one stream after the other for so long; None: once, and all together.

    With a duration, the first stream of each connection is not measured: not all of the others are under way yet.
    """

    target: Target
    order: StreamOrder
    duration_s: float | None = None


def summarise_reads(reads: Sequence[Read]) -> dict[str, float]:
    """Figures of streams whose tokens all came once and in order. Raises: ValueError if a byte is not as it was sent.

    `a_read`: tokens that came together. `first`: from sending the request to the first token's arrival. `lag`: from a
    token's leaving the source to its arrival. `steady`: streams without `STALL_MS` between two tokens.
    """
    tokens = [read.tokens() for read in reads]
    firsts_ms = [(sent[0][1] - read.asked_ns) / 1e6 for read, sent in zip(reads, tokens, strict=True)]
    lags_ms = [(came_ns - sent_ns) / 1e6 for stream in tokens for sent_ns, came_ns in stream]
    gaps_ms = [max(after - before for (_, before), (_, after) in pairwise(stream)) / 1e6 for stream in tokens]
    seconds = (max(read.times[-1] for read in reads) - min(read.asked_ns for read in reads)) / 1e9
    return {
        "streams_sum": len(reads),
        "tokens": len(lags_ms),
        "seconds": seconds,
        "per_s": len(lags_ms) / seconds,
        "a_read": len(lags_ms) / sum(len(read.pieces) for read in reads),
        "first_p50_ms": quantile(firsts_ms, 0.50),
        "first_p99_ms": quantile(firsts_ms, 0.99),
        "lag_p50_ms": quantile(lags_ms, 0.50),
        "lag_p99_ms": quantile(lags_ms, 0.99),
        "lag_ms_max": max(lags_ms),
        "steady_sum": sum(gap_ms < STALL_MS for gap_ms in gaps_ms),
        "gap_ms_max": max(gaps_ms),
    }


def read_load(file: Path) -> StreamLoad:
    """A load as `ask_module` wrote it."""
    raw = json.loads(file.read_text())
    return StreamLoad(Target(**raw["target"]), StreamOrder(**raw["order"]), raw["duration_s"])


def run(load: StreamLoad) -> dict[str, float]:
    """Read the streams here. `unmeasured`: streams that were read besides. Raises: OSError, ValueError."""
    if load.duration_s is None:
        reads = read_streams(load.target, load.order)
    else:
        reads = read_in_turn(load.target, load.order, load.duration_s)
    for read in reads:
        if (count := len(read.tokens())) != load.order.tokens:
            raise ValueError(f"stream {read.number}: {count} tokens of {load.order.tokens} came")
    measured = [read for read in reads if load.duration_s is None or read.number >= load.order.streams]
    return {**summarise_reads(measured), "unmeasured": len(reads) - len(measured)}


def measure_streams(process: Pinned, load: StreamLoad, folder: Path, core: int) -> dict[str, float]:
    """The same read by a process on that core, with what it cost the measured process.

    `cpu_us`: CPU time a token, opening the streams included; meaningless where some streams are unmeasured.
    `stream_kb`: how much the largest process has grown, a stream, when half of the tokens are due; 0 without a pace.
    Raises: PeerUnavailableError with what is wrong, TimeoutError.
    """
    order, memory = load.order, [max(process.measure_memory_bytes())]
    half_s = order.tokens * order.pace_us / 2e6 + _START_S
    cpu_s = process.measure_cpu_s()

    def look() -> None:
        memory.append(max(process.measure_memory_bytes()))

    at_half = (half_s, look) if order.pace_us else None
    limit_s = (load.duration_s or 0.0) + LIMIT_S + 30.0
    try:
        figures = ask_module(__name__, load, core=core, folder=folder, limit_s=limit_s, look=at_half)
    except PeerUnavailableError as exc:
        raise PeerUnavailableError(f"{exc}\n{process.read_log_end()}") from exc
    cpu_s = process.measure_cpu_s() - cpu_s
    grown_kb = (memory[-1] - memory[0]) / order.streams / 1024
    shares = {"cpu_us": cpu_s / figures["tokens"] * 1e6, "core_share": cpu_s / figures["seconds"]}
    return {**figures, **shares, "stream_kb": grown_kb}


def main(file: str) -> None:
    gc.disable()  # A collection would count as the peer's latency; the pieces are kept anyway.
    print(json.dumps(run(read_load(Path(file)))))


if __name__ == "__main__":
    main(sys.argv[1])
