"""The names of our keys in Redis. Another application may use the same database."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

PREFIX = "pg_trio:"
# Names of live nodes.
NODES = f"{PREFIX}nodes"
# When each node gave its newest sign of life, by its id.
BEATS = f"{PREFIX}beats"
# Made with the first key: if it has changed, Redis has lost its data.
MARK = f"{PREFIX}mark"

# Written with each new link, for a millisecond: whether there is memory.
ROOM = f"{PREFIX}room"

# States of breakers by the digest of their names, and the number of their changes.
BREAKERS, BREAKERS_VERSION = f"{PREFIX}breakers", f"{PREFIX}breakers:version"


def bucket_key(key: bytes, window_s: int) -> str:
    """A bucket of a ledger's key."""
    return f"{PREFIX}bucket:{key.hex()}:{window_s}"


def permits_key(key: bytes) -> str:
    """The permits of a ledger's key."""
    return f"{PREFIX}permits:{key.hex()}"


def slots_keys(key: bytes) -> tuple[str, str]:
    """Of a credential's slots: until when each node's lease is good, and what each node has told."""
    return f"{PREFIX}slots:{key.hex()}", f"{PREFIX}slots:{key.hex()}:nodes"


def digest_of(name: Sequence[str], identity: bytes) -> str:
    """What nodes call a breaker or an estimate of that name. `identity`: its credential's. Two nodes may have different
    credentials of one name."""
    return blake2b("\0".join(name).encode() + b"\0" + identity, digest_size=16).hexdigest()


def latencies_key(digest: str) -> str:
    """How long a candidate takes, by node."""
    return f"{PREFIX}latencies:{digest}"


def node_key(name: str) -> str:
    """The claim of a node's name."""
    return f"{PREFIX}node:{name}"


def answers_prefix(kind: str) -> str:
    """What the keys of one kind of kept answers begin with. An answer's name, a SHA-256, follows."""
    return f"{PREFIX}{kind}:"


def worker_key(worker: str) -> str:
    """A worker's sign of life, and the channel of messages for it."""
    return f"{PREFIX}worker:{worker}"
