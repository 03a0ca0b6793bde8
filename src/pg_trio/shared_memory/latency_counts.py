"""Latency histograms of all workers, in the shared file. racing/latency.py has their purpose.

Rules:
1. A worker collects its own samples. It adds them together when the counts are read and its last look is `LOOK_AGAIN_S`
   old. So each candidate costs one lock and some 50 µs four times a second, instead of a lock for each request, and no
   timer is needed. A dead worker's samples of that time are lost.
2. A worker that cannot have the lock at once keeps its samples until the next time, because hints are not worth a wait.
3. A histogram has two halves that alternate, by the clock that all workers share. Each slot says which half window it
   counts; a slot of another half window counts as zeros. So nothing is ever cleared. A worker killed while it adds
   leaves some of its samples added.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.byte_lock import ByteLock
from pg_trio.shared_memory.segment import COPIES, LATENCY, Segment

# The same period as racing.latency.LatencyRules.refresh_s.
LOOK_AGAIN_S = 0.25
# The half window (0: none yet), and the counts of 20 buckets: the 44 bytes of a slot besides its key.
_PART = struct.Struct("=I20H")
_BUCKETS_A_PART = 20
_NOTHING = (0,) * _BUCKETS_A_PART
_MAX_COUNT = 0xFFFF
_HALVES_MASK = 0xFFFFFFFF
# Hints must not use up the slots of limits and budgets.
MAX_SHARE_OF_SLOTS = 0.25


class SharedCounts:
    """One histogram; see ledger.node_health.LatencyCounts."""

    def __init__(self, segment: Segment, places: Sequence[Sequence[int]], half_s: float, ahead_s: float) -> None:
        """`places`: offsets of the slots of each half."""
        self._half_s = half_s
        self._ahead_s = ahead_s
        self.rebind(segment, places)
        self._untold: dict[int, int] = {}
        self._untold_since = 0.0
        self._known = [0] * (len(places[0]) * _BUCKETS_A_PART)
        self._look_at = 0.0

    def rebind(self, segment: Segment, places: Sequence[Sequence[int]]) -> None:
        """Move the counts to another file; see renewal.py."""
        self._memory = segment.memory
        self._places = places
        self._lock = ByteLock(segment.descriptor, places[0][0])

    def add(self, bucket: int, now: float) -> None:
        """Count a sample of this worker."""
        if not self._untold:
            self._untold_since = now
        self._untold[bucket] = self._untold.get(bucket, 0) + 1
        self._known[bucket] += 1

    def read(self, now: float) -> Sequence[int]:
        """The counts of the last one to two half windows: of all workers as of the last look, and this worker's own."""
        if now >= self._look_at:
            self._look_at = now + LOOK_AGAIN_S
            self._look(int((now + self._ahead_s) / self._half_s) + 1 & _HALVES_MASK, now)
        return self._known

    def _look(self, half: int, now: float) -> None:
        if now >= self._untold_since + 2 * self._half_s:
            self._untold.clear()
        newer = self._read_half(half)
        if self._untold and self._lock.acquire_quickly():
            newer = self._read_half(half)
            for bucket, count in self._untold.items():
                newer[bucket] += count
            self._write_half(half, newer)
            self._lock.release()
            self._untold.clear()
        older = self._read_half(half - 1 & _HALVES_MASK)
        self._known = [now + before for now, before in zip(newer, older, strict=True)]
        for bucket, count in self._untold.items():
            self._known[bucket] += count

    def _read_half(self, half: int) -> list[int]:
        counts: list[int] = []
        for offset in self._places[half & 1]:
            written_for, *part = _PART.unpack_from(self._memory, offset + COPIES)
            counts.extend(part if written_for == half else _NOTHING)
        return counts

    def _write_half(self, half: int, counts: list[int]) -> None:
        # Halving all counts keeps the quantiles.
        while max(counts) > _MAX_COUNT:
            counts[:] = [count >> 1 for count in counts]
        for number, offset in enumerate(self._places[half & 1]):
            first = number * _BUCKETS_A_PART
            _PART.pack_into(self._memory, offset + COPIES, half, *counts[first : first + _BUCKETS_A_PART])


class SharedLatencies:
    """Finds the histograms. `ahead_s` and `identities` as for breaker_records.SharedBreakers."""

    def __init__(self, segment: Segment, ahead_s: float, identities: Mapping[str, bytes]) -> None:
        self._segment = segment
        self._ahead_s = ahead_s
        self._identities = identities
        self._slots_left = int(segment.slots * MAX_SHARE_OF_SLOTS)
        self._found: list[tuple[SharedCounts, bytes, int]] = []

    def rebind(self, segment: Segment) -> None:
        """Move the histograms to another file; see renewal.py. Raises Overloaded."""
        places = [_find_places(segment, key, parts) for _, key, parts in self._found]
        self._segment = segment
        for (counts, _, _), found in zip(self._found, places, strict=True):
            counts.rebind(segment, found)

    def find(self, name: Sequence[str], buckets: int, half_s: float) -> SharedCounts | None:
        """The histogram of that name, which contains the credential; None if there is no room for it."""
        parts = -(-buckets // _BUCKETS_A_PART)
        self._slots_left -= 2 * parts
        if self._slots_left < 0:
            return None
        identity = b"".join(self._identities.get(part, b"") for part in name)
        key = "\0".join(name).encode() + b"\0" + identity
        try:
            places = _find_places(self._segment, key, parts)
        except Overloaded:
            return None
        counts = SharedCounts(self._segment, places, half_s, self._ahead_s)
        self._found.append((counts, key, parts))
        return counts


def _find_places(segment: Segment, key: bytes, parts: int) -> list[list[int]]:
    """The slots of both halves."""
    return [[segment.find_slot(LATENCY, key + bytes((half, part))) for part in range(parts)] for half in range(2)]
