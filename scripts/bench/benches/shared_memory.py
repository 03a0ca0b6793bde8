"""Microseconds of each call on shared memory: alone, and with a second process at work on the same key.

Best and median of many rounds, and the median round's CPU time: the best is what the code costs, the median what this
machine made of it today. A bucket should cost less than 5 µs. Take-overs are of holders that lost their processor for
2 ms.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path

from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BreakerBoard
from pg_trio.racing.latency import LatencyBoard, LatencyRules
from pg_trio.shared_memory.breaker_records import SharedBreakers
from pg_trio.shared_memory.latency_counts import SharedLatencies
from pg_trio.shared_memory.seats import count_seats
from pg_trio.shared_memory.segment import Segment
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import LocalSpend, SharedSpend
from pg_trio.shared_memory.token_bucket import LocalBuckets, SharedBuckets
from scripts.bench.harness.cli import Options, Reports, say
from scripts.bench.harness.machine import choose_cores
from scripts.bench.harness.processes import run_module, wait_said
from scripts.bench.harness.tables import Report, Table
from scripts.bench.harness.timing import Rounds, time_rounds

KEY, OTHER_KEY = b"an endpoint uuid", b"another endpoint"
# So high that nothing is ever refused: a refusal writes nothing and would flatter the figures.
MINUTE = ((1_000_000_000, 60.0),)
MINUTE_AND_HOUR = (*MINUTE, (1_000_000_000, 3600.0))
MONTH, AMOUNT, BUDGET = 24_300, 1000, 2**62

Buckets = LocalBuckets | SharedBuckets
Limits = tuple[tuple[int, float], ...]
Call = Callable[[], object]
Calls = Iterator[tuple[str, Call]]


def rounds_us(call: Call, seconds: float) -> Rounds:
    return time_rounds(call, times=500, seconds=seconds)


def take(buckets: Buckets, limits: Limits) -> Call:
    return lambda: buckets.take(KEY, limits, time.monotonic())


def take_and_give(buckets: Buckets, limits: Limits) -> Call:
    def call() -> None:
        now = time.monotonic()
        buckets.take(KEY, limits, now)
        buckets.give(KEY, limits, now, 1)

    return call


def reserve_and_settle(spend: LocalSpend | SharedSpend, key: bytes = KEY) -> Call:
    def call() -> None:
        spend.reserve(key, MONTH, AMOUNT, BUDGET)
        spend.settle(key, MONTH, AMOUNT, AMOUNT)

    return call


def bucket_calls(buckets: SharedBuckets) -> Calls:
    yield "take, minute and hour, one process's own", take(LocalBuckets(), MINUTE_AND_HOUR)
    yield "take, minute", take(buckets, MINUTE)
    yield "take, minute and hour", take(buckets, MINUTE_AND_HOUR)
    yield "take + give, minute and hour", take_and_give(buckets, MINUTE_AND_HOUR)
    yield "peek, minute and hour", lambda: buckets.peek(KEY, MINUTE_AND_HOUR, time.monotonic())


def spend_calls(path: Path, segment: Segment, spend: SharedSpend) -> Calls:
    yield "reserve + settle, one process's own", reserve_and_settle(LocalSpend())
    yield "reserve + settle, 1 worker", reserve_and_settle(spend)
    with ExitStack() as stack:
        for workers in (2, 4, 8):
            while count_seats(segment) < workers:
                SharedSpend(stack.enter_context(closing(open_segment(path))))
            yield f"reserve + settle, {workers} workers", reserve_and_settle(spend)
        yield "reap, no worker has died, 8 workers", spend.reap


def breaker_calls(segment: Segment) -> Calls:
    records = SharedBreakers(segment, 0.0, {})
    (own_well, own_in_vain), (well, in_vain) = call_breakers(None), call_breakers(records)
    yield "breakers: order + begin + succeed, one process's own", own_well
    yield "the same, shared", well
    yield "of it, the look at the number of changes", records.changes
    yield "breakers: 3 successes + a failure, one process's own", own_in_vain
    yield "the same, shared (two writes)", in_vain


def call_breakers(records: SharedBreakers | None) -> tuple[Call, Call]:
    """What a request with two candidates asks when all is well; and a failure that is counted, which writes.

    So does the success that ends the row of failures.
    """
    board: BreakerBoard[tuple[str, str]]
    board = BreakerBoard(lambda key: key, lambda key: key[0], BreakerRules(failures_in_row=3), records)
    candidates = (("one", "a"), ("two", "b"))

    def call_well() -> None:
        now = time.monotonic()
        board.begin(board.order(candidates, now)[0], now).succeeded(now)

    def call_in_vain() -> None:
        now = time.monotonic()
        for _ in range(3):
            board.begin(("one", "a"), now).succeeded(now)
        board.begin(("one", "a"), now).failed(Fault.TARGET, now)

    return call_well, call_in_vain


def latency_calls(segment: Segment) -> Calls:
    latency = LatencyBoard(SharedLatencies(segment, 0.0, {}).find).estimate_of(("answer", "one", "a"), LatencyRules())
    # Ahead of the first row, which takes the real time.
    clock = count(time.monotonic() + 3600.0, 0.25)

    def call(now: float) -> None:
        latency.record(0.2, now)
        latency.estimate_s(now)

    yield "latency: record + estimate, shared", lambda: call(time.monotonic())
    yield "the same where others are told and looked at (4 a second)", lambda: call(next(clock))


@contextmanager
def open_shared() -> Iterator[tuple[Path, Segment]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shared.mem"
        with closing(open_segment(path)) as segment:
            yield path, segment


def run(options: Options) -> Reports:
    """Every call alone, then the shared ones beside a second process."""
    rows: list[tuple[str, ...]] = []

    def measure(what: str, call: Call) -> None:
        rows.append((what, *rounds_us(call, 0.2 if options.quick else 2.0).cells()))
        say("  ".join(rows[-1]))

    with open_shared() as (path, segment):
        buckets, spend = SharedBuckets(segment), SharedSpend(segment)
        alone = [bucket_calls(buckets), spend_calls(path, segment, spend)]
        for what, call in (
            pair for calls in [*alone, breaker_calls(segment), latency_calls(segment)] for pair in calls
        ):
            measure(what, call)
        for name, key in (("another key", OTHER_KEY), ("the same key", KEY)):
            core, log = choose_cores().load, path.with_name("second.log")
            with run_module("second", __name__, str(path), key.decode(), core=core, log=log) as second:
                wait_said(second, "ready")
                before = segment.counters.takeovers
                measure(f"take, minute and hour, 2nd process on {name}", take(buckets, MINUTE_AND_HOUR))
                measure(f"reserve + settle, 2nd process on {name}", reserve_and_settle(spend))
                rows.append(("    take-overs meanwhile", str(segment.counters.takeovers - before), "", ""))
    yield Report([Table(("µs a call", "best", "median", "CPU"), rows)])


def work_on(path: Path, key: bytes) -> None:
    """Take and reserve on the key as fast as this process can, until killed."""
    segment = open_segment(path)
    buckets, spend_on_key = SharedBuckets(segment), reserve_and_settle(SharedSpend(segment), key)
    print("ready", flush=True)
    while True:
        buckets.take(key, MINUTE_AND_HOUR, time.monotonic())
        spend_on_key()


if __name__ == "__main__":
    work_on(Path(sys.argv[1]), sys.argv[2].encode())
