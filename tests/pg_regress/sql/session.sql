-- Sessions: identity, verification, and policies that require it.
CREATE FUNCTION pg_temp.enrol(account text, OUT secret text, OUT codes text[]) LANGUAGE sql AS $$
    SELECT c.secret, done.backup_codes FROM totp.totp_create(account) AS c,
    LATERAL totp.totp_confirm(account, totp.totp_code(c.secret, current_setting('totp.clock')::timestamptz)) AS done $$;
SELECT codes[1] AS eva1, codes[2] AS eva2, codes[3] AS eva3, codes[4] AS eva4, codes[5] AS eva5 FROM pg_temp.enrol('eva') \gset
SELECT codes[1] AS fay1 FROM pg_temp.enrol('fay') \gset

-- Identity: claims are trusted only from the listed logins.
SELECT totp.current_account() AS nobody;
SET request.jwt.claims = '{"sub": "eva", "session_id": "one"}';
SELECT totp.current_account() AS not_a_login_of_the_list, totp.totp_verified();
DO $$ BEGIN EXECUTE format('SET totp.jwt_logins = %L', 'authenticator, ' || session_user); END $$;
SELECT totp.current_account();
SELECT claims, set_config('request.jwt.claims', claims, false) <> claims AS changed, totp.current_account()
FROM unnest(ARRAY['', '{', 'null', '[]', '{}', '{"sub": ""}', '{"sub": null}', '{"sub": 42}', '{"sub": ["eva"]}', '{"sub": "fay"}', '{"email": "eva"}']) AS claims;
SET totp.jwt_claim = 'email';
SELECT totp.current_account() AS by_another_claim;
RESET totp.jwt_claim;
SET totp.identity = 'role';
SELECT totp.current_account() = session_user AS by_role;
RESET totp.identity;

-- A code of the session's account verifies that session and no other.
SET request.jwt.claims = '{"sub": "eva", "session_id": "one"}';
SELECT totp.totp_verified() AS before;
SELECT totp.backup_verify('fay', :'fay1'), totp.totp_verified() AS by_a_code_of_another;
SELECT totp.backup_verify('eva', '0000-0000-0000-0000'), totp.totp_verified() AS by_a_wrong_code;
SELECT totp.backup_verify('eva', :'eva1'), totp.totp_verified() AS verified;
SELECT account, session_id, verified_at, method FROM totp.sessions ORDER BY 1, 2;
SELECT claims, set_config('request.jwt.claims', claims, false) <> '' AS set, totp.totp_verified()
FROM unnest(ARRAY['{"sub": "eva", "session_id": "two"}', '{"sub": "eva", "jti": "one"}', '{"sub": "eva"}', '{"sub": "fay", "session_id": "one"}', '{"sub": "eva", "iat": 1, "session_id": "one"}']) AS claims;

-- Maximum age of the verification.
SET request.jwt.claims = '{"sub": "eva", "session_id": "one"}';
SET totp.clock = '2030-01-01 00:15:00+00';
SELECT totp.totp_verified('15 min') AS at_15_minutes, totp.totp_verified('14:59') AS at_14_59, totp.totp_verified(NULL), totp.totp_verified('0');
SET totp.clock = '2030-01-01 00:15:00.000001+00';
SELECT totp.totp_verified('15 min') AS after_15_minutes, totp.totp_verified() AS by_the_setting;
SET totp.clock = '2030-01-01 12:00:00+00';
SELECT totp.totp_verified() AS at_12_hours, totp.totp_verified('10 years') AS no_longer_than_the_setting;
SET totp.clock = '2030-01-01 12:00:01+00';
SELECT totp.totp_verified() AS after_12_hours, totp.totp_verified('10 years') AS no_longer_than_the_setting;
SELECT totp.totp_verified('-1 s');
-- A verification further in the future than clocks may differ is not trusted.
SET totp.clock = '2029-12-31 23:59:00+00';
SELECT totp.totp_verified() AS a_minute_earlier;
SET totp.clock = '2029-12-31 23:58:59.999999+00';
SELECT totp.totp_verified() AS more_than_a_minute_earlier, totp.totp_verified('10 years');
SET totp.clock = '2030-01-01 12:00:01+00';

-- Any change of factors ends the verification.
SELECT totp.backup_verify('eva', :'eva2'), totp.totp_verified();
SELECT totp.totp_import('eva', 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP', 'other', 'test');
SELECT totp.totp_verified() AS after_an_import;
SELECT totp.backup_verify('eva', :'eva3'), totp.totp_verified();
SELECT totp.totp_remove('eva', 'other', :'eva4'), totp.totp_verified() AS after_a_removal;
SELECT totp.backup_verify('eva', :'eva5'), totp.totp_verified();
SELECT totp.totp_disable('eva', codes[1]) FROM (SELECT totp.backup_reissue('eva', 'test') AS codes) AS reissued;
SELECT totp.totp_verified() AS after_disable, (SELECT count(*) FROM totp.sessions WHERE account = 'eva') AS rows;

-- A verification that is rolled back does not count.
SELECT codes[1] AS gus1, codes[2] AS gus2 FROM pg_temp.enrol('gus') \gset
SET request.jwt.claims = '{"sub": "gus", "session_id": "g"}';
BEGIN;
SELECT totp.backup_verify('gus', :'gus1'), totp.totp_verified() AS inside;
ROLLBACK;
SELECT totp.totp_verified() AS after_rollback;

-- Completing a challenge verifies the session, too.
SELECT totp.challenge_create('gus') AS token \gset
SELECT verified FROM totp.challenge_verify(:'token', :'gus2');
SELECT totp.totp_verified();

-- A session is not verified if its token does not tell it from another one.
SELECT codes[1] AS hal1 FROM pg_temp.enrol('hal') \gset
SET request.jwt.claims = '{"sub": "hal"}';
SELECT totp.backup_verify('hal', :'hal1'), totp.totp_verified();
\set VERBOSITY default
SELECT * FROM totp_api.totp_create();
SET request.jwt.claims = '{"role": "authenticated"}';
SELECT * FROM totp_api.totp_status();
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
SET request.jwt.claims = '{"sub": "gus", "session_id": "g"}';

-- Row-level security policies.
CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN ' || query;
END $$;
CREATE ROLE regress_totp_person;
GRANT totp_user TO regress_totp_person;
CREATE TABLE payslips (owner text, amount integer);
INSERT INTO payslips SELECT 'gus', n FROM generate_series(1, 3) AS n;
ALTER TABLE payslips ENABLE ROW LEVEL SECURITY;
CREATE POLICY verified ON payslips USING (owner = (SELECT totp.current_account()) AND (SELECT totp.totp_verified('15 min')));
GRANT SELECT, INSERT ON payslips TO regress_totp_person;
SET ROLE regress_totp_person;
SELECT count(*) AS seen FROM payslips;
-- Evaluated once per query, not once per row.
SELECT count(*) AS calls_planned FROM pg_temp.plan('SELECT * FROM payslips') AS line WHERE line ~ '^ *InitPlan';
SET request.jwt.claims = '{"sub": "gus", "session_id": "another"}';
SELECT count(*) AS seen_by_another_session FROM payslips;
RESET ROLE;

-- A trigger that requires verification.
CREATE TABLE transfers (amount integer);
CREATE TRIGGER verified BEFORE INSERT OR UPDATE OR DELETE ON transfers FOR EACH ROW EXECUTE FUNCTION totp.require_totp('5 min');
CREATE TRIGGER verified_truncate BEFORE TRUNCATE ON transfers FOR EACH STATEMENT EXECUTE FUNCTION totp.require_totp();
\set VERBOSITY default
INSERT INTO transfers VALUES (1);
\set VERBOSITY terse
TRUNCATE transfers;
SET request.jwt.claims = '{"sub": "gus", "session_id": "g"}';
INSERT INTO transfers VALUES (1), (2);
UPDATE transfers SET amount = 3 WHERE amount = 1;
SELECT array_agg(amount ORDER BY amount) FROM transfers;
SET totp.clock = '2030-01-01 12:05:02+00';
DELETE FROM transfers;
INSERT INTO transfers SELECT generate_series(1, 1000);
TRUNCATE transfers;
SELECT count(*) FROM transfers;
CREATE TRIGGER wrong AFTER INSERT ON payslips FOR EACH ROW EXECUTE FUNCTION totp.require_totp();
\set VERBOSITY default
INSERT INTO payslips VALUES ('gus', 1);
\set VERBOSITY terse

-- JSON Web Tokens need a secret.
\set VERBOSITY default
SELECT totp.jwt_sign('{}');
SELECT totp.jwt_sign('[]');
\set VERBOSITY terse
DROP TABLE payslips, transfers;
DROP ROLE regress_totp_person;
SELECT count(totp.totp_forget(account, 'test is over')) > 0 AS forgotten FROM totp.accounts;
