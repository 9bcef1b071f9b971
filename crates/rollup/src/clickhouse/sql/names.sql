SELECT key, any(text) AS kept
FROM names
GROUP BY key
ORDER BY key
LIMIT {limit}
