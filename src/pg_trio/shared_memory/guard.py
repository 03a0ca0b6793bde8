"""The right to decide about a key, which a holder that stands still cannot keep from the others.

A lock of a process that dies is released by the kernel. A process that is only stopped (SIGSTOP, a debugger, a frozen
container) keeps it. So a key has two places, each with a lock, and a generation, one byte: even means the first place,
odd the second.

Rules:
1. Hold the place that the generation names, and look at the generation again once you hold it.
2. Who waited in vain takes the *other* place's lock and turns the generation on. Only the holder of that lock may turn
   it that way, so each turn has one writer.
3. Who leaves looks whether the generation is still theirs, *after* the release. If not, somebody may have decided
   without seeing what they wrote: they must undo it or do it again.

Why that is enough: a leaver writes, unlocks, reads the generation; a taker-over turns the generation, touches the same
lock, reads what was written. The kernel takes one spinlock per file for both, so one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Callable

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.segment import GENERATION, RETRY_AFTER_S, Segment

# A turn takes twice LOCK_LIMIT_S at most, so an event loop stands still for 0.1 s before a key counts as stuck. Only
# many more busy processes than processors come near it: 12 in a tight loop on 2 gave up now and then after 4 turns.
TURNS = 25


class Guard:
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
        """The generation right now: 0 to 255, then 0 again."""
        return self._memory[self._generation_at]

    def enter(self) -> int:
        """Hold the key; the generation in which, for `leave`. Raises Overloaded if both places are held."""
        generation = self._memory[self._generation_at]
        lock = self._locks[generation & 1]
        if lock.acquire_nowait():
            if self._memory[self._generation_at] == generation:
                return generation
            lock.release()
        return self._enter_contended()

    def leave(self, generation: int) -> bool:
        """Let go. False if the key was taken over meanwhile: rule 3."""
        self._locks[generation & 1].release()
        return self._memory[self._generation_at] == generation

    def _enter_contended(self) -> int:
        # Once given up, do not make the event loop wait for each of the next requests again.
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
        # Not to hold it: for the kernel's spinlock in between (see above).
        held = self._locks[generation & 1]
        if held.acquire_nowait():
            held.release()
        return True
