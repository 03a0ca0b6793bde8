"""Kept answers in Redis for tests: a worker's store, alone or with the files of its node."""

from __future__ import annotations

from uuid import uuid4

from pg_trio.cluster.redis.answer_writing import AnswerKeys
from pg_trio.cluster.redis.dialing import connect_to, greet_for
from pg_trio.cluster.redis.redis_answers import RedisAnswerStore
from pg_trio.config.cluster_settings import RedisAddress

# Much longer than a slow machine takes.
LIMIT_S = 5.0


def open_redis_answers(
    port: int,
    max_bytes: int = 10_000_000,
    max_answers: int = 1_000,
    limit_s: float = LIMIT_S,
    worker: str | None = None,
) -> RedisAnswerStore:
    """A worker's store, whose task does not run yet."""
    address = RedisAddress((("127.0.0.1", port),))
    keys = AnswerKeys("streams", max_bytes, max_answers)
    return RedisAnswerStore(connect_to(address), greet_for(address), limit_s, keys, worker or uuid4().hex)
