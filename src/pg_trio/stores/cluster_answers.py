"""Kept answers in a cluster: in files of the node that makes them, and in Redis for the others.

Rules:
1. A name is claimed in Redis, so one request of all nodes has it. Its answer is then kept twice: readers at its own
   node read the files, also while Redis is away; readers at other nodes read Redis.
2. What the node has itself is never asked of Redis.
3. A worker that was killed is found out by its node's kernel first, and Redis is told.
4. While Redis is away, a stream is kept in the files alone: its name is its own. So is the answer of a request with an
   `Idempotency-Key`, unless the node is to refuse it, or knows that another node has that key: it would be paid twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from attrs import define, field, frozen

from pg_trio.attachment.answer_store import AnswerKeeper, AnswerWriter, KeptAnswer
from pg_trio.cluster.redis.answer_writing import RedisAnswerWriter
from pg_trio.cluster.redis.redis_answers import RedisAnswerStore
from pg_trio.domain.kept_answer import AnswerEnd, AnswerHead, AnswerStart, KeepLimits
from pg_trio.errors import AnswerCut, AnswersUnavailable
from pg_trio.store.answer_reader import FileKeptAnswer
from pg_trio.store.answer_writer import FileAnswerWriter
from pg_trio.store.file_answers import FileAnswerStore

# 100 bytes each: 1 MB for a worker.
MOST_ELSEWHERE = 10_000


@frozen(slots=True, eq=False)
class ClusterAnswers:
    """See the rules, and attachment.answer_store.AnswerStore. `here` is None if the node cannot keep files.

    `refuses`: `claim` raises AnswersUnavailable while Redis is away. `find` does if this node does not have the answer.
    """

    here: FileAnswerStore | None
    shared: RedisAnswerStore
    refuses: bool
    # Names that other nodes have, as claims have found, the last one last.
    _elsewhere: dict[bytes, None] = field(factory=dict)

    async def claim(self, name: bytes, head: AnswerHead, limits: KeepLimits) -> AnswerWriter | KeptAnswer | None:
        """See AnswerStore."""
        earlier = await self._find_here(name)
        if earlier is not None:
            if is_usable(earlier):
                return earlier
            # The kernel says so at once. Otherwise its signs of life would be good for some seconds.
            self.shared.note_dead(worker_id(earlier.worker))
            earlier.close()
        try:
            got = await self.shared.claim(name, head, limits)
        except AnswersUnavailable:
            if self.refuses or name in self._elsewhere:
                raise
            return await self._claim_here(name, head, limits)
        self._elsewhere.pop(name, None)
        if isinstance(got, RedisAnswerWriter):
            return await self._keep_twice(got, name, head, limits)
        if got is not None:
            self._note_elsewhere(name)
        return got

    async def find(self, name: bytes) -> KeptAnswer | None:
        """See AnswerStore."""
        return await self._find_here(name) or await self.shared.find(name)

    def _note_elsewhere(self, name: bytes) -> None:
        self._elsewhere[name] = None
        if len(self._elsewhere) > MOST_ELSEWHERE:
            del self._elsewhere[next(iter(self._elsewhere))]

    async def _claim_here(self, name: bytes, head: AnswerHead, limits: KeepLimits) -> AnswerWriter | KeptAnswer | None:
        got = None if self.here is None else await self.here.claim(name, head, limits)
        if isinstance(got, FileAnswerWriter):
            got.is_shared = False
        return got

    async def _find_here(self, name: bytes) -> FileKeptAnswer | None:
        return None if self.here is None else await self.here.find(name)

    async def _keep_twice(
        self, shared: RedisAnswerWriter, name: bytes, head: AnswerHead, limits: KeepLimits
    ) -> AnswerWriter:
        if self.here is None:
            return shared
        try:
            kept = await self.here.claim(name, head, limits)
        except BaseException:
            shared.discard()
            raise
        if isinstance(kept, FileAnswerWriter):
            return TwofoldWriter(kept, shared)
        if kept is not None:
            kept.close()
        return shared


def worker_id(worker: bytes) -> str:
    """A worker whose files have this id, as other nodes know it. The id is random, and no other node's."""
    return worker.hex()


def is_usable(answer: FileKeptAnswer) -> bool:
    """Whether it has ended, or its worker lives."""
    with suppress(AnswerCut):
        return answer.ended is not None or answer.has_writer
    return False


@frozen(slots=True, eq=False)
class TwofoldWriter:
    """See attachment.answer_store.AnswerWriter. It is kept as long as one of both keeps it."""

    here: FileAnswerWriter
    shared: RedisAnswerWriter

    @property
    def is_kept(self) -> bool:
        """See AnswerWriter."""
        return self.here.is_kept or self.shared.is_kept

    @property
    def is_shared(self) -> bool:
        """See AnswerWriter."""
        return self.shared.is_kept

    def watch(self, keeper: AnswerKeeper) -> None:
        """See AnswerWriter."""
        counts = _ReaderCounts(keeper)
        self.here.watch(_OneCount(counts, 0))
        self.shared.watch(_OneCount(counts, 1))

    def begin(self, start: AnswerStart) -> None:
        """See AnswerWriter."""
        self.here.begin(start)
        self.shared.begin(start)

    def add(self, parts: Sequence[bytes]) -> bool:
        """See AnswerWriter."""
        is_here = self.here.add(parts)
        return self.shared.add(parts) or is_here

    def end(self, how: AnswerEnd, keep_s: float) -> None:
        """See AnswerWriter."""
        self.here.end(how, keep_s)
        self.shared.end(how, keep_s)

    def discard(self) -> None:
        """See AnswerWriter."""
        self.here.discard()
        self.shared.discard()


@define(eq=False)
class _ReaderCounts:
    """The readers of the files, and those of Redis."""

    keeper: AnswerKeeper
    counts: list[int] = field(factory=lambda: [0, 0])


@frozen(slots=True, eq=False)
class _OneCount:
    """See attachment.answer_store.AnswerKeeper."""

    of: _ReaderCounts
    at: int

    def stop(self) -> None:
        self.of.keeper.stop()

    def note_readers(self, count: int) -> None:
        self.of.counts[self.at] = count
        self.of.keeper.note_readers(sum(self.of.counts))
