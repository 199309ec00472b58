-- Imports of whole tables and documents.
CREATE ROLE regress_totp_mover;
GRANT totp_admin TO regress_totp_mover;
GRANT SET ON PARAMETER totp.clock TO regress_totp_mover;
SET ROLE regress_totp_mover;
SET totp.clock = '2030-07-01 00:00:00+00';

-- Rows of any origin. A broken row is reported, and the others are imported.
CREATE TEMPORARY TABLE staging (account text, secret text, label text, last_step bigint);
INSERT INTO staging VALUES
    ('import alice', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', 'phone', 63636479),
    ('import alice', 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP', 'phone', NULL),
    ('import alice', 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP', 'the same secret', NULL),
    ('import bob', 'otpauth://totp/Acme:bob?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme&digits=8', NULL, NULL),
    ('import carol', 'otpauth://hotp/carol?secret=GEZDGNBVGY3TQOJQ&counter=1', NULL, NULL),
    ('import dave', 'GEZDGNBVGY3TQOJ1', NULL, NULL),
    ('import erin', NULL, NULL, NULL),
    ('import frank', 'GEZDGNBVGY3TQOJQ', NULL, 99999999),
    (NULL, 'GEZDGNBVGY3TQOJQ', NULL, NULL);
SELECT * FROM totp.import_rows('staging', dry_run => true);
SELECT count(*) FROM totp.account_status WHERE account LIKE 'import %';
SELECT * FROM totp.import_rows('staging', reason => 'regression test');
SELECT account, label, state, digits, confirmed_at FROM totp.factor_status WHERE account LIKE 'import %' ORDER BY 1, 2;
SELECT account, event, outcome, detail FROM totp.audit_log WHERE account LIKE 'import %' ORDER BY id;

-- The same again changes nothing.
SELECT * FROM totp.import_rows('staging') WHERE factors > 0;
SELECT count(*) FROM totp.audit_log WHERE account LIKE 'import %';

-- An account with another active factor is left as it is.
UPDATE staging SET secret = 'MNQHE2LDMUQGC3TEMJXWEYLMNE' WHERE account = 'import bob';
SELECT * FROM totp.import_rows('staging') WHERE account = 'import bob';

-- The last step is spent; without one, every code up to now is.
RESET ROLE;
SET totp.clock = '2030-07-01 00:00:00+00';
SELECT totp.totp_verify('import alice', totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-06-30 23:59:59+00')) AS spent,
       totp.totp_verify('import alice', totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-07-01 00:00:00+00')) AS fresh,
       totp.totp_verify('import bob', totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-07-01 00:00:00+00', digits => 8)) AS maybe_spent;
SET totp.clock = '2030-07-01 00:01:00+00';
SELECT totp.totp_verify('import bob', totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-07-01 00:01:00+00', digits => 8)) AS fresh;

-- Backup codes of another system: django-allauth's, computed from their seed, of which two are used.
SET ROLE regress_totp_mover;
CREATE TEMPORARY TABLE mfa_authenticator (id integer, user_id integer, type text, data jsonb);
INSERT INTO mfa_authenticator VALUES
    (1, 101, 'totp', '{"secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}'),
    (2, 101, 'recovery_codes', '{"seed": "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0011223344556677", "used_mask": 5}'),
    (3, 102, 'recovery_codes', '{"seed": "00", "used_mask": 0}'),
    (4, 103, 'webauthn', '{}'),
    (5, 104, 'totp', '{"secret": "gAAAAAB0encrypted="}');
SELECT * FROM totp.import_allauth('mfa_authenticator');
RESET ROLE;
SELECT totp.backup_verify('101', '96543028') AS used_there, totp.backup_verify('101', '77560411') AS unused,
       totp.backup_verify('101', '77560411') AS again, totp.backup_remaining('101');
SELECT verified, method, backup_codes_left FROM totp.totp_attempt('101', ' 5618-1033 ');
SELECT verified, reason FROM totp.totp_attempt('101', '00000000');
SELECT failures FROM totp.totp_status('101');

-- Codes of other systems are no guesses at accounts without such codes.
SELECT count(*) FROM totp.totp_create('import own'), LATERAL totp.totp_confirm('import own', totp.totp_code(secret, '2030-07-01 00:01:00+00'));
SELECT totp.backup_verify('import own', 'lhweewhl'), totp.backup_verify('import own', '12345678'), totp.backup_verify('nobody', 'lhweewhl');
SELECT failures FROM totp.totp_status('import own');
SELECT verified, reason FROM totp.totp_attempt('nobody', 'lhweewhl');
SET ROLE regress_totp_mover;

-- Other systems, each with a broken row.
CREATE TEMPORARY TABLE devices (user_id integer, name text, confirmed boolean, key text, step smallint, t0 bigint, digits smallint, drift smallint, last_t bigint);
INSERT INTO devices VALUES
    (201, 'phone', true, '3132333435363738393031323334353637383930', 30, 0, 6, 1, 63636400),
    (202, 'phone', true, '3132333435363738393031323334353637383930', 30, 7, 6, 0, -1),
    (203, 'phone', false, '3132333435363738393031323334353637383930', 30, 0, 6, 0, -1),
    (204, 'phone', true, 'not hex', 30, 0, 6, 0, -1);
SELECT * FROM totp.import_django_otp('devices');
SELECT drift, digits, period FROM totp.factor_status WHERE account = '201';
CREATE TEMPORARY TABLE tokens (user_id integer, token text);
INSERT INTO tokens VALUES (201, 'aaaaaaaa'), (205, 'bbbbbbbb');
SELECT * FROM totp.import_django_otp('devices', 'tokens') WHERE account IN ('201', '205');
CREATE TEMPORARY TABLE factors (user_id uuid, friendly_name text, factor_type text, status text, secret text);
INSERT INTO factors VALUES
    ('00000000-0000-4000-8000-000000000001', 'phone', 'totp', 'verified', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ'),
    ('00000000-0000-4000-8000-000000000002', 'phone', 'totp', 'unverified', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ'),
    ('00000000-0000-4000-8000-000000000003', 'phone', 'totp', 'verified', '{"key_id":"k","alg":"aes-gcm-hkdf","data":"AA=="}');
SELECT * FROM totp.import_supabase('factors');
SELECT * FROM totp.import_keycloak('{"users": [
    {"id": "301", "credentials": [{"type": "otp", "secretData": "{\"value\":\"ABCDEFGHIJKLMNOPQRST\"}",
        "credentialData": "{\"subType\":\"totp\",\"digits\":6,\"counter\":0,\"period\":30,\"algorithm\":\"HmacSHA1\"}"}]},
    {"id": "302", "credentials": [{"type": "otp", "secretData": "{}", "credentialData": "{}"}]}]}'::text);

SELECT * FROM totp.import_auth0('[{"user_id": "401", "mfa_factors": [{"totp": {"secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}}]}, {"email": "d@x", "mfa_factors": [{"totp": {}}]}]');
SELECT * FROM totp.import_fusionauth('{"users": [{"id": "501", "twoFactor": {"methods": [{"method": "authenticator", "secret": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA="}], "recoveryCodes": ["VK3TJ-8KD2M"]}}]}');
SELECT * FROM totp.import_fusionauth('[]');
SELECT * FROM totp.import_libpam('import pam', E'GEZDGNBVGY3TQOJQGEZDGNBVGY\n" TOTP_AUTH\n12345678\n87654321\n');
SELECT * FROM totp.import_libpam('import pam', E'GEZDGNBVGY3TQOJQGEZDGNBVGY\n" HOTP_COUNTER 1\n');
SELECT * FROM totp.import_app('import app', '[{"secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "issuer": "Acme", "label": "a", "digits": 6, "type": "TOTP", "algorithm": "SHA1", "period": 30}]');
SELECT account, count(*) FROM totp.totp_export_migration(ARRAY['import app', 'nobody'], 'regression test') GROUP BY 1;
SELECT i.* FROM totp.totp_export_migration(ARRAY['import app'], 'regression test') AS m, totp.import_migration('import back', ARRAY[m.uri]) AS i;
SELECT label, digits FROM totp.factor_status WHERE account = 'import back';

-- Arguments that are no source.
SELECT * FROM totp.import_auth0('users');
SELECT * FROM totp.import_app('import app', '{"encrypted": true, "data": "x"}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM totp.import_app(NULL, '[]');
SELECT * FROM totp.import_libpam('import pam', NULL);
SELECT * FROM totp.import_migration('import back', ARRAY['otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ']);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM totp.import_migration('import back', ARRAY['otpauth-migration://offline?data=CgYKBDEyMzQQARgCIAAoBw%3D%3D']);
SELECT * FROM totp.import_migration('import back', NULL);
SELECT * FROM totp.totp_export_migration(ARRAY['import app'], 'x');
SELECT * FROM totp.import_rows(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM totp.import_rows('pg_class_oid_index');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM totp.import_rows('devices');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM totp.import_rows('staging', reason => 'x');
SELECT * FROM totp.import_django_otp('tokens');
SELECT * FROM totp.import_keycloak(''::text);
SELECT * FROM totp.import_keycloak(NULL::text);
SELECT * FROM totp.import_keycloak('<xml/>'::text);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM totp.import_django_totp('devices', 'tokens', 'django.key');
SELECT * FROM totp.import_better_auth('factors', 'secret');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM totp.import_better_auth('factors', NULL);

-- Exporting several accounts.
SELECT account, label, uri, last_step FROM totp.totp_export_all(ARRAY['import bob', 'nobody', '201'], 'regression test');
SELECT event, detail FROM totp.audit_log WHERE account = '201' ORDER BY id DESC LIMIT 1;
SELECT * FROM totp.totp_export_all(ARRAY['201'], NULL);
SELECT * FROM totp.totp_export_all(NULL, 'regression test');
SELECT * FROM totp.totp_export_all(ARRAY['201', NULL], 'regression test');
SELECT count(*) FROM totp.totp_export_all('{}', 'regression test');
RESET ROLE;
DROP OWNED BY regress_totp_mover;
DROP ROLE regress_totp_mover;
