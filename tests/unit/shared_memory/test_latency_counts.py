"""Latencies that workers share: two over one file are two workers. Time is a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pg_trio.racing.latency import BUCKETS, Latency, LatencyBoard, LatencyRules
from pg_trio.shared_memory.latency_counts import SharedCounts, SharedLatencies
from pg_trio.shared_memory.segment_file import open_segment

RULES = LatencyRules(quantile=0.5)
KEY = ("answer", "one", "a")
# As much as the shared clock is ahead of each worker's own; times below are the shared clock's.
AHEAD_S = (0.0, 5_000.0)

Open = Callable[..., SharedLatencies]


@pytest.fixture
def open_latencies(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_here(ahead_s: float = 0.0, slots: int = 1024, **identities: bytes) -> SharedLatencies:
            segment = stack.enter_context(closing(open_segment(tmp_path / "shared.mem", slots=slots)))
            return SharedLatencies(segment, ahead_s, identities)

        yield open_here


def estimate(latencies: SharedLatencies, rules: LatencyRules = RULES) -> Latency:
    return LatencyBoard(latencies.find).estimate_of(KEY, rules)


def record(latency: Latency, took_s: float, now: float, times: int) -> None:
    for _ in range(times):
        latency.record(took_s, now)


def test_samples_of_all_workers_count_together(open_latencies: Open) -> None:
    first, second = (estimate(open_latencies(ahead_s)) for ahead_s in AHEAD_S)
    record(first, 0.2, 10_000.0, times=10)
    record(second, 1.0, 10_000.0 - AHEAD_S[1], times=9)
    assert (None, None) == (first.estimate_s(10_000.0), second.estimate_s(10_000.0 - AHEAD_S[1]))

    record(second, 1.0, 10_000.1 - AHEAD_S[1], times=3)
    second.estimate_s(10_000.3 - AHEAD_S[1])

    # The 11th of 22 is the first of those that took a second.
    estimates = [first.estimate_s(10_000.6), second.estimate_s(10_000.6 - AHEAD_S[1])]
    assert [pytest.approx(1.0, rel=0.06)] * 2 == estimates


def test_floor_and_ceiling_are_kept(open_latencies: Open) -> None:
    first, second = estimate(open_latencies()), estimate(open_latencies())

    record(first, 0.001, 10_000.0, times=20)
    first.estimate_s(10_000.0)
    assert RULES.floor_s == second.estimate_s(10_000.0)
    record(second, 100.0, 10_000.3, times=50)

    assert RULES.ceiling_s == second.estimate_s(10_000.6)


def test_old_samples_are_forgotten(open_latencies: Open) -> None:
    first, second = estimate(open_latencies()), estimate(open_latencies())
    record(first, 0.2, 10_000.0, times=20)
    first.estimate_s(10_000.0)

    known = [second.estimate_s(10_000.0 + after_s) is not None for after_s in (1.0, 59.0, 121.0)]

    assert [True, True, False] == known


def test_untold_samples_of_long_ago_are_dropped(open_latencies: Open) -> None:
    latency = estimate(open_latencies())
    latency.estimate_s(10_000.0)
    record(latency, 0.2, 10_000.1, times=20)

    assert latency.estimate_s(10_300.0) is None


def test_held_lock_keeps_samples_for_later(open_latencies: Open) -> None:
    holder, other = (open_latencies().find(KEY, BUCKETS, 60.0) for _ in range(2))
    assert isinstance(holder, SharedCounts)
    assert isinstance(other, SharedCounts)
    assert holder._lock.acquire_nowait()

    other.add(7, 10_000.0)
    while_held = (sum(other.read(10_000.0)), sum(holder.read(10_000.0)))
    holder._lock.release()
    after = (sum(other.read(10_001.0)), sum(holder.read(10_001.0)))

    assert ((1, 0), (1, 1)) == (while_held, after)


def test_more_than_a_slot_counts_keep_their_shares(open_latencies: Open) -> None:
    counts = open_latencies().find(KEY, BUCKETS, 60.0)
    assert counts is not None
    for _ in range(80_000):
        counts.add(1, 10_000.0)
    for _ in range(20_000):
        counts.add(2, 10_000.0)

    known = counts.read(10_000.0)

    assert (4 * known[2], 0) == (known[1], sum(known) - known[1] - known[2])


def test_new_key_begins_with_nothing(open_latencies: Open) -> None:
    before, after = estimate(open_latencies(one=b"old")), estimate(open_latencies(one=b"new"))

    record(before, 0.2, 10_000.0, times=20)

    assert before.estimate_s(10_000.0) is not None
    assert after.estimate_s(10_000.0) is None


def test_hints_leave_room_for_limits(open_latencies: Open) -> None:
    latencies = open_latencies(slots=300)

    found = [latencies.find(("answer", "one", str(number)), BUCKETS, 60.0) is not None for number in range(4)]

    assert [True, True, False, False] == found
