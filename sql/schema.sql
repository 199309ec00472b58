-- Roles, types and tables. Runs first in the extension's script, as its installer, in schema totp.

DO $$
BEGIN
    -- Objects created by someone else before CREATE EXTENSION could be mistaken for ours.
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
                  DETAIL = 'Its objects could be mistaken for objects of the extension.',
                  HINT = 'Drop the objects in it first.';
    END IF;
END $$;

-- Roles belong to the whole cluster: they might have been created in another database, or by someone waiting
-- for this extension to grant them privileges.
DO $$
DECLARE
    name text;
    admins text;
    members text;
BEGIN
    FOREACH name IN ARRAY ARRAY['totp_owner', 'totp_app', 'totp_user', 'totp_admin', 'totp_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', name);
            CONTINUE;
        END IF;
        IF EXISTS (
            SELECT FROM pg_catalog.pg_roles
            WHERE rolname = name
              AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)
        ) THEN
            RAISE EXCEPTION 'role % has attributes that it must not have', name
                USING ERRCODE = 'invalid_role_specification',
                      DETAIL = 'The extension grants privileges to it, which others may have only through membership in it.',
                      HINT = pg_catalog.format('Drop it, or run ALTER ROLE %I NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS.', name);
        END IF;
        SELECT pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(member.rolname), ', ') FILTER (WHERE m.admin_option),
               pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(member.rolname), ', ')
        INTO admins, members
        FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS ours ON ours.oid = m.roleid
        JOIN pg_catalog.pg_roles AS member ON member.oid = m.member
        WHERE ours.rolname = name AND NOT member.rolsuper;
        IF name = 'totp_owner' AND members IS NOT NULL THEN
            RAISE EXCEPTION 'role totp_owner has members'
                USING ERRCODE = 'invalid_role_specification',
                      DETAIL = pg_catalog.format('These roles could read the tables that contain the secrets: %s.', members),
                      HINT = pg_catalog.format('Run REVOKE totp_owner FROM %s.', members);
        ELSIF admins IS NOT NULL THEN
            RAISE EXCEPTION 'role % can be granted by others', name
                USING ERRCODE = 'invalid_role_specification',
                      DETAIL = pg_catalog.format('These roles have ADMIN OPTION on it, which the creator of a role receives in PostgreSQL 16 and later: %s.', admins),
                      HINT = pg_catalog.format('Run REVOKE %I FROM %s, then grant it again to those that should have it.', name, admins);
        ELSIF members IS NOT NULL THEN
            RAISE WARNING 'role % already has members', name
                USING DETAIL = pg_catalog.format('These roles can use the extension in this database, too: %s.', members),
                      HINT = pg_catalog.format('Revoke %I from roles that should not use it.', name);
        END IF;
    END LOOP;
    IF EXISTS (
        SELECT FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS owner ON owner.oid = m.member
        WHERE owner.rolname = 'totp_owner'
    ) THEN
        RAISE EXCEPTION 'role totp_owner is a member of other roles'
            USING ERRCODE = 'invalid_role_specification',
                  DETAIL = 'The functions of the extension run as totp_owner, which must have no other privileges.',
                  HINT = 'Revoke the other roles from totp_owner.';
    END IF;
END $$;

CREATE TYPE totp.verdict AS (
    verified boolean,
    account text,
    method text,
    label text,
    reason text,
    retry_after interval,
    backup_codes_left integer,
    retry_after_seconds integer
);
COMMENT ON TYPE totp.verdict IS 'Result of an attempt';
COMMENT ON COLUMN totp.verdict.verified IS 'Whether the second factor was verified';
COMMENT ON COLUMN totp.verdict.account IS 'The account that was given; for a token, its account unless the token itself is refused';
COMMENT ON COLUMN totp.verdict.method IS 'Kind of code: totp, backup or pass; NULL if refused';
COMMENT ON COLUMN totp.verdict.label IS 'Label of the factor that the code belongs to; NULL for backup codes and passes, and if refused';
COMMENT ON COLUMN totp.verdict.reason IS 'ok, invalid, locked, suspended or not_enrolled; for tokens and approvals, also expired or spent; for a spent code, invalid';
COMMENT ON COLUMN totp.verdict.retry_after IS 'Time until the lock ends, if the account is locked after the attempt';
COMMENT ON COLUMN totp.verdict.backup_codes_left IS 'Number of unused backup codes, if verified';
COMMENT ON COLUMN totp.verdict.retry_after_seconds IS 'retry_after in whole seconds, rounded up';

-- Rules for single columns are in domains, and rules for several in constraint triggers: each UPDATE has to read
-- the CHECK constraints of a table, but those of a domain or trigger only if it sets one of the columns. This
-- takes more than a fifth off the time of a login.
-- All text has collation "C". The sort order of any other collation can change with a new C library or ICU, or
-- differ on a standby with another version: indexes then miss rows, and accounts would seem to have no second
-- factor.
-- The functions count characters; the limits here are in bytes, four per character, since databases with some
-- encodings count characters differently.
CREATE DOMAIN totp.account AS text COLLATE "C" CHECK (octet_length(VALUE) BETWEEN 1 AND 1020);
COMMENT ON DOMAIN totp.account IS 'The application''s key for an account: 1 to 255 characters';
CREATE DOMAIN totp.failures AS integer CHECK (VALUE >= 0);
COMMENT ON DOMAIN totp.failures IS 'Number of consecutive failed attempts';
CREATE DOMAIN totp.label AS text COLLATE "C" CHECK (octet_length(VALUE) BETWEEN 1 AND 256);
COMMENT ON DOMAIN totp.label IS 'Distinguishes several apps of one account: 1 to 64 characters';
CREATE DOMAIN totp.serial AS text COLLATE "C" CHECK (octet_length(VALUE) BETWEEN 1 AND 256);
COMMENT ON DOMAIN totp.serial IS 'Serial number of a hardware token: 1 to 64 characters';
CREATE DOMAIN totp.factor_state AS text COLLATE "C" CHECK (VALUE COLLATE "C" IN ('pending', 'active'));
COMMENT ON DOMAIN totp.factor_state IS 'pending until confirmed by a code, then active';
CREATE DOMAIN totp.algorithm AS text COLLATE "C" CHECK (VALUE COLLATE "C" IN ('SHA1', 'SHA256', 'SHA512'));
COMMENT ON DOMAIN totp.algorithm IS 'Hash function of the HMAC (RFC 6238, section 1.2)';
CREATE DOMAIN totp.digits AS integer CHECK (VALUE BETWEEN 6 AND 8);
COMMENT ON DOMAIN totp.digits IS 'Number of digits in a code (RFC 4226, section 5.3)';
CREATE DOMAIN totp.period AS integer CHECK (VALUE BETWEEN 1 AND 120);
COMMENT ON DOMAIN totp.period IS 'Length of a step in seconds (RFC 6238, section 4.1)';
CREATE DOMAIN totp.key_id AS text COLLATE "C" CHECK (VALUE COLLATE "C" ~ '^[0-9a-f]{16}$');
COMMENT ON DOMAIN totp.key_id IS 'First 16 hex digits of the SHA-256 of a key''s text';
CREATE DOMAIN totp.step AS bigint CHECK (VALUE >= -1);
COMMENT ON DOMAIN totp.step IS 'Unix time divided by the period (RFC 6238, section 4.2); -1 for none';
CREATE DOMAIN totp.drift AS integer CHECK (VALUE BETWEEN -1000 AND 1000);
COMMENT ON DOMAIN totp.drift IS 'Number of steps by which a clock is ahead';
CREATE DOMAIN totp.salt AS bytea CHECK (length(VALUE) = 16);
COMMENT ON DOMAIN totp.salt IS 'Random bytes that make the hashes of one set of backup codes differ from those of others';
CREATE DOMAIN totp.used_at AS timestamptz[] CHECK (cardinality(VALUE) BETWEEN 1 AND 50 AND array_ndims(VALUE) = 1 AND array_lower(VALUE, 1) = 1);
COMMENT ON DOMAIN totp.used_at IS 'For each code of a set of 1 to 50, when it was spent; NULL for an unspent code';
CREATE DOMAIN totp.digest AS bytea CHECK (length(VALUE) = 32);
COMMENT ON DOMAIN totp.digest IS 'A SHA-256 hash';
CREATE DOMAIN totp.token_kind AS text COLLATE "C" CHECK (VALUE COLLATE "C" IN ('challenge', 'recovery', 'trust'));
COMMENT ON DOMAIN totp.token_kind IS 'Kind of signed token; one kind is never accepted as another';
CREATE DOMAIN totp.purpose AS text COLLATE "C" CHECK (octet_length(VALUE) BETWEEN 1 AND 256);
COMMENT ON DOMAIN totp.purpose IS 'Purpose of a challenge, as named by the application';
CREATE DOMAIN totp.claims AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
COMMENT ON DOMAIN totp.claims IS 'A JSON object for the payload of a JSON Web Token';
CREATE DOMAIN totp.attempts AS integer CHECK (VALUE BETWEEN 0 AND 1000);
COMMENT ON DOMAIN totp.attempts IS 'Number of codes tried on a token';
CREATE DOMAIN totp.method AS text COLLATE "C" CHECK (VALUE COLLATE "C" IN ('totp', 'backup', 'pass'));
COMMENT ON DOMAIN totp.method IS 'Kind of code that verified the second factor';

CREATE FUNCTION totp.raise_check_violation() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'new row for relation "%" violates constraint "%"', TG_TABLE_NAME, TG_NAME
        USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
              DETAIL = TG_ARGV[0],
              HINT = 'Change accounts and factors only with the functions of the extension.';
END $$;
COMMENT ON FUNCTION totp.raise_check_violation() IS
'Raises the error of a constraint that a row violates. For constraint triggers whose WHEN is the opposite of the rule. Errors: 23514.';

-- Counters are updated in place: no index on them, and room on each page (HOT updates).
CREATE TABLE totp.accounts (
    account totp.account PRIMARY KEY,
    failures totp.failures NOT NULL DEFAULT 0,
    locked_until timestamptz,
    suspended boolean NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    last_verified_at timestamptz,
    recovery_at timestamptz
) WITH (fillfactor = 80);
-- A count without a lock, as most wrong codes write it, does not set these columns.
CREATE CONSTRAINT TRIGGER accounts_lock AFTER INSERT OR UPDATE OF locked_until, suspended ON totp.accounts
FOR EACH ROW WHEN (NEW.failures = 0 AND (NEW.locked_until IS NOT NULL OR NEW.suspended))
EXECUTE FUNCTION totp.raise_check_violation('An account without failures is neither locked nor suspended.');
SELECT pg_catalog.pg_extension_config_dump('totp.accounts', '');
ALTER TABLE totp.accounts OWNER TO totp_owner;
COMMENT ON TABLE totp.accounts IS 'Accounts that have or had a factor, and their locks';
COMMENT ON COLUMN totp.accounts.account IS 'The application''s key for the account';
COMMENT ON COLUMN totp.accounts.failures IS 'Number of consecutive failed attempts, reset by a success';
COMMENT ON COLUMN totp.accounts.locked_until IS 'Every attempt is refused until this time';
COMMENT ON COLUMN totp.accounts.suspended IS 'Whether TOTP codes are refused until an administrator or a backup code lifts the suspension';
COMMENT ON COLUMN totp.accounts.changed_at IS 'When the account''s factors last changed; earlier verifications do not count';
COMMENT ON COLUMN totp.accounts.created_at IS 'When the account first enrolled';
COMMENT ON COLUMN totp.accounts.last_verified_at IS 'When a code of a factor or set of backup codes that no longer exists was last accepted';
COMMENT ON COLUMN totp.accounts.recovery_at IS 'When a recovery takes effect that waits for totp.recovery_delay; NULL if none does. After that time, the account counts as one without factors';

CREATE TABLE totp.factors (
    account totp.account NOT NULL REFERENCES totp.accounts ON UPDATE CASCADE ON DELETE CASCADE,
    label totp.label NOT NULL,
    state totp.factor_state NOT NULL,
    algorithm totp.algorithm NOT NULL,
    digits totp.digits NOT NULL,
    period totp.period NOT NULL,
    sealed text COLLATE "C" NOT NULL,
    key_id totp.key_id NOT NULL,
    last_step totp.step NOT NULL DEFAULT -1,
    drift totp.drift NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    last_used_at timestamptz,
    changed_at timestamptz,
    PRIMARY KEY (account, label, state)
) WITH (fillfactor = 80);
CREATE CONSTRAINT TRIGGER factors_state AFTER INSERT OR UPDATE OF state, confirmed_at ON totp.factors
FOR EACH ROW WHEN ((NEW.state = 'active') <> (NEW.confirmed_at IS NOT NULL))
EXECUTE FUNCTION totp.raise_check_violation('Exactly the active factors have been confirmed.');
SELECT pg_catalog.pg_extension_config_dump('totp.factors', '');
-- Expired factors are removed as new ones are created, and must be found in a table of millions.
CREATE INDEX factors_pending ON totp.factors (created_at) WHERE state = 'pending';
ALTER TABLE totp.factors OWNER TO totp_owner;
COMMENT ON TABLE totp.factors IS 'Authenticator apps of accounts';
COMMENT ON COLUMN totp.factors.account IS 'The account that the app belongs to';
COMMENT ON COLUMN totp.factors.label IS 'Distinguishes several apps of one account';
COMMENT ON COLUMN totp.factors.state IS 'pending until confirmed by a code, then active';
COMMENT ON COLUMN totp.factors.algorithm IS 'Hash function of the HMAC (RFC 6238, section 1.2)';
COMMENT ON COLUMN totp.factors.digits IS 'Number of digits in a code (RFC 4226, section 5.3)';
COMMENT ON COLUMN totp.factors.period IS 'Length of a step in seconds (RFC 6238, section 4.1)';
COMMENT ON COLUMN totp.factors.sealed IS 'The encrypted secret: a Fernet token whose payload includes purpose, account, label and created_at';
COMMENT ON COLUMN totp.factors.key_id IS 'The key that encrypted it: first 16 hex digits of the SHA-256 of its text';
COMMENT ON COLUMN totp.factors.last_step IS 'Latest spent step; codes of this and earlier steps are refused; -1 before the first';
COMMENT ON COLUMN totp.factors.drift IS 'Number of steps by which the app''s clock is assumed to be ahead; adjusted by at most one step per login (RFC 6238, section 6)';
COMMENT ON COLUMN totp.factors.created_at IS 'When the secret was created';
COMMENT ON COLUMN totp.factors.confirmed_at IS 'When the factor was confirmed by a code';
COMMENT ON COLUMN totp.factors.last_used_at IS 'When one of its codes was last accepted';
COMMENT ON COLUMN totp.factors.changed_at IS 'The account''s changed_at when the secret was created; a different one voids a pending factor';

CREATE TABLE totp.backup_codes (
    account totp.account NOT NULL REFERENCES totp.accounts ON UPDATE CASCADE ON DELETE CASCADE,
    salt totp.salt NOT NULL,
    sealed text COLLATE "C" NOT NULL,
    key_id totp.key_id NOT NULL,
    used_at totp.used_at NOT NULL,
    imported boolean NOT NULL DEFAULT false,
    PRIMARY KEY (account)
) WITH (fillfactor = 80);
SELECT pg_catalog.pg_extension_config_dump('totp.backup_codes', '');
ALTER TABLE totp.backup_codes OWNER TO totp_owner;
COMMENT ON TABLE totp.backup_codes IS 'Sets of one-time recovery codes, one per account';
COMMENT ON COLUMN totp.backup_codes.account IS 'The account that the codes belong to';
COMMENT ON COLUMN totp.backup_codes.salt IS 'Salt of the hashes; another set has another salt';
COMMENT ON COLUMN totp.backup_codes.sealed IS 'The encrypted hashes of the codes, 16 bytes of PBKDF2-HMAC-SHA256 each: a Fernet token whose payload includes purpose, account and salt';
COMMENT ON COLUMN totp.backup_codes.key_id IS 'The key that encrypted it: first 16 hex digits of the SHA-256 of its text';
COMMENT ON COLUMN totp.backup_codes.used_at IS 'When each code was spent, in the order of the hashes; NULL for an unspent code';
COMMENT ON COLUMN totp.backup_codes.imported IS 'Whether another system issued the set, so that its codes can have any form';

CREATE TABLE totp.hardware_tokens (
    serial totp.serial PRIMARY KEY,
    algorithm totp.algorithm NOT NULL,
    digits totp.digits NOT NULL,
    period totp.period NOT NULL,
    sealed text COLLATE "C" NOT NULL,
    key_id totp.key_id NOT NULL,
    created_at timestamptz NOT NULL,
    account totp.account REFERENCES totp.accounts ON UPDATE CASCADE ON DELETE SET NULL,
    assigned_at timestamptz,
    last_step totp.step NOT NULL DEFAULT -1
) WITH (fillfactor = 80);
SELECT pg_catalog.pg_extension_config_dump('totp.hardware_tokens', '');
-- For the foreign key.
CREATE INDEX hardware_tokens_account ON totp.hardware_tokens (account) WHERE account IS NOT NULL;
ALTER TABLE totp.hardware_tokens OWNER TO totp_owner;
COMMENT ON TABLE totp.hardware_tokens IS 'Hardware tokens that were imported, assigned or not';
COMMENT ON COLUMN totp.hardware_tokens.serial IS 'The serial number that is printed on the token';
COMMENT ON COLUMN totp.hardware_tokens.algorithm IS 'Hash function of the HMAC (RFC 6238, section 1.2)';
COMMENT ON COLUMN totp.hardware_tokens.digits IS 'Number of digits in a code (RFC 4226, section 5.3)';
COMMENT ON COLUMN totp.hardware_tokens.period IS 'Length of a step in seconds (RFC 6238, section 4.1)';
COMMENT ON COLUMN totp.hardware_tokens.sealed IS 'The encrypted secret: a Fernet token whose payload includes purpose, serial number (as label) and created_at';
COMMENT ON COLUMN totp.hardware_tokens.key_id IS 'The key that encrypted it: first 16 hex digits of the SHA-256 of its text';
COMMENT ON COLUMN totp.hardware_tokens.created_at IS 'When the token was imported';
COMMENT ON COLUMN totp.hardware_tokens.account IS 'The account that the token was last assigned to';
COMMENT ON COLUMN totp.hardware_tokens.assigned_at IS 'When it was last assigned; it is still assigned if the account has an active factor, labelled with the serial number, that was created at that time';
COMMENT ON COLUMN totp.hardware_tokens.last_step IS 'Step of the codes with which it was last assigned; they do not assign it again; -1 before the first time';

-- A wrong code for a nonexistent account writes to one of these rows what it would write to the
-- account, so that it takes as long.
CREATE TABLE totp.decoys (
    slot integer PRIMARY KEY CHECK (slot BETWEEN 0 AND 255),
    failures totp.failures NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
SELECT pg_catalog.pg_extension_config_dump('totp.decoys', '');
ALTER TABLE totp.decoys OWNER TO totp_owner;
COMMENT ON TABLE totp.decoys IS 'Rows to which failures of unknown accounts are written, so that they take as long as those of known accounts';
COMMENT ON COLUMN totp.decoys.slot IS 'Number of the row, 0 to 255; with this many, callers rarely wait for each other';
COMMENT ON COLUMN totp.decoys.failures IS 'Always 0';

-- The account is not a foreign key: a token for a nonexistent account looks like any other.
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
COMMENT ON TABLE totp.tokens IS 'Challenges, recovery links and trusted devices; the signed tokens themselves are not stored';
COMMENT ON COLUMN totp.tokens.id IS 'Random ID, contained in the signed token';
COMMENT ON COLUMN totp.tokens.kind IS 'challenge, recovery or trust';
COMMENT ON COLUMN totp.tokens.account IS 'The account that the token was created for';
COMMENT ON COLUMN totp.tokens.purpose IS 'Purpose of a challenge, as named by the application';
COMMENT ON COLUMN totp.tokens.binding IS 'SHA-256 of the text that must be given again, such as a session ID';
COMMENT ON COLUMN totp.tokens.claims IS 'Claims for the JSON Web Token that is issued when a challenge is completed';
COMMENT ON COLUMN totp.tokens.created_at IS 'When the token was created';
COMMENT ON COLUMN totp.tokens.expires_at IS 'When the token expires, for a recovery that waits later than the token says; it is removed later, as new tokens are created';
COMMENT ON COLUMN totp.tokens.changed_at IS 'The account''s changed_at when the token was created; a different one revokes the token; NULL if there was no such account';
COMMENT ON COLUMN totp.tokens.attempts IS 'Number of codes tried on the token';
COMMENT ON COLUMN totp.tokens.used_at IS 'When the token was used; not set for trusted devices, which can be used repeatedly';

CREATE TABLE totp.sessions (
    account totp.account NOT NULL REFERENCES totp.accounts ON UPDATE CASCADE ON DELETE CASCADE,
    session_id text COLLATE "C" NOT NULL,
    verified_at timestamptz NOT NULL,
    method totp.method NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (account, session_id)
);
SELECT pg_catalog.pg_extension_config_dump('totp.sessions', '');
ALTER TABLE totp.sessions OWNER TO totp_owner;
COMMENT ON TABLE totp.sessions IS 'Sessions that have verified a second factor';
COMMENT ON COLUMN totp.sessions.account IS 'The account that the session belongs to';
COMMENT ON COLUMN totp.sessions.session_id IS 'The claim session_id or jti of its JSON Web Token; with totp.identity = role, the server connection';
COMMENT ON COLUMN totp.sessions.verified_at IS 'When the session was last verified';
COMMENT ON COLUMN totp.sessions.method IS 'Kind of code: totp, backup or pass';
COMMENT ON COLUMN totp.sessions.changed_at IS 'The account''s changed_at when the session was verified; a different one ends the verification';

-- The account is not a foreign key: one that has never enrolled can be required to. What ends an enrolment
-- leaves the row as it is, and with it the deadline.
CREATE TABLE totp.requirements (
    account totp.account PRIMARY KEY,
    required_at timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    reason text COLLATE "C" NOT NULL,
    exempt_until timestamptz,
    exempt_reason text COLLATE "C"
);
-- Not on INSERT: a query that requires many accounts would read the condition for each. None begins with an
-- exemption.
CREATE CONSTRAINT TRIGGER requirements_exemption AFTER UPDATE OF exempt_until, exempt_reason ON totp.requirements
FOR EACH ROW WHEN ((NEW.exempt_until IS NULL) <> (NEW.exempt_reason IS NULL))
EXECUTE FUNCTION totp.raise_check_violation('An exemption has an end and a reason.');
SELECT pg_catalog.pg_extension_config_dump('totp.requirements', '');
ALTER TABLE totp.requirements OWNER TO totp_owner;
COMMENT ON TABLE totp.requirements IS 'Accounts that must have a second factor';
COMMENT ON COLUMN totp.requirements.account IS 'The application''s key for the account, which may not have enrolled yet';
COMMENT ON COLUMN totp.requirements.required_at IS 'When the account was first required to have a second factor';
COMMENT ON COLUMN totp.requirements.deadline IS 'When the account must have a second factor';
COMMENT ON COLUMN totp.requirements.reason IS 'Why';
COMMENT ON COLUMN totp.requirements.exempt_until IS 'Until when the account is exempt; NULL if it never was';
COMMENT ON COLUMN totp.requirements.exempt_reason IS 'Why it is exempt';

CREATE TABLE totp.passes (
    account totp.account PRIMARY KEY REFERENCES totp.accounts ON UPDATE CASCADE ON DELETE CASCADE,
    salt totp.salt NOT NULL,
    sealed text COLLATE "C" NOT NULL,
    key_id totp.key_id NOT NULL,
    uses_left integer NOT NULL CHECK (uses_left BETWEEN 0 AND 20),
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CHECK (expires_at <= issued_at + interval '24 hours')
) WITH (fillfactor = 80);
SELECT pg_catalog.pg_extension_config_dump('totp.passes', '');
ALTER TABLE totp.passes OWNER TO totp_owner;
COMMENT ON TABLE totp.passes IS 'Temporary passes from the help desk, at most one per account';
COMMENT ON COLUMN totp.passes.account IS 'The account that the pass belongs to';
COMMENT ON COLUMN totp.passes.salt IS 'Salt of the hash; another pass has another salt';
COMMENT ON COLUMN totp.passes.sealed IS 'The encrypted hash of the pass, 16 bytes of PBKDF2-HMAC-SHA256: a Fernet token whose payload includes purpose, account and salt';
COMMENT ON COLUMN totp.passes.key_id IS 'The key that encrypted it: first 16 hex digits of the SHA-256 of its text; key_rotate leaves it as it is';
COMMENT ON COLUMN totp.passes.uses_left IS 'How often it can still be used';
COMMENT ON COLUMN totp.passes.issued_at IS 'When it was issued; a code of a factor accepted since ends it';
COMMENT ON COLUMN totp.passes.expires_at IS 'When it expires';

-- The account is not a foreign key, as in tokens.
CREATE TABLE totp.approvals (
    id uuid PRIMARY KEY,
    account totp.account NOT NULL,
    approver totp.account,
    action text COLLATE "C" NOT NULL CHECK (octet_length(action) BETWEEN 1 AND 256),
    payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    digest totp.digest NOT NULL,
    summary text COLLATE "C" NOT NULL,
    requested_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    changed_at timestamptz,
    used_at timestamptz,
    cancelled_at timestamptz,
    CHECK (approver COLLATE "C" <> account COLLATE "C"),
    CHECK (used_at IS NULL OR confirmed_at IS NOT NULL AND cancelled_at IS NULL)
) WITH (fillfactor = 80);
SELECT pg_catalog.pg_extension_config_dump('totp.approvals', '');
CREATE INDEX approvals_account ON totp.approvals (account);
CREATE INDEX approvals_approver ON totp.approvals (approver) WHERE approver IS NOT NULL;
CREATE INDEX approvals_expires_at ON totp.approvals (expires_at);
ALTER TABLE totp.approvals OWNER TO totp_owner;
COMMENT ON TABLE totp.approvals IS 'Actions that wait for a code, or for their one use after it';
COMMENT ON COLUMN totp.approvals.id IS 'Random ID';
COMMENT ON COLUMN totp.approvals.account IS 'The account that asks, and whose sessions can use the approval';
COMMENT ON COLUMN totp.approvals.approver IS 'The account that must confirm; NULL if it is the account itself';
COMMENT ON COLUMN totp.approvals.action IS 'What is to be done: the name of an action';
COMMENT ON COLUMN totp.approvals.payload IS 'With what: the values that are approved';
COMMENT ON COLUMN totp.approvals.digest IS 'SHA-256 of the action and the payload in canonical form';
COMMENT ON COLUMN totp.approvals.summary IS 'The action and the payload as text, as whoever confirms is shown them';
COMMENT ON COLUMN totp.approvals.requested_at IS 'When it was requested';
COMMENT ON COLUMN totp.approvals.expires_at IS 'Until when it can be confirmed and used; it is removed a day later, as others are requested, or earlier if no code confirmed it and the account has 100 later ones like it';
COMMENT ON COLUMN totp.approvals.confirmed_at IS 'When a code confirmed it';
COMMENT ON COLUMN totp.approvals.changed_at IS 'The changed_at of the account that confirmed it at that time; a different one voids it';
COMMENT ON COLUMN totp.approvals.used_at IS 'When it was used';
COMMENT ON COLUMN totp.approvals.cancelled_at IS 'When it was cancelled';

-- Append-only: new entries go to the end of the index, which costs a login next to nothing.
-- The ID alone is not unique: logical replication does not copy its sequence.
CREATE TABLE totp.audit_events (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    account text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    client text COLLATE "C",
    application text COLLATE "C",
    detail jsonb,
    origin bigint NOT NULL,
    xid bigint NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    mac bytea NOT NULL,
    PRIMARY KEY (id, at)
);
SELECT pg_catalog.pg_extension_config_dump('totp.audit_events', '');
SELECT pg_catalog.pg_extension_config_dump('totp.audit_events_id_seq', '');
-- Read by time; a few bytes for each megabyte of the table.
CREATE INDEX audit_events_at ON totp.audit_events USING brin (at) WITH (autosummarize);
-- The few entries that say what was removed from the trail.
CREATE INDEX audit_events_prune ON totp.audit_events (id) WHERE event = 'audit_prune';
ALTER TABLE totp.audit_events OWNER TO totp_owner;
COMMENT ON TABLE totp.audit_events IS 'Audit trail: every attempt and change that totp.audit selects';
COMMENT ON COLUMN totp.audit_events.id IS 'Sequence number; rolled-back events leave gaps';
COMMENT ON COLUMN totp.audit_events.at IS 'When the event happened';
COMMENT ON COLUMN totp.audit_events.account IS 'The account, or its hash (totp.audit_accounts); empty for key_generate, key_rotate, audit_prune, token_remove and the import of hardware tokens';
COMMENT ON COLUMN totp.audit_events.event IS 'create, confirm, verify, challenge, assign, resync, rotate, remove, disable, backup_low, recovery_create, recovery_start, recovery_cancel, recover, trust, trust_revoke, approval_request, approve, approval_confirm, approval_cancel, approval_use; by administrators: reset, unlock, reissue, import, token_remove, export, rename, forget, pass_issue, pass_revoke, require, exempt, release, key_generate, key_rotate, audit_prune';
COMMENT ON COLUMN totp.audit_events.outcome IS 'ok, invalid, replayed, cold_start, not_enrolled, clock_off, last_factor or required';
COMMENT ON COLUMN totp.audit_events.actor IS 'The login role';
COMMENT ON COLUMN totp.audit_events.client IS 'The client: totp.client, or else its address; NULL for a local socket';
COMMENT ON COLUMN totp.audit_events.application IS 'The client''s application_name';
COMMENT ON COLUMN totp.audit_events.detail IS 'Further information: label, method, reason, a lock that the failure caused, the address if client is totp.client, and the role if it is not the login role';
COMMENT ON COLUMN totp.audit_events.origin IS 'The database that wrote the entry: a hash of its cluster''s system identifier and its OID';
COMMENT ON COLUMN totp.audit_events.xid IS 'The transaction that wrote the entry, with its epoch';
COMMENT ON COLUMN totp.audit_events.key_id IS 'The key that signed the entry';
COMMENT ON COLUMN totp.audit_events.mac IS 'HMAC-SHA256 of all other columns';

-- No row is ever removed or changed.
CREATE TABLE totp.audit_seals (
    id bigint PRIMARY KEY CHECK (id > 0),
    at timestamptz NOT NULL,
    origin bigint NOT NULL,
    from_xid bigint NOT NULL,
    to_xid bigint NOT NULL,
    entries bigint NOT NULL CHECK (entries > 0),
    ids int8multirange NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    root bytea NOT NULL CHECK (length(root) = 32),
    previous bytea NOT NULL CHECK (length(previous) = 32),
    next_xid bigint NOT NULL,
    next_id bigint NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    mac bytea NOT NULL CHECK (length(mac) = 32),
    CHECK (from_xid < to_xid),
    CHECK (first_at <= last_at)
);
SELECT pg_catalog.pg_extension_config_dump('totp.audit_seals', '');
ALTER TABLE totp.audit_seals OWNER TO totp_owner;
COMMENT ON TABLE totp.audit_seals IS 'Seals: each closes the entries of the transactions that have ended since the seal before';
COMMENT ON COLUMN totp.audit_seals.id IS 'Number of the seal, starting at 1, without gaps';
COMMENT ON COLUMN totp.audit_seals.at IS 'When the seal was made';
COMMENT ON COLUMN totp.audit_seals.origin IS 'The database that wrote the entries, as in their column origin';
COMMENT ON COLUMN totp.audit_seals.from_xid IS 'The first transaction whose entries belong to the seal';
COMMENT ON COLUMN totp.audit_seals.to_xid IS 'The first transaction whose entries no longer belong to it';
COMMENT ON COLUMN totp.audit_seals.entries IS 'Number of entries';
COMMENT ON COLUMN totp.audit_seals.ids IS 'Their IDs';
COMMENT ON COLUMN totp.audit_seals.first_at IS 'Time of the earliest entry';
COMMENT ON COLUMN totp.audit_seals.last_at IS 'Time of the latest entry';
COMMENT ON COLUMN totp.audit_seals.root IS 'Root of the Merkle tree of the entries (RFC 9162, section 2.1)';
COMMENT ON COLUMN totp.audit_seals.previous IS 'Hash of the seal before; zeros for the first';
COMMENT ON COLUMN totp.audit_seals.next_xid IS 'The next transaction when the seal was made';
COMMENT ON COLUMN totp.audit_seals.next_id IS 'No entry of that or a later transaction has an ID up to this one';
COMMENT ON COLUMN totp.audit_seals.key_id IS 'The key that signed the seal';
COMMENT ON COLUMN totp.audit_seals.mac IS 'HMAC-SHA256 of all other columns';

-- An outbox. Events get their positions when they are first read: by ID, and after all that were read before.
CREATE TABLE totp.events (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    position bigint,
    at timestamptz NOT NULL,
    account totp.account NOT NULL,
    event text COLLATE "C" NOT NULL,
    detail jsonb,
    -- Logical replication does not copy sequences: after a switch-over, IDs are repeated.
    PRIMARY KEY (id, at)
);
CREATE SEQUENCE totp.events_position_seq OWNED BY totp.events.position;
SELECT pg_catalog.pg_extension_config_dump('totp.events', '');
SELECT pg_catalog.pg_extension_config_dump('totp.events_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('totp.events_position_seq', '');
CREATE UNIQUE INDEX events_position ON totp.events (position) WHERE position IS NOT NULL;
CREATE INDEX events_waiting ON totp.events (id) WHERE position IS NULL;
CREATE INDEX events_account ON totp.events (account);
ALTER TABLE totp.events OWNER TO totp_owner;
COMMENT ON TABLE totp.events IS 'Events for the application, which reads them with events_read';
COMMENT ON COLUMN totp.events.id IS 'Sequence number; events that were rolled back leave gaps';
COMMENT ON COLUMN totp.events.position IS 'Place in the order in which events are read; NULL until then';
COMMENT ON COLUMN totp.events.at IS 'When it happened';
COMMENT ON COLUMN totp.events.account IS 'The account';
COMMENT ON COLUMN totp.events.event IS 'enrolled, device_added, device_removed, resynced, disabled, backup_replaced, backup_low, replayed, locked, suspended, many_failures, trusted, trust_revoked, recovery_asked, recovery_started, recovery_canceled, recovered or approval_asked; by administrators: reset, unlocked, imported, exported, renamed, pass_issued, pass_revoked, required, exempted or released';
COMMENT ON COLUMN totp.events.detail IS 'Further information: label, failures in a row, length of a lock or delay, backup codes left, method, reason';
