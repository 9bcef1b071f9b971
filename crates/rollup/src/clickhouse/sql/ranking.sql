-- The ads with most of one figure, in the one order there is.
SELECT
    ad AS by_ad,
    sumIf(count, kind * 32 + verdict IN ({figure})) AS value
FROM rows
WHERE run IN ({runs}) AND ({sources}){filter}
GROUP BY by_ad
ORDER BY value DESC, by_ad ASC
LIMIT {limit}
