"""Workers of other nodes that do not repeat that they have readers: a pause shorter than their life is no end."""

from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing
from attrs import define, field

from pg_trio.cluster.redis import answer_reading, redis_answers
from pg_trio.cluster.redis.answer_writing import AnswerKeys, AnswerQueue, RedisAnswerWriter
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.domain.kept_answer import KeepLimits

# What may pass between two repeats of a worker that is not silent.
REPEAT_S = redis_answers.REPEAT_EVERY_S + 0.5


@define
class Noting:
    """What a writer's keeper was told of readers."""

    counts: list[int] = field(factory=list)

    def stop(self) -> None: ...

    def note_readers(self, count: int) -> None:
        self.counts.append(count)


@pytest.mark.parametrize("limit_s", [redis_answers.LIFE_S, answer_reading.AWAY_LIMIT_S], ids=["life", "away"])
async def test_silent_worker_has_readers_as_long_as_they_may_read_on(
    autojump_clock: trio.testing.MockClock, limit_s: float
) -> None:
    """A worker's sign of life is good for some seconds, and without Redis its readers wait for some."""
    queue = AnswerQueue(cast(RedisClient, None), AnswerKeys("idempotent", 1_000, 10))
    writer, keeper = RedisAnswerWriter(queue, "00:1", KeepLimits(100)), Noting()
    writer.watch(keeper)
    writer.note_readers("other", 3)

    await trio.sleep(limit_s + REPEAT_S)
    writer.check_readers()
    told = list(keeper.counts)
    await trio.sleep(5)
    writer.check_readers()

    assert [3] == told
    # It was killed, or its last word was lost.
    assert [3, 0] == keeper.counts
