"""What is counted by the holders of client tokens, over all nodes.

Rules:
1. Their limits are in Redis, in the same books as all other limits: one call takes from the buckets of a holder, of its
   token and of the endpoint. Their budgets are in PostgreSQL.
2. What this node itself counts of a holder is in a file of its own (holder_file.py), opened at the first client token
   with a limit or a budget: its share of the limits while Redis is away, and what the node has leased of the budget. So
   holders never use up the room of endpoints and tokens, on any node.
3. A holder's keys are longer than all others (domain/client_grant.py), which tells them apart here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from pg_trio.cluster.postgres.lease_term import LeaseTerm, holder_of
from pg_trio.cluster.postgres.leased_spend import LeasedSpend
from pg_trio.cluster.postgres.postgres_pool import PostgresPool
from pg_trio.errors import Overloaded
from pg_trio.ledger.immediate import BucketBook, SyncLeases
from pg_trio.ledger.protocols import Held, Limits, Taken
from pg_trio.stores.holder_file import HolderParts

# The longest key of an endpoint or a token. A holder's is longer.
OTHER_KEY_BYTES = 16
# In the file: its uses at once, its spend, and what was granted of its budget.
ACCOUNTS = 3
RETRY_AFTER_S = 1


@define(eq=False)
class SplitBuckets:
    """See BucketBook: this node's buckets, those of holders in their own file. A holder's are used after it is open."""

    own: BucketBook
    of_holders: BucketBook | None = None

    def take(self, key: bytes, limits: Limits, now: float, amount: int = 1) -> Taken:
        """See BucketBook. Raises Overloaded."""
        return self._book(key).take(key, limits, now, amount)

    def give(self, key: bytes, limits: Limits, now: float, amount: int) -> None:
        """See BucketBook."""
        self._book(key).give(key, limits, now, amount)

    def peek(self, key: bytes, limits: Limits, now: float) -> Sequence[Held]:
        """See BucketBook. Raises Overloaded."""
        return self._book(key).peek(key, limits, now)

    def _book(self, key: bytes) -> BucketBook:
        if len(key) <= OTHER_KEY_BYTES:
            return self.own
        if self.of_holders is None:
            raise Overloaded(RETRY_AFTER_S)
        return self.of_holders


@define(eq=False)
class SplitLeases:
    """See SyncLeases: likewise."""

    own: SyncLeases
    of_holders: SyncLeases | None = None

    def acquire(self, key: bytes, limit: int) -> bool:
        """See SyncLeases. Raises Overloaded."""
        return self._book(key).acquire(key, limit)

    def release(self, key: bytes) -> None:
        """See SyncLeases."""
        self._book(key).release(key)

    def count(self, key: bytes) -> int:
        """See SyncLeases. Raises Overloaded."""
        return self._book(key).count(key)

    def _book(self, key: bytes) -> SyncLeases:
        if len(key) <= OTHER_KEY_BYTES:
            return self.own
        if self.of_holders is None:
            raise Overloaded(RETRY_AFTER_S)
        return self.of_holders


@define(eq=False)
class HolderBudgets:
    """The budgets of holders, leased by this node from when the file is open (`start`)."""

    pool: PostgresPool
    make_term: Callable[[], LeaseTerm]
    _spend: LeasedSpend | None = None
    _started: trio.Event = field(factory=trio.Event)

    def start(self, parts: HolderParts) -> LeasedSpend:
        """Lease into the open file. `run` goes on with it."""
        term = self.make_term()
        spend = LeasedSpend(self.pool, holder_of(parts.file.segment, term.node), parts.spend, term)
        parts.file.parts.append(spend)
        self._spend = spend
        self._started.set()
        return spend

    async def run(self) -> None:
        """Until cancelled."""
        await self._started.wait()
        if self._spend is not None:
            await self._spend.run()

    async def aclose(self) -> None:
        """Return what is not spent. The requests have ended."""
        if self._spend is not None:
            await self._spend.aclose()
