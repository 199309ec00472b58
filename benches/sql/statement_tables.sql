-- Tables for the hand-written statements: copies of the extension's tables and their rows.
\set ON_ERROR_STOP on
SET synchronous_commit = off;
CREATE SCHEMA bench;
GRANT USAGE ON SCHEMA bench TO bench;

CREATE TABLE bench.accounts (LIKE totp.accounts INCLUDING ALL) WITH (fillfactor = 80);
CREATE TABLE bench.factors (
    LIKE totp.factors INCLUDING ALL,
    FOREIGN KEY (account) REFERENCES bench.accounts ON UPDATE CASCADE ON DELETE CASCADE
) WITH (fillfactor = 80);
CREATE TABLE bench.audit_events (LIKE totp.audit_events INCLUDING ALL);
INSERT INTO bench.accounts SELECT * FROM totp.accounts;
INSERT INTO bench.factors SELECT * FROM totp.factors;
-- The minimum for a single-use token.
CREATE TABLE bench.tokens (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account text NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
) WITH (fillfactor = 80);
-- The columns for a hand-written challenge.
CREATE TABLE bench.challenges (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account text NOT NULL,
    purpose text NOT NULL,
    binding bytea NOT NULL,
    claims jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    used_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX ON bench.challenges (account);
CREATE INDEX ON bench.challenges (expires_at);
GRANT SELECT, UPDATE, INSERT ON ALL TABLES IN SCHEMA bench TO bench;

VACUUM (FREEZE, ANALYZE) bench.accounts;
VACUUM (FREEZE, ANALYZE) bench.factors;
