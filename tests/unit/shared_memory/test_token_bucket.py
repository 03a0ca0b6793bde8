"""Token buckets: capacity, even refill, both or neither. One contract, held by both implementations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.shared_memory.segment_file import open_segment
from pg_trio.shared_memory.token_bucket import (
    NANO,
    BucketState,
    LocalBuckets,
    SharedBuckets,
    rates_of,
    take_of_two,
    take_tokens,
)

MINUTE = (3, 60.0)
HOUR = (5, 3600.0)

Buckets = LocalBuckets | SharedBuckets

_numbers = count()


def fresh_key() -> bytes:
    """A key that no test had yet: the buckets are shared by all tests here."""
    return next(_numbers).to_bytes(16, "big")


@pytest.fixture(scope="module", params=["local", "shared"])
def buckets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buckets]:
    if request.param == "local":
        yield LocalBuckets()
        return
    with closing(open_segment(tmp_path_factory.mktemp("buckets") / "shared.mem")) as segment:
        yield SharedBuckets(segment)


def test_starts_full_then_refuses(buckets: Buckets) -> None:
    key = fresh_key()

    taken = [buckets.take(key, (MINUTE,), now=0.0).refused for _ in range(4)]

    assert [None, None, None, (0, 20.0)] == taken


def test_refills_evenly(buckets: Buckets) -> None:
    key = fresh_key()
    for _ in range(3):
        buckets.take(key, (MINUTE,), now=0.0)

    assert buckets.take(key, (MINUTE,), now=19.9).refused is not None
    assert buckets.take(key, (MINUTE,), now=20.0).refused is None
    assert buckets.take(key, (MINUTE,), now=20.0).refused is not None


def test_token_is_never_a_moment_early(buckets: Buckets) -> None:
    # 60 s / 7 is 8.571428571428… s, and nanoseconds end at 8.571428571.
    key, limits = fresh_key(), ((7, 60.0),)
    buckets.take(key, limits, now=0.0, amount=7)

    assert buckets.take(key, limits, now=8.571428571).refused is not None
    assert buckets.take(key, limits, now=8.571428572).refused is None


def test_refused_takes_from_neither(buckets: Buckets) -> None:
    key, limits = fresh_key(), (MINUTE, (1, 3600.0))
    buckets.take(key, limits, now=0.0)

    refused = buckets.take(key, limits, now=0.0).refused
    hour_later = [buckets.take(key, limits, now=3600.0).refused for _ in range(2)]

    assert (1, 3600.0) == refused
    assert [None, (1, 3600.0)] == hour_later


def test_longest_wait_is_named(buckets: Buckets) -> None:
    key, limits = fresh_key(), ((1, 3600.0), (1, 60.0))
    buckets.take(key, limits, now=0.0)

    assert (0, 3600.0) == buckets.take(key, limits, now=0.0).refused


def test_keys_are_independent(buckets: Buckets) -> None:
    one, other = fresh_key(), fresh_key()
    for _ in range(3):
        buckets.take(one, (MINUTE,), now=0.0)

    assert buckets.take(other, (MINUTE,), now=0.0).refused is None


def test_backward_clock_refills_nothing(buckets: Buckets) -> None:
    key = fresh_key()
    for _ in range(3):
        buckets.take(key, (MINUTE,), now=100.0)

    assert buckets.take(key, (MINUTE,), now=0.0).refused is not None


def test_old_reading_gives_nothing_twice(buckets: Buckets) -> None:
    key = fresh_key()
    for _ in range(3):
        buckets.take(key, (MINUTE,), now=0.0)
    buckets.take(key, (MINUTE,), now=20.0)
    buckets.take(key, (MINUTE,), now=10.0)

    assert (0, 20.0) == buckets.take(key, (MINUTE,), now=20.0).refused


def test_clock_of_another_boot_heals_in_one_window(buckets: Buckets) -> None:
    key = fresh_key()
    for _ in range(3):
        buckets.take(key, (MINUTE,), now=1e6)

    assert (0, 20.0) == buckets.take(key, (MINUTE,), now=5.0).refused


def test_changed_limit_keeps_share(buckets: Buckets) -> None:
    key = fresh_key()
    for _ in range(5):
        buckets.take(key, ((10, 60.0),), now=0.0)

    [raised] = buckets.peek(key, ((100, 60.0),), now=0.0)
    [lowered] = buckets.peek(key, ((2, 60.0),), now=0.0)

    assert (50, 1) == (raised.remaining, lowered.remaining)


def test_added_limit_starts_full(buckets: Buckets) -> None:
    key = fresh_key()
    for _ in range(3):
        buckets.take(key, (HOUR,), now=0.0)

    states = buckets.peek(key, (MINUTE, HOUR), now=0.0)

    assert [3, 2] == [state.remaining for state in states]


def test_capacity_of_none_admits_nothing(buckets: Buckets) -> None:
    key = fresh_key()

    assert (0, 60.0) == buckets.take(key, ((0, 60.0),), now=0.0).refused
    assert (0, 60.0) == buckets.take(key, ((0, 60.0),), now=1000.0).refused


def test_peek_tells_what_is_left(buckets: Buckets) -> None:
    key = fresh_key()
    full = buckets.peek(key, (MINUTE,), now=0.0)
    for _ in range(2):
        buckets.take(key, (MINUTE,), now=0.0)

    assert [BucketState(3, 0.0, 0.0)] == full
    assert [BucketState(1, 15.0, 35.0)] == buckets.peek(key, (MINUTE,), now=5.0)


def test_take_tells_what_is_left(buckets: Buckets) -> None:
    key = fresh_key()

    left = [buckets.take(key, (MINUTE, HOUR), now=5.0).left() for _ in range(4)]

    assert [[(2, 20), (4, 720)], [(1, 20), (3, 720)], [(0, 20), (2, 720)], [(0, 20), (2, 720)]] == left


def test_several_are_taken_or_none(buckets: Buckets) -> None:
    key = fresh_key()

    taken = [buckets.take(key, ((100, 60.0),), now=0.0, amount=amount).refused for amount in (60, 60, 40)]

    assert [None, (0, 12.0), None] == taken


def test_given_back_is_whole_again(buckets: Buckets) -> None:
    key, limits = fresh_key(), (MINUTE, HOUR)
    buckets.take(key, limits, now=0.0, amount=3)

    buckets.give(key, limits, now=1.0, amount=2)

    assert [2, 4] == [state.remaining for state in buckets.peek(key, limits, now=1.0)]


def test_no_more_comes_back_than_fits(buckets: Buckets) -> None:
    key = fresh_key()
    buckets.take(key, (MINUTE,), now=0.0)

    buckets.give(key, (MINUTE,), now=50.0, amount=3)

    assert [BucketState(3, 0.0, 0.0)] == buckets.peek(key, (MINUTE,), now=50.0)
    assert [None, None, None, (0, 20.0)] == [buckets.take(key, (MINUTE,), now=50.0).refused for _ in range(4)]


def test_less_than_nothing_takes_down_to_empty(buckets: Buckets) -> None:
    key, limits = fresh_key(), ((100, 60.0),)
    buckets.give(key, limits, now=0.0, amount=-30)
    after_some = buckets.peek(key, limits, now=0.0)[0].remaining

    buckets.give(key, limits, now=0.0, amount=-1000)

    assert (70, 0) == (after_some, buckets.peek(key, limits, now=0.0)[0].remaining)
    assert (0, 0.6) == buckets.take(key, limits, now=0.0).refused


def test_full_bucket_has_no_more_than_it_holds_to_lose(buckets: Buckets) -> None:
    key, limits = fresh_key(), ((100, 60.0),)
    buckets.take(key, limits, now=0.0)

    buckets.give(key, limits, now=1000.0, amount=-30)

    assert 70 == buckets.peek(key, limits, now=1000.0)[0].remaining


def test_what_is_below_empty_is_no_debt(buckets: Buckets) -> None:
    key, limits = fresh_key(), ((100, 60.0),)

    buckets.give(key, limits, now=0.0, amount=-1000)

    assert 10 == buckets.peek(key, limits, now=6.0)[0].remaining


@given(amounts=st.lists(st.tuples(st.integers(1, 10), st.integers(0, 10)), max_size=50))
def test_taken_less_given_never_passes_capacity(buckets: Buckets, amounts: list[tuple[int, int]]) -> None:
    key, limits, held = fresh_key(), ((20, 60.0),), 0

    for taken, unused in amounts:
        if buckets.take(key, limits, now=0.0, amount=taken).refused is None:
            buckets.give(key, limits, now=0.0, amount=min(unused, taken))
            held += max(0, taken - unused)

    assert held <= 20
    assert 20 - held == buckets.peek(key, limits, now=0.0)[0].remaining


def test_three_limits_are_refused(buckets: Buckets) -> None:
    with pytest.raises(ValueError, match="1 to 2 buckets, not 3"):
        buckets.take(fresh_key(), (MINUTE, HOUR, HOUR), now=0.0)


@pytest.mark.parametrize("window_s", [0.0, 1.5, 86_400.0])
def test_odd_window_is_refused(buckets: Buckets, window_s: float) -> None:
    with pytest.raises(ValueError, match="whole seconds"):
        buckets.take(fresh_key(), ((1, window_s),), now=0.0)


@given(
    capacity=st.integers(1, 50),
    steps=st.lists(st.floats(0, 30, allow_nan=False), max_size=200),
)
def test_never_admits_more_than_capacity_and_refill(buckets: Buckets, capacity: int, steps: list[float]) -> None:
    key, now, admitted = fresh_key(), 0.0, 0

    for step in steps:
        now += step
        admitted += buckets.take(key, ((capacity, 60.0),), now).refused is None

    assert admitted <= capacity + now * capacity / 60.0 + 1e-6


@given(capacity=st.integers(1, 1000), window=st.sampled_from([60.0, 3600.0]))
def test_wait_is_enough_and_not_too_long(buckets: Buckets, capacity: int, window: float) -> None:
    key, limits = fresh_key(), ((capacity, window),)
    for _ in range(capacity):
        assert buckets.take(key, limits, 0.0).refused is None

    refused = buckets.take(key, limits, 0.0).refused
    assert refused is not None
    wait_s = refused[1]

    assert buckets.take(key, limits, wait_s * 0.99).refused is not None
    assert buckets.take(key, limits, wait_s).refused is None


@given(
    limits=st.tuples(*[st.tuples(st.integers(0, 10**9), st.integers(1, 3600).map(float))] * 2),
    # How long ago each was full, or how long it will not be.
    beside_ns=st.tuples(*[st.integers(-5000 * NANO, 5000 * NANO) | st.integers(-3, 3)] * 2),
    amount=st.integers(0, 10) | st.integers(0, 10**9),
)
def test_two_are_taken_as_any_number(
    limits: tuple[tuple[int, float], ...], beside_ns: tuple[int, int], amount: int
) -> None:
    now_ns, rates = 10_000 * NANO, rates_of(limits)
    full_at = [now_ns + beside for beside in beside_ns]

    after, taken = take_tokens(full_at, rates, now_ns, amount)
    after_two, taken_two = take_of_two(full_at, rates, now_ns, amount)

    assert (taken.refused, taken.left()) == (taken_two.refused, taken_two.left())
    assert taken.refused is not None or list(after) == list(after_two)
