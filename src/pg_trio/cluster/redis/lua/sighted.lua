-- When the nodes gave their newest signs of life.
--
-- KEYS: the beats (beat.lua), the data's mark.
-- Reply: the mark, if there is one, or ''; then for each node its id, and for how many milliseconds it has been silent.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local reply = {redis.call('GET', KEYS[2]) or ''}
for place = 1, #found, 2 do
  reply[#reply + 1] = found[place]
  reply[#reply + 1] = now - tonumber(found[place + 1])
end
return reply
