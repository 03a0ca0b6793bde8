"""Kept answers in Redis: an owner that was silent, replies that come late or never, bounds, connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import define

from pg_trio.attachment.answer_store import AnswerWriter
from pg_trio.cluster.redis import answer_reading, answer_writing, redis_answers
from pg_trio.cluster.redis.answer_reading import RedisKeptAnswer
from pg_trio.cluster.redis.answer_writing import RedisAnswerWriter
from pg_trio.cluster.redis.keys import worker_key
from pg_trio.cluster.redis.redis_answers import RedisAnswerStore
from pg_trio.domain.kept_answer import AnswerStart
from pg_trio.errors import AnswerCut, AnswersUnavailable
from pg_trio.stores.cluster_answers import ClusterAnswers, worker_id
from tests.cluster.waiting import LIMIT_S
from tests.support.engine_relay import EngineRelay, engine_relay
from tests.support.engines import RedisServer
from tests.support.kept import HEAD, LIMITS, NAME, OWNER, kill, open_store, read_all, start_node_writer
from tests.support.redis_kept import open_redis_answers

START = AnswerStart(200, ((b"content-type", b"text/event-stream"),))


@asynccontextmanager
async def opened(port: int, limit_s: float = 5.0) -> AsyncIterator[RedisAnswerStore]:
    """A worker's store, whose tasks run."""
    store = open_redis_answers(port, limit_s=limit_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        yield store
        nursery.cancel_scope.cancel()


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[RedisAnswerStore]:
    async with opened(redis.port) as store:
        yield store


@asynccontextmanager
async def relayed(redis: RedisServer, limit_s: float = 0.2) -> AsyncIterator[tuple[RedisAnswerStore, EngineRelay]]:
    """A worker's store whose way to Redis can be held and cut; it has claimed something."""
    async with engine_relay(redis.port) as relay, opened(relay.port, limit_s) as store:
        await claim(store, OWNER.name("stream", "first"))
        yield store, relay


async def claim(store: RedisAnswerStore, name: bytes = NAME) -> RedisAnswerWriter:
    """A writer, which the test needs, within a limit."""
    with trio.fail_after(LIMIT_S):
        while True:
            try:
                got = await store.claim(name, HEAD, LIMITS)
            except AnswersUnavailable:
                got = None
            if isinstance(got, RedisAnswerWriter):
                return got
            if got is not None:
                got.close()
            await trio.sleep(0.01)


async def begin_answer(store: RedisAnswerStore, other: RedisAnswerStore) -> tuple[RedisAnswerWriter, RedisKeptAnswer]:
    """An answer that one store writes, and another has read as far as it goes."""
    writer = await claim(store)
    writer.begin(START)
    writer.add([b"1"])
    reader = await other.find(NAME)
    assert reader is not None
    assert [b"1"] == list(await reader.receive())
    return writer, reader


async def read_kept(store: RedisAnswerStore, name: bytes = NAME) -> list[bytes]:
    """All parts of an answer that is there."""
    answer = await store.find(name)
    assert answer is not None
    try:
        return await read_all(answer)
    finally:
        answer.close()


# ── one owner ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_silent_owner_cannot_write_any_more(
    redis: RedisServer, store: RedisAnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_reading, "SETTLING_S", 0.0)
    async with opened(redis.port) as other:
        old = await claim(store)
        old.add([b"old"])
        # As if it had been stopped for longer than its sign of life is good for.
        redis.command("DEL", worker_key(store.worker))
        new = await claim(other)

        old.add([b"older"])
        with trio.fail_after(LIMIT_S):
            while old.is_kept:  # noqa: ASYNC110
                await trio.sleep(0.01)
        old.end("whole", 60)
        new.add([b"new"])
        new.end("whole", 60)

        assert [b"new"] == await read_kept(store)
        assert [b"new"] == await read_kept(other)


async def test_owner_without_a_word_learns_that_its_name_is_gone(
    redis: RedisServer, store: RedisAnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_reading, "SETTLING_S", 0.0)
    async with opened(redis.port) as other:
        old = await claim(store)
        redis.command("DEL", worker_key(store.worker))
        await claim(other)

        await store.renew()

        assert not old.is_kept
        assert [] == list(store._queue.writers)


async def test_name_is_not_taken_over_by_a_new_connection(redis: RedisServer, store: RedisAnswerStore) -> None:
    """After an outage of Redis the signs of life of other workers come back as late as one's own connection."""
    await claim(store)
    redis.command("DEL", worker_key(store.worker))

    async with opened(redis.port) as other:
        got = await other.claim(NAME, HEAD, LIMITS)

    assert not isinstance(got, RedisAnswerWriter | None)


async def test_answer_that_outlived_an_outage_goes_on(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with relayed(redis) as (store, relay), opened(redis.port) as other:
        writer, reader = await begin_answer(store, other)
        relay.accepts = False
        relay.cut()

        writer.add([b"2"])
        await trio.sleep(0.5)
        writer.add([b"3"])
        relay.accepts = True
        writer.end("whole", 60)

        assert [b"2", b"3"] == await read_all(reader)
        reader.close()
        assert writer.is_kept


# ── replies that are late or lost ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_cut", [False, True], ids=["late", "lost"])
async def test_claim_without_a_reply_is_given_back(redis: RedisServer, *, is_cut: bool) -> None:
    async with relayed(redis) as (store, relay), opened(redis.port) as other:
        relay.replies.close()
        with pytest.raises(AnswersUnavailable):
            await store.claim(NAME, HEAD, LIMITS)
        assert not isinstance(await other.claim(NAME, HEAD, LIMITS), RedisAnswerWriter)
        if is_cut:
            relay.cut()
        relay.replies.open()

        await claim(other)


async def test_cancelled_claim_is_given_back(redis: RedisServer) -> None:
    async with relayed(redis, limit_s=5.0) as (store, relay), opened(redis.port) as other:
        relay.replies.close()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.claim, NAME, HEAD, LIMITS)
                await relay.replies.wait_held()
                scope.cancel()
        relay.replies.open()

        await claim(other)
        assert scope.cancelled_caught


async def test_batch_without_a_reply_is_there_once(redis: RedisServer) -> None:
    async with relayed(redis) as (store, relay), opened(redis.port) as other:
        writer = await claim(store)
        relay.replies.close()
        writer.add([b"1", b"2"])
        await relay.replies.wait_held()
        writer.add([b"3" * 200_000, b"4"])
        relay.cut()
        relay.replies.open()
        writer.end("whole", 60)
        with trio.fail_after(LIMIT_S):
            while store._queue.writers.keys() & {writer.id}:  # noqa: ASYNC110
                await trio.sleep(0.01)

        assert [b"1", b"2", b"3" * 200_000, b"4"] == await read_kept(other)


async def test_frozen_redis_is_asked_within_the_limit(redis: RedisServer) -> None:
    async with relayed(redis, limit_s=0.1) as (store, relay):
        relay.requests.close()
        started = trio.current_time()

        for _ in range(20):
            with pytest.raises(AnswersUnavailable):
                await store.claim(NAME, HEAD, LIMITS)
            with pytest.raises(AnswersUnavailable):
                await store.find(NAME)

        # One of them waited, and no other one did.
        assert trio.current_time() - started < 2.0
        relay.requests.open()


async def test_scripts_that_were_forgotten_are_loaded_again(redis: RedisServer, store: RedisAnswerStore) -> None:
    await claim(store, OWNER.name("stream", "first"))
    redis.command("SCRIPT", "FLUSH")

    writer = await claim(store)
    writer.add([b"x"])
    redis.command("SCRIPT", "FLUSH")
    writer.end("whole", 60)
    await trio.sleep(0.1)
    redis.command("SCRIPT", "FLUSH")

    assert [b"x"] == await read_kept(store)


async def test_stop_reaches_a_worker_that_hears_nothing_for_a_moment(redis: RedisServer) -> None:
    async with relayed(redis) as (store, relay), opened(redis.port) as other:
        writer = await claim(store)
        writer.add([b"x"])
        writer.watch(Stopping(writer))
        answer = await other.find(NAME)
        assert answer is not None
        assert [b"x"] == list(await answer.receive())
        relay.cut()

        with trio.fail_after(LIMIT_S):
            assert await answer.stop(5)
        assert "stopped" == answer.ended
        answer.close()


@define
class Stopping:
    """Ends its answer when it is asked to."""

    writer: RedisAnswerWriter

    def stop(self) -> None:
        self.writer.end("stopped", 60)

    def note_readers(self, count: int) -> None: ...


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_waits_for_redis_is_bounded(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_writing, "MOST_UNSENT_BYTES", 1000)
    async with relayed(redis) as (store, relay), opened(redis.port) as other:
        long, short = await claim(store), await claim(store, OWNER.name("stream", "short"))
        relay.accepts = False
        relay.cut()
        await trio.sleep(0.1)

        assert short.add([b"s" * 400])
        assert long.add([b"x" * 500])
        assert not long.add([b"x" * 500])
        assert 400 == store._queue.unsent_bytes
        assert short.add([b"s"])
        relay.accepts = True

        short.end("whole", 60)
        answer = await other.find(NAME)
        assert answer is not None
        with trio.fail_after(LIMIT_S), pytest.raises(AnswerCut, match="outgrown"):
            await read_all(answer)
        answer.close()
        assert [b"s" * 400, b"s"] == await read_kept(other, OWNER.name("stream", "short"))


async def test_many_readers_share_two_connections(redis: RedisServer) -> None:
    async with engine_relay(redis.port) as relay, opened(relay.port) as store, opened(redis.port) as writing:
        names = [OWNER.name("stream", str(number)) for number in range(50)]
        writers = [await claim(writing, name) for name in names]
        got: list[list[bytes]] = []

        async def read(name: bytes) -> None:
            got.append(await read_kept(store, name))

        async with trio.open_nursery() as nursery:
            for name in names * 2:
                nursery.start_soon(read, name)
            await trio.sleep(0.2)
            for writer in writers:
                writer.add([b"x"])
                writer.end("whole", 60)

        assert [[b"x"]] * 100 == got
        assert 2 == relay.connections
        assert ({}, {}) == (store._hub._listening, store.news._wanted)


async def test_nothing_is_left_of_answers_whose_time_is_over(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_writing, "READ_ON_MS", 10)
    monkeypatch.setattr(redis_answers, "CLAIM_MS", 50)
    async with opened(redis.port) as store:
        for number in range(20):
            writer = await claim(store, OWNER.name("stream", str(number)))
            writer.begin(START)
            writer.add([b"x" * 100])
            if number % 4 == 3:
                # As of a worker that was killed.
                store._queue.forget(writer)
            elif number % 4 == 2:
                writer.discard()
            else:
                writer.end("whole", 0.05 * (number % 4))
        await trio.sleep(0.3)
        await store.renew()

        assert "0" == redis.command("GET", "pg_trio:streams:total")
        left = set(redis.command("KEYS", "*").splitlines())
        assert {"pg_trio:streams:total", worker_key(store.worker)} == left


async def test_damaged_record_is_no_answer(redis: RedisServer, store: RedisAnswerStore) -> None:
    await claim(store)
    redis.command("HSET", f"pg_trio:streams:{NAME.hex()}", "head", "{")

    assert None is await store.find(NAME)
    assert None is await store.claim(NAME, HEAD, LIMITS)


@pytest.mark.parametrize(
    "said", ["", " ", "stop", "stop x", "readers", "readers w", "readers w x -1", "other 1", "\xff"]
)
async def test_strange_message_changes_nothing(redis: RedisServer, store: RedisAnswerStore, said: str) -> None:
    writer = await claim(store)
    redis.command("PUBLISH", worker_key(store.worker), said)
    redis.command("PUBLISH", f"pg_trio:streams:{writer.id}", said)

    writer.add([b"x"])
    writer.end("whole", 60)

    assert [b"x"] == await read_kept(store)


# ── with the files of a node ─────────────────────────────────────────────────────────────────────────────────────────


async def test_killed_worker_s_name_is_free_at_once_at_its_node(redis: RedisServer, tmp_path: Path) -> None:
    process = start_node_writer(tmp_path, redis.port)
    async with opened_node(tmp_path, redis.port) as here, opened(redis.port) as elsewhere:
        # Its own connection has lasted.
        await trio.sleep(answer_reading.SETTLING_S + 0.1)
        joined = await here.claim(NAME, HEAD, LIMITS)
        assert joined is not None
        assert not isinstance(joined, AnswerWriter)
        reader = await elsewhere.find(NAME)
        assert reader is not None
        assert [b"first", b"second"] == list(await reader.receive())
        kill(process)

        # Far below the time for which its last sign of life is good.
        with trio.fail_after(5), pytest.raises(AnswerCut):
            await read_all(joined)
        joined.close()
        with trio.fail_after(5):
            got = await here.claim(NAME, HEAD, LIMITS)
            assert isinstance(got, AnswerWriter)
            # Its readers elsewhere learn it with their next look.
            with pytest.raises(AnswerCut, match="worker"):
                await reader.receive()
        reader.close()


@asynccontextmanager
async def opened_node(folder: Path, port: int) -> AsyncIterator[ClusterAnswers]:
    """A worker of a node with files in this folder."""
    files = open_store(folder)
    async with trio.open_nursery() as nursery:
        shared = open_redis_answers(port, worker=worker_id(files.worker))
        nursery.start_soon(files.run)
        nursery.start_soon(shared.run)
        yield ClusterAnswers(files, shared, refuses=False)
        nursery.cancel_scope.cancel()
    await files.aclose()
