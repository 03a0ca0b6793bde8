"""Token buckets: capacity, even refill, both or neither."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pg_trio.shared_memory.token_bucket import LocalBuckets

MINUTE = (3, 60.0)
HOUR = (5, 3600.0)


def test_starts_full_then_refuses() -> None:
    buckets = LocalBuckets()

    taken = [buckets.take(b"k", (MINUTE,), now=0.0) for _ in range(4)]

    assert [None, None, None, (0, 20.0)] == [row if row is None else (row[0], round(row[1], 6)) for row in taken]


def test_refills_evenly() -> None:
    buckets = LocalBuckets()
    for _ in range(3):
        buckets.take(b"k", (MINUTE,), now=0.0)

    assert buckets.take(b"k", (MINUTE,), now=19.9) is not None
    assert buckets.take(b"k", (MINUTE,), now=20.0) is None
    assert buckets.take(b"k", (MINUTE,), now=20.0) is not None


def test_refused_takes_from_neither() -> None:
    buckets = LocalBuckets()
    limits = (MINUTE, (1, 3600.0))
    buckets.take(b"k", limits, now=0.0)

    refused = buckets.take(b"k", limits, now=0.0)
    hour_later = [buckets.take(b"k", limits, now=3600.0) for _ in range(2)]

    assert refused is not None
    assert (1, 3600) == (refused[0], round(refused[1]))
    assert [True, False] == [row is None for row in hour_later]


def test_longest_wait_is_named() -> None:
    buckets = LocalBuckets()
    limits = ((1, 60.0), (1, 3600.0))
    buckets.take(b"k", limits, now=0.0)

    refused = buckets.take(b"k", limits, now=0.0)

    assert refused is not None
    assert 1 == refused[0]


def test_keys_are_independent() -> None:
    buckets = LocalBuckets()
    for _ in range(3):
        buckets.take(b"a", (MINUTE,), now=0.0)

    assert buckets.take(b"b", (MINUTE,), now=0.0) is None


def test_backward_clock_refills_nothing() -> None:
    buckets = LocalBuckets()
    for _ in range(3):
        buckets.take(b"k", (MINUTE,), now=100.0)

    assert buckets.take(b"k", (MINUTE,), now=0.0) is not None


@given(
    capacity=st.integers(1, 50),
    steps=st.lists(st.floats(0, 30, allow_nan=False), max_size=200),
)
def test_never_admits_more_than_capacity_and_refill(capacity: int, steps: list[float]) -> None:
    buckets = LocalBuckets()
    now, admitted = 0.0, 0

    for step in steps:
        now += step
        admitted += buckets.take(b"k", ((capacity, 60.0),), now) is None

    assert admitted <= capacity + now * capacity / 60.0 + 1e-6


@given(capacity=st.integers(1, 1000), window=st.sampled_from([60.0, 3600.0]))
def test_wait_is_enough_and_not_too_long(capacity: int, window: float) -> None:
    buckets = LocalBuckets()
    limits = ((capacity, window),)
    for _ in range(capacity):
        buckets.take(b"k", limits, 0.0)

    refused = buckets.take(b"k", limits, 0.0)
    assert refused is not None
    wait_s = refused[1]

    assert buckets.take(b"k", limits, wait_s * 0.99) is not None
    assert buckets.take(b"k", limits, wait_s) is None
