"""Limits while Redis is away: each node goes on with its share, in the memory that its workers share.

Rules:
1. A node's share of a limit is the limit divided by the nodes that lived when Redis was last heard.
2. A share does not begin full: each worker takes out of it what it has used of the limit lately.
3. When Redis is back, each worker takes from its buckets there what it has admitted meanwhile. If Redis has lost its
   data, it takes what it has used of the limit in all: then the limits are exact again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from attrs import define, field, frozen

from pg_trio.cluster.node import Node
from pg_trio.cluster.share import share_limits
from pg_trio.errors import Overloaded
from pg_trio.ledger.immediate import BucketBook
from pg_trio.ledger.protocols import Held, Limits, Taken
from pg_trio.shared_memory.token_bucket import MAX_WINDOW_S, LocalBuckets

# What a worker remembers of its own use. Further keys push out those that were not used for longest, as if they had
# never been: there may be any number of client tokens.
MOST_KEYS = 10_000
RETRY_AFTER_S = 1


@frozen(slots=True)
class _Used:
    limits: Limits
    # The same, refilling as slowly as this worker's share of the limit does.
    slow: Limits


@define(eq=False)
class OwnUse:
    """What this worker has taken of each key lately: a bucket that refills with its share of the limit."""

    _buckets: LocalBuckets = field(factory=LocalBuckets)
    _keys: OrderedDict[bytes, _Used] = field(factory=OrderedDict)

    def note(self, key: bytes, limits: Limits, now: float, amount: int, sharers: int) -> None:
        """So many tokens were taken; negative: given back. `sharers`: the workers of all nodes."""
        used = self._keys.get(key)
        if used is None or used.limits is not limits:
            slow = tuple((capacity, min(window_s * sharers, MAX_WINDOW_S)) for capacity, window_s in limits)
            used = self._keys[key] = _Used(limits, slow)
            if len(self._keys) > MOST_KEYS:
                oldest, its = self._keys.popitem(last=False)
                self._buckets.forget(oldest, its.slow)
        self._keys.move_to_end(key)
        self._buckets.give(key, used.slow, now, -amount)

    def missing(self, key: bytes, now: float) -> int:
        """The tokens that are still counted of a key."""
        used = self._keys.get(key)
        if used is None:
            return 0
        held = self._buckets.peek(key, used.slow, now)
        pairs = zip(held, used.slow, strict=True)
        return max(capacity - one.remaining for one, (capacity, _) in pairs)

    def all_missing(self, now: float) -> Iterator[tuple[bytes, Limits, int]]:
        """Each key of which tokens are counted: its limits, and how many."""
        for key, used in list(self._keys.items()):
            missing = self.missing(key, now)
            if missing > 0:
                yield key, used.limits, missing

    def clear(self) -> None:
        """Nothing was used."""
        self._buckets = LocalBuckets()
        self._keys.clear()


@define(eq=False)
class AwayBuckets:
    """See the rules. `refuses`: limited requests are refused instead (`when_redis_is_away = "refuse"`)."""

    node: Node
    # The memory that this node's workers share.
    shared: BucketBook
    workers: int
    refuses: bool
    use: OwnUse = field(factory=OwnUse)
    admitted: OwnUse = field(factory=OwnUse)
    _begun: set[bytes] = field(factory=set)

    def note(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """Redis gave so many tokens; negative: they went back."""
        self.use.note(key, limits, now, amount, self.node.live_nodes * self.workers)

    def take(self, key: bytes, limits: Limits, now: float, amount: int) -> Taken:
        """Take from this node's share. Raises Overloaded if there is to be none."""
        share = self._share(key, limits, now)
        taken = self.shared.take(key, share, now, min(amount, *(capacity for capacity, _ in share)))
        if taken.refused is None:
            self.note(key, limits, now, amount)
            self.admitted.note(key, limits, now, amount, self.node.live_nodes * self.workers)
        return taken

    def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """Put tokens back. Never raises."""
        if not self.refuses:
            self.shared.give(key, self._share(key, limits, now), now, amount)
            self.note(key, limits, now, -amount)
            self.admitted.note(key, limits, now, -amount, self.node.live_nodes * self.workers)

    def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]:
        """What this node's share holds. Raises Overloaded."""
        return self.shared.peek(key, self._share(key, limits, now), now)

    def end(self, now: float, *, has_lost_data: bool) -> list[tuple[bytes, Limits, int]]:
        """Redis is back: the tokens of each key that it does not know of."""
        owed = list((self.use if has_lost_data else self.admitted).all_missing(now))
        self.admitted.clear()
        self._begun.clear()
        return owed

    def _share(self, key: bytes, limits: Limits, now: float) -> Limits:
        if self.refuses:
            raise Overloaded(RETRY_AFTER_S)
        share = share_limits(limits, self.node.live_nodes)
        # Of more keys nothing is remembered anyway.
        if key not in self._begun and len(self._begun) < MOST_KEYS:
            self._begun.add(key)
            used = self.use.missing(key, now)
            if used > 0:
                self.shared.give(key, share, now, -used)
        return share
