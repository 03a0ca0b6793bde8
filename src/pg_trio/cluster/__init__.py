"""Many machines: what nodes share through Redis and PostgreSQL. A gateway without `[cluster]` never imports this room.

engine_away.py  what every call to an engine may raise
node.py         who this node is
share.py        what a node may take of what all nodes ration
redis/          counters, leases and live state. Never the truth about money
postgres/       what must be true: money, tokens, sessions, log

`stores/clustered.py` opens all of it (docs/scaling.md).
"""
