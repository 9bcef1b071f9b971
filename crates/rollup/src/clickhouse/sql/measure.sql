SELECT run AS of_run, cube AS of_cube, count() AS held, min(bucket) AS least, max(bucket) AS greatest
FROM rows
WHERE run IN ({runs})
GROUP BY of_run, of_cube
ORDER BY of_run, of_cube
