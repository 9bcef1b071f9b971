SELECT tenant AS of_tenant, kind AS of_kind, verdict AS of_verdict, sum(count) AS counted
FROM rows
WHERE run IN ({runs}) AND cube IN ({cells}, {totals})
GROUP BY of_tenant, of_kind, of_verdict
