-- Who writes: the greatest claim does, everyone else is fenced. The token tells claims apart that were
-- made at the same moment.
CREATE TABLE IF NOT EXISTS claims
(
    session UInt32,
    generation UInt32,
    token UInt64
)
ENGINE = MergeTree
ORDER BY (generation, session, token)
SETTINGS index_granularity = 8192{durable}
