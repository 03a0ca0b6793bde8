"""Redis (7 or later) or Valkey: counters, leases, and what nodes tell each other.

resp.py        the wire, without I/O
pending.py     a command whose reply is awaited
redis_link.py  one connection, which all tasks of a worker share
client.py      a link at all times: connects, notices a frozen server, connects again
dialing.py     one server or sentinels; logs in, refuses Redis Cluster
scripts.py     scripts in Lua (`lua/`), run by their digest
keys.py        the names of our keys
heartbeat.py   the node's sign of life, and how many nodes live
sightings.py   when each node gave its last one
redis_buckets.py, bucket_wire.py, bucket_leases.py, away_buckets.py   rate limits: exact, leased, without Redis
redis_permits.py                                                      concurrent uses
told_breakers.py                                                      breakers, told to other nodes
redis_answers.py                                                      kept answers: claimed by one worker, found by all
answer_batches.py, answer_writing.py                                  their parts as entries of a stream
answer_reading.py, answer_news.py                                     read at any node, and told when there is more
"""
