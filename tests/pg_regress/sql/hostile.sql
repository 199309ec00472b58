-- Attacks that once worked.
-- The owner of a table with the forget_account trigger defines casts: they are not called.
CREATE ROLE regress_totp_owner_of_users;
GRANT CREATE ON SCHEMA public TO regress_totp_owner_of_users;
CREATE TABLE users (id text);
CREATE TRIGGER forget AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account('name');
ALTER TABLE users OWNER TO regress_totp_owner_of_users;
SET ROLE regress_totp_owner_of_users;
CREATE TYPE evil AS ENUM ('victim');
CREATE FUNCTION as_json(evil) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'json: called as %', current_user; END $$;
CREATE FUNCTION as_text(evil) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'text: called as %', current_user; END $$;
CREATE CAST (evil AS json) WITH FUNCTION as_json(evil);
CREATE CAST (evil AS text) WITH FUNCTION as_text(evil) AS IMPLICIT;
ALTER TABLE users ADD name evil, ADD other evil;
INSERT INTO users VALUES ('1', 'victim', 'victim');
RESET ROLE;
SELECT count(*) FROM totp.totp_create('victim');
SET ROLE regress_totp_owner_of_users;
DELETE FROM users;
RESET ROLE;
SELECT account FROM totp.accounts;
-- A misspelled column is an error; a key that no account can have is ignored.
DROP TABLE users;
CREATE TABLE users (name text);
CREATE TRIGGER forget AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account('nmae');
INSERT INTO users VALUES (repeat('x', 300)), ('');
\set VERBOSITY terse
DELETE FROM users;
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER forget ON users;
CREATE TRIGGER forget AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account('name');
DELETE FROM users;
DROP TABLE users;
SET client_min_messages = warning;
DROP OWNED BY regress_totp_owner_of_users CASCADE;
RESET client_min_messages;
DROP ROLE regress_totp_owner_of_users;

-- Clearing failures has no effect if it is rolled back.
SELECT secret FROM totp.totp_create('alice') \gset
SELECT confirmed FROM totp.totp_confirm('alice', totp.totp_code(:'secret', '2030-01-01 00:00:00+00'));
BEGIN;
SELECT count(totp.totp_verify('alice', left('12345678', 8 + 0 * n))) FROM generate_series(1, 5) AS n;
ROLLBACK;
SELECT failures, locked_until IS NOT NULL AS locked FROM totp.totp_status('alice');
BEGIN;
SELECT totp.totp_unlock('alice', 'never mind');
SELECT totp.totp_forget('alice', 'never mind');
SELECT count(*) FROM totp.totp_create('alice');
ROLLBACK;
SELECT failures, locked_until IS NOT NULL AS locked FROM totp.totp_status('alice');
SELECT totp.totp_unlock('alice', 'called the help desk');
SELECT failures, locked_until IS NOT NULL AS locked FROM totp.totp_status('alice');

-- Expired pending factors make room for new ones.
SELECT count(*) FROM generate_series(1, 19) AS n, LATERAL totp.totp_create('alice', 'device ' || n);
SELECT count(*) FROM totp.totp_create('alice', 'one more');
SET totp.clock = '2030-01-01 01:00:00+00';
SELECT count(*) FROM totp.totp_create('alice', 'one more');
RESET totp.clock;

-- A factor that cannot be decrypted is an error, not a wrong code; the other factor keeps working.
SELECT secret AS other FROM totp.totp_create('alice', 'other') \gset
SELECT confirmed FROM totp.totp_confirm('alice', totp.totp_code(:'other', '2030-01-01 00:00:00+00'), 'other');
UPDATE totp.factors SET key_id = '0123456789abcdef' WHERE label = 'other' AND account = 'alice';
SELECT totp.totp_verify('alice', totp.totp_code(:'other', '2030-01-01 00:00:30+00'));
\echo :LAST_ERROR_SQLSTATE
SELECT failures FROM totp.totp_status('alice');
SELECT totp.totp_verify('alice', totp.totp_code(:'secret', '2030-01-01 00:00:30+00'));
DELETE FROM totp.accounts;

-- The installer's default privileges give nobody access.
CREATE ROLE regress_totp_reader;
DROP EXTENSION totp;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO regress_totp_reader;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO regress_totp_reader;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO regress_totp_reader;
CREATE EXTENSION totp;
SELECT oid::regclass FROM pg_class, aclexplode(relacl) WHERE grantee = 'regress_totp_reader'::regrole AND relnamespace = 'totp'::regnamespace;
SELECT oid::regprocedure FROM pg_proc, aclexplode(proacl) WHERE grantee = 'regress_totp_reader'::regrole AND pronamespace = 'totp'::regnamespace;
-- A totp_owner role with members or LOGIN is refused.
\set VERBOSITY terse
DROP EXTENSION totp;
GRANT totp_owner TO regress_totp_reader;
CREATE EXTENSION totp;
\echo :LAST_ERROR_SQLSTATE
REVOKE totp_owner FROM regress_totp_reader;
ALTER ROLE totp_owner LOGIN;
CREATE EXTENSION totp;
ALTER ROLE totp_owner NOLOGIN;
CREATE EXTENSION totp;
DROP OWNED BY regress_totp_reader;
DROP ROLE regress_totp_reader;
