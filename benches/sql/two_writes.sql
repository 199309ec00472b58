INSERT INTO bench.tokens (account, expires_at) VALUES (:account, now() + interval '5 min') RETURNING id \gset
UPDATE bench.tokens SET used_at = now() WHERE id = :id AND used_at IS NULL;
