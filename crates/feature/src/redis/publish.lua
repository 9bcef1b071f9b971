-- Moves the mark from one epoch to the next: from here on reads see the epoch, whole.
--
-- KEYS[1]  the mark
-- ARGV     1 birth, 2 epoch, 3 generation, 4 the epoch that stands there now
--          5 the cut, 6 the slots of the witnesses
--
-- Answers "done", "moved" where the mark stands elsewhere, "fenced N" where generation N has taken over.

local function above(left, right)
    return #left > #right or (#left == #right and left > right)
end

local has = redis.call('HMGET', KEYS[1], 'birth', 'epoch', 'generation')
if not has[1] or has[1] ~= ARGV[1] then return 'moved' end
if above(has[3], ARGV[3]) then return 'fenced ' .. has[3] end
if has[2] ~= ARGV[4] and has[2] ~= ARGV[2] then return 'moved' end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'generation', ARGV[3], 'cut', ARGV[5], 'witnesses', ARGV[6])
return 'done'
