-- Add one batch to an answer's log, if it still has its name (see answer_claim.lua). A batch that was added is not added
-- again.
--
-- KEYS: record, log, running, ended, sizes, total. ARGV: the id, the batch's number, the parts with this batch, the most
-- bytes, how it ends ('': it does not), 1 if its worker writes no more, how long it is kept then (0: only its log, for
-- those who read; -1: nothing), how long for those who read (both milliseconds), the entry of its end; then three for
-- each entry: its number, its kind, its bytes. What runs is good for longer by answer_renew.lua.
-- Reply: 1 added; 0 there is no room, and readers are told that it is outgrown; -1 another one has the name.
local found = redis.call('HMGET', KEYS[1], 'id', 'batch')
if found[1] ~= ARGV[1] then
  return {-1}
end
if tonumber(found[2]) >= tonumber(ARGV[2]) then
  return {1}
end
local how, size, reply = ARGV[5], 0, 1
for i = 10, #ARGV, 3 do
  size = size + #ARGV[i + 2]
end
if size > 0 and size + (redis.call('GET', KEYS[6]) or 0) > tonumber(ARGV[4]) then
  how, reply = 'outgrown', 0
else
  for i = 10, #ARGV, 3 do
    redis.call('XADD', KEYS[2], ARGV[i], ARGV[i + 1], ARGV[i + 2])
  end
  redis.call('HINCRBY', KEYS[5], ARGV[1], size)
  redis.call('INCRBY', KEYS[6], size)
end
redis.call('HSET', KEYS[1], 'batch', ARGV[2], 'parts', ARGV[3])
if how ~= '' then
  redis.call('XADD', KEYS[2], ARGV[9], 'e', how)
  redis.call('HSET', KEYS[1], 'ended', how)
end
if ARGV[6] == '1' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local keep = reply == 1 and tonumber(ARGV[7]) or math.min(0, ARGV[7])
  local good = keep > 0 and keep or tonumber(ARGV[8])
  redis.call('ZREM', KEYS[3], ARGV[1])
  if keep > 0 then
    redis.call('HSET', KEYS[1], 'over', 1, 'until', now + good)
    redis.call('PEXPIRE', KEYS[1], good)
  else
    redis.call('DEL', KEYS[1])
  end
  if keep >= 0 then
    redis.call('ZADD', KEYS[4], now + good, ARGV[1])
    redis.call('PEXPIRE', KEYS[2], good)
  else
    redis.call('DEL', KEYS[2])
    redis.call('DECRBY', KEYS[6], redis.call('HGET', KEYS[5], ARGV[1]) or 0)
    redis.call('HDEL', KEYS[5], ARGV[1])
  end
end
redis.call('PUBLISH', KEYS[2], how)
return {reply}
