-- Takes over: lower generations are turned away from here on.
--
-- KEYS[1]  the mark
-- ARGV     1 birth, 2 generation
--
-- Answers "done", "moved" where the store has begun anew, "fenced N" where generation N has taken over.

local function above(left, right)
    return #left > #right or (#left == #right and left > right)
end

local has = redis.call('HMGET', KEYS[1], 'birth', 'generation')
if not has[1] or has[1] ~= ARGV[1] then return 'moved' end
if above(has[2], ARGV[2]) then return 'fenced ' .. has[2] end
redis.call('HSET', KEYS[1], 'generation', ARGV[2])
return 'done'
