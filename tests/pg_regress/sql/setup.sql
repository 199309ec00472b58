-- Installs the extension in a new database, as a superuser.
\set VERBOSITY default
SET client_min_messages = warning;
CREATE EXTENSION totp;
SELECT totp.key_generate() <> '' AS has_key;
-- The roles have no special attributes.
SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls
FROM pg_roles WHERE rolname LIKE 'totp\_%' ORDER BY 1;
-- The clock is frozen in these tests.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET totp.clock = %L', current_database(), '2030-01-01 00:00:00+00'); END $$;
