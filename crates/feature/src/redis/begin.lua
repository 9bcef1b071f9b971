-- Begins the store anew: whatever was written under another birth is not read any more, and expires.
--
-- KEYS[1]  the mark
-- ARGV     1 the birth that is to end, "0" where none is known, and 2 the epoch it has come to
--          3 the generation of whoever begins; "0" for any
--
-- Answers "done"; "moved" where the mark stands elsewhere; "fenced N" where generation N has taken
-- over. A birth is the server's time in microseconds, and higher than the one before.

local function above(left, right)
    return #left > #right or (#left == #right and left > right)
end

local has = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'generation')
local birth, generation = ARGV[1], has[3] or '0'
if has[1] and (has[1] ~= birth or has[2] ~= ARGV[2]) then return 'moved' end
if ARGV[3] ~= '0' and above(generation, ARGV[3]) then return 'fenced ' .. generation end
if above(ARGV[3], generation) then generation = ARGV[3] end
local time = redis.call('TIME')
local new = time[1] .. string.format('%06d', tonumber(time[2]))
if not above(new, birth) then new = string.format('%.0f', tonumber(birth) + 1) end
redis.call('HSET', KEYS[1], 'birth', new, 'epoch', '0', 'generation', generation, 'cut', '', 'witnesses', '')
return 'done'
