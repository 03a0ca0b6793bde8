"""Limits while Redis is away: each node goes on with its share, in the memory that its workers share.

Rules:
1. A node's share of a limit is the limit divided by the nodes that lived when Redis was last heard.
2. A share does not begin full: each worker takes out of it what it uses of the limit, also while Redis is there
   (`share_use`). So a worker that alone cannot reach Redis knows what the node's other workers have used.
3. When Redis is back, each worker takes from its buckets there what it has admitted within their last window, also
   where that is more than they have: what was too much is then admitted less. If Redis has lost its data, the worker
   takes all that it has admitted within their last window, down to empty. That may be more than the buckets missed, and
   never is less, so no limit is given again. What a worker that has ended had admitted is not known.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

from attrs import define, field, frozen

from pg_trio.cluster.node import Node
from pg_trio.cluster.share import share_limits
from pg_trio.errors import Overloaded
from pg_trio.ledger.immediate import BucketBook
from pg_trio.ledger.protocols import Held, Limits, Taken

# Of which a worker remembers what it admitted. Further keys push out those that were not used for longest, as if they
# had never been: there may be any number of client tokens.
MOST_KEYS = 10_000
RETRY_AFTER_S = 1


@frozen(slots=True)
class Owed:
    """Tokens of each bucket of a key that Redis does not know of."""

    key: bytes
    limits: Limits
    tokens: tuple[int, ...]


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
class Admitted:
    """What this worker has admitted of each key within its buckets' last windows.

    It does not refill: what one worker admits, another one's part of the limit refills. So a sum over all workers that
    refilled would be less than what was admitted. As it is, the sum is never less than what the buckets miss.
    """

    _keys: OrderedDict[bytes, tuple[Limits, tuple[_Window, ...]]] = field(factory=OrderedDict)

    def note(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """So many tokens were taken; negative: given back."""
        known = self._keys.get(key)
        if known is None or (known[0] is not limits and known[0] != limits):
            known = self._keys[key] = limits, tuple([_Window(window_s, now) for _, window_s in limits])
            if len(self._keys) > MOST_KEYS:
                self._keys.popitem(last=False)
        self._keys.move_to_end(key)
        for window in known[1]:
            window.add(now, amount)

    def read(self, now: float) -> list[Owed]:
        """Each key of which tokens are counted."""
        owed = []
        for key, (limits, windows) in self._keys.items():
            pairs = zip(windows, limits, strict=True)
            owed.append(Owed(key, limits, tuple([min(one.sum(now), capacity) for one, (capacity, _) in pairs])))
        return [one for one in owed if any(one.tokens)]

    def clear(self) -> None:
        """Nothing was admitted."""
        self._keys.clear()


@define(eq=False)
class AwayBuckets:
    """See the rules. `refuses`: limited requests are refused instead (`when_redis_is_away = "refuse"`)."""

    node: Node
    # The memory that this node's workers share.
    shared: BucketBook
    refuses: bool
    # All, and what Redis does not know of.
    admitted: Admitted = field(factory=Admitted)
    unknown: Admitted = field(factory=Admitted)
    # What this worker has used, and its node's shares do not know of yet.
    _unshared: dict[bytes, tuple[Limits, int]] = field(factory=dict)

    def note(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """Redis gave so many tokens; negative: they went back."""
        self.admitted.note(key, limits, now, amount)
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
            share = share_limits(limits, self.node.live_nodes)
            self.shared.give(key, share, now, min(amount, *(capacity for capacity, _ in share)))
            # Only then: what Redis has granted cannot be taken out of a share whose last token is held.
            self._share(key, limits, now)

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
        owed = (self.admitted if has_lost_data else self.unknown).read(now)
        self.unknown.clear()
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
        """Count what Redis does not know of."""
        self.admitted.note(key, limits, now, amount)
        self.unknown.note(key, limits, now, amount)
