"""Reads one kept answer while it grows, in any worker."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import trio

from pg_trio.domain.kept_answer import AnswerEnd, AnswerHead, AnswerStart
from pg_trio.errors import AnswerCut
from pg_trio.store.answer_files import has_writer, read_state
from pg_trio.store.answer_pipes import STOP, WAIT
from pg_trio.store.answer_records import (
    HEAD,
    PARTS,
    START,
    STATE_BYTES,
    AnswerState,
    DamagedAnswer,
    read_head,
    read_start,
    unpack_parts,
    unpack_record,
)

# 64 KiB: what one read takes, and about what `receive` gives at once.
READ_BYTES = 64 * 1024
# 0.25 s: after that a reader looks for itself, because a message may be lost and a worker killed.
POLL_S = 0.25


class FileKeptAnswer:
    """See attachment.answer_store.KeptAnswer. It closes the file.

    `hub` is the store: it passes messages on, and wakes readers. Raises DamagedAnswer if the file's beginning is
    damaged.
    """

    def __init__(self, hub: ReaderHub, name: bytes, file: int) -> None:
        self._hub = hub
        self._name = name
        self._file = file
        self._data = b""
        # The place in the data; where the data begins in the file.
        self._at = 0
        self._offset = STATE_BYTES
        # The parts of the last record that are not given yet, the next one last; the number of the last one given.
        self._parts: list[bytes] = []
        self._number = 0
        self.start: AnswerStart | None = None
        self._woken = trio.Event()
        self._state = read_state(file)
        self.head = self._read_head()

    @property
    def ended(self) -> AnswerEnd | None:
        """See KeptAnswer."""
        return self._look().ended

    @property
    def worker(self) -> bytes:
        """The id of the worker that writes it, or wrote it."""
        return self._state.worker

    @property
    def kept_until(self) -> float:
        """Unix seconds; only once it has ended."""
        return self._state.kept_until

    @property
    def has_writer(self) -> bool:
        """Whether a worker still writes it."""
        return has_writer(self._file)

    async def seek(self, after: int) -> bool:
        """See KeptAnswer. A part is here before any client has it."""
        await trio.lowlevel.checkpoint()
        try:
            while self._number < after and self._next_part() is not None:
                pass
        except DamagedAnswer as error:
            raise AnswerCut(str(error)) from error
        return self._number == after

    @contextmanager
    def attach(self) -> Iterator[None]:
        """See KeptAnswer."""
        self._hub.count_reader(self._state.worker, self._name, 1)
        try:
            yield
        finally:
            self._hub.count_reader(self._state.worker, self._name, -1)

    async def receive(self) -> Sequence[bytes]:
        """See KeptAnswer."""
        # Also where parts are there: a reader that is far behind must not keep others waiting.
        await trio.lowlevel.checkpoint()
        while True:
            # In this order: what was written before the end is read before the end is seen.
            state = self._look()
            try:
                parts = self._take_parts()
            except DamagedAnswer as error:
                raise AnswerCut(str(error)) from error
            if parts:
                return parts
            if state.ended is not None:
                return self._finish(state)
            await self._wait_more(self._offset + len(self._data))

    async def wait_start(self) -> AnswerStart | None:
        """See KeptAnswer."""
        while self.start is None:
            state = self._look()
            try:
                self._pass_start()
            except DamagedAnswer as error:
                raise AnswerCut(str(error)) from error
            if self.start is None:
                if state.ended is not None or self._at < len(self._data):
                    return None
                await self._wait_more(self._offset + len(self._data))
        return self.start

    async def stop(self, limit_s: float) -> bool:
        """See KeptAnswer."""
        if self.ended is not None or not self._hub.tell(self._state.worker, STOP, self._name, 0):
            return False
        with trio.move_on_after(limit_s):
            while self.ended is None:
                try:
                    await self._wait_more(self._size())
                except AnswerCut:
                    return False
        # It was asked for, and it has not ended in another way.
        return self.ended in (None, "stopped")

    def wake(self) -> None:
        """There is more to read."""
        self._woken.set()

    def close(self) -> None:
        """See KeptAnswer."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> AnswerState:
        if self._state.ended is None and self._file >= 0:
            try:
                self._state = read_state(self._file)
            except DamagedAnswer as error:
                raise AnswerCut(str(error)) from error
        return self._state

    def _size(self) -> int:
        return os.fstat(self._file).st_size

    def _finish(self, state: AnswerState) -> Sequence[bytes]:
        if state.ended in ("outgrown", "cut"):
            raise AnswerCut(f"it is {state.ended}")
        if self._number != state.parts:
            raise AnswerCut("parts are missing")
        return ()

    def _take_parts(self) -> list[bytes]:
        parts: list[bytes] = []
        size = 0
        while size < READ_BYTES and (part := self._next_part()) is not None:
            parts.append(part)
            size += len(part)
        return parts

    def _next_part(self) -> bytes | None:
        while not self._parts:
            record = self._next_record()
            if record is None:
                return None
            kind, payload = record
            if kind == PARTS:
                self._parts = unpack_parts(payload)[::-1]
            elif kind == START:
                self.start = read_start(payload)
        self._number += 1
        return self._parts.pop()

    def _pass_start(self) -> None:
        """Read the start, if it comes next."""
        at = self._at
        record = self._next_record()
        if record is not None and record[0] == START:
            self.start = read_start(record[1])
        elif record is not None:
            self._at = at

    def _next_record(self) -> tuple[bytes, bytes] | None:
        while (record := unpack_record(self._data, self._at)) is None:
            more = os.pread(self._file, READ_BYTES, self._offset + len(self._data))
            if not more:
                return None
            self._data, self._offset, self._at = self._data[self._at :] + more, self._offset + self._at, 0
        kind, payload, self._at = record
        return kind, payload

    def _read_head(self) -> AnswerHead:
        record = self._next_record()
        if record is None or record[0] != HEAD:
            raise DamagedAnswer("its head is missing")
        return read_head(record[1])

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _wait_more(self, seen: int) -> None:
        """Wait until the file may have grown. Raises AnswerCut if its worker has ended."""
        self._woken = trio.Event()
        with self._hub.waiting(self._name, self):
            is_told = self._hub.tell(self._state.worker, WAIT, self._name, seen)
            with trio.move_on_after(POLL_S if is_told or has_writer(self._file) else 0):
                await self._woken.wait()
        if self._woken.is_set() or has_writer(self._file):
            return
        # It may have written its last bytes before it closed the file.
        if self._look().ended is None and self._size() <= seen:
            raise AnswerCut("its worker has ended")


class ReaderHub:
    """The readers of one worker. `tell(worker, kind, name, number)` passes a message on, as AnswerPipes.send."""

    def __init__(self, tell: Callable[[bytes, bytes, bytes, int], bool], readers_kind: bytes) -> None:
        self.tell = tell
        self._kind = readers_kind
        self._waiting: dict[bytes, set[FileKeptAnswer]] = {}
        self._attached: dict[tuple[bytes, bytes], int] = {}

    @contextmanager
    def waiting(self, name: bytes, reader: FileKeptAnswer) -> Iterator[None]:
        """While the block lasts, the reader is woken."""
        self._waiting.setdefault(name, set()).add(reader)
        try:
            yield
        finally:
            readers = self._waiting[name]
            readers.discard(reader)
            if not readers:
                del self._waiting[name]

    def wake(self, name: bytes) -> None:
        """The answer of that name has grown, or ended."""
        for reader in list(self._waiting.get(name, ())):
            reader.wake()

    def count_reader(self, worker: bytes, name: bytes, more: int) -> None:
        """One reader more or less is attached to an answer of that worker."""
        count = self._attached.pop((worker, name), 0) + more
        if count:
            self._attached[worker, name] = count
        self.tell(worker, self._kind, name, count)

    def tell_count(self, worker: bytes, name: bytes) -> None:
        """Tell a worker that asks how many readers its answer has here."""
        self.tell(worker, self._kind, name, self._attached.get((worker, name), 0))

    def repeat_counts(self) -> None:
        """Tell the workers again how many readers their answers have here."""
        for (worker, name), count in self._attached.items():
            self.tell(worker, self._kind, name, count)
