"""The kept answers of one machine: files that all workers read, and pipes through which they wake each other."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import trio

from pg_trio.domain.kept_answer import AnswerHead, KeepLimits
from pg_trio.store.answer_files import FOLDER_NAME, WORKERS_NAME, AnswerFolder, remove
from pg_trio.store.answer_pipes import COUNT, GROWN, READERS, STOP, WAIT, AnswerPipes, PipeMessage
from pg_trio.store.answer_reader import FileKeptAnswer, ReaderHub
from pg_trio.store.answer_records import AnswerState, DamagedAnswer, pack_head
from pg_trio.store.answer_sweep import AnswerSweep
from pg_trio.store.answer_usage import AnswerUsage, CountersBusy
from pg_trio.store.answer_writer import STEP_BYTES, AnswerPlace, FileAnswerWriter
from pg_trio.store.outage import Outage

logger = logging.getLogger("pg_trio.store")

# A name is free again once an old answer is removed; another claim may come first.
CLAIM_TRIES = 3
# A claim waits so long for a worker that does not run while it holds the counters, or the answer of a killed one: else
# two requests would be the first.
BUSY_LIMIT_S, BUSY_PAUSE_S = 1.0, 0.01
REPEAT_EVERY_S = 1.0


class NameBusy(OSError):
    """Another process looks at the answer that had the name, so that it cannot be removed now."""

    def __init__(self) -> None:
        super().__init__("another worker looks at an answer that is to be removed and does not run.")


class FileAnswerStore:
    """See attachment.answer_store.AnswerStore. `run` is a task of the gateway's nursery. Raises OSError when it is
    made, if its folder cannot be used."""

    def __init__(
        self, data_dir: Path, max_bytes: int, max_answers: int, now_s: Callable[[], float] = time.time
    ) -> None:
        self.folder = AnswerFolder(data_dir / FOLDER_NAME)
        self.folder.prepare()
        self._now_s = now_s
        self._pipes = AnswerPipes(self.folder.path / WORKERS_NAME)
        self._usage = AnswerUsage(self.folder.path / "usage", max_bytes, max_answers)
        self._outage = Outage(logger, "answers are not kept")
        self._hub = ReaderHub(self._tell, READERS)
        self._writers: dict[bytes, FileAnswerWriter] = {}
        self._numbers = count()
        self._place = AnswerPlace(self.folder, self._usage, self._pipes, self._outage, now_s, self._tell, self._forget)
        self.sweep = AnswerSweep(self.folder, self._usage, now_s, self._pipes.sweep)

    @property
    def worker(self) -> bytes:
        """This worker's id, as its answers have it."""
        return self._pipes.worker

    async def aclose(self) -> None:
        """Close it. Answers without an end are cut."""
        for writer in list(self._writers.values()):
            writer.end("cut", 0)
        self._pipes.close()
        self._usage.close()
        await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        """Take messages and sweep until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pipes.run, self._take)
            nursery.start_soon(self._repeat)
            nursery.start_soon(self.sweep.run)

    async def claim(
        self, name: bytes, head: AnswerHead, limits: KeepLimits
    ) -> FileAnswerWriter | FileKeptAnswer | None:
        """See AnswerStore."""
        await trio.lowlevel.checkpoint()
        until = trio.current_time() + BUSY_LIMIT_S
        while True:
            try:
                return self._claim(name, head, limits)
            except (CountersBusy, NameBusy) as error:
                if trio.current_time() >= until:
                    self._outage.failed(error)
                    return None
                await trio.sleep(BUSY_PAUSE_S)
            except OSError as error:
                self._outage.failed(error)
                return None

    async def find(self, name: bytes) -> FileKeptAnswer | None:
        """See AnswerStore."""
        await trio.lowlevel.checkpoint()
        try:
            return self._open(name)
        except OSError as error:
            self._outage.failed(error)
            return None

    def _claim(self, name: bytes, head: AnswerHead, limits: KeepLimits) -> FileAnswerWriter | FileKeptAnswer:
        for _ in range(CLAIM_TRIES):
            made = self._make(name, head, limits) or self._open(name, takes_over=True)
            if made is not None:
                self._outage.succeeded()
                return made
        raise NameBusy

    def _make(self, name: bytes, head: AnswerHead, limits: KeepLimits) -> FileAnswerWriter | None:
        """A writer; None if the name is taken. Raises OSError if there is no room."""
        if self.folder.path_of(name).exists():
            return None
        if not self._usage.take(STEP_BYTES, 1):
            raise OSError("the answers of all workers have reached max_kept_bytes or max_kept_answers.")
        worker = self._pipes.worker
        data = AnswerState(worker).to_bytes() + pack_head(head)
        file = None
        try:
            file = self.folder.create(name, f"{worker.hex()}-{next(self._numbers)}", data)
        finally:
            if file is None:
                self._usage.give_back(STEP_BYTES, 1)
        if file is None:
            return None
        writer = self._writers[name] = FileAnswerWriter(self._place, name, limits, file, len(data))
        return writer

    def _open(self, name: bytes, *, takes_over: bool = False) -> FileKeptAnswer | None:
        """A reader; None if there is no such answer, or its time is over: it is removed then.

        `takes_over`: also where its worker has ended before its end.
        """
        file = self.folder.open(name)
        if file is None:
            return None
        try:
            answer = FileKeptAnswer(self._hub, name, file)
        except DamagedAnswer as error:
            logger.error("%s: not used: %s", self.folder.path_of(name), error)
            self._remove(name, file)
            os.close(file)
            return None
        if self._is_over(answer, takes_over=takes_over):
            self._remove(name, file)
            answer.close()
            return None
        return answer

    def _is_over(self, answer: FileKeptAnswer, *, takes_over: bool) -> bool:
        if answer.ended is not None:
            return not answer.has_writer and answer.kept_until <= self._now_s()
        return takes_over and not answer.has_writer

    def _remove(self, name: bytes, file: int) -> None:
        size = remove(self.folder.path_of(name), file)
        if size is not None:
            self._usage.give_back(size, 1)

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tell(self, worker: bytes, kind: bytes, name: bytes, number: int) -> bool:
        if worker != self._pipes.worker:
            return self._pipes.send(worker, kind, name, number)
        self._take(PipeMessage(kind, worker, name, number))
        return True

    def _take(self, message: PipeMessage) -> None:
        kind, name = message.kind, message.name
        if kind == GROWN:
            self._hub.wake(name)
            return
        if kind == COUNT:
            self._hub.tell_count(message.sender, name)
            return
        writer = self._writers.get(name)
        if writer is None:
            if kind == WAIT:
                # It has ended.
                self._tell(message.sender, GROWN, name, 0)
        elif kind == WAIT:
            writer.note_waiting(message.sender, message.number)
        elif kind == READERS:
            writer.note_readers(message.sender, message.number)
        elif kind == STOP:
            writer.ask_stop()

    def _forget(self, name: bytes) -> None:
        self._writers.pop(name, None)

    async def _repeat(self) -> None:
        while True:
            await trio.sleep(REPEAT_EVERY_S)
            self._hub.repeat_counts()
            for writer in list(self._writers.values()):
                writer.check_readers()
