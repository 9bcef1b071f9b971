-- Sums as they are kept, under the keys of a cube.
SELECT
    tenant AS of_tenant,
    {ad} AS by_ad,
    {campaign} AS by_campaign,
    {region} AS by_region,
    {device} AS by_device,
    {placement} AS by_placement,
    {position} AS by_position,
    kind AS of_kind,
    verdict AS of_verdict,
    currency AS in_currency,
    {bucket} AS at,
    sum(count) AS counted,
    sum(spend) AS spent
FROM rows
WHERE run IN ({runs}) AND ({sources}){filter}
GROUP BY {keys}
HAVING counted != 0 OR spent != 0
LIMIT {limit}
