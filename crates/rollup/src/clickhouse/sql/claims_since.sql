SELECT session, generation, token
FROM claims
WHERE session >= {session}
ORDER BY generation DESC, session DESC, token DESC
LIMIT 100
