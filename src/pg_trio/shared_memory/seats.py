"""Seats: one number for each worker process, held by a lock during its life.

A seat's byte in the header says whether it has been taken since the file was made. Its lock says whether a worker has
it now. Dead processes are not searched by pid: the kernel releases their locks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pg_trio.errors import StoreError
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.segment import Segment

# Behind the header proper. Two sets of 64 workers fit, for a rolling reload.
SEATS_AT = 64
SEATS = 128
# The seats' bytes, all together.
ALL_SEATS = slice(SEATS_AT, SEATS_AT + SEATS)

NEVER_TAKEN = 0
TAKEN = 1
CLEARED = 2


class Seat:
    """A worker's place among the workers. `number` is its own as long as the segment is open."""

    def __init__(self, segment: Segment) -> None:
        """Take the first free seat. Raises StoreError if all are taken."""
        self._memory = segment.memory
        for number in range(SEATS):
            self._lock = ByteLock(segment.descriptor, SEATS_AT + number)
            if self._lock.acquire_nowait():
                self.number = number
                segment.memory[SEATS_AT + number] = TAKEN
                return
        raise StoreError(f"{segment.path}: {SEATS} workers have it open already; stop some of them.")

    def leave(self) -> None:
        """Free the seat and mark it as cleared. Without this call, the end of the process frees the seat, not
        cleared."""
        self._memory[SEATS_AT + self.number] = CLEARED
        self._lock.release()


def count_seats(segment: Segment) -> int:
    """One more than the highest seat that was ever taken."""
    return len(segment.memory[ALL_SEATS].rstrip(b"\0"))


def is_abandoned(segment: Segment, number: int) -> bool:
    """Whether the seat's worker is gone and its data is not cleared. Changes nothing."""
    if segment.memory[SEATS_AT + number] != TAKEN:
        return False
    lock = ByteLock(segment.descriptor, SEATS_AT + number)
    is_free = lock.acquire_nowait()
    if is_free:
        lock.release()
    return is_free


@contextmanager
def abandoned_seat(segment: Segment, number: int) -> Iterator[bool]:
    """Yields whether the seat's worker is gone and its data is not cleared. If so, this process owns the data inside
    the block.

    The data counts as cleared when the block ends without an error.
    """
    lock = ByteLock(segment.descriptor, SEATS_AT + number)
    if segment.memory[SEATS_AT + number] != TAKEN or not lock.acquire_nowait():
        yield False
        return
    try:
        # Another worker may have cleared it between the check and the lock.
        ours = segment.memory[SEATS_AT + number] == TAKEN
        yield ours
        segment.memory[SEATS_AT + number] = CLEARED
    finally:
        lock.release()
