"""Replies by which a server refuses the commands of all clients, and for a while: it is as good as away.

Redis names the reason in an error's first word (Redis's source: `shared` in server.c, acl.c; read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping

from pg_trio.cluster.redis.resp import RedisError

RIGHTS = "docs/scaling.md names the rights that are needed (cluster.redis_url)"
_CLUSTER = "is a Redis Cluster, which is not supported: give a standalone server or sentinels (cluster.redis_url)"
_SAYS: Mapping[str, str] = {
    "OOM": "is out of memory: it has reached its `maxmemory`",
    "READONLY": "is a replica, and takes no writes",
    "MASTERDOWN": "is a replica, and its primary is down",
    "MISCONF": "takes no writes, because it cannot save its data (MISCONF): look at its log and its disk",
    "NOREPLICAS": "takes no writes, because it has too few replicas (`min-replicas-to-write`)",
    "LOADING": "is loading its data",
    "BUSY": "is busy with a script (BUSY)",
    # One that says nothing of its mode is met by this.
    "MOVED": _CLUSTER,
    "CLUSTERDOWN": _CLUSTER,
}
_RIGHTS_CODES = ("NOPERM", "NOAUTH")
# Redis 7.0 names a command that a script may not run by `ERR` alone.
_SCRIPT_RIGHTS = ("The user executing the script can't", "ACL failure in script")
_NO_CONNECTION = "max number of clients"


def refusal_of(error: RedisError) -> str | None:
    """Why the server refuses, to follow its name; None if the error is of the command alone. It quotes no secret."""
    known = _SAYS.get(error.code)
    if known is not None:
        return known
    if error.code == "ERR" and _NO_CONNECTION in error.said:
        return "has no connection left: raise its `maxclients`"
    return rights_refusal_of(error)


def rights_refusal_of(error: RedisError) -> str | None:
    """The same for a right that is missing. While a link is greeted it may lack what is not needed."""
    if error.code in _RIGHTS_CODES or any(words in error.said for words in _SCRIPT_RIGHTS):
        return f"refuses us: {error.said}; {RIGHTS}"
    return None
