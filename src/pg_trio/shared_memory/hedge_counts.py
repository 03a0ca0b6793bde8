"""The hedge budget of all workers, in the shared file. racing/hedge_budget.py has the arithmetic and the purpose.

Rules:
1. The balance is one value under a guard (guard.py), in billionths of a hedge: adding never rounds.
2. A worker counts its own requests and adds them to the balance when they have earned a whole hedge, or when it wants
   one. At a share of 5 % that is one lock in twenty requests. So the bound of one process may be exceeded by one hedge
   per worker.
3. If another worker took the key over during a withdrawal, the withdrawal is repeated. One hedge may be lost, none is
   given twice. If stopped workers hold both places, the counted requests are kept for later (`reserve` at most), and a
   hedge is refused.
"""

from __future__ import annotations

import struct

from pg_trio.errors import Overloaded
from pg_trio.shared_memory.guard import SlotGuard
from pg_trio.shared_memory.segment import HEDGES, HEDGES_SPARE, Segment

NANO = 1_000_000_000
# Balance (billionths), its time (ns), whether it was ever written, the guard generation that wrote it.
_VALUE = struct.Struct("=qqBB")


class SharedHedges:
    """See racing.hedge_budget.HedgeBudget; the arguments are HedgeRules'. `ahead_s` as for SharedBreakers."""

    def __init__(self, segment: Segment, share: float, reserve: float, min_per_s: float, ahead_s: float) -> None:
        """Raises Overloaded if the file is full."""
        self._segment = segment
        self._guard = SlotGuard(segment, (HEDGES, HEDGES_SPARE), b"hedges")
        self._share_nano = round(share * NANO)
        self._reserve_nano = round(reserve * NANO)
        self._min_per_s = min_per_s
        self._ahead_s = ahead_s
        self._untold_nano = 0

    def rebind(self, segment: Segment) -> None:
        """Move to another file, with a full balance; see renewal.py. Raises Overloaded."""
        self._guard = SlotGuard(segment, (HEDGES, HEDGES_SPARE), b"hedges")
        self._segment = segment

    def deposit(self) -> None:
        """Count a request."""
        self._untold_nano += self._share_nano
        if self._untold_nano >= NANO:
            self._change(None)

    def withdraw(self, now: float) -> bool:
        """Take one hedge out, if there is one."""
        return self._change(round((now + self._ahead_s) * NANO))

    def balance(self) -> float:
        """The number of hedges left, without those earned by time since the last change."""
        return (self._read(self._guard.generation)[0] + self._untold_nano) / NANO

    def _change(self, now_ns: int | None) -> bool:
        """Add the counted requests to the balance and, if `now_ns` is given, take one hedge. True if one was taken."""
        while True:
            try:
                generation = self._guard.enter()
            except Overloaded:
                self._untold_nano = min(self._untold_nano, self._reserve_nano)
                return False
            balance, at_ns = self._read(generation)
            balance = min(self._reserve_nano, balance + self._untold_nano)
            self._untold_nano = 0
            if now_ns is not None:
                balance, at_ns = self._refill(balance, now_ns - at_ns), now_ns
            is_taken = now_ns is not None and balance >= NANO
            value = (balance - NANO * is_taken, at_ns, 1, generation)
            self._segment.write(self._guard.offsets[generation & 1], _VALUE, *value)
            if self._guard.leave(generation) or not is_taken:
                return is_taken

    def _refill(self, balance: int, passed_ns: int) -> int:
        """Time refills the balance up to one hedge, within its capacity."""
        earned = round(max(0, passed_ns) * self._min_per_s)
        return max(balance, min(NANO, self._reserve_nano, balance + earned))

    def _read(self, generation: int) -> tuple[int, int]:
        """The balance and its time; the reserve if no worker has written one."""
        values = [self._segment.read(offset, _VALUE) for offset in self._guard.offsets]
        written = [value for place, value in enumerate(values) if value[2] and value[3] & 1 == place]
        if not written:
            return self._reserve_nano, 0
        balance, at_ns, _, _ = min(written, key=lambda value: (generation - value[3]) & 0xFF)
        return balance, at_ns
