SELECT session, generation, token
FROM claims
ORDER BY generation DESC, session DESC, token DESC
LIMIT 1
