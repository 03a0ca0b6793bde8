"""What this node holds of a key's slots, which all nodes of a cluster share, for all of its workers.

Rules:
1. A grant is written under its lock. The lock is never taken over: a worker that cannot have it leaves the grant as it
   is, and the node goes by its share once the grant is old (cluster/redis/slot_lease.py).
2. A grant takes two slots, each with one copy of the value; the selector of the first says which is valid, and is
   turned when the other one is whole. A worker that is killed in the middle leaves the old value.
3. Times are of the clock that all workers share (`time.monotonic()`).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.segment import COPIES, SELECTOR, SLOT_GRANT, SLOT_GRANT_COPY, Segment

# All 44 bytes of a slot besides its key. The lowest bit of the fourth number is `is_short`.
_GRANT = struct.Struct("=QIII3d")


class SlotGrant(NamedTuple):
    """`number`: of the newest message about it. `keep`: how many the node may use, because others need the rest.
    `others`: how many calls other nodes run. `is_short`: another node needs more than it has."""

    number: int
    granted: int
    keep: int
    others: int
    is_short: bool
    # When the message left whose reply this is.
    heard_at: float
    # When a message left whose reply is still expected; 0: none is.
    asked_at: float
    # When a worker last used a slot, as far as it was noted.
    busy_at: float


class GrantRecord:
    """One key's grant."""

    __slots__ = ("_lock", "_memory", "_places")

    def __init__(self, segment: Segment, key: bytes) -> None:
        """Raises Overloaded if the file is full."""
        self.rebind(segment, key)

    def rebind(self, segment: Segment, key: bytes) -> None:
        """Move to another file, where nothing is granted; see renewal.py. Raises Overloaded."""
        places = (segment.find_slot(SLOT_GRANT, key), segment.find_slot(SLOT_GRANT_COPY, key))
        self._memory, self._places = segment.memory, places
        self._lock = ByteLock(segment.descriptor, places[0])

    def hold(self) -> bool:
        """Keep others from writing until `release`. False if a stopped worker holds the lock."""
        return self._lock.acquire_within_limit()

    def release(self) -> None:
        """Let others write."""
        self._lock.release()

    def read(self) -> SlotGrant:
        """The grant at one moment. Needs no lock."""
        places, memory = self._places, self._memory
        while True:
            selector = memory[places[0] + SELECTOR]
            number, granted, keep, others, *times = _GRANT.unpack_from(memory, places[selector & 1] + COPIES)
            # If the selector has changed, a writer may be filling the copy just read.
            if memory[places[0] + SELECTOR] == selector:
                return SlotGrant(number, granted, keep, others >> 1, bool(others & 1), *times)

    def write(self, grant: SlotGrant) -> None:
        """Replace it, completely or not at all. Only between `hold` and `release`.

        Afterwards, a worker that took a slot before can be seen, or it sees this grant.
        """
        places, memory = self._places, self._memory
        selector = (memory[places[0] + SELECTOR] + 1) & 0xFF
        number, granted, keep, others, is_short, *times = grant
        counts = (number, granted, keep, others << 1 | is_short)
        _GRANT.pack_into(memory, places[selector & 1] + COPIES, *counts, *times)
        memory[places[0] + SELECTOR] = selector
        # The kernel's spinlock keeps the processor from reading before it has written (guard.py).
        self._lock.acquire_nowait()


class SlotGrants:
    """Finds the grants. A part of the shared file; see renewal.py."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._found: dict[bytes, GrantRecord] = {}

    def rebind(self, segment: Segment) -> None:
        """See renewal.py. Raises Overloaded."""
        for key, record in self._found.items():
            record.rebind(segment, key)
        self._segment = segment

    def find(self, key: bytes) -> GrantRecord | None:
        """The grant of a key; None if the file is full, which it has logged."""
        record = self._found.get(key)
        if record is None:
            try:
                record = self._found[key] = GrantRecord(self._segment, key)
            except Overloaded:
                return None
        return record
