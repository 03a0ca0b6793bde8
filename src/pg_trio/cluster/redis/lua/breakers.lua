-- Tell the states of breakers that have changed here, and hear those that others have told since.
--
-- KEYS: the states (a hash), their version. ARGV: the node's id, the version that it knows, then four for each breaker:
-- its name, its age (microseconds since it changed), what it became, how long it is open (seconds).
-- Reply: the version, then for each state of another node its name, its age, what it became and how long it is open;
-- nothing where the version has not moved. A state is forgotten after an hour.
local time = redis.call('TIME')
local now = (time[1] - 1735689600) * 1000000 + time[2]
for i = 3, #ARGV, 4 do
  local state = string.format('%s %.0f %s %s', ARGV[1], now - ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  local known_at = known and tonumber(string.match(known, '^%S+ (%S+)')) or 0
  if now - ARGV[i + 1] > known_at then
    redis.call('HSET', KEYS[1], ARGV[i], state)
    redis.call('INCR', KEYS[2])
  end
end
redis.call('EXPIRE', KEYS[1], 3600)
redis.call('EXPIRE', KEYS[2], 7200)
local version = redis.call('GET', KEYS[2]) or '0'
local reply = {version}
if version ~= ARGV[2] then
  local states = redis.call('HGETALL', KEYS[1])
  for i = 1, #states, 2 do
    local node, at, what, open_for = string.match(states[i + 1], '^(%S+) (%S+) (%S+) (%S+)$')
    if node ~= ARGV[1] then
      reply[#reply + 1] = states[i]
      reply[#reply + 1] = string.format('%.0f', now - at)
      reply[#reply + 1] = what
      reply[#reply + 1] = open_for
    end
  end
end
return reply
