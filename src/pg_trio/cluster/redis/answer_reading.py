"""Reads one kept answer from Redis while it grows, at any node.

Rules:
1. A reader reads when it is told that there is more, when its answer's worker gives no sign of life, and every POLL_S.
   So an idle reader costs next to nothing: one task asks for the signs of all workers whose answers are read here.
2. An answer without an end whose worker has given no sign of life is cut. A new connection to Redis waits SETTLING_S
   before it believes that: after an outage of Redis the other workers' signs come back as late as that.
3. A reader that cannot ask Redis for AWAY_LIMIT_S is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

import trio
from attrs import define, field, frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.answer_batches import END, PARTS, EntryReader, number_of
from pg_trio.cluster.redis.answer_news import AnswerNews
from pg_trio.cluster.redis.answer_writing import AnswerKeys
from pg_trio.cluster.redis.client import RedisClient
from pg_trio.cluster.redis.keys import worker_key
from pg_trio.cluster.redis.resp import Reply, encode_command
from pg_trio.cluster.redis.scripts import read_script
from pg_trio.domain.kept_answer import ANSWER_ENDS, AnswerEnd, AnswerHead, AnswerStart
from pg_trio.errors import AnswerCut, AnswersUnavailable
from pg_trio.store.answer_records import DamagedAnswer, read_head

READ = read_script("answer_read", 1)

# 64 KiB: what one read takes, as from a file.
READ_BYTES = 64 * 1024
# A killed worker's answers are cut so much after its sign of life has ended.
LOOK_EVERY_S = 1.0
# Without news, and as a last resort.
POLL_AWAY_S = 0.25
POLL_S = 10.0
SETTLING_S = 3.0
AWAY_LIMIT_S = 10.0
# A client may have more than is in Redis yet: it was at the node that makes the answer.
SEEK_LIMIT_S = 1.0


@frozen(slots=True)
class FoundAnswer:
    """An answer as a script has found it: see answer_find.lua."""

    id: str
    worker: str
    head: AnswerHead
    ended: AnswerEnd | None
    parts: int

    @classmethod
    def read(cls, reply: Sequence[Reply]) -> FoundAnswer:
        """Raises DamagedAnswer."""
        try:
            answer_id, worker, head, ended, parts = cast(Sequence[bytes], reply)
            how = _end_of(ended)
            return cls(answer_id.decode("ascii"), worker.decode("ascii"), read_head(head), how, int(parts))
        except (ValueError, AttributeError, TypeError) as error:
            raise DamagedAnswer("its record is none of ours") from error


class RedisKeptAnswer:
    """See attachment.answer_store.KeptAnswer."""

    def __init__(self, hub: AnswerHub, found: FoundAnswer) -> None:
        self._hub = hub
        self._found = found
        self._log = hub.keys.log(found.id)
        self._entries = EntryReader()
        # How many parts there are, and how it ended, as far as this has heard.
        self._parts_known = found.parts
        self._ended = found.ended
        self._woken = trio.Event()
        self._is_listening = False
        self._asked_at = trio.current_time()

    @property
    def worker(self) -> str:
        """Who makes it."""
        return self._found.worker

    @property
    def head(self) -> AnswerHead:
        """See KeptAnswer."""
        return self._found.head

    @property
    def start(self) -> AnswerStart | None:
        """See KeptAnswer."""
        return self._entries.start

    @property
    def ended(self) -> AnswerEnd | None:
        """See KeptAnswer."""
        return self._ended

    async def wait_start(self) -> AnswerStart | None:
        """See KeptAnswer."""
        entries = self._entries
        while entries.start is None and not entries.parts and not entries.ended:
            await self._read_or_wait()
        return entries.start

    async def seek(self, after: int) -> bool:
        """See KeptAnswer."""
        with trio.move_on_after(SEEK_LIMIT_S):
            while self._parts_known < after:
                self._woken = trio.Event()
                if await self._look() or self._parts_known >= after:
                    break
                await self._wait()
        if self._parts_known < after:
            return False
        entries = self._entries
        # `wait_start` may have read parts already.
        if entries.number - len(entries.parts) != after:
            entries.seek(after)
        return True

    @contextmanager
    def attach(self) -> Iterator[None]:
        """See KeptAnswer."""
        self._hub.count_reader(self._found.worker, self._found.id, 1)
        try:
            yield
        finally:
            self._hub.count_reader(self._found.worker, self._found.id, -1)

    async def receive(self) -> Sequence[bytes]:
        """See KeptAnswer."""
        await trio.lowlevel.checkpoint()
        entries = self._entries
        while not entries.parts:
            if entries.ended:
                if entries.ended in ("outgrown", "cut"):
                    raise AnswerCut(f"it is {entries.ended}")
                return ()
            await self._read_or_wait()
        parts, entries.parts = entries.parts, []
        return parts

    async def stop(self, limit_s: float) -> bool:
        """See KeptAnswer. Raises AnswersUnavailable."""
        is_told = False
        with suppress(AnswerCut), trio.move_on_after(limit_s):
            if self._ended is None:
                await self._look()
            while self._ended is None:
                self._woken = trio.Event()
                is_told = is_told or await self._hub.ask_stop(self.worker, self._found.id)
                if is_told:
                    await self._look()
                    await self._wait_end()
                elif await self._hub.lives(self.worker):
                    # It is about to listen again.
                    await trio.sleep(POLL_AWAY_S)
                else:
                    break
        # It was asked for, and it has not ended in another way.
        return is_told and self._ended in (None, "stopped")

    def note_news(self, how: AnswerEnd | None) -> None:
        """There is more to read, and it ended so."""
        self._ended = self._ended or how
        self._woken.set()

    def close(self) -> None:
        """See KeptAnswer."""
        if self._is_listening:
            self._is_listening = False
            self._hub.forget(self._log, self)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read_or_wait(self) -> None:
        """Read what there is; if there is nothing, wait until there may be. Raises AnswerCut."""
        self._woken = trio.Event()
        keys = (self._log, worker_key(self._found.worker))
        try:
            reply = await self._hub.client.run_script(READ, keys, (self._entries.next_entry, READ_BYTES))
        except EngineAway as away:
            if trio.current_time() > self._asked_at + AWAY_LIMIT_S:
                raise AnswerCut("Redis is away") from away
            await trio.sleep(POLL_AWAY_S)
            return
        self._asked_at = trio.current_time()
        if not reply[0]:
            raise AnswerCut("it is gone")
        if len(reply) == 2:
            if not reply[1] and self._hub.is_settled:
                raise AnswerCut("its worker has ended")
            await self._wait()
            return
        try:
            for at in range(2, len(reply) - 2, 3):
                self._entries.take(*reply[at : at + 3])
        except (DamagedAnswer, ValueError) as error:
            raise AnswerCut(str(error)) from error
        self._parts_known = max(self._parts_known, self._entries.number)
        if self._entries.ended:
            self._ended = _end_of(self._entries.ended.encode("ascii"))

    async def _look(self) -> bool:
        """Ask how many parts there are, and whether these are all. Raises AnswerCut, AnswersUnavailable."""
        try:
            last = await self._hub.client.call(encode_command("XREVRANGE", self._log, "+", "-", "COUNT", 1))
        except EngineAway as away:
            raise AnswersUnavailable from away
        match last:
            case [[bytes() as entry, [kind, bytes() as data]]]:
                if kind == END:
                    self._ended = _end_of(data)
                complete = number_of(entry) - (0 if kind in (PARTS, b"l") else 1)
                self._parts_known = max(self._parts_known, complete)
                return bool(kind == END)
            case _:
                self._ended = self._ended or "cut"
                raise AnswerCut("it is gone")

    async def _wait_end(self) -> None:
        if self._ended is None:
            await self._wait()

    async def _wait(self) -> None:
        """Until there may be more. The first time, what came before it listened is there at once."""
        if not self._is_listening:
            self._is_listening = True
            self._hub.listen(self._log, self)
            await self._hub.news.wait_confirmed(self._log)
            return
        with trio.move_on_after(POLL_S if self._hub.news.is_up else POLL_AWAY_S):
            await self._woken.wait()


@define(eq=False)
class AnswerHub:
    """The readers of one worker. `worker` is its id."""

    client: RedisClient
    news: AnswerNews
    keys: AnswerKeys
    worker: str
    _listening: dict[bytes, set[RedisKeptAnswer]] = field(factory=dict)
    # By worker, then by answer.
    attached: dict[str, dict[str, int]] = field(factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether signs of life that are missing are missing indeed (rule 2)."""
        return self.client.is_up and trio.current_time() > self.client.linked_at + SETTLING_S

    def listen(self, log: str, reader: RedisKeptAnswer) -> None:
        """Wake the reader when its answer grows."""
        self._listening.setdefault(log.encode("ascii"), set()).add(reader)
        self.news.want(log)

    def forget(self, log: str, reader: RedisKeptAnswer) -> None:
        """See `listen`."""
        readers = self._listening[log.encode("ascii")]
        readers.discard(reader)
        if not readers:
            del self._listening[log.encode("ascii")]
        self.news.forget(log)

    def note_news(self, log: bytes, how: bytes) -> None:
        """That answer has grown, or ended so."""
        for reader in list(self._listening.get(log, ())):
            reader.note_news(_end_of(how))

    def wake_all(self) -> None:
        """News may have been lost."""
        for readers in list(self._listening.values()):
            for reader in list(readers):
                reader.note_news(None)

    async def watch_workers(self) -> None:
        """Wake the readers of answers whose workers give no sign of life. Until cancelled."""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            readers: dict[str, list[RedisKeptAnswer]] = {}
            for each in self._listening.values():
                for reader in each:
                    readers.setdefault(reader.worker, []).append(reader)
            with suppress(AnswersUnavailable):
                for worker, theirs in readers.items():
                    if not await self.lives(worker):
                        for reader in theirs:
                            reader.note_news(None)

    def count_reader(self, worker: str, answer_id: str, more: int) -> None:
        """One reader more or less is attached to an answer of that worker."""
        counts = self.attached.setdefault(worker, {})
        count = counts.pop(answer_id, 0) + more
        if count:
            counts[answer_id] = count
        elif not counts:
            del self.attached[worker]
        self.tell(worker, f"readers {self.worker} {answer_id} {count}")

    def repeat_counts(self) -> None:
        """Tell the workers again how many readers their answers have here."""
        for worker, counts in self.attached.items():
            said = " ".join([f"{answer_id} {count}" for answer_id, count in counts.items()])
            self.tell(worker, f"readers {self.worker} {said}")

    def tell(self, worker: str, said: str) -> None:
        """A message for a worker, which may get lost."""
        self.client.tell(encode_command("PUBLISH", worker_key(worker), said))

    async def lives(self, worker: str) -> bool:
        """Whether a worker gives signs of life. Raises AnswersUnavailable."""
        try:
            return bool(await self.client.call(encode_command("EXISTS", worker_key(worker))))
        except EngineAway as away:
            raise AnswersUnavailable from away

    async def ask_stop(self, worker: str, answer_id: str) -> bool:
        """Ask an answer's worker for its end. False if that worker is not there. Raises AnswersUnavailable."""
        try:
            return bool(await self.client.call(encode_command("PUBLISH", worker_key(worker), f"stop {answer_id}")))
        except EngineAway as away:
            raise AnswersUnavailable from away


def _end_of(how: bytes) -> AnswerEnd | None:
    text = how.decode("ascii", "replace")
    return next((each for each in ANSWER_ENDS if each == text), None)
