-- Take a permit of a key, if fewer than so many are out. A permit that is not renewed ends by itself.
--
-- KEYS: the permits (a sorted set: member, time of its end in milliseconds), the node's claim, the data's mark. ARGV: the
-- node's id, the limit, the permit, how long it is good for (milliseconds), the mark that the worker knows ('': none).
-- Reply: 1 taken, 0 refused, -1 if another gateway has this node's name; how many are out.
-- The error LOST: the data is not what the worker knows, so the permits that are out must be told first.
if ARGV[5] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[5] then
  return redis.error_reply('LOST the data is another')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local claimed = redis.call('GET', KEYS[2])
if claimed and claimed ~= ARGV[1] then
  return {-1, 0}
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local count = redis.call('ZCARD', KEYS[1])
if count >= tonumber(ARGV[2]) then
  return {0, count}
end
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {1, count + 1}
