-- Enrols accounts :first to :last with the same secret, so that one code is valid for all of them.
-- totp_create and totp_confirm would give each a different one, so this writes rows as the extension
-- does: a Fernet token whose payload contains purpose, account, label, created_at and the secret.
\set ON_ERROR_STOP on
SET synchronous_commit = off;
SET session_replication_role = replica;

-- The first key in the key file: 16 bytes for signing, then 16 bytes for encryption.
CREATE TEMP TABLE key AS
SELECT left(encode(sha256(line::bytea), 'hex'), 16) AS id,
       substr(decode(translate(line, '-_', '+/'), 'base64'), 1, 16) AS signing,
       substr(decode(translate(line, '-_', '+/'), 'base64'), 17, 16) AS encryption
FROM regexp_split_to_table(pg_read_file('totp.keys'), '\n') AS line WHERE line ~ '^[^#]' LIMIT 1;

INSERT INTO totp.accounts (account, changed_at, created_at)
SELECT number, now(), now() FROM generate_series(:first, :last) AS number;

INSERT INTO totp.factors
    (account, label, state, algorithm, digits, period, sealed, key_id, created_at, confirmed_at)
SELECT account, 'default', 'active', 'SHA1', 6, 30,
       translate(encode(token || hmac(token, signing, 'sha256'), 'base64'), E'+/\n', '-_'),
       key.id, now(), now()
FROM generate_series(:first, :last) AS number,
     key,
     LATERAL (SELECT number::text AS account, gen_random_bytes(16) AS iv) AS drawn,
     LATERAL (SELECT format('{"purpose":"totp","account":"%s","label":"default","identity":"%s","secret":"%s"}',
                            account, (extract(epoch FROM now()) * 1000000)::bigint, :'secret') AS payload) AS packed,
     LATERAL (SELECT '\x80'::bytea || int8send(extract(epoch FROM now())::bigint) || iv
                     || encrypt_iv(payload::bytea, encryption, iv, 'aes-cbc') AS token) AS sealed;

VACUUM (FREEZE, ANALYZE) totp.accounts;
VACUUM (FREEZE, ANALYZE) totp.factors;
