-- A node's sign of life. It claims the node's name, and counts the nodes that live.
--
-- KEYS: the node's claim, the nodes (a sorted set: name, time of its end in milliseconds), the data's mark, the beats (a
-- sorted set: id, time of its newest sign in milliseconds; kept for two days, twice the longest deadline). ARGV: the node's
-- id, its name, how long the sign is good for (milliseconds), a mark if there is none.
-- Reply: 1, or 0 if another gateway has the name; how many nodes live; the data's mark: a new one says that Redis has
-- lost its data.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local claimed = redis.call('GET', KEYS[1])
local ours = (not claimed) or claimed == ARGV[1]
if ours then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[2])
  redis.call('ZADD', KEYS[4], now, ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - 172800000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('SET', KEYS[3], ARGV[4], 'NX')
return {ours and 1 or 0, redis.call('ZCARD', KEYS[2]), redis.call('GET', KEYS[3])}
