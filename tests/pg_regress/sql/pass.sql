-- Temporary passes.
TRUNCATE totp.audit_events RESTART IDENTITY;
SET totp.clock = '2033-01-01 00:00:00+00';
CREATE FUNCTION pg_temp.enrol(account text, OUT secret text, OUT codes text[]) LANGUAGE sql AS $$
    SELECT c.secret, done.backup_codes FROM totp.totp_create(account) AS c,
    LATERAL totp.totp_confirm(account, totp.totp_code(c.secret, current_setting('totp.clock')::timestamptz)) AS done $$;
SELECT secret AS zoe, codes[1] AS zoe1, codes[2] AS zoe2 FROM pg_temp.enrol('zoe') \gset
SET totp.clock = '2033-01-01 01:00:00+00';
DO $$ BEGIN EXECUTE format('SET totp.jwt_logins = %L', 'authenticator, ' || session_user); END $$;

SELECT totp.pass_issue('zoe', NULL);
SELECT totp.pass_issue('zoe', 'lost her phone', '25 hours');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.pass_issue('zoe', 'lost her phone', '0');
SELECT totp.pass_issue('zoe', 'lost her phone', uses => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT totp.pass_issue('zoe', 'lost her phone', uses => 21);
SELECT totp.pass_revoke('zoe', 'none there');

-- Once, wherever a backup code is accepted, and not as a way to backup codes.
SELECT totp.pass_issue('zoe', 'lost her phone') AS pass \gset
SELECT :'pass' ~ '^([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}$' AS looks_like_a_backup_code;
SELECT totp.backup_rotate('zoe', :'pass') AS none;
SELECT totp.totp_verify('zoe', :'pass') AS no_totp_code, totp.backup_remaining('zoe');
SELECT verified, method, label, reason, backup_codes_left FROM totp.totp_attempt('zoe', lower(:'pass'));
SELECT verified, reason FROM totp.totp_attempt('zoe', :'pass') AS again;
SELECT failures FROM totp.totp_status('zoe');
-- Several uses, the end of its time, a new pass and a revocation.
SELECT totp.pass_issue('zoe', 'travels', '2 hours', 3) AS pass \gset
SELECT totp.backup_verify('zoe', :'pass');
SELECT totp.pass_issue('zoe', 'another one', uses => 3) AS pass2 \gset
SELECT totp.backup_verify('zoe', :'pass') AS replaced, totp.backup_verify('zoe', :'pass2') AS new;
SET totp.clock = '2033-01-01 01:59:59.999999+00';
SELECT totp.backup_verify('zoe', :'pass2') AS in_time;
SET totp.clock = '2033-01-01 02:00:00+00';
SELECT totp.backup_verify('zoe', :'pass2') AS expired;
SELECT totp.pass_issue('zoe', 'once more') AS pass \gset
SELECT totp.pass_revoke('zoe', 'found her phone'), totp.pass_revoke('zoe', 'found her phone') AS again;
SELECT totp.backup_verify('zoe', :'pass') AS revoked;
-- The first right code of a factor ends it; a backup code does not.
SELECT totp.pass_issue('zoe', 'lost her phone', uses => 5) AS pass \gset
SELECT totp.backup_verify('zoe', :'zoe1'), totp.backup_verify('zoe', :'pass') AS still;
SET totp.clock = '2033-01-01 02:10:00+00';
SELECT totp.totp_verify('zoe', totp.totp_code(:'zoe', '2033-01-01 02:10:00+00')) AS code, totp.backup_verify('zoe', :'pass') AS ended;
SELECT totp.totp_unlock('zoe', 'a test');
-- A reset ends it, and one that has ended does not come back.
SELECT totp.totp_reset('zoe', 'stolen phone'), totp.backup_verify('zoe', :'pass') AS ended;
SELECT totp.pass_issue('zoe', 'stolen phone', uses => 2) AS pass \gset
SELECT totp.totp_reset('zoe', 'stolen phone'), totp.backup_verify('zoe', :'pass') AS ended;
SET totp.clock = '2033-01-01 02:15:00+00';
SELECT secret AS zoe FROM pg_temp.enrol('zoe') \gset
-- It is not for another account, and a lock holds it up.
SELECT secret FROM pg_temp.enrol('abe') \gset
SELECT totp.pass_issue('zoe', 'lost her phone') AS pass \gset
SELECT totp.backup_verify('abe', :'pass') AS another_account;
SELECT count(totp.backup_verify('zoe', '0000-0000-0000-0000')) FROM generate_series(1, 5);
SELECT reason FROM totp.totp_attempt('zoe', :'pass');
SELECT totp.totp_unlock('zoe', 'a test');
SELECT reason FROM totp.totp_attempt('zoe', :'pass');

-- An account that has not enrolled, or was reset: the pass verifies a session, which can enrol.
SELECT totp.pass_issue('ben', 'new colleague', uses => 2) AS pass \gset
SET request.jwt.claims = '{"sub": "ben", "session_id": "first day"}';
SELECT verified, reason FROM totp_api.totp_verify('0000-0000-0000-0000');
SELECT verified, method, reason FROM totp_api.totp_verify(:'pass');
SELECT totp.totp_verified();
SELECT secret FROM totp_api.totp_create() \gset
SET totp.clock = '2033-01-01 02:20:00+00';
SELECT confirmed FROM totp_api.totp_confirm(totp.totp_code(:'secret', '2033-01-01 02:20:00+00'));
SELECT verified, reason FROM totp_api.totp_verify(:'pass') AS ended;

-- What a session that was verified by a pass cannot do, and who can.
SELECT totp.pass_issue('ben', 'my own');
\echo :LAST_ERROR_SQLSTATE
SET totp.clock = '2033-01-01 03:00:00+00';
SET request.jwt.claims = '{"sub": "abe", "session_id": "help desk"}';
SELECT totp.pass_issue('ben', 'lost everything') AS pass \gset
SET request.jwt.claims = '{"sub": "ben", "session_id": "second day"}';
SELECT method FROM totp_api.totp_verify(:'pass');
SELECT totp.pass_issue('abe', 'for a friend');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.backup_reissue('abe', 'for a friend');
SELECT totp.totp_export('abe', 'default', 'for a friend');
SELECT * FROM totp.totp_export_all('{abe}', 'for a friend');
SELECT * FROM totp.totp_export_migration('{abe}', 'for a friend');
SELECT verified FROM totp_api.totp_verify(totp.totp_code(:'secret', '2033-01-01 03:00:00+00'));
SELECT length(totp.pass_issue('abe', 'verified by a code now'));
SET totp.identity = 'role';
SELECT totp.pass_issue(session_user, 'my own');
\echo :LAST_ERROR_SQLSTATE
RESET totp.identity;
RESET request.jwt.claims;

-- Revoking a pass ends the sessions that it verified, also after its last use.
SET totp.clock = '2033-01-01 04:00:00+00';
SELECT totp.pass_issue('ben', 'lost everything') AS pass \gset
SET request.jwt.claims = '{"sub": "ben", "session_id": "third day"}';
SELECT method FROM totp_api.totp_verify(:'pass');
SELECT totp.totp_verified();
SELECT totp.pass_revoke('ben', 'told it to the wrong person');
SELECT totp.totp_verified(), totp.pass_revoke('ben', 'told it to the wrong person') AS again;
RESET request.jwt.claims;

-- A renamed account has no pass.
SELECT totp.pass_issue('ben', 'lost everything') AS pass \gset
SELECT totp.totp_rename('ben', 'ben2', 'married'), totp.backup_verify('ben2', :'pass');
SELECT account, event, outcome, detail FROM totp.audit_log WHERE event LIKE 'pass%' OR detail ->> 'method' = 'pass' ORDER BY id LIMIT 8;
SELECT count(totp.totp_forget(account, 'end of the test')) FROM unnest('{zoe,abe,ben2}'::text[]) AS account;
SELECT count(*) FROM totp.passes;
RESET totp.clock;
