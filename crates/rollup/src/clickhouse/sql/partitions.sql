SELECT toUInt64OrZero(partition_id) AS id, sum(rows) AS held, sum(bytes_on_disk) AS bytes
FROM system.parts
WHERE active AND database = '{database}' AND table = '{table}'
GROUP BY partition_id
