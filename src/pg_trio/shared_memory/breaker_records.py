"""The records of all workers' breakers, in the shared file. racing/stored_breaker.py has the rules for their use.

Rules:
1. One lock for all records: only failures and probes take it. A worker that waited for it in vain continues without it.
   The lock is never taken over, so a record has one writer.
2. A record takes two slots, each with one copy of the value; the selector of the first says which is valid, and is
   turned when the other one is whole. A worker that is killed in the middle leaves the old value.
3. The number of changes is odd from before a record is written until after. If its writer dies in between, the number
   stays odd, and all workers read records anew until the next change. That costs a microsecond a request, and no worker
   uses an old state.
4. A record of another form takes other kinds (segment.py): during a rolling restart old and new workers share the file.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.segment import BREAKER, BREAKER_BOARD, BREAKER_COPY, COPIES, SELECTOR, Segment

logger = logging.getLogger("pg_trio.shared_memory")

# Generation; why, failures in a row, level; changed at; open for, probe for (s); window began at; its six counts.
_RECORD = struct.Struct("=IBBBdffd6Hx")
_FRESH = _RECORD.unpack(bytes(_RECORD.size))
_MAX_SMALL = 0xFF
_MAX_COUNT = 0xFFFF
# Why one is open is one of so many reasons.
_WHYS = 5
# In the board's own slot, on a boundary of 8 bytes and in native form: read and written in one piece.
_CHANGES = struct.Struct("@Q")
_CHANGES_AT = COPIES + 4
_CHANGES_MASK = 2**64 - 1


class SharedBreakers:
    """See ledger.node_health.BreakerRecords; a place is an index into what was found.

    `ahead_s` is what the clock that all workers share (`time.monotonic()`) is ahead of the caller's own.
    `identities`: by credential, what it is beside its name. One with a new key is not held to what the old one did.
    """

    is_shared = True

    def __init__(self, segment: Segment, ahead_s: float, identities: Mapping[str, bytes]) -> None:
        """Raises Overloaded if the file is full."""
        self._ahead_s = ahead_s
        self._identities = identities
        self._is_stuck = False
        self._keys: list[bytes] = []
        self._places: list[tuple[int, int]] = []
        self.rebind(segment)

    def rebind(self, segment: Segment) -> None:
        """From here on the records are in another file, each at the place it had; see renewal.py. Raises Overloaded."""
        board = segment.find_slot(BREAKER_BOARD, b"")
        self._places = [_find_places(segment, key) for key in self._keys]
        self._segment = segment
        self._memory = segment.memory
        self._changes_at = board + _CHANGES_AT
        self._lock = ByteLock(segment.descriptor, board)

    def changes(self) -> int:
        """A number that moves with every change, and is odd while there is one under way."""
        changes: int = _CHANGES.unpack_from(self._memory, self._changes_at)[0]
        return changes

    def find(self, name: tuple[str, ...]) -> int | None:
        """The place of the record of (kind, credential, …); None if the file is full, which it has logged."""
        key = "\0".join(name).encode() + b"\0" + self._identities.get(name[1], b"")
        try:
            place = _find_places(self._segment, key)
        except Overloaded:
            return None
        self._keys.append(key)
        self._places.append(place)
        return len(self._places) - 1

    def hold(self) -> bool:
        """Lock the records against other workers' changes until `release`; False if a stopped worker holds the lock."""
        # After giving up once, the event loop must not wait again for each of the next failures.
        is_held = self._lock.acquire_quickly() if self._is_stuck else self._lock.acquire_within_limit()
        if not is_held:
            self._segment.counters.stuck += 1
            if not self._is_stuck:
                logger.warning(
                    "%s: another worker holds the breakers and stands still; deciding alone", self._segment.path
                )
        self._is_stuck = not is_held
        return is_held

    def release(self) -> None:
        """Let the others change them."""
        self._lock.release()

    def read(self, place: int) -> tuple[Any, ...]:
        """The numbers of a record; of a fresh one where they make no sense."""
        copies, memory = self._places[place], self._memory
        while True:
            selector = memory[copies[0] + SELECTOR]
            numbers = _RECORD.unpack_from(memory, copies[selector & 1] + COPIES)
            # If the selector has changed, a writer may be filling the copy just read.
            if memory[copies[0] + SELECTOR] == selector:
                break
        generation, why, in_row, level, changed_at, open_for_s, probe_for_s, began_at, *window = numbers
        is_sound = (
            why < _WHYS and abs(changed_at) < math.inf and abs(began_at) < math.inf and 0 <= open_for_s < math.inf
        )
        if not (is_sound and 0 <= probe_for_s < math.inf):
            return _FRESH
        since = (changed_at - self._ahead_s, open_for_s, probe_for_s, began_at - self._ahead_s)
        return (generation, why, in_row, level, *since, *window)

    def write(self, place: int, record: Sequence[Any]) -> None:
        """Replace a record, completely or not at all. Only while the records are held."""
        copies, memory = self._places[place], self._memory
        generation, why, in_row, level, changed_at, open_for_s, probe_for_s, began_at, *window = record
        since = (changed_at + self._ahead_s, open_for_s, probe_for_s, began_at + self._ahead_s)
        small = (min(in_row, _MAX_SMALL), min(level, _MAX_SMALL))
        counts = window
        # Halved, they hold the same share of failures.
        while max(counts) > _MAX_COUNT:
            counts = [count >> 1 for count in counts]
        # Odd already where a writer died.
        changing = self.changes() | 1
        _CHANGES.pack_into(memory, self._changes_at, changing)
        selector = (memory[copies[0] + SELECTOR] + 1) & 0xFF
        _RECORD.pack_into(memory, copies[selector & 1] + COPIES, generation, why, *small, *since, *counts)
        memory[copies[0] + SELECTOR] = selector
        _CHANGES.pack_into(memory, self._changes_at, (changing + 1) & _CHANGES_MASK)


def _find_places(segment: Segment, key: bytes) -> tuple[int, int]:
    return segment.find_slot(BREAKER, key), segment.find_slot(BREAKER_COPY, key)
