"""This node's share of what all nodes ration together: the limit divided by the nodes that live."""

from __future__ import annotations

from functools import lru_cache

from attrs import frozen

from pg_trio.cluster.node import Node
from pg_trio.ledger.node_health import RetryBuckets
from pg_trio.ledger.protocols import Limits


def share_of(limit: int, nodes: int) -> int:
    """A node's share of a limit, at least 1."""
    return max(1, limit // nodes)


@lru_cache(maxsize=10_000)
def share_limits(limits: Limits, nodes: int) -> Limits:
    """A node's share of a key's limits. The same object for the same arguments: shared memory compares by identity."""
    return tuple((share_of(capacity, nodes), window_s) for capacity, window_s in limits)


@frozen(slots=True, eq=False)
class SharedOutRetries:
    """See RetryBuckets: this node's share."""

    retries: RetryBuckets
    node: Node

    def take(self, key: str, per_s: int, now: float) -> bool:
        """See RetryBuckets."""
        return self.retries.take(key, share_of(per_s, self.node.live_nodes), now)
