"""What every store of kept answers must do (attachment/answer_store.py): files of one machine, Redis, and a cluster.

Two workers over real files, pipes and servers, and a process that is killed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
import trio.testing
from attrs import define, field

from pg_trio.attachment.answer_store import AnswerStore, AnswerWriter, KeptAnswer
from pg_trio.cluster.redis import answer_writing
from pg_trio.domain.kept_answer import AnswerHead, AnswerStart, KeepLimits
from pg_trio.errors import AnswerCut
from pg_trio.store.file_answers import FileAnswerStore
from pg_trio.stores.cluster_answers import ClusterAnswers, worker_id
from tests.support.engines import RedisServer
from tests.support.kept import HEAD, LIMITS, NAME, OWNER, kill, open_store, read_all, start_redis_writer, start_writer
from tests.support.redis_kept import open_redis_answers

Task: TypeAlias = Callable[[], Awaitable[None]]

PATIENCE_S = 20
START = AnswerStart(200, ((b"content-type", b"text/event-stream"),), b"cut", b": keep-alive")


class CountingKeeper:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.stops = 0
        self.readers: list[int] = []
        self.told = trio.lowlevel.ParkingLot()
        self.stopped = trio.Event()

    def stop(self) -> None:
        self.stops += 1
        self.stopped.set()

    def note_readers(self, count: int) -> None:
        self.readers.append(count)
        self.told.unpark_all()


@define(eq=False)
class Workers:
    """Opens workers' stores of one kind; their tasks run in the nursery."""

    kind: str
    folder: Path
    nursery: trio.Nursery
    port: int = 0
    count: int = 0
    scopes: list[trio.CancelScope] = field(factory=list)

    async def open(self, max_bytes: int = 10_000_000, max_answers: int = 1_000) -> AnswerStore:
        """Another worker's store; in a cluster, each is a node of its own."""
        self.count += 1
        if self.kind == "redis":
            shared = open_redis_answers(self.port, max_bytes, max_answers)
            self.nursery.start_soon(self._run, shared.run)
            return shared
        folder = self.folder if self.kind == "files" else self.folder / str(self.count)
        folder.mkdir(exist_ok=True)
        here = open_store(folder, max_bytes, max_answers)
        self.nursery.start_soon(self._run, here.run, here.aclose)
        return here if self.kind == "files" else self._share(here, max_bytes, max_answers)

    def _share(self, here: FileAnswerStore, max_bytes: int, max_answers: int) -> ClusterAnswers:
        shared = open_redis_answers(self.port, max_bytes, max_answers, worker=worker_id(here.worker))
        self.nursery.start_soon(self._run, shared.run)
        return ClusterAnswers(here, shared, refuses=False)

    def stop(self) -> None:
        """End these workers, as a gateway that stops."""
        for scope in self.scopes:
            scope.cancel()

    async def _run(
        self, task: Callable[[], Awaitable[None]], aclose: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        with trio.CancelScope() as scope:
            self.scopes.append(scope)
            await task()
        if aclose is not None:
            await aclose()

    def start_writer(self) -> Any:
        """A process that has written `first` and `second` under NAME, and writes no more."""
        return start_writer(self.folder) if self.kind == "files" else start_redis_writer(self.port)


@pytest.fixture(params=["files", "redis", "cluster"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Workers]:
    made = Workers(request.param, tmp_path, nursery)
    if made.kind != "files":
        redis: RedisServer = request.getfixturevalue("redis")
        made.port = redis.port
    yield made
    made.stop()
    await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
async def store(workers: Workers) -> AnswerStore:
    return await workers.open()


@pytest.fixture
async def other(workers: Workers) -> AnswerStore:
    """Another worker's."""
    return await workers.open()


async def claim(store: AnswerStore, name: bytes = NAME, limit: int = 1_000_000) -> AnswerWriter:
    """A writer, which the test needs. What an earlier writer has said last may be under way."""
    with trio.fail_after(PATIENCE_S):
        while True:
            got = await store.claim(name, HEAD, KeepLimits(limit))
            if isinstance(got, AnswerWriter):
                return got
            assert got is not None
            got.close()
            await trio.sleep(0.01)


@asynccontextmanager
async def found(store: AnswerStore, name: bytes = NAME) -> AsyncIterator[KeptAnswer]:
    """A reader, which the test needs."""
    answer = await store.find(name)
    assert answer is not None
    try:
        yield answer
    finally:
        answer.close()


async def wait_gone(store: AnswerStore, name: bytes = NAME) -> None:
    """Until there is no such answer."""
    with trio.fail_after(PATIENCE_S):
        while (answer := await store.find(name)) is not None:
            answer.close()
            await trio.sleep(0.01)


async def wait_ended(store: AnswerStore, how: str, name: bytes = NAME) -> None:
    """Until other workers see this end."""
    with trio.fail_after(PATIENCE_S):
        while True:
            async with found(store, name) as answer:
                if answer.ended == how:
                    return
            await trio.sleep(0.01)


# ── reading what was written ─────────────────────────────────────────────────────────────────────────────────────────


async def test_other_worker_reads_what_was_kept(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store)
    writer.begin(START)
    assert writer.add([b"one", b"", b"\x00\xff"])
    assert writer.add([b"two"])
    writer.end("whole", 60)

    async with found(other) as answer:
        assert [b"one", b"", b"\x00\xff", b"two"] == await read_all(answer)
        assert (HEAD, "whole", START) == (answer.head, answer.ended, answer.start)


async def test_head_is_told_as_it_was(store: AnswerStore, other: AnswerStore) -> None:
    head = AnswerHead(HEAD.request_id, HEAD.endpoint, "ü", "gateway", "ws", 5.5, None, 7.25)

    await store.claim(NAME, head, LIMITS)

    async with found(other) as answer:
        assert (head, None, None) == (answer.head, answer.start, answer.ended)


async def test_start_comes_before_parts(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store)

    async with found(other) as answer, trio.open_nursery() as reading:

        async def read() -> None:
            assert START == await answer.wait_start()

        reading.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        writer.begin(START)


async def test_answer_that_ends_without_a_start_has_none(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store)

    async with found(other) as answer:
        writer.end("failed", 60)
        with trio.fail_after(PATIENCE_S):
            assert None is await answer.wait_start()
            assert () == tuple(await answer.receive())


async def test_reader_waits_for_the_next_part(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store)
    parts: list[bytes] = []

    async with found(other) as answer, trio.open_nursery() as reading:

        async def read() -> None:
            parts.extend(await read_all(answer))

        reading.start_soon(read)
        for number in range(200):
            writer.add([b"%d" % number])
            await trio.sleep(0.001)
        writer.end("whole", 60)

    assert [b"%d" % number for number in range(200)] == parts


@pytest.mark.parametrize("after", range(7))
async def test_seek_goes_behind_a_part(store: AnswerStore, other: AnswerStore, after: int) -> None:
    writer = await claim(store)
    writer.begin(START)
    parts = [b"1", b"2", b"3" * 200_000, b"", b"5", b"6"]
    writer.add(parts[:2])
    writer.add(parts[2:])
    writer.end("whole", 60)

    async with found(other) as answer:
        assert START == await answer.wait_start()
        assert await answer.seek(after)
        assert parts[after:] == await read_all(answer)


async def test_seek_beyond_the_last_part_fails(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store)
    writer.add([b"1", b"2"])

    async with found(other) as answer:
        assert not await answer.seek(3)
        writer.end("whole", 60)
        await wait_ended(other, "whole")
        assert not await answer.seek(3)
        assert await answer.seek(2)
        assert [] == await read_all(answer)


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072, 400_000])
async def test_long_part_is_read_whole(store: AnswerStore, other: AnswerStore, size: int) -> None:
    writer = await claim(store)
    long = (bytes(range(256)) * 2_000)[:size]
    writer.add([b"a", long, b"b", long])
    writer.end("whole", 60)

    async with found(other) as answer:
        assert [b"a", long, b"b", long] == await read_all(answer)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_of_many_claims_wins(store: AnswerStore, other: AnswerStore) -> None:
    got: list[object] = []

    async def try_claim(which: AnswerStore) -> None:
        got.append(await which.claim(NAME, HEAD, LIMITS))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(try_claim, (store, other)[number % 2])

    readers = [each for each in got if not isinstance(each, AnswerWriter)]
    assert (20, 19) == (len(got), len(readers))
    for reader in readers:
        assert HEAD == reader.head  # type: ignore[attr-defined]
        reader.close()  # type: ignore[attr-defined]


async def test_unknown_name_is_none(store: AnswerStore) -> None:
    await claim(store, OWNER.name("stream", "another"))

    assert None is await store.find(NAME)


async def test_discarded_name_is_free(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store)
    writer.add([b"x" * 100_000])

    async with found(other) as reader:
        writer.discard()
        await wait_gone(other)
        (await claim(other)).discard()
        with pytest.raises(AnswerCut):
            await read_all(reader)


async def test_answer_of_no_time_is_read_by_those_who_have_it(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store)

    async with found(other) as reader:
        writer.add([b"all"])
        writer.end("failed", 0)
        await wait_gone(other)
        # Also if the name is another one's by now.
        again = await claim(other)
        again.add([b"other"])
        assert [b"all"] == await read_all(reader)
        assert "failed" == reader.ended


async def test_ended_answer_keeps_its_name(store: AnswerStore, other: AnswerStore) -> None:
    (await claim(store)).end("whole", 60)

    for each in (store, other):
        got = await each.claim(NAME, HEAD, LIMITS)
        assert got is not None
        assert not isinstance(got, AnswerWriter)
        got.close()


async def test_name_is_free_after_its_time(store: AnswerStore, other: AnswerStore) -> None:
    (await claim(store)).end("whole", 0.05)

    await wait_gone(other)

    (await claim(other)).discard()


# ── workers that are killed ──────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_of_a_killed_worker_is_cut(store: AnswerStore, workers: Workers) -> None:
    process = workers.start_writer()

    async with found(store) as answer:
        assert [b"first", b"second"] == list(await answer.receive())
        kill(process)
        with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut, match="worker"):
            await answer.receive()
    # Those who come later get what there is, and learn the same.
    async with found(store) as later:
        assert [b"first", b"second"] == list(await later.receive())
        with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut, match="worker"):
            await later.receive()
        assert not await later.stop(5)


async def test_name_of_a_killed_worker_is_free(store: AnswerStore, other: AnswerStore, workers: Workers) -> None:
    process = workers.start_writer()
    async with found(store) as reader:
        taken = await store.claim(NAME, HEAD, LIMITS)
        assert not isinstance(taken, AnswerWriter)
        kill(process)

        writer = await claim(store)
        writer.add([b"new"])
        writer.end("whole", 60)

        with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut):
            await read_all(reader)
    async with found(other) as answer:
        assert [b"new"] == await read_all(answer)
    assert taken is not None
    taken.close()


async def test_stopped_store_cuts_its_answers(workers: Workers, other: AnswerStore) -> None:
    stopping = Workers(workers.kind, workers.folder, workers.nursery, workers.port)
    writer = await claim(await stopping.open())
    writer.add([b"x"])

    async with found(other) as reader:
        assert [b"x"] == list(await reader.receive())
        stopping.stop()
        with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut):
            await reader.receive()


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_longer_answer_is_not_kept(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store, limit=10)

    async with found(other) as reader:
        assert writer.add([b"12345"])
        assert [b"12345"] == list(await reader.receive())
        assert not writer.add([b"678901"])
        assert not writer.add([b"7"])
        # It runs, so its name is taken.
        await wait_ended(other, "outgrown")
        with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut, match="outgrown"):
            await reader.receive()
    writer.end("whole", 60)
    await wait_gone(other)


async def test_long_part_that_outgrows_is_cut(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store, limit=300_000)

    async with found(other) as reader:
        writer.add([b"x" * 200_000])
        await trio.lowlevel.checkpoint()
        assert not writer.add([b"y" * 200_000])
        with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut, match="outgrown"):
            await read_all(reader)
    writer.end("whole", 60)
    await wait_gone(other)


async def test_count_is_bounded_over_all_workers(workers: Workers) -> None:
    stores = [await workers.open(max_answers=3) for _ in range(2)]

    made = [await stores[number % 2].claim(OWNER.name("stream", str(number)), HEAD, LIMITS) for number in range(6)]

    assert [True] * 3 + [False] * 3 == [each is not None for each in made]
    for each in made[:3]:
        assert isinstance(each, AnswerWriter)
        each.discard()
    await wait_gone(stores[0], OWNER.name("stream", "0"))
    await claim(stores[1])


async def test_bytes_are_bounded_and_come_back(workers: Workers) -> None:
    store, other = [await workers.open(max_bytes=200_000) for _ in range(2)]
    writer = await claim(store)
    assert writer.add([b"x" * 100_000])

    async with found(other) as reader:
        writer.add([b"y" * 100_000])
        with trio.fail_after(PATIENCE_S), pytest.raises(AnswerCut, match="outgrown"):
            await read_all(reader)
    writer.discard()

    await wait_gone(other)
    again = await claim(other)
    again.add([b"z" * 100_000])
    again.end("whole", 60)
    async with found(store) as reader:
        assert [b"z" * 100_000] == await read_all(reader)


async def test_crowded_store_lets_the_first_ones_go(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg_trio.store.answer_sweep.SWEEP_EVERY_S", 1.0)
    store = await workers.open(max_answers=10)
    # The first walk over the files must be over: one that meets the claims lets the first ones go that it has seen.
    await trio.testing.wait_all_tasks_blocked()
    names = [OWNER.name("stream", str(number)) for number in range(10)]

    for number, name in enumerate(names):
        (await claim(store, name)).end("whole", 100 + number)

    await wait_gone(store, names[0])
    for name in names[1:]:
        async with found(store, name):
            pass


# ── readers and their worker ─────────────────────────────────────────────────────────────────────────────────────────


async def test_stop_reaches_the_writer(store: AnswerStore, other: AnswerStore, nursery: trio.Nursery) -> None:
    writer = await claim(store)
    keeper = CountingKeeper()
    writer.watch(keeper)

    async def obey() -> None:
        await keeper.stopped.wait()
        writer.end("stopped", 60)

    nursery.start_soon(obey)
    async with found(other) as answer:
        with trio.fail_after(PATIENCE_S):
            assert await answer.stop(5)
            assert not await answer.stop(5)

    assert 1 == keeper.stops


async def test_writer_knows_its_readers(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store)
    keeper = CountingKeeper()
    writer.watch(keeper)

    with trio.fail_after(PATIENCE_S):
        async with found(store) as here, found(other) as there:
            with here.attach(), there.attach():
                while keeper.readers[-1:] != [2]:
                    await keeper.told.park()
            while keeper.readers[-1:] != [0]:
                await keeper.told.park()


async def test_readers_of_a_killed_worker_are_forgotten(
    store: AnswerStore, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_writing, "READERS_HOLD_S", 2.5)
    leaving = Workers(workers.kind, workers.folder, workers.nursery, workers.port)
    other = await leaving.open()
    writer = await claim(store)
    keeper = CountingKeeper()
    writer.watch(keeper)

    async with found(other) as reader:
        stays = reader.attach()
        stays.__enter__()
        with trio.fail_after(PATIENCE_S):
            while keeper.readers[-1:] != [1]:
                await keeper.told.park()
            # It repeats nothing any more.
            leaving.stop()
            while keeper.readers[-1:] != [0]:
                await keeper.told.park()


async def test_cancelled_reader_leaves_nothing(store: AnswerStore, other: AnswerStore) -> None:
    writer = await claim(store)

    async with found(other) as answer:
        with trio.move_on_after(0.05) as scope, answer.attach():
            await answer.receive()
        assert scope.cancelled_caught
        # It reads on where it was.
        writer.add([b"x"])
        assert [b"x"] == list(await answer.receive())


async def test_cancelled_claim_frees_the_name(workers: Workers, store: AnswerStore, other: AnswerStore) -> None:
    await claim(store, OWNER.name("stream", "first"))

    for steps in range(6):
        with trio.CancelScope() as scope:

            async def leave(scope: trio.CancelScope = scope, steps: int = steps) -> None:
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            workers.nursery.start_soon(leave)
            got = await store.claim(NAME, HEAD, LIMITS)
            if isinstance(got, AnswerWriter):
                got.discard()

        (await claim(other)).discard()
        await wait_gone(other)
