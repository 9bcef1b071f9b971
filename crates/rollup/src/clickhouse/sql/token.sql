SELECT rand64() AS token
