-- Failures in a row and the pause after them. KEYS: one. ARGV: now in microseconds
-- or '', 'wait' or 'fail', the longest pause and when all is forgotten, in
-- microseconds. Returns how long nothing may be tried, in microseconds.
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
local longest, forget = tonumber(ARGV[3]), tonumber(ARGV[4])
local known = redis.call('HMGET', KEYS[1], 'failures', 'last')
local failures, last = tonumber(known[1] or 0), tonumber(known[2] or 0)
if ARGV[2] == 'fail' then
  if now - last >= forget then failures = 0 end
  failures, last = failures + 1, now
  redis.call('HSET', KEYS[1], 'failures', failures, 'last', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], math.ceil(forget / 1000) + 60000)
end
if failures == 0 then return 0 end
local pause = math.min(2 ^ math.min(failures - 1, 16) * 1000000, longest)
return math.min(math.max(last + pause - now, 0), longest)
