-- Reports for administrators and auditors. No view has a secret, a ciphertext or a salt.

CREATE VIEW totp.guard_status AS SELECT slots, used, locked, evictions, rolled_back FROM totp.guard_usage();
ALTER VIEW totp.guard_status OWNER TO totp_owner;
COMMENT ON VIEW totp.guard_status IS
'Shared memory that keeps failures and spent codes through a ROLLBACK, for all databases of the server; empty when totp is not in shared_preload_libraries';
COMMENT ON COLUMN totp.guard_status.slots IS 'Entries there is room for: totp.guard_slots';
COMMENT ON COLUMN totp.guard_status.used IS 'Entries that still matter';
COMMENT ON COLUMN totp.guard_status.locked IS 'Accounts that are locked now';
COMMENT ON COLUMN totp.guard_status.evictions IS 'Entries that made room for others since the server started';
COMMENT ON COLUMN totp.guard_status.rolled_back IS 'Attempts whose transaction was rolled back since the server started';

CREATE VIEW totp.factor_status AS
SELECT account::text, label::text, state::text, algorithm::text, digits::integer, period::integer, drift::integer,
       key_id::text, created_at, confirmed_at, last_used_at
FROM totp.factors;
ALTER VIEW totp.factor_status OWNER TO totp_owner;
COMMENT ON VIEW totp.factor_status IS 'Authenticator apps of accounts, without their secrets';
COMMENT ON COLUMN totp.factor_status.account IS 'Whose app it is: join it with your table of users';
COMMENT ON COLUMN totp.factor_status.label IS 'What tells several apps of one account apart';
COMMENT ON COLUMN totp.factor_status.state IS 'pending until a code confirms it, then active';
COMMENT ON COLUMN totp.factor_status.algorithm IS 'SHA1, SHA256 or SHA512';
COMMENT ON COLUMN totp.factor_status.digits IS 'Length of a code';
COMMENT ON COLUMN totp.factor_status.period IS 'Seconds of a step';
COMMENT ON COLUMN totp.factor_status.drift IS 'Steps that the app''s clock is taken to be ahead';
COMMENT ON COLUMN totp.factor_status.key_id IS 'The encryption key that sealed the secret';
COMMENT ON COLUMN totp.factor_status.created_at IS 'When the secret was made or imported';
COMMENT ON COLUMN totp.factor_status.confirmed_at IS 'When it became active';
COMMENT ON COLUMN totp.factor_status.last_used_at IS 'When a code of it was last accepted';

CREATE VIEW totp.account_status AS
SELECT a.account::text,
       f.active > 0 AS enabled,
       f.active AS factors,
       f.pending > 0 AS pending,
       b.unused AS backup_codes_left,
       a.failures::integer,
       CASE WHEN a.locked_until > clock_timestamp() THEN a.locked_until END AS locked_until,
       a.suspended,
       greatest(f.last_used_at, b.last_used_at) AS last_verified_at,
       a.changed_at,
       a.created_at
FROM totp.accounts AS a,
LATERAL (
    SELECT count(*) FILTER (WHERE state = 'active')::integer AS active,
           count(*) FILTER (
               WHERE state = 'pending'
                 AND created_at > clock_timestamp() - coalesce(current_setting('totp.pending_ttl', true), '15min')::interval
           ) AS pending,
           max(last_used_at) AS last_used_at
    FROM totp.factors WHERE factors.account = a.account
) AS f,
LATERAL (
    SELECT count(*) FILTER (WHERE used_at IS NULL)::integer AS unused, max(used_at) AS last_used_at
    FROM totp.backup_codes WHERE backup_codes.account = a.account
) AS b;
ALTER VIEW totp.account_status OWNER TO totp_owner;
COMMENT ON VIEW totp.account_status IS 'Accounts with their factors, codes and locks, as committed; shared memory may hold a stricter lock';
COMMENT ON COLUMN totp.account_status.account IS 'The application''s key of the account: join it with your table of users';
COMMENT ON COLUMN totp.account_status.enabled IS 'Whether it has an active factor';
COMMENT ON COLUMN totp.account_status.factors IS 'Active factors';
COMMENT ON COLUMN totp.account_status.pending IS 'Whether a factor was made, not confirmed, and has not expired';
COMMENT ON COLUMN totp.account_status.backup_codes_left IS 'Unused backup codes';
COMMENT ON COLUMN totp.account_status.failures IS 'Failed attempts in a row';
COMMENT ON COLUMN totp.account_status.locked_until IS 'End of the lock, when there is one now';
COMMENT ON COLUMN totp.account_status.suspended IS 'TOTP codes are refused until an administrator or a backup code lifts it';
COMMENT ON COLUMN totp.account_status.last_verified_at IS 'When a code was last accepted';
COMMENT ON COLUMN totp.account_status.changed_at IS 'Last change of the account''s factors';
COMMENT ON COLUMN totp.account_status.created_at IS 'First enrolment';

CREATE VIEW totp.audit_log AS
SELECT id, at, account, event, outcome, actor, detail FROM totp.audit_events;
ALTER VIEW totp.audit_log OWNER TO totp_owner;
COMMENT ON VIEW totp.audit_log IS 'The audit trail, without its signatures';
COMMENT ON COLUMN totp.audit_log.id IS 'Order of writing; rolled-back events leave gaps';
COMMENT ON COLUMN totp.audit_log.at IS 'When it happened';
COMMENT ON COLUMN totp.audit_log.account IS 'The account, or its hash (totp.audit_accounts)';
COMMENT ON COLUMN totp.audit_log.event IS 'What was tried';
COMMENT ON COLUMN totp.audit_log.outcome IS 'How it ended';
COMMENT ON COLUMN totp.audit_log.actor IS 'The login role';
COMMENT ON COLUMN totp.audit_log.detail IS 'What else is known: label, method, reason, the role when it is not the login role';

CREATE VIEW totp.key_status AS
SELECT key_id,
       coalesce(ring.is_primary, false) AS is_primary,
       ring.key_id IS NOT NULL AS in_keyring,
       coalesce(used.factors, 0) AS factors,
       coalesce(used.backup_codes, 0) AS backup_codes,
       coalesce(used.percent, 0) AS percent,
       used.oldest,
       used.newest,
       CASE WHEN ring.is_primary THEN (
           SELECT count(*) FROM pg_locks AS announced
           WHERE announced.locktype = 'advisory' AND announced.classid = 'totp.accounts'::regclass
             AND announced.objid = 0 AND announced.objsubid = 2 AND announced.granted
             AND announced.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       ) ELSE 0 END AS sessions
FROM totp.key_ids() AS ring
FULL JOIN (
    SELECT key_id::text,
           count(*) FILTER (WHERE is_factor) AS factors,
           count(*) FILTER (WHERE NOT is_factor) AS backup_codes,
           round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent,
           min(sealed_at) AS oldest,
           max(sealed_at) AS newest
    FROM (
        SELECT key_id, true AS is_factor, sealed FROM totp.factors
        UNION ALL
        SELECT key_id, false, sealed FROM totp.backup_codes
    ) AS stored,
    -- A Fernet token begins with its version, 80, and the time it was made, in seconds since 1970.
    LATERAL (
        SELECT CASE WHEN sealed ~ '^gAAAAA[-A-Za-z0-9_]{6}' THEN to_timestamp(
            ('x' || right(encode(decode(translate(left(sealed, 12), '-_', '+/'), 'base64'), 'hex'), 16))::bit(64)::bigint
        ) END AS sealed_at
    ) AS token
    GROUP BY key_id
) AS used USING (key_id);
ALTER VIEW totp.key_status OWNER TO totp_owner;
COMMENT ON VIEW totp.key_status IS
'Encryption keys of the keyring and of stored rows, and how far a rotation is. Reads all rows of factors and backup codes';
COMMENT ON COLUMN totp.key_status.key_id IS 'First 16 hex digits of the SHA-256 of the key''s text';
COMMENT ON COLUMN totp.key_status.is_primary IS 'Whether it is the first of the keyring, which seals';
COMMENT ON COLUMN totp.key_status.in_keyring IS 'Whether it is in the keyring: if not, its rows do not open';
COMMENT ON COLUMN totp.key_status.factors IS 'Authenticator apps that it sealed';
COMMENT ON COLUMN totp.key_status.backup_codes IS 'Backup codes that it sealed, spent ones too';
COMMENT ON COLUMN totp.key_status.percent IS 'Its part of all rows: of the first key, how far a rotation is';
COMMENT ON COLUMN totp.key_status.oldest IS 'When the first of these rows was sealed';
COMMENT ON COLUMN totp.key_status.newest IS 'When the last of these rows was sealed';
COMMENT ON COLUMN totp.key_status.sessions IS 'Sessions of key_rotate that seal rows with it at this moment';
