"""Streams read from one target, and what they looked like. Run as a command of its own, on the load's core."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from attrs import asdict, evolve, frozen

from scripts.bench._peers.paced import find_percentile
from scripts.bench._peers.target import Target
from scripts.bench._streams.client import Load, Read, read_in_turn, read_streams

# Five of the pace: what a reader would see as a halt.
STALL_MS = 100.0


@frozen(slots=True)
class StreamLoad:
    """`duration_s`: so long, connections ask for one stream after the other; without it, once and all together.

    The first of each connection is not measured then: not all of the others are under way yet.
    """

    target: Target
    load: Load
    duration_s: float | None = None


@frozen(slots=True)
class StreamResult:
    """Every token of every stream came, once and in order: else there is no result. `unmeasured`: read besides.

    `reads`: how many pieces it all came in. `first`: from the request's sending to the first token's coming. `lag`:
    from a token's leaving the source to its coming. `steady`: streams without `STALL_MS` between two tokens.
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
    firsts_us = sorted((sent[0][1] - read.asked_ns) / 1e3 for read, sent in zip(reads, tokens, strict=True))
    lags_us = sorted((came_ns - sent_ns) / 1e3 for stream in tokens for sent_ns, came_ns in stream)
    gaps_ms = [max(after - before for (_, before), (_, after) in pairwise(stream)) / 1e6 for stream in tokens]
    return StreamResult(
        streams=len(reads),
        tokens=len(lags_us),
        seconds=(max(read.times[-1] for read in reads) - min(read.asked_ns for read in reads)) / 1e9,
        reads=sum(len(read.pieces) for read in reads),
        first_p50_us=find_percentile(firsts_us, 0.50),
        first_p99_us=find_percentile(firsts_us, 0.99),
        lag_p50_us=find_percentile(lags_us, 0.50),
        lag_p99_us=find_percentile(lags_us, 0.99),
        steady=sum(gap_ms < STALL_MS for gap_ms in gaps_ms),
        longest_gap_ms=max(gaps_ms),
    )


def read_load(file: Path) -> StreamLoad:
    """A load as `asdict` wrote it."""
    raw = json.loads(file.read_text())
    return StreamLoad(Target(**raw["target"]), Load(**raw["load"]), raw["duration_s"])


def run(load: StreamLoad) -> StreamResult:
    """Raises: OSError, ValueError."""
    if load.duration_s is None:
        reads = read_streams(load.target, load.load)
    else:
        reads = read_in_turn(load.target, load.load, load.duration_s)
    for read in reads:
        if len(read.tokens()) != load.load.tokens:
            raise ValueError(f"stream {read.number}: {len(read.tokens())} tokens of {load.load.tokens} came")
    if load.duration_s is None:
        return summarise_reads(reads)
    measured = [read for read in reads if read.number >= load.load.streams]
    return evolve(summarise_reads(measured), unmeasured=len(reads) - len(measured))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load", type=Path, help="a JSON file with the fields of StreamLoad")
    load = read_load(parser.parse_args().load)
    gc.disable()  # a collection would be counted as the peer's latency; the pieces are kept anyway
    try:
        result = run(load)
    except (OSError, ValueError) as error:
        print(f"streams: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
