-- The groups of a question. Figures are told by kind and verdict, as one number.
SELECT
    {bucket} AS at,
    {ad} AS by_ad,
    {campaign} AS by_campaign,
    {region} AS by_region,
    {device} AS by_device,
    {placement} AS by_placement,
    {position} AS by_position,
    {reason} AS by_reason,
    currency AS in_currency,
    sumIf(count, kind * 32 + verdict IN ({impressions})) AS impressions,
    sumIf(count, kind * 32 + verdict IN ({views})) AS views,
    sumIf(count, kind * 32 + verdict IN ({clicks})) AS clicks,
    sumIf(count, kind * 32 + verdict IN ({duplicates})) AS duplicates,
    sumIf(count, kind * 32 + verdict IN ({invalid})) AS invalid,
    sumIf(count, kind * 32 + verdict IN ({conversions})) AS conversions,
    sum(spend) AS spent
FROM rows
WHERE run IN ({runs}) AND ({sources}){filter}
GROUP BY {keys}
HAVING impressions != 0 OR views != 0 OR clicks != 0 OR duplicates != 0 OR invalid != 0
    OR conversions != 0 OR spent != 0
LIMIT {limit}
