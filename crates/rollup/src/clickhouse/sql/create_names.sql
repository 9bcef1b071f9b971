-- The texts behind the keys of regions, devices and placements. A text is kept before the first commit
-- that uses it; one that is kept twice is the same one.
CREATE TABLE IF NOT EXISTS names
(
    key UInt64,
    text String
)
ENGINE = ReplacingMergeTree
ORDER BY key
SETTINGS index_granularity = 8192{durable}
