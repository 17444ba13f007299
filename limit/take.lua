-- Takes from every limit, or from none; gcra.go says how it is counted.
-- KEYS: the limits. ARGV: now in microseconds or '', then for each limit its
-- tolerance and what is asked, in microseconds. Returns how far each was ahead.
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
-- A key that is kept a minute too long changes nothing; one that is not kept long enough would.
local function keep(key, ahead)
  redis.call('SET', key, string.format('%.0f', now + ahead), 'PX', string.format('%.0f', math.ceil(ahead / 1000) + 60000))
end
local aheads, denied = {}, false
for i, key in ipairs(KEYS) do
  local tolerance, cost = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local moment = tonumber(redis.call('GET', key) or 0)
  local ahead = math.min(math.max(moment - now, 0), tolerance)
  aheads[i] = ahead
  if moment > now + tolerance then keep(key, ahead) end -- of another policy, or of a clock that was set back
  denied = denied or ahead + cost > tolerance
end
if not denied then
  for i, key in ipairs(KEYS) do
    local cost = tonumber(ARGV[2 * i + 1])
    if cost > 0 then keep(key, aheads[i] + cost) end
  end
end
return aheads
