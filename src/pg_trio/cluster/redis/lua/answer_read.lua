-- Entries of an answer's log. KEYS: the log, the sign of life of its worker. ARGV: from which entry on, about how many
-- bytes.
-- Reply: 1 if the log is there, 1 if its worker lives, then three for each entry: its number, its kind, its bytes.
local reply = {redis.call('EXISTS', KEYS[1]), redis.call('EXISTS', KEYS[2])}
local from, size = ARGV[1], 0
repeat
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 32)
  for _, entry in ipairs(entries) do
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = entry[2][1]
    reply[#reply + 1] = entry[2][2]
    size = size + #entry[2][2]
    from = '(' .. entry[1]
    if size >= tonumber(ARGV[2]) then
      break
    end
  end
until #entries < 32 or size >= tonumber(ARGV[2])
return reply
