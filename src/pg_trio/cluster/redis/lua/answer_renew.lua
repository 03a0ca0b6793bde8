-- A worker's sign of life; its running answers are good for longer; and answers whose time is over, or that find no room
-- any more, are forgotten. Above nine tenths of a bound those go that would go first.
--
-- KEYS: the worker's sign of life, running, ended, sizes, total (see answer_claim.lua). ARGV: how long the sign and a
-- running answer are good for (milliseconds), the prefix of records and logs, the most bytes, the most answers, the most
-- to forget, then the ids of running answers.
-- Reply: the ids of those that have lost their name.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
local lost = {}
for i = 7, #ARGV do
  local record = ARGV[3] .. string.sub(ARGV[i], 1, 64)
  if redis.call('HGET', record, 'id') == ARGV[i] then
    redis.call('PEXPIRE', record, ARGV[2])
    redis.call('PEXPIRE', ARGV[3] .. ARGV[i], ARGV[2])
    redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
local function forget(set, id)
  local record = ARGV[3] .. string.sub(id, 1, 64)
  redis.call('ZREM', set, id)
  redis.call('DECRBY', KEYS[5], redis.call('HGET', KEYS[4], id) or 0)
  redis.call('HDEL', KEYS[4], id)
  redis.call('DEL', ARGV[3] .. id)
  if redis.call('HGET', record, 'id') == id then
    redis.call('DEL', record)
  end
end
for _, set in ipairs({KEYS[2], KEYS[3]}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, ARGV[6])) do
    forget(set, id)
  end
end
for _ = 1, ARGV[6] do
  local answers = redis.call('ZCARD', KEYS[2]) + redis.call('ZCARD', KEYS[3])
  local is_crowded = tonumber(redis.call('GET', KEYS[5]) or 0) > 0.9 * ARGV[4] or answers > 0.9 * ARGV[5]
  local first = is_crowded and redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  if not first then
    break
  end
  forget(KEYS[3], first)
end
return lost
