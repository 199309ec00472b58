-- Backup codes.
SET totp.clock = '2030-02-01 00:00:00+00';
SET totp.backup_codes = 3;
SELECT secret FROM totp.totp_create('alice') \gset
SELECT backup_codes[1] AS first, backup_codes[2] AS second, backup_codes[3] AS third, backup_codes[4] IS NULL AS no_fourth FROM totp.totp_confirm('alice', totp.totp_code(:'secret', '2030-02-01 00:00:00+00')) \gset
\echo :no_fourth
SELECT totp.backup_remaining('alice');

-- Each code works once; the others remain valid.
SELECT totp.backup_verify('alice', :'first') AS right_code, totp.backup_verify('alice', :'first') AS again, totp.backup_remaining('alice') AS remaining;
-- Codes as people type them.
SELECT totp.backup_verify('alice', translate(lower(:'second'), '-01', ' oi')) AS as_typed;
-- totp_attempt accepts both kinds of code; the other functions accept one kind only.
SELECT totp.totp_verify('alice', :'third') AS no_totp_code;
SELECT * FROM totp.totp_attempt('alice', :'third');
SELECT totp.backup_verify('alice', '123456') AS no_backup_code, totp.backup_verify('alice', '0000-0000-0000-0000') AS wrong, totp.backup_verify('alice', NULL) AS none;
SELECT failures, backup_codes_left FROM totp.totp_status('alice');

-- A new set invalidates the old one.
SELECT totp.backup_rotate('alice', NULL), totp.backup_rotate('alice', '000000'), totp.backup_rotate('nobody', '123456');
SELECT (totp.backup_rotate('alice', totp.totp_code(:'secret', '2030-02-01 00:00:30+00')))[1] AS old \gset
SELECT totp.backup_remaining('alice') AS after_rotation;
SELECT (totp.backup_rotate('alice', :'old'))[1] AS new \gset
SELECT totp.backup_verify('alice', :'old') AS old, totp.backup_verify('alice', :'new') AS new, totp.backup_remaining('alice') AS remaining;
-- The codes of an account are one row: salted hashes, encrypted, and when each was used.
SELECT length(salt) AS salt, sealed LIKE 'gAAAAA%' AS fernet, key_id ~ '^[0-9a-f]{16}$' AS key_id, ARRAY(SELECT at IS NOT NULL FROM unnest(used_at) AS at) AS used FROM totp.backup_codes;

-- The size of a set.
SET totp.backup_codes = 0;
SET totp.backup_codes = 51;
SET totp.backup_codes = 50;
SET totp.clock = '2030-02-01 00:01:00+00';
SELECT cardinality(codes) AS codes, cardinality(ARRAY(SELECT DISTINCT unnest(codes))) AS distinct_codes
FROM (SELECT totp.backup_rotate('alice', totp.totp_code(:'secret', '2030-02-01 00:01:00+00')) AS codes) AS rotated;
RESET totp.backup_codes;

-- A backup code lifts a suspension and clears all failures.
SELECT (totp.backup_rotate('alice', totp.totp_code(:'secret', '2030-02-01 00:01:30+00')))[1] AS code \gset
UPDATE totp.accounts SET failures = 100, suspended = true;
SET totp.clock = '2030-02-01 00:02:00+00';
SELECT reason FROM totp.totp_attempt('alice', totp.totp_code(:'secret', '2030-02-01 00:02:00+00'));
SELECT method, reason, backup_codes_left FROM totp.totp_attempt('alice', :'code');
SELECT failures, suspended FROM totp.totp_status('alice');
SELECT reason FROM totp.totp_attempt('alice', totp.totp_code(:'secret', '2030-02-01 00:02:00+00'));

-- Disabling with a backup code deletes the whole set.
SELECT (totp.backup_rotate('alice', totp.totp_code(:'secret', '2030-02-01 00:02:30+00')))[1] AS code \gset
SELECT totp.totp_disable('alice', :'code'), totp.backup_remaining('alice');
SELECT totp.backup_remaining(''), totp.backup_remaining(NULL);

DELETE FROM totp.accounts;
RESET totp.clock;
