-- Counts one request and decides on it, in one step for all edges.
-- KEYS[1]: the counter, "WINDOW BEFORE NOW". ARGV: limit, window in microseconds, the time in microseconds or "" for this
-- server's own. Returns: 1 if admitted, admitted in the window before, admitted in this one, microseconds into this one.
local limit, span, time = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not time then
    local now = redis.call('TIME')
    time = now[1] * 1000000 + now[2]
end
local at = math.fmod(time, span)
local number = (time - at) / span

-- Whatever is not three numbers was not written here and counts as nothing.
local kept = redis.pcall('GET', KEYS[1])
local window, before, now
if type(kept) == 'string' then
    window, before, now = string.match(kept, '^(%d+) (%d+) (%d+)$')
end
if window then
    window, before, now = tonumber(window), tonumber(before), tonumber(now)
else
    window, before, now = number, 0, 0
end

if number == window + 1 or number < window - 1 then
    window, before, now = number, now, 0
elseif number > window + 1 then
    window, before, now = number, 0, 0
elseif number == window - 1 then
    at = 0
end
before, now = math.min(before, limit), math.min(now, limit)

local admitted = before * (1 - at / span) + now + 1 <= limit
if admitted then
    now = now + 1
end
local news = string.format('%.0f %.0f %.0f', window, before, now)
if news ~= kept then
    -- It counts until the next window ends.
    redis.call('SET', KEYS[1], news, 'PX', math.ceil(span / 500))
end
return { admitted and 1 or 0, before, now, at }
