"""Writes one kept answer. Nothing here waits: a part is one `write` into the page cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from attrs import define, field, frozen

from pg_trio.domain.kept_answer import AnswerEnd, AnswerStart, KeepLimits
from pg_trio.store.answer_files import AnswerFolder, unlink_own, write_all
from pg_trio.store.answer_pipes import COUNT, GROWN, AnswerPipes
from pg_trio.store.answer_records import AnswerState, pack_parts, pack_start
from pg_trio.store.answer_usage import AnswerUsage, CountersBusy
from pg_trio.store.outage import Outage

# A running answer counts in steps of 64 KiB, so that most parts take no lock.
STEP_BYTES = 64 * 1024
# A worker that has not repeated for so long how many readers it has is asked. It repeats it each second.
SILENT_S = 3.0


@frozen(slots=True, eq=False)
class AnswerPlace:
    """What all answers of one worker share. `tell(worker, kind, name, number)` is AnswerStore's."""

    folder: AnswerFolder
    usage: AnswerUsage
    pipes: AnswerPipes
    outage: Outage
    now_s: Callable[[], float]
    tell: Callable[[bytes, bytes, bytes, int], bool]
    forget: Callable[[bytes], None]


class ReaderWatch(Protocol):
    """See attachment.answer_store.AnswerKeeper."""

    def stop(self) -> object: ...

    def note_readers(self, count: int, /) -> None: ...


class _NoWatch:
    """Readers make no difference, and nothing can be stopped."""

    def stop(self) -> None:
        pass

    def note_readers(self, count: int) -> None:
        pass


@define(slots=True, eq=False)
class FileAnswerWriter:
    """See attachment.answer_store.AnswerWriter. `_counted` are the bytes that count for this file until its end.

    They may be fewer than the file has: an answer is kept on while another worker holds the counters and does not run.
    What is missing is counted with the next part, at the end, or by the sweep.
    """

    _place: AnswerPlace
    _name: bytes
    _limits: KeepLimits
    _file: int
    _size: int
    _counted: int = STEP_BYTES
    _parts: int = 0
    _part_bytes: int = 0
    is_kept: bool = True
    is_shared: bool = True
    _keeper: ReaderWatch = field(factory=_NoWatch)
    # Workers whose readers wait for more.
    _waiting: set[bytes] = field(factory=set)
    # How many readers each worker has, and from when on it is asked for that (Unix seconds).
    _readers: dict[bytes, tuple[int, float]] = field(factory=dict)

    def watch(self, keeper: ReaderWatch) -> None:
        """See AnswerWriter."""
        self._keeper = keeper
        if self._readers:
            self._tell_readers()

    def begin(self, start: AnswerStart) -> None:
        """See AnswerWriter."""
        self._write(pack_start(start))

    def add(self, parts: Sequence[bytes]) -> bool:
        """See AnswerWriter."""
        self._part_bytes += sum(map(len, parts))
        if self._part_bytes > self._limits.bytes:
            self._give_up()
        elif self._write(pack_parts(parts)):
            self._parts += len(parts)
        return self.is_kept

    def end(self, how: AnswerEnd, keep_s: float) -> None:
        """See AnswerWriter."""
        if self._file >= 0:
            keep_s = keep_s if self.is_kept else 0.0
            self._write_state(how if self.is_kept else "outgrown", keep_s)
            self._close(removes=keep_s <= 0)

    def discard(self) -> None:
        """See AnswerWriter."""
        if self._file >= 0:
            self._write_state("cut", 0.0)
            self._close(removes=True)

    # ── what readers say ─────────────────────────────────────────────────────────────────────────────────────────────

    def note_waiting(self, worker: bytes, seen: int) -> None:
        """A worker's reader waits for more than these bytes of the file."""
        if self._size > seen:
            self._place.tell(worker, GROWN, self._name, 0)
        else:
            self._waiting.add(worker)

    def note_readers(self, worker: bytes, count: int) -> None:
        """So many readers of that worker are attached."""
        self._readers.pop(worker, None)
        if count:
            self._readers[worker] = (count, self._place.now_s() + SILENT_S)
        self._tell_readers()

    def check_readers(self) -> None:
        """Forget the readers of workers that were killed, and ask other silent workers for theirs.

        Silence alone says nothing. A worker that is stopped (SIGSTOP) has its clients still. If this one was stopped,
        what the other has repeated is not read yet. Or the word that its last reader has left was lost.
        """
        now = self._place.now_s()
        silent = [worker for worker, (_, until) in self._readers.items() if until < now]
        if gone := [worker for worker in silent if not self._place.tell(worker, COUNT, self._name, 0)]:
            for worker in gone:
                del self._readers[worker]
            self._tell_readers()

    def ask_stop(self) -> None:
        """A reader asks for the answer's end."""
        self._keeper.stop()

    def _tell_readers(self) -> None:
        self._keeper.note_readers(sum([count for count, _ in self._readers.values()]))

    # ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, data: bytes) -> bool:
        if not self.is_kept or self._file < 0:
            return False
        size = self._size + len(data)
        try:
            if size > self._counted and not self._count(size):
                self._give_up()
                return False
            write_all(self._file, data)
        except OSError as error:
            self._place.outage.failed(error)
            self._give_up()
            return False
        self._size = size
        self._wake()
        return True

    def _count(self, size: int) -> bool:
        """False if there is no room. If that cannot be known now, the next part asks again."""
        more = (size - self._counted + STEP_BYTES - 1) // STEP_BYTES * STEP_BYTES
        try:
            if not self._place.usage.take(more):
                return False
        except CountersBusy:
            return True
        self._counted += more
        return True

    def _give_up(self) -> None:
        """Keep no more of it. The name stays claimed, so that readers and claims see that it runs."""
        if self.is_kept:
            self.is_kept = False
            self._write_state("outgrown", 0.0)

    def _write_state(self, how: AnswerEnd, keep_s: float) -> None:
        kept_until = self._place.now_s() + keep_s
        worker = self._place.pipes.worker
        with suppress(OSError):
            os.pwrite(self._file, AnswerState(worker, how, kept_until, self._parts, self._size).to_bytes(), 0)
            # A sweep reads the time alone.
            os.utime(self._file, (kept_until, kept_until))
        self._wake()

    def _wake(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, set()
            for worker in waiting:
                self._place.tell(worker, GROWN, self._name, 0)

    def _close(self, *, removes: bool) -> None:
        left, answers = self._size, 0
        with suppress(OSError):
            if removes and unlink_own(self._place.folder.path_of(self._name), self._file) is not None:
                left, answers = 0, 1
            if left > self._counted:
                self._place.usage.take(left - self._counted)
            else:
                self._place.usage.give_back(self._counted - left, answers)
        os.close(self._file)
        self._file = -1
        self._place.forget(self._name)
        self._wake()
