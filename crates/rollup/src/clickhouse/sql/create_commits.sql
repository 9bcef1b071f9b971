-- Commit markers: the last one of the latest session names everything that counts. Each has the whole
-- state, so older ones are dropped by the chunk.
CREATE TABLE IF NOT EXISTS commits
(
    layout UInt16,
    session UInt32,
    number UInt64,
    stage UInt8,
    slot_group UInt16,
    generation UInt32,
    epoch UInt64,
    newest Int64,
    names UInt64,
    next_cube UInt16,
    cube_ids Array(UInt16),
    cube_names Array(String),
    cube_dimensions Array(UInt16),
    cube_panes Array(UInt32),
    cube_floors Array(Int64),
    cube_bounded Array(UInt16),
    run_ids Array(UInt64),
    run_parts Array(UInt16),
    run_least Array(Int64),
    run_greatest Array(Int64),
    run_rows Array(UInt64),
    run_bytes Array(UInt64),
    extent_runs Array(UInt64),
    extent_cubes Array(UInt16),
    extent_rows Array(UInt64),
    mend_tenants Array(UInt32),
    mend_from Array(Int64),
    mend_to Array(Int64),
    mend_epochs Array(UInt64)
)
ENGINE = MergeTree
PARTITION BY intDiv(number, {chunk})
ORDER BY (session, number)
SETTINGS index_granularity = 64{durable}
