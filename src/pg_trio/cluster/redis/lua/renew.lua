-- Renew the permits that a worker holds. One that has ended meanwhile is put back, because its call still runs.
--
-- KEYS: the node's claim, then the permits of each key. ARGV: the node's id, how long they are good for (milliseconds),
-- then for each key the number of its permits and these.
-- Reply: 1, or -1 if another gateway has this node's name; then nothing is renewed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local claimed = redis.call('GET', KEYS[1])
if claimed and claimed ~= ARGV[1] then
  return {-1}
end
local at = 3
for i = 2, #KEYS do
  for j = at + 1, at + ARGV[at] do
    redis.call('ZADD', KEYS[i], now + ARGV[2], ARGV[j])
  end
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
  at = at + 1 + ARGV[at]
end
return {1}
