-- Enrolment: create, confirm, replace, disable.
CREATE ROLE regress_totp_app;
GRANT totp_app TO regress_totp_app;
GRANT SET ON PARAMETER totp.clock, totp.pending_ttl, totp.backup_codes, totp.issuer TO regress_totp_app;
SET ROLE regress_totp_app;

-- The secret is as long as the hash; label, issuer and account name have defaults.
SELECT length(secret) AS chars, uri = 'otpauth://totp/' || current_database() || ':alice?secret=' || secret
       || '&issuer=' || current_database() || '&algorithm=SHA1&digits=6&period=30' AS uri, qr_svg LIKE '<svg %</svg>' AS svg
FROM totp.totp_create('alice');
SELECT algorithm, length(secret) AS chars FROM unnest(ARRAY['SHA1', 'SHA256', 'sha512']) AS algorithm,
LATERAL totp.totp_create('bob', algorithm, algorithm => algorithm);
SET totp.issuer = 'Acme';
SELECT regexp_replace(uri, 'secret=[A-Z2-7]+', 'secret=...') FROM totp.totp_create('alice', account_name => 'Alice A.', digits => 8, period => 60);
SELECT regexp_replace(uri, 'secret=[A-Z2-7]+', 'secret=...') FROM totp.totp_create(account => 'alice', issuer => 'Other', label => 'default');
RESET totp.issuer;

-- A pending factor is not enabled and cannot log in.
SELECT secret FROM totp.totp_create('alice') \gset
SELECT * FROM totp.totp_status('alice');
SELECT totp.totp_enabled('alice'), totp.totp_verify('alice', totp.totp_code(:'secret', '2030-01-01 00:00:00+00'));
SELECT * FROM totp.totp_attempt('alice', totp.totp_code(:'secret', '2030-01-01 00:00:00+00'));
SELECT totp.backup_rotate('alice', totp.totp_code(:'secret', '2030-01-01 00:00:00+00')) IS NULL AS no_codes_while_pending;

-- A wrong code leaves it pending and is counted; a malformed code is not counted. It may be right for another hour.
SELECT confirmed, backup_codes, reason IN ('invalid', 'clock_off') AS is_refused FROM totp.totp_confirm('alice', lpad(((totp.totp_code(:'secret', '2030-01-01 00:00:00+00')::int + 1) % 1000000)::text, 6, '0'));
SELECT confirmed, reason FROM unnest(ARRAY[NULL, '', 'abc', '1234567890']) AS code, LATERAL totp.totp_confirm('alice', code);
SELECT failures FROM totp.totp_status('alice');
-- The right code activates it, clears failures and returns backup codes.
SELECT confirmed, cardinality(backup_codes) AS codes, backup_codes[1] ~ '^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$' AS format, reason
FROM totp.totp_confirm('alice', totp.totp_code(:'secret', '2030-01-01 00:00:00+00'));
SELECT * FROM totp.totp_status('alice');
-- The code is now spent, and nothing is pending.
SELECT totp.totp_verify('alice', totp.totp_code(:'secret', '2030-01-01 00:00:00+00')) AS enrolment_code_at_login;
SELECT * FROM totp.totp_confirm('alice', totp.totp_code(:'secret', '2030-01-01 00:00:30+00'));
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM totp.totp_confirm('nobody', '123456');
SELECT * FROM totp.totp_confirm('alice', '123456', 'no such label');

-- The old secret of a label keeps working until the new one is confirmed.
\set old :secret
SELECT secret FROM totp.totp_create('alice') \gset
SELECT enabled, pending, factors FROM totp.totp_status('alice');
SELECT totp.totp_verify('alice', totp.totp_code(:'old', '2030-01-01 00:00:30+00')) AS old_still_works,
       totp.totp_verify('alice', totp.totp_code(:'secret', '2030-01-01 00:00:00+00')) AS new_not_yet;
SELECT confirmed, backup_codes IS NULL AS keeps_its_codes FROM totp.totp_confirm('alice', totp.totp_code(:'secret', '2030-01-01 00:00:00+00'));
SET totp.clock = '2030-01-01 00:01:00+00';
SELECT totp.totp_verify('alice', totp.totp_code(:'old', '2030-01-01 00:01:00+00')) AS old_is_gone,
       totp.totp_verify('alice', totp.totp_code(:'secret', '2030-01-01 00:01:00+00')) AS new_works;
SELECT enabled, pending, factors FROM totp.totp_status('alice');

-- A page that is loaded twice can ask for the same secret, within a minute.
SELECT count(DISTINCT secret) AS same FROM generate_series(1, 2) AS n, LATERAL totp.totp_create(left('gil', 2 + n), reuse => true);
SELECT count(DISTINCT secret) AS new FROM generate_series(1, 2) AS n, LATERAL totp.totp_create(left('gil', 2 + n));
-- The code of another time tells how far the app's clock is off.
SELECT secret AS gil FROM totp.totp_create('gil', digits => 8) \gset
SELECT * FROM totp.totp_confirm('gil', totp.totp_code(:'gil', '2030-01-01 01:01:00+00', digits => 8));

-- A second device, under another label.
SELECT secret AS tablet FROM totp.totp_create('alice', 'tablet') \gset
SELECT confirmed, backup_codes FROM totp.totp_confirm('alice', totp.totp_code(:'tablet', '2030-01-01 00:01:00+00'), 'tablet');
SELECT * FROM totp.totp_attempt('alice', totp.totp_code(:'tablet', '2030-01-01 00:01:30+00'));
SELECT * FROM totp.totp_attempt('alice', totp.totp_code(:'secret', '2030-01-01 00:01:30+00'));
SELECT factors, failures FROM totp.totp_status('alice');

-- Pending factors expire, and are removed when others are created.
SELECT secret FROM totp.totp_create('carol') \gset
SET totp.clock = '2030-01-01 00:16:00+00';
SELECT * FROM totp.totp_status('carol');
SELECT * FROM totp.totp_confirm('carol', totp.totp_code(:'secret', '2030-01-01 00:16:00+00'));
SELECT count(*) FROM totp.totp_create('dave');
RESET ROLE;
SELECT account, label, state FROM totp.factors ORDER BY 1, 2;
SET ROLE regress_totp_app;

-- An account can have at most 20 factors; a label can be reused.
DO $$ BEGIN FOR i IN 1..19 LOOP PERFORM totp.totp_create('dave', 'device ' || i); END LOOP; END $$;
SELECT count(*) FROM totp.totp_create('dave', 'device 19');
SELECT count(*) FROM totp.totp_create('dave', 'device 20');
\echo :LAST_ERROR_SQLSTATE

-- Of two pending factors, the first confirmed voids the other.
SELECT secret AS dave FROM totp.totp_create('dave') \gset
SELECT confirmed FROM totp.totp_confirm('dave', totp.totp_code(:'dave', '2030-01-01 00:16:00+00'));
SELECT * FROM totp.totp_confirm('dave', '123456', 'device 1');
SELECT pending, factors FROM totp.totp_status('dave');

-- Disabling requires a code.
SELECT totp.totp_disable('alice', NULL), totp.totp_disable('alice', 'nonsense'), totp.totp_disable('nobody', '123456');
SELECT totp.totp_enabled('alice');
SELECT totp.totp_disable('alice', totp.totp_code(:'tablet', '2030-01-01 00:16:00+00'));
SELECT * FROM totp.totp_status('alice');
SELECT * FROM totp.totp_attempt('alice', totp.totp_code(:'tablet', '2030-01-01 00:16:30+00'));

-- Invalid arguments.
SELECT totp.totp_create(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_create('');
SELECT totp.totp_create(repeat('x', 256));
SELECT totp.totp_create(repeat('x', 10000000));
SELECT totp.totp_create('x', '');
SELECT totp.totp_create('x', repeat('x', 65));
SELECT totp.totp_create('x', issuer => 'a:b');
SELECT totp.totp_create('x', issuer => '');
SELECT totp.totp_create('x', issuer => repeat('x', 65));
SELECT totp.totp_create('x', account_name => '');
SELECT totp.totp_create('x', account_name => repeat('🔑', 255));
SELECT totp.totp_create('x', algorithm => 'MD5');
SELECT totp.totp_create('x', digits => 5);
SELECT totp.totp_create('x', digits => 9);
SELECT totp.totp_create('x', period => 0);
SELECT totp.totp_create('x', period => 121);
SELECT totp.totp_create('x', period => -1);
SELECT totp.totp_enabled(NULL);
SELECT * FROM totp.totp_status('');
-- Unusual account names are accepted like any other.
SELECT count(*) FROM unnest(ARRAY[E'a\nb', U&'\202E', '''; DROP TABLE totp.accounts; --', '"', '\', '🔑', repeat('ä', 255)]) AS account, LATERAL totp.totp_create(account, issuer => 'x');

RESET ROLE;
DROP OWNED BY regress_totp_app;
DROP ROLE regress_totp_app;
DELETE FROM totp.accounts;
