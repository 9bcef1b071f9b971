-- One cube of a new run: the sums of the same cube in older runs and of the cells that are in no cube yet.
INSERT INTO rows
(
    run, cube, tenant, day, ad, campaign, region, device, placement, position, kind, verdict, currency,
    bucket, slot_group, generation, epoch, count, spend
)
SELECT
    toUInt64({run}) AS into_run,
    toUInt16({cube}) AS into_cube,
    tenant AS of_tenant,
    {day} AS on_day,
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
    toUInt16({slot_group}) AS in_group,
    toUInt32({generation}) AS in_generation,
    toUInt64({epoch}) AS up_to_epoch,
    sum(count) AS counted,
    sum(spend) AS spent
FROM rows
WHERE run IN ({runs}) AND ({sources})
GROUP BY {keys}
HAVING counted != 0 OR spent != 0
