-- Tell how many slots of each credential a node holds, uses and needs, and hear how many it may hold. A lease that is
-- not renewed ends by itself.
--
-- KEYS: the node's claim, the data's mark, then two for each credential: the ends of the leases (a sorted set: node, time
-- of its end in milliseconds), what nodes have told (a hash: node, "held used needed number").
-- ARGV: the node's id, how long a lease is good for (milliseconds), the mark that the worker knows ('': none), then six
-- for each credential: its limit, the number of this message (of two messages of a node, the later one has the larger
-- number), how many slots the node holds, uses, needs, and wants (some more than it needs).
-- Reply: for each credential four: how many slots the node holds now (-1: a later message was here before), how many it
-- may keep because others need the rest, how many the others use, 1 if another node needs more than it has. {-1} if
-- another gateway has this node's name; then nothing has changed.
-- The error LOST: the data is not what the worker knows, so what all nodes use must be told first.
if ARGV[3] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[3] then
  return redis.error_reply('LOST the data is another')
end
local claimed = redis.call('GET', KEYS[1])
if claimed and claimed ~= ARGV[1] then
  return {-1}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- What this node is to have of the limit: what all need, or as many for each. What cannot be divided goes to one node
-- after the other, a quarter of a second each.
local function share(limit, needs, ours)
  table.sort(needs, function(a, b) return a.need < b.need or (a.need == b.need and a.node < b.node) end)
  local left = limit
  for i, one in ipairs(needs) do
    local nodes = #needs - i + 1
    local even = math.floor(left / nodes)
    if one.need > even then
      local turn = math.floor(now / 250)
      for j = i, #needs do
        if needs[j].node == ours then
          return even + ((j - i + turn) % nodes < left - even * nodes and 1 or 0)
        end
      end
    end
    if one.node == ours then
      return one.need
    end
    left = left - one.need
  end
end

local reply = {}
local at = 4
for i = 3, #KEYS, 2 do
  local limit, number, held, used, need, want = unpack(ARGV, at, at + 5)
  limit, number, held, used, need, want =
    tonumber(limit), tonumber(number), tonumber(held), tonumber(used), tonumber(need), tonumber(want)
  at = at + 6
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', now)) do
    redis.call('HDEL', KEYS[i + 1], node)
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  local told = redis.call('HGETALL', KEYS[i + 1])
  local others, others_use, is_short, is_late, is_known = 0, 0, false, false, false
  local needs = {{node = ARGV[1], need = need}}
  for j = 1, #told, 2 do
    local has, uses, needed, last = string.match(told[j + 1], '^(%d+) (%d+) (%d+) (%d+)$')
    has, uses, needed, last = tonumber(has), tonumber(uses), tonumber(needed), tonumber(last)
    if told[j] == ARGV[1] then
      is_known, is_late = true, number <= last
    else
      others, others_use = others + has, others_use + uses
      is_short = is_short or has < needed
      needs[#needs + 1] = {node = told[j], need = needed}
    end
  end
  if is_late then
    reply[#reply + 1] = -1
    reply[#reply + 1] = 0
  else
    -- What runs, runs: also beyond the limit, after an absence.
    local has = math.max(is_known and held or 0, used)
    local keep = is_short and share(limit, needs, ARGV[1]) or limit
    has = math.max(has, math.min(want, keep, limit - others))
    redis.call('HSET', KEYS[i + 1], ARGV[1], string.format('%.0f %.0f %.0f %.0f', has, used, need, number))
    redis.call('ZADD', KEYS[i], now + ARGV[2], ARGV[1])
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
    redis.call('PEXPIRE', KEYS[i + 1], ARGV[2])
    reply[#reply + 1] = has
    reply[#reply + 1] = keep
  end
  reply[#reply + 1] = others_use
  reply[#reply + 1] = is_short and 1 or 0
end
return reply
