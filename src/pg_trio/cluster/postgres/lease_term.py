"""For how long a node may spend what it has leased of budgets, and when others take it back.

Rules:
1. A holder of leases tells PostgreSQL every second that it lives. What one that was silent for `silent_s` has not spent
   is taken back by the other nodes.
2. Not from a node that gives signs of life by way of Redis. It is cut off from PostgreSQL alone, goes on inside its
   leases, and tells what it has spent when it is back. So its leases cannot be spent twice, however long that takes.
   Nothing is taken back while Redis is away.
3. A node that neither engine hears spends for `spend_s` more, and then refuses. `silent_s - spend_s` is longer than its
   longest call, so none of its calls can cost anything when its lease is taken back.
4. Then it spends again after PostgreSQL has told it what was taken back, and not before.
5. Times are of the monotonic clock, and a sign of life counts from when it was sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from hashlib import blake2b
from uuid import UUID

import trio
from attrs import define, frozen

from pg_trio.cluster.node import Node
from pg_trio.shared_memory.segment import Segment


@frozen(slots=True)
class LeaseHolder:
    """One file of shared memory as a holder of leases. `place`: which file of which node it is."""

    id: UUID
    place: str


def holder_of(segment: Segment, node: Node) -> LeaseHolder:
    """The holder of the leases of one file of shared memory."""
    # A node has two files: of endpoints, and of the holders of client tokens.
    name = segment.path.name
    named = segment.memory[:64] + name.encode() + node.id.encode()
    return LeaseHolder(UUID(bytes=blake2b(named, digest_size=16).digest()), f"{node.id}/{name}")


def know_none(silent_s: float) -> Collection[str] | None:
    """Without Redis, no node is known to live."""
    return ()


@define(eq=False)
class LeaseTerm:
    """See the rules.

    `living` gives the ids of the nodes that gave a sign of life within so many seconds by way of Redis; None if that is
    not known. `losses`: how often leases were taken back from this holder, None until it is known.
    """

    node: Node
    silent_s: float
    spend_s: float
    living: Callable[[float], Collection[str] | None] = know_none
    clock: Callable[[], float] = trio.current_time
    losses: int | None = None
    _told_at: float = -math.inf
    # Since when PostgreSQL has answered without a break; None while it is away.
    _heard_since: float | None = None

    def may_spend(self) -> bool:
        """Whether no other node can have taken the leases back."""
        now, alone_until = self.clock(), self._told_at + self.spend_s
        return now < alone_until or (self.node.beating_since < alone_until and now < self.node.beaten_at + self.spend_s)

    def note_told(self, sent_at: float) -> None:
        """PostgreSQL has a sign of life that was sent then, and this worker knows what was taken back."""
        self._told_at = max(self._told_at, sent_at)

    def note_answer(self, *, is_away: bool) -> None:
        """PostgreSQL answered, or did not."""
        if is_away:
            self._heard_since = None
        elif self._heard_since is None:
            self._heard_since = self.clock()

    def find_spared(self) -> Collection[str] | None:
        """The ids of the nodes whose leases must be left to them; None if nothing may be taken back from any node.

        After an outage of PostgreSQL every holder looks silent, until it has answered for `silent_s`.
        """
        if self._heard_since is None or self.clock() - self._heard_since < self.silent_s:
            return None
        return self.living(self.silent_s)
