"""Limits while Redis is away: each node goes on with its share, in the memory that its workers share.

Rules:
1. A node's share of a limit is the limit divided by the nodes that lived when Redis was last heard.
2. A share does not begin full: each worker takes out of it what it uses of the limit, also while Redis is there
   (`share_use`). So a worker that alone cannot reach Redis knows what the node's other workers have used.
3. When Redis is back, each worker takes from its buckets there what it has admitted within their last window, also
   where that is more than they have: what was too much is then admitted less. If Redis has lost its data, the worker
   takes all that it has used of the limit, down to empty: then the limits are exact again.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress

from attrs import define, field, frozen

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
    # How many workers share the limit, as far as was known.
    sharers: int


@define(eq=False)
class OwnUse:
    """What this worker has taken of each key lately: buckets that refill with its share of the limit."""

    _keys: OrderedDict[bytes, _Used] = field(factory=OrderedDict)

    def note(self, key: bytes, limits: Limits, now: float, amount: int, sharers: int) -> None:
        """So many tokens were taken; negative: given back. `sharers`: the workers of all nodes."""
        used = self._keys.get(key)
        if used is None or used.limits is not limits or used.sharers != sharers:
            used = self._keep(key, self._begin(key, limits, now, sharers))
        self._keys.move_to_end(key)
        used.full_at = give_tokens(used.full_at, used.rates, round(now * NANO), -amount)

    def _begin(self, key: bytes, limits: Limits, now: float, sharers: int) -> _Used:
        """The key's buckets at another speed, or anew; what was used stays used."""
        rates = rates_of(tuple([(capacity, min(window_s * sharers, MAX_WINDOW_S)) for capacity, window_s in limits]))
        missing = self.missing(key, now)
        if len(missing) != len(limits):
            missing = (0,) * len(limits)
        now_ns = round(now * NANO)
        full_at = [give_tokens([0], (rate,), now_ns, -tokens)[0] for rate, tokens in zip(rates, missing, strict=True)]
        return _Used(limits, rates, full_at, sharers)

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

    def _keep(self, key: bytes, used: _Used) -> _Used:
        self._keys[key] = used
        if len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)
        return used


@define(slots=True, eq=False)
class _Window:
    """What was admitted in a bucket's window, and in the one before."""

    window_s: float
    began_at: float
    count: int = 0
    before: int = 0

    def add(self, now: float, amount: int) -> None:
        self._turn(now)
        self.count += amount

    def sum(self, now: float) -> int:
        """In the last `window_s`, as if what was admitted in the window before was spread evenly over it."""
        self._turn(now)
        left = 1 - (now - self.began_at) / self.window_s
        return max(0, self.count + math.ceil(self.before * left))

    def _turn(self, now: float) -> None:
        passed = int((now - self.began_at) // self.window_s)
        if passed > 0:
            self.before = self.count if passed == 1 else 0
            self.count = 0
            self.began_at += passed * self.window_s


@define(eq=False)
class AdmittedAway:
    """What this worker has admitted of each key since Redis was last heard.

    It does not refill: what one worker admits, another one's part of the limit refills. So a sum over all workers that
    refilled would be less than what was admitted.
    """

    _keys: OrderedDict[bytes, tuple[Limits, tuple[_Window, ...]]] = field(factory=OrderedDict)

    def note(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """So many tokens were taken; negative: given back."""
        known = self._keys.get(key)
        if known is None or (known[0] is not limits and known[0] != limits):
            known = self._keys[key] = limits, tuple([_Window(window_s, now) for _, window_s in limits])
            if len(self._keys) > MOST_KEYS:
                self._keys.popitem(last=False)
        for window in known[1]:
            window.add(now, amount)

    def take_all(self, now: float) -> list[Owed]:
        """Each key of which tokens are counted. Then nothing is counted any more."""
        keys, self._keys = self._keys, OrderedDict()
        owed = []
        for key, (limits, windows) in keys.items():
            pairs = zip(windows, limits, strict=True)
            owed.append(Owed(key, limits, tuple([min(one.sum(now), capacity) for one, (capacity, _) in pairs])))
        return [one for one in owed if any(one.tokens)]


@define(eq=False)
class AwayBuckets:
    """See the rules. `refuses`: limited requests are refused instead (`when_redis_is_away = "refuse"`)."""

    node: Node
    # The memory that this node's workers share.
    shared: BucketBook
    workers: int
    refuses: bool
    use: OwnUse = field(factory=OwnUse)
    admitted: AdmittedAway = field(factory=AdmittedAway)
    # What this worker has used, and its node's shares do not know of yet.
    _unshared: dict[bytes, tuple[Limits, int]] = field(factory=dict)

    def note(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """Redis gave so many tokens; negative: they went back."""
        self._use(self.use, key, limits, now, amount)
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
        taken = self.hold(key, limits, now, amount)
        if taken.refused is None:
            self._admit(key, limits, now, amount)
        return taken

    def hold(self, key: bytes, limits: Limits, now: float, amount: int) -> Taken:
        """Take from this node's share, until it is known whether it is admitted (`end_hold`). Raises Overloaded."""
        share = self._share(key, limits, now)
        return self.shared.take(key, share, now, min(amount, *(capacity for capacity, _ in share)))

    def end_hold(self, key: bytes, limits: Limits, now: float, amount: int, *, is_admitted: bool) -> None:
        """What was held is admitted without Redis, or goes back."""
        if is_admitted:
            self._admit(key, limits, now, amount)
        else:
            share = self._share(key, limits, now)
            self.shared.give(key, share, now, min(amount, *(capacity for capacity, _ in share)))

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
        admitted = self.admitted.take_all(now)
        return list(self.use.all_missing(now)) if has_lost_data else admitted

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
        self.admitted.note(key, limits, now, amount)
        self._use(self.use, key, limits, now, amount)

    def _use(self, use: OwnUse, key: bytes, limits: Limits, now: float, amount: int) -> None:
        use.note(key, limits, now, amount, self.node.live_nodes * self.workers)
