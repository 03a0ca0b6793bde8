"""What a worker remembers of its use of limits in Redis: bounded, whoever calls."""

from __future__ import annotations

import pytest

from pg_trio.cluster.redis import away_buckets
from pg_trio.cluster.redis.away_buckets import OwnUse

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

    assert (3, 0, 3) == tuple(use.missing(key, 0.0) for key in (b"endpoint", b"holder 1", b"holder 99"))
    assert 5 == len(list(use.all_missing(0.0)))


def test_forgotten_key_begins_as_if_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(away_buckets, "MOST_KEYS", 2)
    use = OwnUse()
    for key in (b"one", b"two", b"three", b"one"):
        note(use, key)

    assert 3 == use.missing(b"one", 0.0)
