"""Limits while Redis is away: each node goes on with its share, in the memory that its workers share.

Rules:
1. A node's share of a limit is the limit divided by the nodes that lived when Redis was last heard.
2. A share does not begin full: each worker takes out of it what it uses of the limit, also while Redis is there
   (`share_use`). So a worker that alone cannot reach Redis knows what the node's other workers have used.
3. When Redis is back, each worker takes from its buckets there what it has used beyond what Redis knows, also where
   that is more than they have: what was too much is then admitted less. Redis's buckets have refilled meanwhile, and
   so has what Redis knows here. If Redis has lost its data, the worker takes all that it has used of the limit, down
   to empty: then the limits are exact again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress

from attrs import define, evolve, field, frozen

from pg_trio.cluster.node import Node
from pg_trio.cluster.share import share_limits
from pg_trio.errors import Overloaded
from pg_trio.ledger.immediate import BucketBook
from pg_trio.ledger.protocols import Held, Limits, Taken
from pg_trio.shared_memory.token_bucket import MAX_WINDOW_S, NANO, Rate, give_tokens, look, rates_of

# What a worker remembers of its own use. Further keys push out those that were not used for longest, as if they had
# never been: there may be any number of client tokens.
MOST_KEYS = 10_000
RETRY_AFTER_S = 1


@frozen(slots=True)
class Owed:
    """Tokens of each bucket of a key that Redis does not know of."""

    key: bytes
    limits: Limits
    tokens: tuple[int, ...]


@define(slots=True, eq=False)
class _Used:
    """A key's buckets, refilling as slowly as this worker's share of the limit does. `full_at`: see token_bucket.py."""

    limits: Limits
    rates: tuple[Rate, ...]
    full_at: list[int]


@define(eq=False)
class OwnUse:
    """What this worker has taken of each key lately: buckets that refill with its share of the limit."""

    _keys: OrderedDict[bytes, _Used] = field(factory=OrderedDict)

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def note(self, key: bytes, limits: Limits, now: float, amount: int, sharers: int) -> None:
        """So many tokens were taken; negative: given back. `sharers`: the workers of all nodes."""
        used = self._keys.get(key)
        if used is None or used.limits is not limits:
            slow = tuple((capacity, min(window_s * sharers, MAX_WINDOW_S)) for capacity, window_s in limits)
            full_at = used.full_at if used is not None and len(used.limits) == len(limits) else [0] * len(limits)
            used = self._keep(key, _Used(limits, rates_of(slow), full_at))
        self._keys.move_to_end(key)
        used.full_at = give_tokens(used.full_at, used.rates, round(now * NANO), -amount)

    def copy(self, key: bytes, use: OwnUse) -> None:
        """Count of a key what the other one does."""
        used = use._keys.get(key)
        if used is not None:
            self._keep(key, _Used(used.limits, used.rates, used.full_at))

    def missing(self, key: bytes, now: float) -> tuple[int, ...]:
        """The tokens that are still counted of each bucket of a key; empty if there are none."""
        used = self._keys.get(key)
        if used is None:
            return ()
        now_ns = round(now * NANO)
        pairs = zip(used.full_at, used.rates, used.limits, strict=True)
        return tuple(capacity - look(moment, rate, now_ns).remaining for moment, rate, (capacity, _) in pairs)

    def all_missing(self, now: float) -> Iterator[Owed]:
        """Each key of which tokens are counted."""
        for key, used in list(self._keys.items()):
            missing = self.missing(key, now)
            if any(missing):
                yield Owed(key, used.limits, missing)

    def clear(self) -> None:
        """Nothing was used."""
        self._keys.clear()

    def _keep(self, key: bytes, used: _Used) -> _Used:
        self._keys[key] = used
        if len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)
        return used


@define(eq=False)
class AwayBuckets:
    """See the rules. `refuses`: limited requests are refused instead (`when_redis_is_away = "refuse"`)."""

    node: Node
    # The memory that this node's workers share.
    shared: BucketBook
    workers: int
    refuses: bool
    use: OwnUse = field(factory=OwnUse)
    # What Redis knows of it, of the keys that were used here since it was last heard.
    known: OwnUse = field(factory=OwnUse)
    # What this worker has used, and its node's shares do not know of yet.
    _unshared: dict[bytes, tuple[Limits, int]] = field(factory=dict)

    def note(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """Redis gave so many tokens; negative: they went back."""
        self._use(self.use, key, limits, now, amount)
        if key in self.known:
            self._use(self.known, key, limits, now, amount)
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

    def end(self, now: float, *, has_lost_data: bool) -> list[Owed]:
        """Redis is back: what it does not know of."""
        owed = list(self.use.all_missing(now))
        if not has_lost_data:
            owed = [self._without_known(one, now) for one in owed if one.key in self.known]
        self.known.clear()
        return [one for one in owed if any(one.tokens)]

    def _without_known(self, owed: Owed, now: float) -> Owed:
        known = self.known.missing(owed.key, now)
        return evolve(owed, tokens=tuple(max(0, all_ - it) for all_, it in zip(owed.tokens, known, strict=True)))

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
        """Count what Redis does not know of."""
        if key not in self.known:
            # Counted from now on, also where there was nothing.
            self._use(self.use, key, limits, now, 0)
            self.known.copy(key, self.use)
        self._use(self.use, key, limits, now, amount)

    def _use(self, use: OwnUse, key: bytes, limits: Limits, now: float, amount: int) -> None:
        use.note(key, limits, now, amount, self.node.live_nodes * self.workers)
