-- Claim a name for a new answer, or find the answer that has it.
--
-- A record (a hash) is what is known of the name's answer: id, worker, head, parts, batch, and at its end: ended (how),
-- over (its worker writes no more), until (milliseconds). Its log (a stream) has the parts. Numbers count over all nodes:
-- running and ended answers (sorted sets by the time of their end), sizes (a hash), the total of bytes.
-- KEYS: record, the new log, running, ended, sizes, total, the worker's sign of life. ARGV: the new id, the worker, how
-- long its sign is good for, the head, for how long a claim is good (milliseconds each), the most bytes, the most
-- answers, the prefix of signs of life, 1 if the answer of a worker without a sign may be taken over.
-- Reply: 1 claimed; 0 and the answer that has the name (as find); -1 no room.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[7], 1, 'PX', ARGV[3])
local old = redis.call('HMGET', KEYS[1], 'id', 'worker', 'head', 'ended', 'parts', 'over', 'until')
if old[1] then
  local free
  if old[6] then
    free = tonumber(old[7]) <= now
  else
    free = ARGV[9] == '1' and redis.call('EXISTS', ARGV[8] .. old[2]) == 0
  end
  if not free then
    return {0, old[1], old[2], old[3], old[4] or '', old[5]}
  end
end
local answers = redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4])
-- 4 KiB: what a stream, a hash and their names take in Redis before the first part.
local size = 4096 + #ARGV[4]
if answers >= tonumber(ARGV[7]) or size + (redis.call('GET', KEYS[6]) or 0) > tonumber(ARGV[6]) then
  return {-1}
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'worker', ARGV[2], 'head', ARGV[4], 'parts', 0, 'batch', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('XADD', KEYS[2], '0-1', 'h', '')
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[3], now + ARGV[5], ARGV[1])
redis.call('HSET', KEYS[5], ARGV[1], size)
redis.call('INCRBY', KEYS[6], size)
return {1}
