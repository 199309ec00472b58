SELECT count(*) FROM generate_series(1, 100) AS n
WHERE bench.check_code_bytewise(:secret, lpad(n::text, 6, '0'), :at);
