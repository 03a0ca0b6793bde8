"""The kept answers of all nodes (contract: attachment/answer_store.py), in Redis.

Rules:
1. A name is claimed by one script, so one of many claims wins. The claim is its worker's as long as that gives signs of
   life: every RENEW_EVERY_S, each good for LIFE_S. Then the next claim takes the name.
2. Every write names the answer's own id. So a worker that was silent for too long cannot write into the answer of the
   one that took its name, and learns with its next write that nothing of its own is kept any more.
3. Redis's clock decides. Keys hold a SHA-256 and no text of a request.
4. While Redis is away, `claim` and `find` raise AnswersUnavailable: whether there is such an answer cannot be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

import trio
from attrs import define, field

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.answer_news import AnswerNews
from pg_trio.cluster.redis.answer_reading import READ, AnswerHub, FoundAnswer, RedisKeptAnswer
from pg_trio.cluster.redis.answer_writing import APPEND, RUNNING_MS, AnswerKeys, AnswerQueue, RedisAnswerWriter
from pg_trio.cluster.redis.client import Connect, Greet, RedisClient
from pg_trio.cluster.redis.keys import worker_key
from pg_trio.cluster.redis.resp import Argument, Reply, encode_command
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.domain.kept_answer import AnswerHead, KeepLimits
from pg_trio.errors import AnswersUnavailable
from pg_trio.store.answer_records import RECORD_BYTES, DamagedAnswer, pack_head

CLAIM, FIND, RENEW = read_script("answer_claim", 1), read_script("answer_find"), read_script("answer_renew")
ANSWER_SCRIPTS = (CLAIM, FIND, APPEND, READ, RENEW)

# A killed worker's answers are cut, and their names free, within 10 s: its sign of life and a reader's look.
LIFE_S = 8.0
RENEW_EVERY_S = 2.0
# A claim whose reply was lost has a name without anyone who writes.
CLAIM_MS = 30_000
# Answers that one command renews, or forgets: it takes Redis 1 ms.
ANSWERS_A_CALL = 500
REPEAT_EVERY_S = 1.0
# 1 s for what the writers have said last, when the gateway stops.
CLOSE_LIMIT_S = 1.0


@define(eq=False)
class RedisAnswerStore:
    """See the rules. `run` is a task of the gateway's nursery. `worker`: an id that no other process has."""

    connect: Connect
    greet: Greet
    limit_s: float
    keys: AnswerKeys
    worker: str = field(factory=lambda: uuid4().hex)
    client: RedisClient = field(init=False)
    news: AnswerNews = field(init=False)
    _queue: AnswerQueue = field(init=False)
    _hub: AnswerHub = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = RedisClient(self.connect, self.limit_s, ANSWER_SCRIPTS, [self.greet], is_quiet=True)
        self.client.expect_link()
        channel = worker_key(self.worker)
        self.news = AnswerNews(self.connect, self.greet, self.limit_s, channel, self._take, self._note_link)
        self._queue = AnswerQueue(self.client, self.keys)
        self._hub = AnswerHub(self.client, self.news, self.keys, self.worker)

    async def claim(
        self, name: bytes, head: AnswerHead, limits: KeepLimits
    ) -> RedisAnswerWriter | RedisKeptAnswer | None:
        """See AnswerStore. Raises AnswersUnavailable."""
        if not self.client.is_up:
            raise AnswersUnavailable
        answer_id = f"{name.hex()}:{uuid4().hex}"
        writer = RedisAnswerWriter(self._queue, answer_id, limits)
        try:
            reply = await self.client.run_script(CLAIM, *self._claim_of(answer_id, head))
        except EngineAway as away:
            # It may be claimed. Then the name is given back as soon as Redis is there.
            writer.discard()
            raise AnswersUnavailable from away
        except BaseException:
            writer.discard()
            raise
        if reply[0] == 1:
            self._queue.writers[answer_id] = writer
            return writer
        return None if reply[0] == -1 else self._read_found(reply[1:])

    async def find(self, name: bytes) -> RedisKeptAnswer | None:
        """See AnswerStore. Raises AnswersUnavailable."""
        try:
            reply = await self.client.run_script(FIND, (self.keys.record(name.hex()),), ())
        except EngineAway as away:
            raise AnswersUnavailable from away
        return self._read_found(reply) if reply else None

    def note_dead(self, worker: str) -> None:
        """That worker has ended: its signs of life are void."""
        self.client.tell(encode_command("DEL", worker_key(worker)))

    async def run(self) -> None:
        """Write, listen and renew until cancelled. Then what the writers have said last is sent."""
        engine = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_engine, engine)
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                    await self._end()
                engine.cancel(reason="the store is closed")

    async def _run_engine(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                for task in (self.client.run, self.news.run, self._queue.run, self._hub.watch_workers):
                    nursery.start_soon(task)
                nursery.start_soon(self._renew)
                nursery.start_soon(self._repeat)

    async def _end(self) -> None:
        """Answers without an end are cut, and this worker lives no more."""
        for writer in list(self._queue.writers.values()):
            writer.end("cut", 0)
        await self._queue.drain()
        with suppress(EngineAway):
            await self.client.call(encode_command("DEL", worker_key(self.worker)))

    def _claim_of(self, answer_id: str, head: AnswerHead) -> tuple[Sequence[Argument], Sequence[Argument]]:
        keys = self.keys
        names = (keys.record(answer_id), keys.log(answer_id), *keys.counts, worker_key(self.worker))
        packed = pack_head(head)[RECORD_BYTES:]
        return names, (
            *(answer_id, self.worker, int(LIFE_S * 1000), packed, CLAIM_MS, keys.max_bytes, keys.max_answers),
            *(worker_key(""), int(self._hub.is_settled)),
        )

    def _read_found(self, reply: Sequence[Reply]) -> RedisKeptAnswer | None:
        try:
            return RedisKeptAnswer(self._hub, FoundAnswer.read(reply))
        except DamagedAnswer:
            return None

    # ── standing work ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _renew(self) -> None:
        while True:
            with suppress(EngineAway):
                await self.renew()
            await trio.sleep(RENEW_EVERY_S)

    async def renew(self) -> None:
        """Give a sign of life, and renew what this worker writes. Raises EngineAway."""
        keys, running = self.keys, list(self._queue.writers)
        for start in range(0, max(1, len(running)), ANSWERS_A_CALL):
            lost = await self.client.run_script(
                RENEW,
                (worker_key(self.worker), *keys.counts),
                (
                    *(int(LIFE_S * 1000), RUNNING_MS, keys.prefix, keys.max_bytes, keys.max_answers, ANSWERS_A_CALL),
                    *running[start : start + ANSWERS_A_CALL],
                ),
            )
            for answer_id in lost:
                if isinstance(answer_id, bytes):
                    self._note_lost(answer_id.decode("ascii"))

    def _note_lost(self, answer_id: str) -> None:
        writer = self._queue.writers.get(answer_id)
        # One that has said its end may have lost its name by that.
        if writer is not None and not writer.has_ended:
            writer.note_lost()

    async def _repeat(self) -> None:
        while True:
            await trio.sleep(REPEAT_EVERY_S)
            self._hub.repeat_counts()
            # Without news, nothing is known of readers.
            for writer in list(self._queue.writers.values()) if self.news.is_up else ():
                writer.check_readers()

    # ── news ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _note_link(self) -> None:
        self._hub.wake_all()
        for writer in self._queue.writers.values():
            writer.hold_readers()

    def _take(self, channel: bytes, data: bytes) -> None:
        if channel != worker_key(self.worker).encode("ascii"):
            self._hub.note_news(channel, data)
            return
        writers = self._queue.writers
        match data.decode("ascii", "replace").split():
            case ["stop", answer_id] if answer_id in writers:
                writers[answer_id].ask_stop()
            case ["readers", worker, *counts]:
                for answer_id, count in zip(counts[::2], counts[1::2], strict=False):
                    if answer_id in writers and count.isdigit():
                        writers[answer_id].note_readers(worker, int(count))
