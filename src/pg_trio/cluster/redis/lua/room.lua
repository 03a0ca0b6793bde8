-- What every script of ours needs: the right to run it, a server that takes writes, and memory for one.
-- KEYS: a key of no other use.
redis.call('SET', KEYS[1], 1, 'PX', 1)
redis.call('GET', KEYS[1])
return {1}
