-- Puts a new version of an entity's counters over the one that the writer has read.
--
-- KEYS[1]  the entity
-- ARGV     1 birth, 2 epoch, 3 generation of the new version
--          4 what the writer has read: "birth.epoch.generation", or "" where there was nothing
--          5 seconds to live
--          6 on: fields and values, in pairs
--
-- Answers "done"; "changed" where something else stands there than was read; "moved" where a later
-- epoch or run of the store does; "fenced N" where generation N has written.

-- Numbers in decimals without leading zeros: Lua's own are exact up to 2^53 only.
local function above(left, right)
    return #left > #right or (#left == #right and left > right)
end

local has = redis.call('HMGET', KEYS[1], '_birth', '_epoch', '_generation')
local found = ''
if has[1] and has[2] and has[3] then
    local birth, epoch, generation = has[1], has[2], has[3]
    found = birth .. '.' .. epoch .. '.' .. generation
    if above(birth, ARGV[1]) then return 'moved' end
    if birth == ARGV[1] then
        if above(generation, ARGV[3]) then return 'fenced ' .. generation end
        if above(epoch, ARGV[2]) then return 'moved' end
        -- The answer to an earlier attempt was lost; its content was the same.
        if epoch == ARGV[2] and generation == ARGV[3] then return 'done' end
    end
end
if found ~= ARGV[4] then return 'changed' end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 'done'
