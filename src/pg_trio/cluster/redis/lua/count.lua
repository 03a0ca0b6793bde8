-- How many permits of a key are out. KEYS: the permits.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')}
