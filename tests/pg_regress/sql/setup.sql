-- The extension in a fresh database, by a superuser.
\set VERBOSITY default
SET client_min_messages = warning;
CREATE EXTENSION totp;
SELECT totp.key_generate() <> '' AS has_key;
-- The roles can do nothing by themselves.
SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls
FROM pg_roles WHERE rolname LIKE 'totp\_%' ORDER BY 1;
-- Time stands still in these tests.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET totp.clock = %L', current_database(), '2030-01-01 00:00:00+00'); END $$;
