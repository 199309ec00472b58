-- Roles, types and tables. Runs first in the extension's script, as its installer, in schema totp.

DO $$
BEGIN
    -- Objects made by somebody else before CREATE EXTENSION could be mistaken for ours.
    IF EXISTS (
        SELECT FROM pg_catalog.pg_namespace AS n JOIN pg_catalog.pg_roles AS owner ON owner.oid = n.nspowner
        WHERE n.nspname = 'totp' AND owner.rolname <> current_user AND NOT owner.rolsuper
    ) THEN
        RAISE EXCEPTION 'schema totp belongs to another role'
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = 'Its owner could replace objects of the extension.',
                  HINT = 'Drop the schema, or make a superuser its owner.';
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = 'totp'::pg_catalog.regnamespace)
       OR EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace = 'totp'::pg_catalog.regnamespace)
       OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace = 'totp'::pg_catalog.regnamespace)
       OR EXISTS (SELECT FROM pg_catalog.pg_operator WHERE oprnamespace = 'totp'::pg_catalog.regnamespace)
    THEN
        RAISE EXCEPTION 'schema totp is not empty'
            USING ERRCODE = 'duplicate_object',
                  DETAIL = 'What is in it could be mistaken for objects of the extension.',
                  HINT = 'Drop what is in it first.';
    END IF;
END $$;

-- Roles belong to the whole cluster: another database may have made them.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['totp_owner', 'totp_app', 'totp_user', 'totp_admin', 'totp_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', name);
        ELSIF name = 'totp_owner' AND EXISTS (
            SELECT FROM pg_catalog.pg_roles
            WHERE rolname = name
              AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)
        ) THEN
            RAISE EXCEPTION 'role totp_owner can do more than own objects'
                USING ERRCODE = 'invalid_role_specification',
                      DETAIL = 'It owns the tables with the secrets, and the functions that open them.',
                      HINT = 'Drop it, or ALTER ROLE totp_owner NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS.';
        ELSIF name = 'totp_owner' AND EXISTS (
            SELECT FROM pg_catalog.pg_auth_members AS m
            JOIN pg_catalog.pg_roles AS owner ON owner.oid = m.roleid
            JOIN pg_catalog.pg_roles AS member ON member.oid = m.member
            WHERE owner.rolname = name AND NOT member.rolsuper
        ) THEN
            RAISE EXCEPTION 'role totp_owner has members'
                USING ERRCODE = 'invalid_role_specification',
                      DETAIL = 'Whoever is a member of it can read the tables with the secrets.',
                      HINT = 'REVOKE totp_owner from its members.';
        END IF;
    END LOOP;
END $$;

CREATE TYPE totp.verdict AS (
    verified boolean,
    account text,
    method text,
    label text,
    reason text,
    retry_after interval,
    backup_codes_left integer
);
COMMENT ON TYPE totp.verdict IS 'Outcome of an attempt';
COMMENT ON COLUMN totp.verdict.verified IS 'Whether the second factor is proved';
COMMENT ON COLUMN totp.verdict.account IS 'The account that was asked for; of a token, its account unless it is refused itself';
COMMENT ON COLUMN totp.verdict.method IS 'What proved it: totp or backup; NULL when refused';
COMMENT ON COLUMN totp.verdict.label IS 'Label of the factor whose code it was; NULL for backup codes and when refused';
COMMENT ON COLUMN totp.verdict.reason IS 'ok, invalid, locked, suspended or not_enrolled, for tokens also expired and spent; a spent code reads invalid';
COMMENT ON COLUMN totp.verdict.retry_after IS 'Time until the lock ends, when the account is locked after the attempt';
COMMENT ON COLUMN totp.verdict.backup_codes_left IS 'Unused backup codes, when verified';

-- Rules of single columns stand in domains: a CHECK of a table is read anew by each UPDATE, of a
-- domain only when a value of it changes. For a login that is a fifth of its time.
CREATE DOMAIN totp.account AS text CHECK (length(VALUE) BETWEEN 1 AND 255);
COMMENT ON DOMAIN totp.account IS 'The application''s key of an account: 1 to 255 characters';
CREATE DOMAIN totp.failures AS integer CHECK (VALUE >= 0);
COMMENT ON DOMAIN totp.failures IS 'Failed attempts in a row';
CREATE DOMAIN totp.label AS text CHECK (length(VALUE) BETWEEN 1 AND 64);
COMMENT ON DOMAIN totp.label IS 'What tells several apps of one account apart: 1 to 64 characters';
CREATE DOMAIN totp.factor_state AS text CHECK (VALUE IN ('pending', 'active'));
COMMENT ON DOMAIN totp.factor_state IS 'pending until a code confirms a factor, then active';
CREATE DOMAIN totp.algorithm AS text CHECK (VALUE IN ('SHA1', 'SHA256', 'SHA512'));
COMMENT ON DOMAIN totp.algorithm IS 'Hash under the HMAC (RFC 6238, 1.2)';
CREATE DOMAIN totp.digits AS integer CHECK (VALUE BETWEEN 6 AND 8);
COMMENT ON DOMAIN totp.digits IS 'Length of a code (RFC 4226, 5.3)';
CREATE DOMAIN totp.period AS integer CHECK (VALUE BETWEEN 1 AND 120);
COMMENT ON DOMAIN totp.period IS 'Seconds of a step (RFC 6238, 4.1)';
CREATE DOMAIN totp.key_id AS text CHECK (VALUE ~ '^[0-9a-f]{16}$');
COMMENT ON DOMAIN totp.key_id IS 'First 16 hex digits of the SHA-256 of a key''s text';
CREATE DOMAIN totp.step AS bigint CHECK (VALUE >= -1);
COMMENT ON DOMAIN totp.step IS 'Unix time divided by the period (RFC 6238, 4.2); -1 for none';
CREATE DOMAIN totp.drift AS integer CHECK (VALUE BETWEEN -1000 AND 1000);
COMMENT ON DOMAIN totp.drift IS 'Steps that a clock is ahead';
CREATE DOMAIN totp.mac AS bytea CHECK (length(VALUE) = 32);
COMMENT ON DOMAIN totp.mac IS 'An HMAC-SHA256';
CREATE DOMAIN totp.digest AS bytea CHECK (length(VALUE) = 32);
COMMENT ON DOMAIN totp.digest IS 'A SHA-256';
CREATE DOMAIN totp.token_kind AS text CHECK (VALUE IN ('challenge', 'recovery', 'trust'));
COMMENT ON DOMAIN totp.token_kind IS 'What a signed token is for; one kind never passes for another';
CREATE DOMAIN totp.purpose AS text CHECK (length(VALUE) BETWEEN 1 AND 64);
COMMENT ON DOMAIN totp.purpose IS 'What a challenge is for, in the application''s words';
CREATE DOMAIN totp.claims AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
COMMENT ON DOMAIN totp.claims IS 'A JSON object for the payload of a JSON Web Token';
CREATE DOMAIN totp.attempts AS integer CHECK (VALUE BETWEEN 0 AND 1000);
COMMENT ON DOMAIN totp.attempts IS 'Codes tried on a token';
CREATE DOMAIN totp.method AS text CHECK (VALUE IN ('totp', 'backup'));
COMMENT ON DOMAIN totp.method IS 'What proved the second factor';

-- Counters are updated in place: no index on them, and room on each page (HOT updates).
CREATE TABLE totp.accounts (
    account totp.account PRIMARY KEY,
    failures totp.failures NOT NULL DEFAULT 0,
    locked_until timestamptz,
    suspended boolean NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    CHECK (failures > 0 OR (locked_until IS NULL AND NOT suspended))
) WITH (fillfactor = 80);
SELECT pg_catalog.pg_extension_config_dump('totp.accounts', '');
ALTER TABLE totp.accounts OWNER TO totp_owner;
COMMENT ON TABLE totp.accounts IS 'Accounts that have or had a factor, and their lock';
COMMENT ON COLUMN totp.accounts.account IS 'The application''s key of the account';
COMMENT ON COLUMN totp.accounts.failures IS 'Failed attempts in a row, cleared by a success';
COMMENT ON COLUMN totp.accounts.locked_until IS 'Until then every attempt is refused';
COMMENT ON COLUMN totp.accounts.suspended IS 'TOTP codes are refused until an administrator or a backup code lifts it';
COMMENT ON COLUMN totp.accounts.changed_at IS 'Last change of the account''s factors; proofs from before do not count';
COMMENT ON COLUMN totp.accounts.created_at IS 'First enrolment';

CREATE TABLE totp.factors (
    account totp.account NOT NULL REFERENCES totp.accounts ON UPDATE CASCADE ON DELETE CASCADE,
    label totp.label NOT NULL,
    state totp.factor_state NOT NULL,
    algorithm totp.algorithm NOT NULL,
    digits totp.digits NOT NULL,
    period totp.period NOT NULL,
    sealed text NOT NULL,
    key_id totp.key_id NOT NULL,
    last_step totp.step NOT NULL DEFAULT -1,
    drift totp.drift NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (account, label, state),
    CHECK ((state = 'active') = (confirmed_at IS NOT NULL))
) WITH (fillfactor = 80);
SELECT pg_catalog.pg_extension_config_dump('totp.factors', '');
-- What has expired is swept as new factors are made, and must be found in a table of millions.
CREATE INDEX factors_pending ON totp.factors (created_at) WHERE state = 'pending';
ALTER TABLE totp.factors OWNER TO totp_owner;
COMMENT ON TABLE totp.factors IS 'Authenticator apps of accounts';
COMMENT ON COLUMN totp.factors.account IS 'Whose app it is';
COMMENT ON COLUMN totp.factors.label IS 'What tells several apps of one account apart';
COMMENT ON COLUMN totp.factors.state IS 'pending until a code confirms it, then active';
COMMENT ON COLUMN totp.factors.algorithm IS 'Hash under the HMAC (RFC 6238, 1.2)';
COMMENT ON COLUMN totp.factors.digits IS 'Length of a code (RFC 4226, 5.3)';
COMMENT ON COLUMN totp.factors.period IS 'Seconds of a step (RFC 6238, 4.1)';
COMMENT ON COLUMN totp.factors.sealed IS 'The secret, as a Fernet token whose payload names purpose, account, label and created_at';
COMMENT ON COLUMN totp.factors.key_id IS 'The key that sealed it: first 16 hex digits of the SHA-256 of its text';
COMMENT ON COLUMN totp.factors.last_step IS 'Newest spent step; codes of it and of older ones are refused; -1 before the first';
COMMENT ON COLUMN totp.factors.drift IS 'Steps that the app''s clock is taken to be ahead; follows by one a login (RFC 6238, 6)';
COMMENT ON COLUMN totp.factors.created_at IS 'When the secret was made';
COMMENT ON COLUMN totp.factors.confirmed_at IS 'When a code confirmed it';
COMMENT ON COLUMN totp.factors.last_used_at IS 'When a code of it was last accepted';

CREATE TABLE totp.backup_codes (
    account totp.account NOT NULL REFERENCES totp.accounts ON UPDATE CASCADE ON DELETE CASCADE,
    slot integer NOT NULL CHECK (slot BETWEEN 1 AND 50),
    salt bytea NOT NULL CHECK (length(salt) = 16),
    sealed text NOT NULL,
    key_id totp.key_id NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (account, slot)
) WITH (fillfactor = 80);
SELECT pg_catalog.pg_extension_config_dump('totp.backup_codes', '');
ALTER TABLE totp.backup_codes OWNER TO totp_owner;
COMMENT ON TABLE totp.backup_codes IS 'One-time recovery codes, one set an account';
COMMENT ON COLUMN totp.backup_codes.account IS 'Whose code it is';
COMMENT ON COLUMN totp.backup_codes.slot IS 'Place in the set, from 1';
COMMENT ON COLUMN totp.backup_codes.salt IS 'Salt that the codes of the set share';
COMMENT ON COLUMN totp.backup_codes.sealed IS 'PBKDF2-HMAC-SHA256 of the code, as a Fernet token whose payload names purpose, account, slot and salt';
COMMENT ON COLUMN totp.backup_codes.key_id IS 'The key that sealed it: first 16 hex digits of the SHA-256 of its text';
COMMENT ON COLUMN totp.backup_codes.used_at IS 'When it was spent';

-- A wrong code for an account that does not exist writes to one of these rows what it would write to
-- an account, so that it takes as long.
CREATE TABLE totp.decoys (
    slot integer PRIMARY KEY CHECK (slot BETWEEN 0 AND 255),
    failures totp.failures NOT NULL DEFAULT 0,
    locked_until timestamptz,
    suspended boolean NOT NULL DEFAULT false
) WITH (fillfactor = 20);
INSERT INTO totp.decoys (slot) SELECT pg_catalog.generate_series(0, 255);
-- Nothing in it is worth a dump: CREATE EXTENSION makes it anew.
SELECT pg_catalog.pg_extension_config_dump('totp.decoys', 'WHERE false');
ALTER TABLE totp.decoys OWNER TO totp_owner;
COMMENT ON TABLE totp.decoys IS 'Rows that failures of unknown accounts are written to, so that they take as long as those of others';
COMMENT ON COLUMN totp.decoys.slot IS 'One of 256, so that callers seldom meet';
COMMENT ON COLUMN totp.decoys.failures IS 'Always 0';
COMMENT ON COLUMN totp.decoys.locked_until IS 'Always NULL';
COMMENT ON COLUMN totp.decoys.suspended IS 'Always false';

-- The account is no foreign key: a token for an account that does not exist looks like any other.
CREATE TABLE totp.tokens (
    id uuid PRIMARY KEY,
    kind totp.token_kind NOT NULL,
    account totp.account NOT NULL,
    purpose totp.purpose NOT NULL,
    binding totp.digest NOT NULL,
    claims totp.claims NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    changed_at timestamptz,
    attempts totp.attempts NOT NULL DEFAULT 0,
    used_at timestamptz
) WITH (fillfactor = 80);
SELECT pg_catalog.pg_extension_config_dump('totp.tokens', '');
CREATE INDEX tokens_account ON totp.tokens (account);
CREATE INDEX tokens_expires_at ON totp.tokens (expires_at);
ALTER TABLE totp.tokens OWNER TO totp_owner;
COMMENT ON TABLE totp.tokens IS 'Challenges, recovery links and trusted devices; the signed tokens themselves are not kept';
COMMENT ON COLUMN totp.tokens.id IS 'Random, inside the signed token';
COMMENT ON COLUMN totp.tokens.kind IS 'challenge, recovery or trust';
COMMENT ON COLUMN totp.tokens.account IS 'Whose it is';
COMMENT ON COLUMN totp.tokens.purpose IS 'What a challenge is for, in the application''s words';
COMMENT ON COLUMN totp.tokens.binding IS 'SHA-256 of what must be given again, a session id say';
COMMENT ON COLUMN totp.tokens.claims IS 'What goes into the JSON Web Token when a challenge is met';
COMMENT ON COLUMN totp.tokens.created_at IS 'When it was made';
COMMENT ON COLUMN totp.tokens.expires_at IS 'From then on it is refused, and goes as new ones come';
COMMENT ON COLUMN totp.tokens.changed_at IS 'The account''s changed_at when it was made: another one revokes it; NULL when there was no such account';
COMMENT ON COLUMN totp.tokens.attempts IS 'Codes tried on it';
COMMENT ON COLUMN totp.tokens.used_at IS 'When it was used; trusted devices are used again and again';

CREATE TABLE totp.sessions (
    account totp.account NOT NULL REFERENCES totp.accounts ON UPDATE CASCADE ON DELETE CASCADE,
    session_id text NOT NULL,
    verified_at timestamptz NOT NULL,
    method totp.method NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (account, session_id)
);
SELECT pg_catalog.pg_extension_config_dump('totp.sessions', '');
ALTER TABLE totp.sessions OWNER TO totp_owner;
COMMENT ON TABLE totp.sessions IS 'Sessions that proved a second factor';
COMMENT ON COLUMN totp.sessions.account IS 'Whose session it is';
COMMENT ON COLUMN totp.sessions.session_id IS 'The claim session_id or jti of its JSON Web Token, else the server connection';
COMMENT ON COLUMN totp.sessions.verified_at IS 'When it last did so';
COMMENT ON COLUMN totp.sessions.method IS 'By what: totp or backup';
COMMENT ON COLUMN totp.sessions.changed_at IS 'The account''s changed_at at that moment: another one ends the proof';

-- Append-only and read by time: a block range index costs a login next to nothing, a B-tree 15 to 30 %.
CREATE TABLE totp.audit_events (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    account text NOT NULL,
    event text NOT NULL,
    outcome text NOT NULL,
    actor text NOT NULL,
    detail jsonb,
    mac totp.mac NOT NULL
);
CREATE INDEX audit_events_at ON totp.audit_events USING brin (at);
SELECT pg_catalog.pg_extension_config_dump('totp.audit_events', '');
SELECT pg_catalog.pg_extension_config_dump('totp.audit_events_id_seq', '');
ALTER TABLE totp.audit_events OWNER TO totp_owner;
COMMENT ON TABLE totp.audit_events IS 'Audit trail: every attempt and change, as totp.audit says';
COMMENT ON COLUMN totp.audit_events.id IS 'Order of writing';
COMMENT ON COLUMN totp.audit_events.at IS 'When it happened';
COMMENT ON COLUMN totp.audit_events.account IS 'The account, or its hash (totp.audit_accounts); empty for key_rotate';
COMMENT ON COLUMN totp.audit_events.event IS 'create, confirm, verify, challenge, resync, rotate, remove, disable, backup_low, recovery_create, recover, trust, trust_revoke; by administrators reset, unlock, reissue, import, export, rename, forget, key_rotate';
COMMENT ON COLUMN totp.audit_events.outcome IS 'ok, invalid, replayed, cold_start, not_enrolled or last_factor';
COMMENT ON COLUMN totp.audit_events.actor IS 'The login role';
COMMENT ON COLUMN totp.audit_events.detail IS 'What else is known: label, method, reason, the role when it is not the login role';
COMMENT ON COLUMN totp.audit_events.mac IS 'HMAC-SHA256 over all other columns but id';
