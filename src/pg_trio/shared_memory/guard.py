"""The exclusive right to decide about a key. A stopped holder cannot block the other workers.

The kernel releases a dead process's lock. A stopped process (SIGSTOP, a debugger, a frozen container) keeps it. So a
key has two places, each with a lock, and a generation, one byte: even means the first place, odd the second.

Rules:
1. Hold the place that the generation names, and read the generation again after locking.
2. A worker that waited in vain takes the *other* place's lock and increments the generation. Only the holder of that
   lock may do this increment, so each one has a single writer.
3. A leaving worker checks *after* the release whether the generation is unchanged. If it has changed, another worker
   may have decided without seeing its write, and it must undo or repeat its step.

Why that is enough: the leaving worker writes, unlocks, and reads the generation. The worker that takes over increments
the generation, tries the same lock, and reads the value. The kernel uses one spinlock per file for both lock calls, so
one of the two sees the other's change.
"""

from __future__ import annotations

from collections.abc import Callable

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.segment import GENERATION, RETRY_AFTER_S, Segment

# A turn takes twice LOCK_LIMIT_S at most, so an event loop is blocked for 0.1 s before a key counts as stuck. Only many
# more busy processes than processors come near that: 12 in tight loops on 2 processors sometimes gave up after 4 turns.
TURNS = 25


class SlotGuard:
    """One key's guard. `offsets` are its two places; its generation is kept in the first."""

    __slots__ = ("_generation_at", "_is_stuck", "_locks", "_memory", "_segment", "offsets")

    def __init__(self, segment: Segment, kinds: tuple[int, int], key: bytes) -> None:
        self._segment = segment
        self._memory = segment.memory
        self.offsets = (segment.find_slot(kinds[0], key), segment.find_slot(kinds[1], key))
        self._generation_at = self.offsets[0] + GENERATION
        self._locks = tuple(ByteLock(segment.descriptor, offset) for offset in self.offsets)
        self._is_stuck = False

    @property
    def generation(self) -> int:
        """The current generation: 0 to 255, then 0 again."""
        return self._memory[self._generation_at]

    def enter(self) -> int:
        """Hold the key; returns the generation, for `leave`. Raises Overloaded if both places are held."""
        generation = self._memory[self._generation_at]
        lock = self._locks[generation & 1]
        if lock.acquire_nowait():
            if self._memory[self._generation_at] == generation:
                return generation
            lock.release()
        return self._enter_contended()

    def leave(self, generation: int) -> bool:
        """Release the key. False if it was taken over meanwhile: rule 3."""
        self._locks[generation & 1].release()
        return self._memory[self._generation_at] == generation

    def _enter_contended(self) -> int:
        # After giving up once, the event loop must not wait again for each of the next requests.
        turns, acquire = (1, ByteLock.acquire_quickly) if self._is_stuck else (TURNS, ByteLock.acquire_within_limit)
        for _ in range(turns):
            generation = self._memory[self._generation_at]
            lock = self._locks[generation & 1]
            if acquire(lock):
                if self._memory[self._generation_at] == generation:
                    self._is_stuck = False
                    return generation
                lock.release()
            elif self._take_over(generation, acquire):
                self._is_stuck = False
                return (generation + 1) & 0xFF
        self._is_stuck = True
        self._segment.counters.stuck += 1
        raise Overloaded(RETRY_AFTER_S)

    def _take_over(self, generation: int, acquire: Callable[[ByteLock], bool]) -> bool:
        other = self._locks[(generation + 1) & 1]
        if not acquire(other):
            return False
        if self._memory[self._generation_at] != generation:
            other.release()
            return False
        self._memory[self._generation_at] = (generation + 1) & 0xFF
        self._segment.counters.takeovers += 1
        # This lock is taken only for the kernel's spinlock (see above), not to hold it.
        held = self._locks[generation & 1]
        if held.acquire_nowait():
            held.release()
        return True
