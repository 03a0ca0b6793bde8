"""Microseconds of each call on shared memory: alone, and with a second process at work on the same key.

usage: scripts/bench/shared_memory [--quick]
The best and the middle one of many rounds, and the processor's time of the middle one: the best is what the code costs,
the middle one what this machine made of it today. A bucket should cost less than 5 µs. Take-overs are of holders that
lost their processor for 2 ms.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from statistics import median

from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BreakerBoard
from pg_trio.racing.latency import LatencyBoard, LatencyRules
from pg_trio.shared_memory.breaker_board import SharedBreakers
from pg_trio.shared_memory.latency_counts import SharedLatencies
from pg_trio.shared_memory.seats import count_seats
from pg_trio.shared_memory.segment import Segment
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import LocalSpend, SharedSpend
from pg_trio.shared_memory.token_bucket import LocalBuckets, SharedBuckets

KEY = b"an endpoint uuid"
OTHER_KEY = b"another endpoint"
# So many that none is ever refused: a refusal writes nothing and would flatter the mean.
MINUTE = ((1_000_000_000, 60.0),)
MINUTE_AND_HOUR = (*MINUTE, (1_000_000_000, 3600.0))
MONTH, AMOUNT, BUDGET = 24_300, 1000, 2**62
CALLS_A_ROUND = 500

Spend = LocalSpend | SharedSpend
Buckets = LocalBuckets | SharedBuckets


def rounds_us(call: Callable[[], object], seconds: float) -> list[tuple[float, float]]:
    """Microseconds a call, by the clock and of the processor, one pair a round, for so many seconds."""
    rounds, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        started, cpu_started = time.perf_counter(), time.process_time()
        for _ in range(CALLS_A_ROUND):
            call()
        took, cpu_took = time.perf_counter() - started, time.process_time() - cpu_started
        rounds.append((took / CALLS_A_ROUND * 1e6, cpu_took / CALLS_A_ROUND * 1e6))
    return rounds


def take(buckets: Buckets, limits: tuple[tuple[int, float], ...]) -> Callable[[], object]:
    return lambda: buckets.take(KEY, limits, time.monotonic())


def take_and_give(buckets: Buckets, limits: tuple[tuple[int, float], ...]) -> Callable[[], None]:
    def call() -> None:
        now = time.monotonic()
        buckets.take(KEY, limits, now)
        buckets.give(KEY, limits, now, 1)

    return call


def reserve_and_settle(spend: Spend) -> Callable[[], None]:
    def call() -> None:
        spend.reserve(KEY, MONTH, AMOUNT, BUDGET)
        spend.settle(KEY, MONTH, AMOUNT, AMOUNT)

    return call


def make_board(records: SharedBreakers | None = None, failures_in_row: int = 3) -> BreakerBoard[tuple[str, str]]:
    rules = BreakerRules(failures_in_row=failures_in_row)
    return BreakerBoard(lambda key: key, lambda key: key[0], rules, records)


def call_well(board: BreakerBoard[tuple[str, str]]) -> Callable[[], None]:
    """What a request with two candidates asks of the breakers when all is well."""
    candidates = (("one", "a"), ("two", "b"))

    def call() -> None:
        now = time.monotonic()
        first = board.order(candidates, now)[0]
        board.begin(first, now).succeeded(now)

    return call


def call_in_vain(board: BreakerBoard[tuple[str, str]]) -> Callable[[], None]:
    """A failure that is counted, and the success that ends the row: both write."""
    candidate = ("one", "a")

    def call() -> None:
        now = time.monotonic()
        for _ in range(3):
            board.begin(candidate, now).succeeded(now)
        board.begin(candidate, now).failed(Fault.TARGET, now)

    return call


@contextmanager
def second_process(path: Path, key: bytes) -> Iterator[None]:
    """Another process that takes and reserves on the key as fast as it can, inside the block."""
    command = [sys.executable, __file__, "--work-on", str(path), "--key", key.decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def work_on(path: Path, key: bytes) -> None:
    segment = open_segment(path)
    buckets, spend = SharedBuckets(segment), SharedSpend(segment)
    print("ready", flush=True)
    while True:
        buckets.take(key, MINUTE_AND_HOUR, time.monotonic())
        spend.reserve(key, MONTH, AMOUNT, BUDGET)
        spend.settle(key, MONTH, AMOUNT, AMOUNT)


def show(what: str, rounds: list[tuple[float, float]]) -> None:
    took, cpu_took = zip(*rounds, strict=True)
    print(f"{what:58} {min(took):>8.2f} {median(took):>8.2f} {median(cpu_took):>8.2f}")


def measure(path: Path, segment: Segment, seconds: float) -> None:
    buckets, spend = SharedBuckets(segment), SharedSpend(segment)
    print(f"{'µs a call':58} {'best':>8} {'middle':>8} {'CPU':>8}")
    show("take, minute and hour, one process's own", rounds_us(take(LocalBuckets(), MINUTE_AND_HOUR), seconds))
    show("take, minute", rounds_us(take(buckets, MINUTE), seconds))
    show("take, minute and hour", rounds_us(take(buckets, MINUTE_AND_HOUR), seconds))
    show("take + give, minute and hour", rounds_us(take_and_give(buckets, MINUTE_AND_HOUR), seconds))
    show("peek, minute and hour", rounds_us(lambda: buckets.peek(KEY, MINUTE_AND_HOUR, time.monotonic()), seconds))
    show("reserve + settle, one process's own", rounds_us(reserve_and_settle(LocalSpend()), seconds))
    show("reserve + settle, 1 worker", rounds_us(reserve_and_settle(spend), seconds))
    with ExitStack() as stack:
        for workers in (2, 4, 8):
            while count_seats(segment) < workers:
                SharedSpend(stack.enter_context(closing(open_segment(path))))
            show(f"reserve + settle, {workers} workers", rounds_us(reserve_and_settle(spend), seconds))
        show("reap, nobody dead, 8 workers", rounds_us(spend.reap, seconds))
    measure_breakers(segment, seconds)
    measure_latencies(segment, seconds)
    for name, key in (("another key", OTHER_KEY), ("the same key", KEY)):
        with second_process(path, key):
            before = segment.counters.takeovers
            show(f"take, minute and hour, 2nd process on {name}", rounds_us(take(buckets, MINUTE_AND_HOUR), seconds))
            show(f"reserve + settle, 2nd process on {name}", rounds_us(reserve_and_settle(spend), seconds))
            print(f"{'    take-overs meanwhile':58} {segment.counters.takeovers - before:>8}")


def measure_breakers(segment: Segment, seconds: float) -> None:
    show("breakers: order + begin + succeed, one process's own", rounds_us(call_well(make_board()), seconds))
    records = SharedBreakers(segment, 0.0, {})
    show("the same, shared", rounds_us(call_well(make_board(records)), seconds))
    show("of it, the look at the number of changes", rounds_us(records.changes, seconds))
    show("breakers: 3 successes + a failure, one process's own", rounds_us(call_in_vain(make_board()), seconds))
    show("the same, shared (two writes)", rounds_us(call_in_vain(make_board(records)), seconds))


def measure_latencies(segment: Segment, seconds: float) -> None:
    latency = LatencyBoard(SharedLatencies(segment, 0.0, {}).find).estimate_of(("answer", "one", "a"), LatencyRules())
    # Ahead of the row before it, which looked at the real clock.
    clock = count(time.monotonic() + 3600.0, 0.25)

    def call() -> None:
        now = time.monotonic()
        latency.record(0.2, now)
        latency.estimate_s(now)

    def call_late() -> None:
        now = next(clock)
        latency.record(0.2, now)
        latency.estimate_s(now)

    show("latency: record + estimate, shared", rounds_us(call, seconds))
    show("the same where others are told and looked at (4 a second)", rounds_us(call_late, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0.2 s a row instead of 2 s")
    parser.add_argument("--work-on", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--key", type=str, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work_on is not None:
        work_on(arguments.work_on, arguments.key.encode())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "shared.mem"
        with closing(open_segment(path)) as segment:
            measure(path, segment, seconds=0.2 if arguments.quick else 2.0)


if __name__ == "__main__":
    main()
