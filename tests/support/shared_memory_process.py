"""A process that works on a shared memory file, for tests that kill and stop it: `python -m … ACTION FILE`.

It writes one byte for each thing done, after it is done, and what it found at the end. It begins when a line arrives.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from pg_trio.racing.breaker import BreakerRules, Fault
from pg_trio.racing.breaker_board import BreakerBoard, BreakerOpen
from pg_trio.racing.latency import Latency, LatencyBoard, LatencyRules
from pg_trio.shared_memory import token_bucket
from pg_trio.shared_memory.breaker_records import SharedBreakers
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.hedge_counts import SharedHedges
from pg_trio.shared_memory.latency_counts import SharedLatencies
from pg_trio.shared_memory.leases import CallLeases, LeaseBook
from pg_trio.shared_memory.segment import HEADER_BYTES, SLOT_BYTES, Segment
from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.spend import SharedSpend, SpendAccount
from pg_trio.shared_memory.token_bucket import SharedBuckets

KEY = b"endpoint"
# Tests read the clock as 0 for ever, so that nothing is refilled and every token can be counted.
NOW = 0.0
FEW = ((600, 60.0),)
MANY = ((10_000_000, 3600.0), (10_000_000, 60.0))
MONTH = 5
SLOTS = 1024
RESERVED = 10
SPENT = 7
BUDGET = 6_000
HUGE_BUDGET = 10**15

HEDGE_SHARE, HEDGE_RESERVE, HEDGE_REQUESTS = 0.1, 20.0, 2_000
LEASES = 100
LEASE_KEY = b"l" * 20

PROVIDER = "provider"
# Breakers are opened at the first moment; at the second a probe is due.
FAILED_AT, PROBE_AT = 1_000.0, 2_000.0

DONE = b"."


def open_here(path: Path) -> Segment:
    """The segment as all processes of these tests open it."""
    return open_segment(path, slots=SLOTS)


def held_locks(path: Path) -> list[int]:
    """Offsets of all lock bytes that any process holds."""
    with closing(open_here(path)) as segment:
        offsets = [*range(HEADER_BYTES), *range(HEADER_BYTES, len(segment.memory), SLOT_BYTES)]
        return [offset for offset in offsets if not _is_free(ByteLock(segment.descriptor, offset))]


def _is_free(lock: ByteLock) -> bool:
    # Given back at once: the kernel keeps locks in a list, and 65,000 of them make it crawl.
    is_free = lock.acquire_nowait()
    lock.release()
    return is_free


def say(what: bytes) -> None:
    os.write(sys.stdout.fileno(), what)


def take_until_refused(path: Path) -> None:
    """Take from one bucket with few tokens, and say how many were ours and what was taken over."""
    with closing(open_here(path)) as segment:
        buckets, admitted = SharedBuckets(segment), 0
        while buckets.take(KEY, FEW, NOW).refused is None:
            admitted += 1
        say(b"%d %d" % (admitted, segment.counters.takeovers))


def reserve_until_refused(path: Path) -> None:
    """Reserve from one budget, settle every second reservation with less, and say how much was settled."""
    with closing(open_here(path)) as segment:
        spend, settled, number = SharedSpend(segment), 0, 0
        while spend.reserve(KEY, MONTH, RESERVED, BUDGET) is None:
            number += 1
            if number % 2:
                spend.settle(KEY, MONTH, RESERVED, SPENT)
                settled += SPENT
        reserved = number // 2 * RESERVED
        say(b"%d %d" % (settled, reserved))
        # The parent looks while these reservations stand.
        sys.stdin.readline()


def take_for_ever(path: Path) -> None:
    """One byte for each token taken."""
    buckets = SharedBuckets(open_here(path))
    while buckets.take(KEY, MANY, NOW).refused is None:
        say(DONE)


def spend_for_ever(path: Path) -> None:
    """One byte for each reservation that was settled."""
    spend = SharedSpend(open_here(path))
    while spend.reserve(KEY, MONTH, RESERVED, HUGE_BUDGET) is None:
        spend.settle(KEY, MONTH, RESERVED, SPENT)
        say(DONE)


def open_board(segment: Segment) -> BreakerBoard[str]:
    """The breakers that all processes of these tests share."""
    return BreakerBoard(lambda name: name, lambda name: "key", BreakerRules(), SharedBreakers(segment, 0.0, {}))


def probe_at_once(path: Path) -> None:
    """Look, and then call the provider whose probe is due; say whether that call was the probe."""
    with closing(open_here(path)) as segment:
        board = open_board(segment)
        board.order([PROVIDER, "other"], PROBE_AT)
        say(b"ready")
        sys.stdin.readline()
        try:
            say(b"%d" % board.begin(PROVIDER, PROBE_AT).is_probe)
        except BreakerOpen:
            say(b"0")


def fail_for_ever(path: Path) -> None:
    """One byte for each failure that was counted. The rules never open: all can be counted."""
    segment = open_here(path)
    rules = BreakerRules(failures_in_row=10**9, failing_min_calls=10**9)
    board = BreakerBoard(lambda name: name, lambda name: "key", rules, SharedBreakers(segment, 0.0, {}))
    while True:
        stuck = segment.counters.stuck
        board.begin(PROVIDER, FAILED_AT).failed(Fault.TARGET, FAILED_AT)
        # On a busy machine the other one may hold them for longer than is waited for.
        if segment.counters.stuck == stuck:
            say(DONE)


def record_latencies(path: Path) -> None:
    """Count ten calls of a second each, and tell the others."""
    with closing(open_here(path)) as segment:
        latency = open_latency(segment)
        for _ in range(10):
            latency.record(1.0, FAILED_AT)
        latency.estimate_s(FAILED_AT)


def open_latency(segment: Segment) -> Latency:
    """The latency that all processes of these tests share; it needs 40 samples."""
    board = LatencyBoard(SharedLatencies(segment, 0.0, {}).find)
    return board.estimate_of(PROVIDER, LatencyRules(min_samples=40))


def stop_in_failure(path: Path) -> None:
    """Stop while telling the third failure, with the breakers held; tell it when continued."""
    with closing(open_here(path)) as segment:
        board = open_board(segment)
        for _ in range(2):
            board.begin(PROVIDER, FAILED_AT).failed(Fault.TARGET, FAILED_AT)
        records = board._records
        assert records is not None
        write = records.write

        def stop_and_write(*arguments: object) -> None:
            os.kill(os.getpid(), signal.SIGSTOP)
            write(*arguments)  # type: ignore[arg-type]

        records.write = stop_and_write  # type: ignore[method-assign, assignment]
        board.begin(PROVIDER, FAILED_AT).failed(Fault.TARGET, FAILED_AT)
        say(DONE)


def stop_in_take(path: Path) -> None:
    """Stop with the bucket held, before it is written; take once more when continued."""
    with closing(open_here(path)) as segment:
        buckets = SharedBuckets(segment)
        decide = token_bucket.take_tokens

        def decide_and_stop(*arguments: object) -> object:
            decided = decide(*arguments)  # type: ignore[arg-type]
            if not stopped:
                stopped.append(True)
                os.kill(os.getpid(), signal.SIGSTOP)
            return decided

        stopped: list[bool] = []
        token_bucket.take_tokens = decide_and_stop  # type: ignore[assignment]
        admitted = sum(buckets.take(KEY, FEW, NOW).refused is None for _ in range(2))
        say(b"%d" % admitted)


def stop_in_reserve(path: Path) -> None:
    """Stop with the budget held, before the reservation is written; say what became of it when continued."""
    with closing(open_here(path)) as segment:
        spend = SharedSpend(segment)
        spend.reserve(KEY, MONTH, 0, BUDGET)
        write = SpendAccount.write

        def stop_and_write(account: SpendAccount, memory: mmap.mmap) -> None:
            SpendAccount.write = write  # type: ignore[method-assign]
            os.kill(os.getpid(), signal.SIGSTOP)
            write(account, memory)

        SpendAccount.write = stop_and_write  # type: ignore[assignment, method-assign]
        refused = spend.reserve(KEY, MONTH, RESERVED, BUDGET)
        say(b"%d" % (refused is not None))
        sys.stdin.readline()


def open_and_reserve(path: Path) -> None:
    """Open the file, as one of several at once; say whether it was new to us, and leave a mark in it."""
    with closing(open_here(path)) as segment:
        SharedSpend(segment).reserve(KEY, MONTH, RESERVED, HUGE_BUDGET)
        say(b"%d" % segment.is_new)
        sys.stdin.readline()


def hedge_until_refused(path: Path) -> None:
    """Count requests until they have earned so many hedges, take hedges all the while, and say how many were ours."""
    with closing(open_here(path)) as segment:
        hedges, taken = SharedHedges(segment, HEDGE_SHARE, HEDGE_RESERVE, 0.0, 0.0), 0
        for _ in range(HEDGE_REQUESTS):
            hedges.deposit()
            taken += hedges.withdraw(NOW)
        while hedges.withdraw(NOW):
            taken += 1
        say(b"%d %d" % (taken, segment.counters.takeovers))


def hold_leases(path: Path) -> None:
    """Take as many leases as there are, say how many were ours, and hold them."""
    with closing(open_here(path)) as segment:
        leases, held = CallLeases(LeaseBook(SharedSpend(segment))), 0
        while leases.acquire(LEASE_KEY, LEASES):
            held += 1
        say(b"%d" % held)
        sys.stdin.readline()


def lease_for_ever(path: Path) -> None:
    """Take a lease and give it back, over and over."""
    with closing(open_here(path)) as segment:
        leases = CallLeases(LeaseBook(SharedSpend(segment)))
        while True:
            if leases.acquire(LEASE_KEY, LEASES):
                leases.release(LEASE_KEY)
            say(DONE)


ACTIONS: dict[str, Callable[[Path], None]] = {
    action.__name__: action
    for action in (
        take_until_refused,
        reserve_until_refused,
        take_for_ever,
        spend_for_ever,
        stop_in_take,
        stop_in_reserve,
        open_and_reserve,
        probe_at_once,
        fail_for_ever,
        record_latencies,
        stop_in_failure,
        hedge_until_refused,
        hold_leases,
        lease_for_ever,
    )
}

if __name__ == "__main__":
    sys.stdin.readline()
    ACTIONS[sys.argv[1]](Path(sys.argv[2]))
