"""A kept answer's parts as entries of a Redis stream, in batches. No I/O.

Rules:
1. An entry's number says which parts it has. `0-2` is the start. `N-1` has the parts up to the Nth. `N+1-0`, behind N
   parts, is the end. So a reader that has N parts goes on from `N+1-0`, and a number is never used twice.
2. A part that is longer than BATCH_BYTES is several entries, `N-1`, `N-2` and so on, of which the last one is marked.
   So no command is long, and other workers' commands need not wait for it.
3. A batch is sent again as it was until it is known to have arrived. Its number tells the script that it had.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence

from attrs import define, field, frozen

from pg_trio.cluster.redis.resp import Argument, Reply
from pg_trio.domain.kept_answer import AnswerEnd, AnswerStart
from pg_trio.store.answer_records import RECORD_BYTES, DamagedAnswer, pack_start, read_start, unpack_parts

# 64 KiB: what a pipe holds, and half a millisecond of a network of 1 Gbit/s.
BATCH_BYTES = 64 * 1024
START_ENTRY = "0-2"
START, PARTS, PIECE, LAST_PIECE, END = b"s", b"p", b"f", b"l", b"e"


def end_entry(parts: int) -> str:
    """The number of an end behind so many parts, from which a reader that has them goes on."""
    return f"{parts + 1}-0"


@frozen(slots=True, repr=False)
class AnswerBatch:
    """What one command adds: the entries (number, kind, bytes), their parts' bytes, and what is known with it.

    `parts`: how many the answer has then. `how`: how it ends, or "". `is_over`: whether its worker writes no more.
    """

    number: int
    entries: Sequence[Argument]
    size: int
    parts: int
    how: str
    is_over: bool
    # The number of an end that comes with it.
    end: str


@define(slots=True, eq=False, repr=False)
class BatchMaker:
    """Collects what a writer says, and makes batches of it."""

    # What is not in a batch yet.
    _start: bytes = b""
    _parts: deque[bytes] = field(factory=deque)
    unsent_bytes: int = 0
    # How many parts are in batches; of the next one, how many entries and bytes are.
    _sent: int = 0
    _pieces: int = 0
    _piece_bytes: int = 0
    _batches: int = 0
    _how: str = ""
    _is_over: bool = False
    _is_end_sent: bool = False
    _is_over_sent: bool = False

    @property
    def has_more(self) -> bool:
        """Whether there is another batch to make."""
        is_end_due = bool(self._how) and not self._is_end_sent
        return bool(self._start or self._parts) or is_end_due or (self._is_over and not self._is_over_sent)

    def begin(self, start: AnswerStart) -> None:
        """The start comes before everything else."""
        self._start = pack_start(start)[RECORD_BYTES:]
        self.unsent_bytes += len(self._start)

    def add(self, parts: Sequence[bytes]) -> None:
        """More parts."""
        self._parts.extend(parts)
        self.unsent_bytes += sum(map(len, parts))

    def end(self, how: AnswerEnd, *, is_over: bool) -> None:
        """No part follows. `is_over`: and nothing else."""
        self._how = self._how or how
        self._is_over = is_over

    def drop(self) -> None:
        """Forget what is not in a batch yet."""
        self._parts.clear()
        self._start, self.unsent_bytes, self._piece_bytes = b"", 0, 0

    def make(self) -> AnswerBatch:
        """The next batch: about BATCH_BYTES, or the end if nothing is left."""
        self._batches += 1
        entries: list[Argument] = []
        before = self.unsent_bytes
        if self._start:
            entries += (START_ENTRY, START, self._start)
            self.unsent_bytes -= len(self._start)
            self._start = b""
        if self._parts and len(self._parts[0]) > BATCH_BYTES:
            entries += self._take_piece()
        else:
            entries += self._take_parts()
        is_last = not self._parts
        how = self._how if is_last and not self._is_end_sent else ""
        self._is_end_sent = self._is_end_sent or bool(how)
        self._is_over_sent = is_over = is_last and self._is_over
        # Behind the pieces of a part whose rest was dropped.
        end = end_entry(self._sent + (self._pieces > 0))
        return AnswerBatch(self._batches, entries, before - self.unsent_bytes, self._sent, how, is_over, end)

    @property
    def is_outgrown(self) -> bool:
        """Whether it ends as one that is not kept any more."""
        return self._how == "outgrown"

    def note_refused(self) -> None:
        """The server had no room, and has told the readers that this is the end."""
        self.drop()
        self._how, self._is_end_sent = "outgrown", True

    def _take_piece(self) -> Sequence[Argument]:
        part = self._parts[0]
        piece = part[self._piece_bytes : self._piece_bytes + BATCH_BYTES]
        self._pieces += 1
        self._piece_bytes += len(piece)
        self.unsent_bytes -= len(piece)
        entry = f"{self._sent + 1}-{self._pieces}"
        if self._piece_bytes < len(part):
            return entry, PIECE, piece
        self._parts.popleft()
        self._sent, self._pieces, self._piece_bytes = self._sent + 1, 0, 0
        return entry, LAST_PIECE, piece

    def _take_parts(self) -> Sequence[Argument]:
        taken: list[bytes] = []
        size = 0
        while self._parts and (not taken or size + len(self._parts[0]) <= BATCH_BYTES):
            taken.append(self._parts.popleft())
            size += len(taken[-1])
        if not taken:
            return ()
        self._sent += len(taken)
        self.unsent_bytes -= size
        lengths = struct.pack(f"<{len(taken) + 1}I", len(taken), *map(len, taken))
        return f"{self._sent}-1", PARTS, lengths + b"".join(taken)


@define(slots=True, eq=False, repr=False)
class EntryReader:
    """Makes parts of entries again. `number` is that of the last part given, `next_entry` from where to read on."""

    number: int = 0
    next_entry: str = START_ENTRY
    start: AnswerStart | None = None
    # How it ended; only once all entries before are read.
    ended: str = ""
    parts: list[bytes] = field(factory=list)
    _pieces: list[bytes] = field(factory=list)

    def seek(self, after: int) -> None:
        """Go on behind that part."""
        self.number, self.next_entry = after, end_entry(after)
        self.parts, self._pieces, self.ended = [], [], ""

    def take(self, entry: Reply, kind: Reply, data: Reply) -> None:
        """The next entry. Its parts are added to `parts`. Raises DamagedAnswer."""
        if not isinstance(entry, bytes) or not isinstance(data, bytes):
            raise DamagedAnswer("an entry is none of ours")
        self.next_entry = f"({entry.decode('ascii')}"
        number = number_of(entry)
        if kind == START:
            self.start = read_start(data)
        elif kind == PIECE:
            self._pieces.append(data)
        elif kind == LAST_PIECE:
            whole = b"".join([*self._pieces, data])
            self._pieces.clear()
            self._give(number, [whole])
        elif kind == PARTS:
            self._give(number, unpack_parts(data))
        elif kind == END:
            self.ended = data.decode("ascii", "replace")
            if self.ended not in ("outgrown", "cut") and number != self.number + 1:
                raise DamagedAnswer("parts are missing")

    def _give(self, number: int, parts: list[bytes]) -> None:
        known = self.number - (number - len(parts))
        if known < 0:
            raise DamagedAnswer("parts are missing")
        self.parts += parts[known:]
        self.number = number


def number_of(entry: bytes) -> int:
    """An entry's number of parts."""
    return int(entry.partition(b"-")[0])
