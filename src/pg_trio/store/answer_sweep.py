"""Removes kept answers whose time is over, and those of killed workers. One worker does it for all.

Rules:
1. A walk reads no file that is kept still: its modification time says until when (answer_files.py, rule 4).
2. An answer without an end whose worker was killed stays LOST_KEEP_S, so that its readers learn what happened.
3. Above EVICT_ABOVE of a bound, the answers that would go first go now. So new ones find room.
4. A walk also corrects the counters (answer_usage.py, rule 2).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio
from attrs import define, field

from pg_trio.store.answer_files import UNNAMED, AnswerFile, AnswerFolder, has_writer, read_state, remove, walk_part
from pg_trio.store.answer_records import DamagedAnswer
from pg_trio.store.answer_usage import AnswerUsage
from pg_trio.store.answer_writer import STEP_BYTES
from pg_trio.store.outage import Outage
from pg_trio.store.sweep_lock import SweepLock

logger = logging.getLogger("pg_trio.store")

LOCK_NAME = "sweep.lock"
# 5 s: between a killed worker's end and the moment in which its counts are given back. 20,000 files take 0.1 s.
SWEEP_EVERY_S = 5.0
# 5 minutes: as long as an answer is kept by default.
LOST_KEEP_S = 300.0
EVICT_ABOVE = 0.9


@define(slots=True, eq=False)
class AnswerSweep:
    """Sweeps one folder. `now_s` is Unix seconds."""

    folder: AnswerFolder
    usage: AnswerUsage
    now_s: Callable[[], float]
    # Removes the pipes of killed workers.
    sweep_pipes: Callable[[], None]
    _lock: SweepLock = field(init=False)
    _outage: Outage = field(factory=lambda: Outage(logger, "kept answers are not swept"))

    @_lock.default
    def _make_lock(self) -> SweepLock:
        return SweepLock(self.folder.path / LOCK_NAME)

    async def run(self) -> None:
        """Sweep until cancelled."""
        try:
            while True:
                if self._lock.try_hold():
                    await self._try_sweep()
                await trio.sleep(SWEEP_EVERY_S)
        finally:
            self._lock.close()

    async def _try_sweep(self) -> None:
        try:
            await self.sweep()
        except OSError as error:
            self._outage.failed(error)
        else:
            self._outage.succeeded()

    async def sweep(self) -> None:
        """Walk over all files once. Raises OSError."""
        before, kept, walked_bytes, answers = self.usage.read(), list[AnswerFile](), 0, 0
        for part in self.folder.parts():
            for file in walk_part(part):
                size = self._judge(file, kept)
                walked_bytes += size
                answers += size > 0
            await trio.lowlevel.checkpoint()
        self.usage.correct(before, walked_bytes, answers)
        self.sweep_pipes()
        await self._evict(kept)

    def _judge(self, file: AnswerFile, kept: list[AnswerFile]) -> int:
        """What the file counts; 0 if it is removed. Those that have ended and are kept are added to `kept`."""
        now = self.now_s()
        if file.kept_until > now:
            kept.append(file)
            return file.size
        with suppress(FileNotFoundError):
            opened = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if has_writer(opened):
                    return -(-max(file.size, 1) // STEP_BYTES) * STEP_BYTES
                if is_lost(file.path, opened) and file.kept_until + LOST_KEEP_S > now:
                    return file.size
                self._remove(file.path, opened)
            finally:
                os.close(opened)
        return 0

    def _remove(self, path: Path, opened: int) -> None:
        size = remove(path, opened)
        if size is not None and not path.name.startswith(UNNAMED):
            self.usage.give_back(size, 1)

    async def _evict(self, kept: list[AnswerFile]) -> None:
        kept.sort(key=lambda file: -file.kept_until)
        while kept and self._is_crowded():
            file = kept.pop()
            with suppress(FileNotFoundError):
                opened = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    self._remove(file.path, opened)
                finally:
                    os.close(opened)
            await trio.lowlevel.checkpoint()

    def _is_crowded(self) -> bool:
        usage, bounds = self.usage.read(), self.usage
        return usage.bytes > EVICT_ABOVE * bounds.max_bytes or usage.answers > EVICT_ABOVE * bounds.max_answers


def is_lost(path: Path, opened: int) -> bool:
    """Whether the file is an answer without an end."""
    if path.name.startswith(UNNAMED):
        return False
    try:
        return read_state(opened).ended is None
    except DamagedAnswer:
        return False
