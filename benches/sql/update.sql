UPDATE bench.factors SET last_used_at = clock_timestamp()
WHERE account = :account AND label = 'default' AND state = 'active';
