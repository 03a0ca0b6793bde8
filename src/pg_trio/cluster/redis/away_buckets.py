"""Limits while Redis is away: each node goes on with its share, in the memory that its workers share.

Rules:
1. A node's share of a limit is the limit divided by the nodes that lived when Redis was last heard.
2. A share does not begin full: each worker takes out of it what it uses of the limit, also while Redis is there
   (`share_use`). So a worker that alone cannot reach Redis knows what the node's other workers have used.
3. When Redis is back, each worker takes from its buckets there what it has admitted meanwhile, also where that is more
   than they have: what was too much is then admitted less. If Redis has lost its data, the worker takes what it has
   used of the limit in all, down to empty: then the limits are exact again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress

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
    # What this worker has used, and its node's shares do not know of yet.
    _unshared: dict[bytes, tuple[Limits, int]] = field(factory=dict)

    def note(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """Redis gave so many tokens; negative: they went back."""
        self._use(key, limits, now, amount)
        if not self.refuses:
            _, before = self._unshared.get(key, (limits, 0))
            self._unshared[key] = limits, before + amount

    def share_use(self, now: float) -> None:
        """Take out of the node's shares what this worker has used since the last time."""
        unshared, self._unshared = self._unshared, {}
        for key, (limits, amount) in unshared.items():
            self._take_out(key, limits, now, amount)

    def take(self, key: bytes, limits: Limits, now: float, amount: int) -> Taken:
        """Take from this node's share. Raises Overloaded if there is to be none."""
        share = self._share(key, limits, now)
        taken = self.shared.take(key, share, now, min(amount, *(capacity for capacity, _ in share)))
        if taken.refused is None:
            self._admit(key, limits, now, amount)
        return taken

    def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """Put tokens back. Never raises."""
        if not self.refuses:
            self.shared.give(key, self._share(key, limits, now), now, amount)
            self._admit(key, limits, now, -amount)

    def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]:
        """What this node's share holds. Raises Overloaded."""
        return self.shared.peek(key, self._share(key, limits, now), now)

    def end(self, now: float, *, has_lost_data: bool) -> list[tuple[bytes, Limits, int]]:
        """Redis is back: the tokens of each key that it does not know of."""
        owed = list((self.use if has_lost_data else self.admitted).all_missing(now))
        self.admitted.clear()
        return owed

    def _share(self, key: bytes, limits: Limits, now: float) -> Limits:
        if self.refuses:
            raise Overloaded(RETRY_AFTER_S)
        unshared = self._unshared.pop(key, None)
        if unshared is not None:
            self._take_out(key, limits, now, unshared[1])
        return share_limits(limits, self.node.live_nodes)

    def _take_out(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        if amount:
            # Without room for the key there is no share of it, either.
            with suppress(Overloaded):
                self.shared.give(key, share_limits(limits, self.node.live_nodes), now, -amount)

    def _admit(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        self._use(key, limits, now, amount)
        self.admitted.note(key, limits, now, amount, self.node.live_nodes * self.workers)

    def _use(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        self.use.note(key, limits, now, amount, self.node.live_nodes * self.workers)
