-- Tell how long candidates took at this node lately, and hear how long others took at other nodes.
--
-- KEYS: one for each candidate (a hash: node, "time counts"): first those that are told, then those that are asked for.
-- ARGV: the node's id, how many are told, for how long what is told counts (milliseconds), then the counts of each one
-- that is told (empty: it has none any more).
-- Reply: for each candidate that is asked for a list: for each other node the age of what it told (milliseconds), and
-- the counts.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local told, keep_ms = tonumber(ARGV[2]), tonumber(ARGV[3])

local function read(key)
  local fresh, all = {}, redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local at, counts = string.match(all[i + 1], '^(%d+) (.*)$')
    if now - at > keep_ms then
      redis.call('HDEL', key, all[i])
    elseif all[i] ~= ARGV[1] then
      fresh[#fresh + 1] = string.format('%.0f', math.max(0, now - at))
      fresh[#fresh + 1] = counts
    end
  end
  return fresh
end

for i = 1, told do
  local counts = ARGV[3 + i]
  if counts == '' then
    redis.call('HDEL', KEYS[i], ARGV[1])
  else
    redis.call('HSET', KEYS[i], ARGV[1], string.format('%.0f %s', now, counts))
    redis.call('PEXPIRE', KEYS[i], keep_ms)
    read(KEYS[i])
  end
end
local reply = {}
for i = told + 1, #KEYS do
  reply[#reply + 1] = read(KEYS[i])
end
return reply
