"""The table of 64-byte slots that all workers of a gateway have mapped. segment_file.py opens it.

Rules:
1. A key has one slot, found by its hash and claimed under the slot's lock. It is never freed or moved, so an offset
   stays valid while the segment is open. In a full table a new key is an error; it never gets another key's slot.
2. A slot's value lies in one of two copies. A writer fills the other one and then turns the selector, a single byte. So
   a writer that is killed at any instruction leaves the old or the new value, never a mixture. No repair is needed.
3. The users of a slot decide who may write it: a bucket is written under its guard (guard.py), a worker's row of spend
   by that worker only (spend.py), the breakers under their own lock (breaker_records.py). Reading needs no lock.
4. One thread makes all calls. Waiting is bounded by byte_lock.py's limit.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from attrs import define, evolve

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.byte_lock import ByteLock

logger = logging.getLogger("pg_trio.shared_memory")

# One page: the header proper, then one byte a worker's seat (seats.py); the rest is zero.
HEADER_BYTES = 4096
SLOT_BYTES = 64
# The file's header: magic, version, bytes a slot, slots, Unix seconds of creation, boot id, a hash of these. It does
# not change. The seats follow it.
FIELDS_BYTES = 64

# A slot: kind, selector, generation, seat (one byte each), 16 bytes of key hash, two copies of the value.
# The kind is written last when a slot is claimed, and its byte is the one that locks the slot.
SELECTOR = 1
GENERATION = 2
SEAT = 3
KEY = 4
KEY_BYTES = 16
COPIES = 20
COPY_BYTES = 22
# The copies' offsets, by the selector's lowest bit.
COPY_AT = (COPIES, COPIES + COPY_BYTES)

FREE = 0
BUCKET = 1
BUCKET_SPARE = 2
SPEND_GUARD = 3
SPEND_GUARD_SPARE = 4
SPEND_ROW = 5
BREAKER_BOARD = 6
BREAKER = 7
BREAKER_COPY = 8
LATENCY = 9
SPEND_ROW_BESIDE = 10
HEDGES = 11
HEDGES_SPARE = 12
SLOT_GRANT = 13
SLOT_GRANT_COPY = 14

# No kind is larger: a slot with a larger kind was overwritten by another program.
MAX_KIND = 127

# Slots probed before the table counts as full. In a half-full table linear probing needs 2.5 on average.
PROBES = 64
# A claim waits this many times for LOCK_LIMIT_S: 0.1 s. A claim cannot be taken over, and a claiming worker is nearly
# always only late.
CLAIM_TURNS = 50
# The `Retry-After` of an Overloaded error because of the table.
RETRY_AFTER_S = 1


_KINDS = bytes(range(MAX_KIND + 1))


@define
class Counters:
    """Problems that this process has met in the segment since it opened it."""

    table_full: int = 0  # keys that found no slot
    takeovers: int = 0  # places taken over from a stopped holder
    stuck: int = 0  # calls given up, or made without the lock, because the locks were held


class Segment:
    """An open segment. `is_new` if this process created the file."""

    def __init__(self, descriptor: int, path: Path, *, is_new: bool) -> None:
        self.descriptor = descriptor
        self.path = path
        self.is_new = is_new
        self.counters = Counters()
        self._told = Counters()
        self.memory = mmap.mmap(descriptor, 0)
        self._head = self.memory[:FIELDS_BYTES]
        self.slots = (len(self.memory) - HEADER_BYTES) // SLOT_BYTES

    def close(self) -> None:
        """Unmap and close; every lock that this segment holds is released. Closing again changes nothing."""
        if not self.memory.closed:
            self.memory.close()
            os.close(self.descriptor)

    def is_current(self) -> bool:
        """Whether the path still names this file. If not, it was set aside, and newer workers share another one."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.descriptor))
        except FileNotFoundError:
            return False

    def is_sound(self) -> bool:
        """Whether the file looks intact: not overwritten or shortened by another program, as far as a quick check
        shows.

        Costs 0.1 ms. A page beyond the end of a shortened file must not be touched, because the kernel would end the
        process.
        """
        if os.fstat(self.descriptor).st_size != len(self.memory) or self.memory[:FIELDS_BYTES] != self._head:
            return False
        return not self.memory[HEADER_BYTES::SLOT_BYTES].translate(None, _KINDS)

    def tell_counters(self) -> None:
        """Log the counters, if they have changed since the last call."""
        if self.counters == self._told:
            return
        self._told = evolve(self.counters)
        logger.warning(
            "%s, since this worker began: %d requests found no free slot, %d were given up because stopped workers held"
            " their limit or budget, %d places were taken over from one",
            self.path,
            self._told.table_full,
            self._told.stuck,
            self._told.takeovers,
        )

    def find_slot(self, kind: int, key: bytes, seat: int = 0) -> int:
        """The offset of the key's slot, claimed if it had none. Raises Overloaded if the table is full."""
        digest = blake2b(bytes((kind, seat)) + key, digest_size=KEY_BYTES).digest()
        first = int.from_bytes(digest[:8], "little")
        for step in range(min(PROBES, self.slots)):
            offset = HEADER_BYTES + (first + step) % self.slots * SLOT_BYTES
            if self.memory[offset] == FREE:
                self._claim(offset, kind, seat, digest)
            if self.memory[offset + KEY : offset + KEY + KEY_BYTES] == digest:
                return offset
        if self.counters.table_full == 0:
            logger.error(
                "%s: no free slot near a key's place among %d; stop the gateway and delete the file to start over",
                self.path,
                self.slots,
            )
        self.counters.table_full += 1
        raise Overloaded(RETRY_AFTER_S)

    def has_slot(self, kind: int, key: bytes, seat: int = 0) -> bool:
        """Whether the key has a slot. Claims none."""
        digest = blake2b(bytes((kind, seat)) + key, digest_size=KEY_BYTES).digest()
        first = int.from_bytes(digest[:8], "little")
        for step in range(min(PROBES, self.slots)):
            offset = HEADER_BYTES + (first + step) % self.slots * SLOT_BYTES
            if self.memory[offset] == FREE:
                return False
            if self.memory[offset + KEY : offset + KEY + KEY_BYTES] == digest:
                return True
        return False

    def count_used(self) -> int:
        """How many slots have a key. Takes 1 ms for 100,000 slots."""
        return self.slots - self.memory[HEADER_BYTES::SLOT_BYTES].count(FREE)

    def let_pages_go(self) -> None:
        """After all slots were read: the file's pages are no longer counted as this process's memory, 4 MB.

        Each comes back from the system's cache once it is touched again, in 1 µs. Costs 0.3 ms, with the next reading.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            # Pages that are locked in memory stay.
            with suppress(OSError):
                self.memory.madvise(mmap.MADV_DONTNEED)

    def _claim(self, offset: int, kind: int, seat: int, digest: bytes) -> None:
        """Claim the slot for this key, unless another key came first. A worker that dies half-way leaves it free."""
        lock = ByteLock(self.descriptor, offset)
        for _ in range(CLAIM_TURNS):
            if lock.acquire_within_limit():
                if self.memory[offset] == FREE:
                    self.memory[offset + SEAT] = seat
                    self.memory[offset + KEY : offset + KEY + KEY_BYTES] = digest
                    self.memory[offset] = kind
                lock.release()
                return
            if self.memory[offset] != FREE:
                return
        # Taking the next slot could give one key two slots permanently.
        self.counters.stuck += 1
        raise Overloaded(RETRY_AFTER_S)

    def read(self, offset: int, form: struct.Struct) -> tuple[int, ...]:
        """The slot's value at one moment."""
        memory, selector_at = self.memory, offset + SELECTOR
        while True:
            selector = memory[selector_at]
            value = form.unpack_from(memory, offset + COPY_AT[selector & 1])
            # If the selector has changed, a writer may be filling the copy just read.
            if memory[selector_at] == selector:
                return value

    def write(self, offset: int, form: struct.Struct, *value: int) -> None:
        """Replace the slot's value, completely or not at all. Only for a caller that may write the slot (rule 3)."""
        memory, selector_at = self.memory, offset + SELECTOR
        selector = (memory[selector_at] + 1) & 0xFF
        form.pack_into(memory, offset + COPY_AT[selector & 1], *value)
        memory[selector_at] = selector
