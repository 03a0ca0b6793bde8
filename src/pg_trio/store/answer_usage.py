"""How many answers all workers keep, and their bytes: counters in a file, so that the bounds hold over all of them.

Rules:
1. Four counters only grow: bytes and answers that were added, and that were removed. The kernel's lock is held for a
   few system calls. But the kernel may pause its holder there, for some time slices on a busy machine, and an answer
   that is not kept for that is made twice. So this side waits for PAUSES short pauses, and no longer after it has
   waited in vain once, because a holder may be stopped (SIGSTOP).
2. A killed worker leaves counts behind that nothing takes back. A walk over all files gives the true sums as far
   as they did not change during the walk: `correct` moves the counters into what is possible, no further.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, frozen

_COUNTERS = struct.Struct("<QQQQ")
# 80 µs: many times as long as the lock is held.
QUICK_TRIES = 200
# 50 ms in which the event loop stands: some ten time slices of Linux.
PAUSE_S, PAUSES = 0.001, 50


class CountersBusy(OSError):
    """Another process holds the counters' lock, and does not run."""

    def __init__(self) -> None:
        super().__init__("another worker holds the lock of the file `usage` and does not run.")


@frozen(slots=True)
class AnswerCounts:
    """The counters at one moment."""

    added_bytes: int = 0
    removed_bytes: int = 0
    added: int = 0
    removed: int = 0

    @property
    def bytes(self) -> int:
        return self.added_bytes - self.removed_bytes

    @property
    def answers(self) -> int:
        return self.added - self.removed


class AnswerUsage:
    """The counters of a folder. Methods raise OSError."""

    def __init__(self, path: Path, max_bytes: int, max_answers: int) -> None:
        self.max_bytes = max_bytes
        self.max_answers = max_answers
        self._is_stuck = False
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def close(self) -> None:
        """Count no more."""
        os.close(self._file)

    def read(self) -> AnswerCounts:
        """The counters now. A file that was cut counts from 0."""
        data = os.pread(self._file, _COUNTERS.size, 0)
        usage = AnswerCounts(*_COUNTERS.unpack(data)) if len(data) == _COUNTERS.size else AnswerCounts()
        return usage if usage.bytes >= 0 and usage.answers >= 0 else AnswerCounts()

    def take(self, more_bytes: int, more_answers: int = 0) -> bool:
        """Count more, if there is room; else False. Raises CountersBusy."""
        with self._locked() as is_held:
            if not is_held:
                raise CountersBusy
            usage = self.read()
            if usage.bytes + more_bytes > self.max_bytes or usage.answers + more_answers > self.max_answers:
                return False
            self._write(evolve(usage, added_bytes=usage.added_bytes + more_bytes, added=usage.added + more_answers))
            return True

    def give_back(self, fewer_bytes: int, fewer_answers: int = 0) -> None:
        """Count less. If the lock cannot be had, the next walk does it."""
        with self._locked() as is_held:
            if is_held:
                usage = self.read()
                self._write(
                    AnswerCounts(
                        usage.added_bytes,
                        min(usage.removed_bytes + fewer_bytes, usage.added_bytes),
                        usage.added,
                        min(usage.removed + fewer_answers, usage.added),
                    )
                )

    def correct(self, before: AnswerCounts, walked_bytes: int, walked_answers: int) -> None:
        """After a walk that found these sums. `before` are the counters at its beginning (rule 2)."""
        with self._locked() as is_held:
            if not is_held:
                return
            now = self.read()
            size = _clamp(
                now.bytes, walked_bytes, now.added_bytes - before.added_bytes, now.removed_bytes - before.removed_bytes
            )
            answers = _clamp(now.answers, walked_answers, now.added - before.added, now.removed - before.removed)
            if (size, answers) != (now.bytes, now.answers):
                self._write(
                    AnswerCounts(now.removed_bytes + size, now.removed_bytes, now.removed + answers, now.removed)
                )

    def _write(self, usage: AnswerCounts) -> None:
        os.pwrite(self._file, _COUNTERS.pack(usage.added_bytes, usage.removed_bytes, usage.added, usage.removed), 0)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        is_held = any(self._try_lock() for _ in range(QUICK_TRIES)) or (not self._is_stuck and self._wait_for_lock())
        self._is_stuck = not is_held
        try:
            yield is_held
        finally:
            if is_held:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _wait_for_lock(self) -> bool:
        for _ in range(PAUSES):
            time.sleep(PAUSE_S)
            if self._try_lock():
                return True
        return False

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _clamp(counted: int, walked: int, added: int, removed: int) -> int:
    """The count, moved into what is possible after so much was added and removed during the walk."""
    return max(walked - max(removed, 0), min(counted, walked + max(added, 0)), 0)
