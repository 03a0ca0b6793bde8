"""How few own samples are filled up with what other nodes have told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pg_trio.cluster.redis.told_latencies import ENOUGH, MOST_SAMPLES, PARTS, fill_up, read_counts, write_counts
from pg_trio.racing.latency import BUCKETS

BUCKET = st.integers(0, 30)
counts = st.lists(BUCKET, min_size=BUCKETS, max_size=BUCKETS)
few = st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(1, 3), max_size=6)


def spread(pairs: dict[int, int]) -> list[int]:
    return [pairs.get(bucket, 0) for bucket in range(BUCKETS)]


@given(few, few)
def test_few_of_all_are_added(own: dict[int, int], heard: dict[int, int]) -> None:
    mine, theirs = spread(own), spread(heard)
    if sum(mine) + sum(theirs) > ENOUGH:
        return

    assert [one + other for one, other in zip(mine, theirs, strict=True)] == list(fill_up(mine, theirs))


@given(st.integers(0, ENOUGH - 1), st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_others_count_as_what_is_missing(own: int, quick: int, slow: int) -> None:
    if quick + slow <= ENOUGH - own:
        return

    filled = fill_up([own, 0, 0], [0, quick, slow])

    assert own * PARTS == filled[0]
    # Rounded up, so that none of them is lost.
    assert 0 <= sum(filled) - ENOUGH * PARTS <= 2
    assert (quick > 0, slow > 0) == (filled[1] > 0, filled[2] > 0)


@given(counts)
def test_what_is_told_is_bounded(told: list[int]) -> None:
    text = write_counts(told, sum(told))

    pairs = dict(read_counts(text))
    assert {bucket for bucket, count in enumerate(told) if count} == set(pairs)
    assert sum(pairs.values()) <= MOST_SAMPLES + BUCKETS
    if sum(told) <= MOST_SAMPLES:
        assert told == spread(pairs)
