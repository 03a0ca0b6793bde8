-- The answer that has a name. KEYS: its record. Reply: nothing; or its id, worker, head, how it ended, its parts.
local found = redis.call('HMGET', KEYS[1], 'id', 'worker', 'head', 'ended', 'parts')
if not found[1] then
  return {}
end
return {found[1], found[2], found[3], found[4] or '', found[5]}
