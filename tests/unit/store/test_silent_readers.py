"""Workers that do not repeat that they have readers: a killed one has none, a stopped one (SIGSTOP) has them still."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import trio
from attrs import define, field

from pg_trio.store.answer_pipes import WAIT
from pg_trio.store.answer_writer import SILENT_S, FileAnswerWriter
from pg_trio.store.file_answers import FileAnswerStore
from tests.support.kept import NAME, claim, find, open_store

PATIENCE_S = 10


@define
class Noting:
    """What a writer's keeper was told of readers."""

    counts: list[int] = field(factory=list)
    told: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def stop(self) -> None: ...

    def note_readers(self, count: int) -> None:
        self.counts.append(count)
        self.told.unpark_all()


@define(eq=False)
class Made:
    """A worker's answer, that worker's clock, and another worker whose task does not run: it is stopped."""

    store: FileAnswerStore
    stopped: FileAnswerStore
    writer: FileAnswerWriter
    keeper: Noting
    now_s: list[float]

    def check_after(self, silence_s: float) -> list[int]:
        """What the keeper has been told after so long a silence."""
        self.now_s[0] += silence_s
        self.writer.check_readers()
        return self.keeper.counts


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Made]:
    now_s = [1e9]
    store, stopped = FileAnswerStore(tmp_path, 10_000_000, 1_000, lambda: now_s[0]), open_store(tmp_path)
    writer, keeper = await claim(store), Noting()
    writer.watch(keeper)
    yield Made(store, stopped, writer, keeper, now_s)
    await store.aclose()


async def test_killed_worker_has_none(made: Made) -> None:
    made.writer.note_readers(made.stopped.worker, 3)
    await made.stopped.aclose()

    assert [3, 0] == made.check_after(SILENT_S + 1)


@pytest.mark.parametrize("is_known", [False, True])
async def test_stopped_worker_has_them_still(made: Made, *, is_known: bool) -> None:
    """So it is where the answer's own worker was stopped: what the other one has repeated meanwhile is not read yet."""
    if is_known:
        # Its pipe is open.
        assert made.store._pipes.send(made.stopped.worker, WAIT, NAME)
    made.writer.note_readers(made.stopped.worker, 3)

    assert [3] == made.check_after(SILENT_S + 1)
    assert [3] == made.check_after(3_600)

    await made.stopped.aclose()
    assert [3, 0] == made.check_after(1)


async def test_worker_with_a_full_pipe_has_them_still(made: Made) -> None:
    made.writer.note_readers(made.stopped.worker, 3)
    for _ in range(2_000):
        assert made.store._pipes.send(made.stopped.worker, WAIT, NAME)

    assert [3] == made.check_after(SILENT_S + 1)
    await made.stopped.aclose()


async def test_worker_whose_pipe_cannot_be_opened_now_has_them_still(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.writer.note_readers(made.stopped.worker, 3)

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        made.store._pipes.sweep()
        told = list(made.check_after(SILENT_S + 1))

    assert [3] == told == made.check_after(1)
    await made.stopped.aclose()


@pytest.mark.parametrize("count", [0, 1])
async def test_count_that_was_lost_is_asked_for(made: Made, count: int) -> None:
    """The worker's pipe was full when readers came or left."""
    answer = await find(made.stopped)
    with answer.attach() if count else nullcontext():
        made.writer.note_readers(made.stopped.worker, 3)
        async with trio.open_nursery() as nursery:
            for store in (made.store, made.stopped):
                nursery.start_soon(store._pipes.run, store._take)

            made.check_after(SILENT_S + 1)

            with trio.fail_after(PATIENCE_S):
                while made.keeper.counts[-1] != count:
                    await made.keeper.told.park()
            nursery.cancel_scope.cancel()
    answer.close()
    await made.stopped.aclose()
