-- Sums. A run is what one writer has handed over at once or has compacted: a partition of its own, which
-- counts only once a commit names it, and which is dropped as a whole.
CREATE TABLE IF NOT EXISTS rows
(
    run UInt64,
    cube UInt16,
    tenant UInt32,
    day Int32,
    ad UInt64,
    campaign UInt64,
    region UInt64,
    device UInt64,
    placement UInt64,
    position UInt16,
    kind UInt8,
    verdict UInt8,
    currency UInt16,
    bucket Int64,
    slot_group UInt16,
    generation UInt32,
    epoch UInt64,
    count Int64,
    spend Int64
)
ENGINE = MergeTree
PARTITION BY run
ORDER BY (cube, tenant, day, ad, campaign, region, device, placement, position, bucket)
SETTINGS index_granularity = 8192{durable}
