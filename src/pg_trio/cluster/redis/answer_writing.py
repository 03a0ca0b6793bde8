"""Writes kept answers into Redis: a writer never waits, and one task of the worker sends what all writers have said.

Rules:
1. A round takes one batch of each writer that has something, ROUND_BYTES together at most, sends them at once and
   awaits the replies. What is said meanwhile is in the next round. Rounds begin EVERY_S apart, but ends wait for none.
2. While Redis is away, what was said waits: MOST_UNSENT_BYTES of all writers together. Beyond that a writer keeps no
   more.
3. A script that no longer finds the answer under its name says so. Then another one has it (its worker was silent for
   too long), or Redis has lost its data, and nothing is kept any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import trio
from attrs import define, field, frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.answer_batches import BATCH_BYTES, AnswerBatch, BatchMaker
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.keys import answers_prefix
from pg_trio.cluster.redis.pending import Pending
from pg_trio.cluster.redis.resp import RedisError, Reply
from pg_trio.cluster.redis.scripts import ScriptTarget, read_script
from pg_trio.domain.kept_answer import AnswerEnd, AnswerStart, KeepLimits

APPEND = read_script("answer_append")

# 256 KiB: 2 ms of a network of 1 Gbit/s, so that a claim behind them is in time.
ROUND_BYTES = 256 * 1024
# 50 ms: readers at other nodes are so much later, and a token costs half of what it does with 10 ms. Ends do not wait.
EVERY_S = 0.05
# While Redis is away.
RETRY_S = 0.1
# 64 MiB, as for the outputs of a worker (attachment/owned_works.py).
MOST_UNSENT_BYTES = 64 * 1024 * 1024
# A running answer whose worker is silent is forgotten after 5 minutes, as one of a killed worker on one machine.
RUNNING_MS = 300_000
# Those who read an answer that is kept for no time may finish that.
READ_ON_MS = 60_000
# A worker that has not repeated for so long that it has readers has none. It repeats it each second; but one that is
# stopped lives for 8 s (LIFE_S), and without Redis its readers wait for 10 s (AWAY_LIMIT_S).
READERS_HOLD_S = 12.0


@frozen(slots=True)
class AnswerKeys:
    """The keys of one kind of answers. An answer's id is its name in hexadecimal digits, a colon, and what makes it
    another one than earlier answers of that name."""

    kind: str
    max_bytes: int
    max_answers: int

    @property
    def prefix(self) -> str:
        return answers_prefix(self.kind)

    def record(self, answer_id: str) -> str:
        """What is known of the answer of that name."""
        return self.prefix + answer_id[:64]

    def log(self, answer_id: str) -> str:
        """Its parts; also the channel that tells of them."""
        return self.prefix + answer_id

    @property
    def counts(self) -> tuple[str, str, str, str]:
        """Running answers, ended ones, their sizes, and the sum of these."""
        return (f"{self.prefix}running", f"{self.prefix}ended", f"{self.prefix}sizes", f"{self.prefix}total")


class WatchesReaders(Protocol):
    """See attachment.answer_store.AnswerKeeper."""

    def stop(self) -> object: ...

    def note_readers(self, count: int, /) -> None: ...


@define(slots=True, eq=False, repr=False)
class RedisAnswerWriter:
    """See attachment.answer_store.AnswerWriter."""

    queue: AnswerQueue
    id: str
    _limits: KeepLimits
    is_kept: bool = True
    is_shared: bool = True
    _batches: BatchMaker = field(factory=BatchMaker)
    _part_bytes: int = 0
    _keep_ms: int = 0
    has_ended: bool = False
    # The keys and the id, as each command has them.
    target: ScriptTarget = field(init=False)
    # What is under way.
    _sent: AnswerBatch | None = None
    _keeper: WatchesReaders | None = None
    # How many readers each worker has, and until when that holds (Trio's clock).
    _readers: dict[str, tuple[int, float]] = field(factory=dict)

    @target.default
    def _make_target(self) -> ScriptTarget:
        keys = self.queue.keys
        return ScriptTarget.of((keys.record(self.id), keys.log(self.id), *keys.counts), (self.id,))

    def watch(self, keeper: WatchesReaders) -> None:
        """See AnswerWriter."""
        self._keeper = keeper
        if self._readers:
            self._tell_readers()

    def begin(self, start: AnswerStart) -> None:
        """See AnswerWriter."""
        if self.is_kept and not self.has_ended:
            self._said(lambda: self._batches.begin(start))

    def add(self, parts: Sequence[bytes]) -> bool:
        """See AnswerWriter."""
        if self.is_kept and not self.has_ended and parts:
            self._part_bytes += sum(map(len, parts))
            if self._part_bytes > self._limits.bytes:
                self.give_up()
            else:
                self._said(lambda: self._batches.add(parts))
        return self.is_kept

    def end(self, how: AnswerEnd, keep_s: float) -> None:
        """See AnswerWriter."""
        if not self.has_ended:
            self.has_ended = True
            self._keep_ms = math.ceil(keep_s * 1000) if self.is_kept else 0
            self._said(lambda: self._batches.end(how, is_over=True))

    def discard(self) -> None:
        """See AnswerWriter."""
        if not self.has_ended:
            self.has_ended, self._keep_ms = True, -1
            self._drop()
            self._said(lambda: self._batches.end("cut", is_over=True))

    def give_up(self) -> None:
        """Keep no more of it. The name stays claimed, so that readers and claims see that it runs."""
        if self.is_kept:
            self.is_kept = False
            self._drop()
            self._said(lambda: self._batches.end("outgrown", is_over=False))

    def _drop(self) -> None:
        self.queue.unsent_bytes -= self._batches.unsent_bytes
        self._batches.drop()

    def _said(self, say: Callable[[], None]) -> None:
        before = self._batches.unsent_bytes
        say()
        self.queue.note_unsent(self, self._batches.unsent_bytes - before)

    # ── what readers say ─────────────────────────────────────────────────────────────────────────────────────────────

    def note_readers(self, worker: str, count: int) -> None:
        """So many readers of that worker are attached."""
        known = self._readers.pop(worker, None)
        if count:
            self._readers[worker] = (count, trio.current_time() + READERS_HOLD_S)
        if (known[0] if known else 0) != count:
            self._tell_readers()

    def check_readers(self) -> None:
        """Forget the readers of workers that were killed, or whose last word was lost."""
        now = trio.current_time()
        if gone := [worker for worker, (_, until) in self._readers.items() if until < now]:
            for worker in gone:
                del self._readers[worker]
            self._tell_readers()

    def hold_readers(self) -> None:
        """News were away, and readers could not repeat that they are there."""
        until = trio.current_time() + READERS_HOLD_S
        self._readers = {worker: (count, until) for worker, (count, _) in self._readers.items()}

    def ask_stop(self) -> None:
        """A reader asks for the answer's end."""
        if self._keeper is not None:
            self._keeper.stop()

    def _tell_readers(self) -> None:
        if self._keeper is not None:
            self._keeper.note_readers(sum([count for count, _ in self._readers.values()]))

    # ── what the queue does ──────────────────────────────────────────────────────────────────────────────────────────

    def next_batch(self) -> AnswerBatch:
        """What is to be sent now: what was sent before, if it is not known to have arrived."""
        if self._sent is None:
            self._sent = self._batches.make()
            self.queue.unsent_bytes -= self._sent.size
        return self._sent

    @property
    def keep_ms(self) -> int:
        """See answer_append.lua."""
        return self._keep_ms if not self._batches.is_outgrown else min(0, self._keep_ms)

    def note_reply(self, reply: Reply) -> bool:
        """What the script said of the batch. Whether there is more to send."""
        sent, self._sent = self._sent, None
        assert sent is not None
        if not isinstance(reply, list) or reply[:1] in ([], [-1]):
            self.note_lost()
            return False
        if reply[0] == 0:
            self.is_kept = False
            self._drop()
            self._batches.note_refused()
        if sent.is_over:
            self.queue.forget(self)
        return self._batches.has_more

    def note_lost(self) -> None:
        """Another answer has the name, or Redis has lost its data, or it takes none (its memory is full)."""
        self._drop()
        self.is_kept = False
        self.has_ended = True
        self.queue.forget(self)


@define(eq=False)
class AnswerQueue:
    """See the rules. `run` sends."""

    client: RedisClient
    keys: AnswerKeys
    writers: dict[str, RedisAnswerWriter] = field(factory=dict)
    unsent_bytes: int = 0
    # In the order in which they began to have something to send.
    _dirty: dict[RedisAnswerWriter, None] = field(factory=dict)
    _wake: trio.Event = field(factory=trio.Event)
    # Set if something must not wait for the next round.
    _is_urgent: trio.Event = field(factory=trio.Event)
    _round: trio.Lock = field(factory=trio.Lock)

    def note_unsent(self, writer: RedisAnswerWriter, more_bytes: int) -> None:
        """A writer has something to send."""
        self.unsent_bytes += more_bytes
        self._dirty.setdefault(writer)
        self._wake.set()
        if writer.has_ended:
            self._is_urgent.set()
        if more_bytes > 0 and self.unsent_bytes > MOST_UNSENT_BYTES:
            writer.give_up()

    def forget(self, writer: RedisAnswerWriter) -> None:
        """Nothing of it is to be sent any more."""
        self._dirty.pop(writer, None)
        self.writers.pop(writer.id, None)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait()
            began_at = trio.current_time()
            if not await self.send_round():
                await trio.sleep(RETRY_S)
                continue
            if not self._is_urgent.is_set():
                with trio.move_on_at(began_at + EVERY_S):
                    await self._is_urgent.wait()
            self._is_urgent = trio.Event()

    async def drain(self) -> None:
        """Send everything. Ends also if Redis is away."""
        while self._dirty and await self.send_round():
            pass

    async def send_round(self) -> bool:
        """One round. False if Redis is away."""
        async with self._round:
            return await self._send_round()

    async def _send_round(self) -> bool:
        under_way: list[tuple[RedisAnswerWriter, Pending]] = []
        size = 0
        try:
            for writer in list(self._dirty):
                batch = writer.next_batch()
                under_way.append((writer, self.client.send(self._command(writer, batch))))
                size += batch.size
                if size >= ROUND_BYTES:
                    break
            for writer, pending in under_way:
                if not await self._note(writer, await pending.wait()):
                    return False
        except EngineAway:
            return False
        if not self._dirty:
            self._wake = trio.Event()
        elif size >= BATCH_BYTES:
            # Behind: a long answer.
            self._is_urgent.set()
        return True

    async def _note(self, writer: RedisAnswerWriter, reply: Reply) -> bool:
        if isinstance(reply, RedisError) and reply.code == "NOSCRIPT":
            await self.client.call(APPEND.load())
            return True
        self._dirty.pop(writer, None)
        if writer.note_reply(reply):
            # Behind the others.
            self._dirty[writer] = None
        return True

    def _command(self, writer: RedisAnswerWriter, batch: AnswerBatch) -> bytes:
        return APPEND.call_on(
            writer.target,
            [
                *(batch.number, batch.parts, self.keys.max_bytes, batch.how, int(batch.is_over)),
                *(writer.keep_ms, READ_ON_MS, batch.end, *batch.entries),
            ],
        )
