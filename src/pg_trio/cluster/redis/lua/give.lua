-- Put tokens back into buckets. A negative number takes tokens, until the bucket misses the most that it may.
--
-- KEYS: one for each bucket. ARGV, three for each: the time of one token, the most that it may miss afterwards
-- (microseconds; the time of all tokens, or more where some are owed), the tokens.
local time = redis.call('TIME')
local now = (time[1] - 1735689600) * 1000000 + time[2]
for i, key in ipairs(KEYS) do
  local token, most, tokens = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local full_at = math.max(tonumber(redis.call('GET', key) or now), now)
  local missing = math.min(full_at - now - token * tokens, most)
  if missing > 0 then
    redis.call('SET', key, string.format('%.3f', now + missing), 'PX', math.ceil(missing / 1000) + 1000)
  else
    redis.call('DEL', key)
  end
end
return {}
