-- Take from the buckets of several groups, or from none: GCRA, by Redis's clock.
--
-- A bucket is the time at which it will be full again, in microseconds since 2025. No key: it is full. It may be owed
-- tokens that nodes admitted while they did not reach Redis, never more than it holds: those refill first.
-- KEYS: one for each bucket, then the data's mark. ARGV, five for each bucket: the time of one token and of all
-- (microseconds), the least and the most tokens to take, the number of its group; then the mark that the worker knows
-- ('': none). Each bucket of a group gives the same number of tokens.
-- Reply: whether it was refused, the tokens of each group, and what each bucket misses afterwards (nanoseconds).
-- The error LOST: the data is not what the worker knows, so what it has used must be told first.
if ARGV[#ARGV] ~= '' and redis.call('GET', KEYS[#KEYS]) ~= ARGV[#ARGV] then
  return redis.error_reply('LOST the data is another')
end
local time = redis.call('TIME')
local now = (time[1] - 1735689600) * 1000000 + time[2]
local missing, granted, refused = {}, {}, 0
for i = 1, #KEYS - 1 do
  local key = KEYS[i]
  local token, full, least, most = ARGV[5 * i - 4], tonumber(ARGV[5 * i - 3]), tonumber(ARGV[5 * i - 2]), tonumber(ARGV[5 * i - 1])
  local group = tonumber(ARGV[5 * i])
  local full_at = tonumber(redis.call('GET', key) or now)
  missing[i] = math.min(math.max(full_at - now, 0), 2 * full)
  -- A tenth of a microsecond: what doubles lose at the times of the next decades.
  local room = math.max(math.floor((full - missing[i] + 0.1) / token), 0)
  if room < least then
    refused = 1
  end
  granted[group] = math.min(granted[group] or most, room)
end
local reply = {refused}
for group, tokens in ipairs(granted) do
  reply[group + 1] = math.max(tokens, 0)
end
for i = 1, #KEYS - 1 do
  local key = KEYS[i]
  local tokens = granted[tonumber(ARGV[5 * i])]
  if refused == 0 and tokens > 0 then
    missing[i] = missing[i] + tokens * ARGV[5 * i - 4]
    redis.call('SET', key, string.format('%.3f', now + missing[i]), 'PX', math.ceil(missing[i] / 1000) + 1000)
  end
  reply[#reply + 1] = math.floor(missing[i] * 1000 + 0.5)
end
return reply
