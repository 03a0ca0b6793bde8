"""What a worker remembers of what it admitted of limits in Redis: bounded, and never less than the buckets miss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_trio.cluster.node import Node
from pg_trio.cluster.redis import away_buckets
from pg_trio.cluster.redis.away_buckets import Admitted, AwayBuckets
from pg_trio.shared_memory.token_bucket import LocalBuckets

KEY = b"key"
MINUTE = ((10, 60.0),)


def note(admitted: Admitted, key: bytes, amount: int = 3) -> None:
    admitted.note(key, MINUTE, 0.0, amount)


def tokens_of(admitted: Admitted, now: float = 0.0) -> dict[bytes, tuple[int, ...]]:
    return {owed.key: owed.tokens for owed in admitted.read(now)}


def test_keys_in_use_are_remembered_and_others_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away_buckets, "MOST_KEYS", 5)
    admitted = Admitted()
    note(admitted, b"endpoint")
    for number in range(100):
        note(admitted, b"holder %d" % number)
        note(admitted, b"endpoint", 0)

    known = tokens_of(admitted)

    assert 5 == len(known)
    assert [(3,), None, (3,)] == [known.get(key) for key in (b"endpoint", b"holder 1", b"holder 99")]


def test_forgotten_key_begins_as_if_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away_buckets, "MOST_KEYS", 2)
    admitted = Admitted()
    for key in (b"one", b"two", b"three", b"one"):
        note(admitted, key)

    assert (3,) == tokens_of(admitted)[b"one"]


@given(
    workers=st.integers(1, 4),
    calls=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 30), st.integers(1, 10)), max_size=60),
    rest_s=st.floats(0, 150),
)
def test_all_workers_together_know_at_least_what_is_missing(
    workers: int, calls: list[tuple[int, float, int]], rest_s: float
) -> None:
    bucket, known, now = LocalBuckets(), [Admitted() for _ in range(workers)], 1_000.0
    for worker, pause_s, amount in calls:
        now += pause_s
        if bucket.take(KEY, MINUTE, now, amount).refused is None:
            known[worker % workers].note(KEY, MINUTE, now, amount)
    now += rest_s

    (held,) = bucket.peek(KEY, MINUTE, now)

    assert 10 - held.remaining <= sum(sum(tokens_of(one, now).get(KEY, ())) for one in known)


def test_owed_is_what_redis_does_not_know() -> None:
    # A lone worker, so its share is the limit: 10 a minute, and 100 an hour.
    limits = ((10, 60.0), (100, 3600.0))
    away = AwayBuckets(Node("gw-1", "id"), LocalBuckets(), refuses=False)
    away.note(KEY, limits, 0.0, 10)
    away.share_use(0.0)

    # Redis is away for a minute. What has refilled meanwhile is used again.
    admitted = [away.take(KEY, limits, now, 1).refused is None for now in (6.0, 6.0, 12.0, 18.0, 24.0, 30.0, 60.0)]
    (owed,) = away.end(60.0, has_lost_data=False)

    assert [True, False, True, True, True, True, True] == admitted
    # Of ten that were taken before, Redis's own bucket has ten again: six of these are used.
    assert (KEY, limits, (6, 6)) == (owed.key, owed.limits, owed.tokens)
    assert [] == away.end(60.0, has_lost_data=False)


def test_what_redis_gives_after_its_return_is_not_owed() -> None:
    away = AwayBuckets(Node("gw-1", "id"), LocalBuckets(), refuses=False)
    away.take(KEY, MINUTE, 0.0, 2)
    away.note(KEY, MINUTE, 0.0, 3)

    assert [(2,)] == [owed.tokens for owed in away.end(0.0, has_lost_data=False)]
    assert [(5,)] == [owed.tokens for owed in away.end(0.0, has_lost_data=True)]
