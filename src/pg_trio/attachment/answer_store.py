"""The store of kept answers, as those who use it need it. Every worker of the gateway reads what one of them writes.

Rules:
1. An answer is claimed under a name by one writer. Until the writer ends or discards it, or its worker dies, no other
   writer gets that name. A dead worker's claim is void: the next claim takes its place.
2. Parts are numbered from 1. A reader begins after any of them, gets each once and in order, and waits for the next.
3. The store never fails a request. If it cannot keep an answer (full disk, bounds), `add` is False from then on, and
   readers get AnswerCut (errors/local_errors.py).
4. A reader's presence is told to the writer's worker, and a reader can ask for the answer's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from pg_trio.domain.kept_answer import AnswerEnd, AnswerHead, AnswerStart, KeepLimits


class AnswerKeeper(Protocol):
    """What makes an answer, and is told about its readers. Both are called in the event loop, and must not wait."""

    def stop(self) -> object:
        """A reader asks for the answer's end."""

    def note_readers(self, count: int, /) -> None:
        """So many readers are attached now, in all workers."""


@runtime_checkable
class AnswerWriter(Protocol):
    """Keeps one answer while it is made. None of these wait, and none raises."""

    @property
    def is_kept(self) -> bool:
        """Whether all parts so far are kept."""

    @property
    def is_shared(self) -> bool:
        """Whether every worker of every node finds it. In a cluster without Redis, only those of its node do."""

    def watch(self, keeper: AnswerKeeper) -> None:
        """Tell the keeper about readers, from now on."""

    def begin(self, start: AnswerStart) -> None:
        """The status and header fields. Once, before the first part."""

    def add(self, parts: Sequence[bytes]) -> bool:
        """Keep more parts. False once the answer is not kept any more; its name is still claimed."""

    def end(self, how: AnswerEnd, keep_s: float) -> None:
        """No part follows. Readers find the answer for `keep_s` longer; with 0, only those that have it read on."""

    def discard(self) -> None:
        """Forget the answer, and free its name. Readers get AnswerCut. After `end` it does nothing."""


class KeptAnswer(Protocol):
    """A reader of one answer. To be closed."""

    @property
    def head(self) -> AnswerHead: ...

    @property
    def start(self) -> AnswerStart | None:
        """None until `wait_start` or `receive` has come to it. It comes before the first part."""

    @property
    def ended(self) -> AnswerEnd | None:
        """How the answer ended, as the store knows now, even if not all parts are read. None while it runs."""

    async def wait_start(self) -> AnswerStart | None:
        """Wait for the status and header fields. None if the answer has ended without. Raises AnswerCut."""

    async def seek(self, after: int) -> bool:
        """Go on behind the part of that number. Only before the first `receive`. False if there are not so many parts.

        It waits a moment for a part that a client may have already, and this node has not. Raises AnswerCut.
        """

    def attach(self) -> AbstractContextManager[None]:
        """While the block lasts, the writer's worker counts this reader."""

    async def receive(self) -> Sequence[bytes]:
        """The next parts, as many as are there; none after the end. Waits for them. Raises AnswerCut."""

    async def stop(self, limit_s: float) -> bool:
        """Ask for the answer's end, and wait for it at most that long. True if this ended it; False if it has ended."""

    def close(self) -> None:
        """Read no more."""


class AnswerStore(Protocol):
    """Finds answers by their names: 32 bytes each (`AnswerOwner.name`).

    In a cluster, both raise AnswersUnavailable where it cannot be known whether another node has the answer.
    """

    async def claim(self, name: bytes, head: AnswerHead, limits: KeepLimits) -> AnswerWriter | KeptAnswer | None:
        """A writer, if the name is free; else a reader of the answer that has it. None if nothing can be kept now."""

    async def find(self, name: bytes) -> KeptAnswer | None:
        """A reader of the answer; None if there is none, or its time is over."""
