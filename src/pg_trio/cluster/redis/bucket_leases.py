"""Tokens of a large limit, leased from Redis ahead of need and spent here without asking.

Rules:
1. A limit is large if a quarter of a second of it is LEAST_LEASE tokens or more. A lease is that quarter second.
2. A lease ends HOLD_S after it was asked for, by this machine's monotonic clock; what is not spent by then goes back a
   little earlier. So a stopped worker cannot spend an old lease, and clocks of machines do not matter.
3. A window of time may see what was leased before it began. That is at most what refills in HOLD_S, however many
   workers hold leases: all of it was taken from one bucket within HOLD_S. So the bucket in Redis is smaller by as much
   (`hold_back_s`), and over all nodes never more than the limit and its refill is admitted.
4. When half is spent, the next lease is asked for in the background, so a request waits only where there is none.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from pg_trio.cluster.redis.bucket_wire import BucketGroup
from pg_trio.ledger.protocols import Limits
from pg_trio.shared_memory.token_bucket import NANO, BucketsTaken, left_of

LEASE_S = 0.25
LEAST_LEASE = 8
HOLD_S = 0.5
# Before its end: time for the way back to Redis.
RETURN_S = 0.1
# What is on its way back may still be spent by others for this long.
HOLD_BACK_S = HOLD_S + RETURN_S


def lease_size(limits: Limits) -> int:
    """Tokens of a lease, by the slowest of the limits; 0 if the limit is not large."""
    size = int(min(capacity / window_s for capacity, window_s in limits) * LEASE_S)
    return size if size >= LEAST_LEASE else 0


@define(slots=True)
class _Part:
    left: int
    until: float


@define(eq=False)
class BucketLease:
    """The tokens of one key that this worker may spend. Times are seconds of one monotonic clock."""

    key: bytes
    limits: Limits
    group: BucketGroup
    size: int
    # A lease is being asked for.
    is_asked: bool = False
    _parts: deque[_Part] = field(factory=deque)
    # What each bucket missed in Redis when the newest part came, and when that was.
    _missing_ns: tuple[int, ...] = ()
    _known_at_ns: int = 0

    def add(self, tokens: int, missing_ns: tuple[int, ...], asked_at: float, now: float) -> None:
        """Add what Redis granted to a call that left at `asked_at`."""
        self._missing_ns, self._known_at_ns = missing_ns, round(now * NANO)
        if tokens > 0:
            self._parts.append(_Part(tokens, asked_at + HOLD_S))

    def spend(self, amount: int, now: float) -> BucketsTaken | None:
        """Spend tokens; None if there are not enough."""
        parts = self._parts
        while parts and parts[0].until <= now:
            # Too late to give them back (rule 3): they are lost, and refill.
            parts.popleft()
        if sum([part.left for part in parts]) < amount:
            return None
        while amount:
            part = parts[0]
            spent = min(part.left, amount)
            part.left -= spent
            amount -= spent
            if not part.left:
                parts.popleft()
        return self.state(now)

    def put_back(self, tokens: int, now: float) -> None:
        """Undo a spend that was made just now."""
        until = self._parts[0].until if self._parts else now + RETURN_S
        self._parts.appendleft(_Part(tokens, until))

    def state(self, now: float) -> BucketsTaken:
        """What a request is told: Redis's state when it was last known, and the tokens here."""
        now_ns, left = round(now * NANO), self.left
        full_at = [
            min(max(self._known_at_ns + missing - left * rate.token_ns, now_ns), now_ns + rate.full_ns)
            for missing, rate in zip(self._missing_ns, self.group.rates, strict=True)
        ]
        return BucketsTaken(None, left_of(full_at, self.group.rates, now_ns))

    @property
    def left(self) -> int:
        """Tokens here."""
        return sum([part.left for part in self._parts])

    @property
    def is_low(self) -> bool:
        """Whether it is time to ask for more."""
        return self.left * 2 <= self.size

    def end_old(self, now: float) -> int:
        """Take out the tokens that must go back now. Returns their number."""
        ended = 0
        while self._parts and self._parts[0].until <= now + RETURN_S:
            part = self._parts.popleft()
            ended += part.left if part.until > now else 0
        return ended

    @property
    def is_empty(self) -> bool:
        return not self._parts and not self.is_asked
