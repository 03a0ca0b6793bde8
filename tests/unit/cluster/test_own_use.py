"""What a worker remembers of its use of limits in Redis: bounded, whoever calls."""

from __future__ import annotations

import pytest

from pg_trio.cluster.node import Node
from pg_trio.cluster.redis import away_buckets
from pg_trio.cluster.redis.away_buckets import AwayBuckets, OwnUse
from pg_trio.shared_memory.token_bucket import LocalBuckets

KEY = b"key"
MINUTE = ((10, 60.0),)


def note(use: OwnUse, key: bytes, amount: int = 3) -> None:
    use.note(key, MINUTE, 0.0, amount, 1)


def test_keys_in_use_are_remembered_and_others_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away_buckets, "MOST_KEYS", 5)
    use = OwnUse()
    note(use, b"endpoint")
    for number in range(100):
        note(use, b"holder %d" % number)
        note(use, b"endpoint", 0)

    assert [(3,), (), (3,)] == [use.missing(key, 0.0) for key in (b"endpoint", b"holder 1", b"holder 99")]
    assert 5 == len(list(use.all_missing(0.0)))


def test_forgotten_key_begins_as_if_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away_buckets, "MOST_KEYS", 2)
    use = OwnUse()
    for key in (b"one", b"two", b"three", b"one"):
        note(use, key)

    assert (3,) == use.missing(b"one", 0.0)


def test_owed_is_what_redis_does_not_know() -> None:
    # A lone worker, so its share is the limit: 10 a minute, and 100 an hour.
    limits = ((10, 60.0), (100, 3600.0))
    away = AwayBuckets(Node("gw-1", "id"), LocalBuckets(), 1, refuses=False)
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
    away = AwayBuckets(Node("gw-1", "id"), LocalBuckets(), 1, refuses=False)
    away.take(KEY, MINUTE, 0.0, 2)
    away.note(KEY, MINUTE, 0.0, 3)

    assert [(2,)] == [owed.tokens for owed in away.end(0.0, has_lost_data=False)]
    assert [(5,)] == [owed.tokens for owed in away.end(0.0, has_lost_data=True)]
