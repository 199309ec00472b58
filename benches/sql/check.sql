SELECT count(*) FROM generate_series(1, 100) AS n
WHERE totp.totp_check(:secret, lpad(n::text, 6, '0'), :at);
