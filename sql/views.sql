-- Reports for administrators and auditors. No view shows a secret, a ciphertext or a salt.

-- For the views below, which read it with the rights of their owner.
CREATE VIEW totp.clock AS
SELECT coalesce(nullif(current_setting('totp.clock', true), '')::timestamptz, clock_timestamp()) AS now;
ALTER VIEW totp.clock OWNER TO totp_owner;
COMMENT ON VIEW totp.clock IS 'The time that the other views go by: the system''s, or totp.clock in tests';
COMMENT ON COLUMN totp.clock.now IS 'The time';

CREATE VIEW totp.guard_status AS SELECT slots, used, locked, evictions, rolled_back FROM totp.guard_usage();
ALTER VIEW totp.guard_status OWNER TO totp_owner;
COMMENT ON VIEW totp.guard_status IS
'Usage of the shared memory that preserves failures and spent codes across a ROLLBACK, for all databases of the server; empty if totp is not in shared_preload_libraries';
COMMENT ON COLUMN totp.guard_status.slots IS 'Capacity in entries: totp.guard_slots';
COMMENT ON COLUMN totp.guard_status.used IS 'Entries that are still needed';
COMMENT ON COLUMN totp.guard_status.locked IS 'Accounts that are currently locked';
COMMENT ON COLUMN totp.guard_status.evictions IS 'Entries replaced by others since the server started';
COMMENT ON COLUMN totp.guard_status.rolled_back IS 'Attempts whose transaction was rolled back since the server started';

CREATE VIEW totp.factor_status AS
SELECT account::text, label::text, state::text, algorithm::text, digits::integer, period::integer, drift::integer,
       key_id::text, f.created_at, confirmed_at, last_used_at
FROM totp.clock, totp.factors AS f JOIN totp.accounts AS a USING (account)
WHERE (a.recovery_at <= clock.now) IS NOT TRUE;
ALTER VIEW totp.factor_status OWNER TO totp_owner;
COMMENT ON VIEW totp.factor_status IS 'Authenticator apps of accounts, without their secrets';
COMMENT ON COLUMN totp.factor_status.account IS 'The account that the app belongs to; join it with your table of users';
COMMENT ON COLUMN totp.factor_status.label IS 'Distinguishes several apps of one account';
COMMENT ON COLUMN totp.factor_status.state IS 'pending until confirmed by a code, then active; a pending one is void after totp.pending_ttl, and after any change to the account''s factors';
COMMENT ON COLUMN totp.factor_status.algorithm IS 'SHA1, SHA256 or SHA512';
COMMENT ON COLUMN totp.factor_status.digits IS 'Number of digits in a code';
COMMENT ON COLUMN totp.factor_status.period IS 'Length of a step in seconds';
COMMENT ON COLUMN totp.factor_status.drift IS 'Number of steps by which the app''s clock is assumed to be ahead';
COMMENT ON COLUMN totp.factor_status.key_id IS 'ID of the key that encrypted the secret';
COMMENT ON COLUMN totp.factor_status.created_at IS 'When the secret was created or imported';
COMMENT ON COLUMN totp.factor_status.confirmed_at IS 'When the factor became active';
COMMENT ON COLUMN totp.factor_status.last_used_at IS 'When one of its codes was last accepted';

CREATE VIEW totp.hardware_token_status AS
SELECT t.serial::text,
       t.algorithm::text, t.digits::integer, t.period::integer,
       f.account,
       CASE WHEN f.account IS NOT NULL THEN t.assigned_at END AS assigned_at,
       t.key_id::text, t.created_at
FROM totp.hardware_tokens AS t
LEFT JOIN totp.factor_status AS f
    ON f.account = t.account::text AND f.label = t.serial::text AND f.state = 'active' AND f.created_at = t.assigned_at;
ALTER VIEW totp.hardware_token_status OWNER TO totp_owner;
COMMENT ON VIEW totp.hardware_token_status IS 'Hardware tokens that were imported, without their secrets';
COMMENT ON COLUMN totp.hardware_token_status.serial IS 'The serial number that is printed on the token';
COMMENT ON COLUMN totp.hardware_token_status.algorithm IS 'SHA1, SHA256 or SHA512';
COMMENT ON COLUMN totp.hardware_token_status.digits IS 'Number of digits in a code';
COMMENT ON COLUMN totp.hardware_token_status.period IS 'Length of a step in seconds';
COMMENT ON COLUMN totp.hardware_token_status.account IS 'The account that the token is assigned to; NULL if it can be assigned';
COMMENT ON COLUMN totp.hardware_token_status.assigned_at IS 'When it was assigned';
COMMENT ON COLUMN totp.hardware_token_status.key_id IS 'ID of the key that encrypted the secret';
COMMENT ON COLUMN totp.hardware_token_status.created_at IS 'When the token was imported';

-- Accounts that never enrolled are in it if they have to. The planner finds one account through both indexes only if
-- the join compares what coalesce returns, in this order. The state is decided as in pure/requirement.rs.
CREATE VIEW totp.account_status AS
SELECT coalesce(a.account::text, r.account::text) AS account,
       f.active > 0 AS enabled,
       f.active AS factors,
       f.pending > 0 AS pending,
       b.unused AS backup_codes_left,
       CASE WHEN is_recovered THEN 0 ELSE coalesce(a.failures::integer, 0) END AS failures,
       CASE WHEN a.locked_until > clock.now AND NOT is_recovered THEN a.locked_until END AS locked_until,
       coalesce(a.suspended, false) AND NOT is_recovered AS suspended,
       CASE WHEN NOT is_recovered THEN greatest(a.last_verified_at, f.last_used_at, b.last_used_at) END AS last_verified_at,
       a.changed_at,
       a.created_at,
       CASE WHEN NOT is_recovered THEN a.recovery_at END AS recovery_at,
       CASE WHEN r.account IS NULL THEN 'not_required'
            WHEN f.active > 0 THEN 'enrolled'
            WHEN r.exempt_until > clock.now THEN 'exempt'
            WHEN r.deadline > clock.now THEN 'pending'
            ELSE 'overdue' END COLLATE "C" AS requirement,
       CASE WHEN f.active = 0 AND r.exempt_until > clock.now THEN greatest(r.deadline, r.exempt_until)
            ELSE r.deadline END AS deadline
FROM totp.clock, totp.accounts AS a FULL JOIN totp.requirements AS r ON a.account::text = r.account::text,
LATERAL (SELECT coalesce(a.recovery_at <= clock.now, false) AS is_recovered) AS recovery,
LATERAL (
    SELECT count(*) FILTER (WHERE state = 'active')::integer AS active,
           count(*) FILTER (
               WHERE state = 'pending' AND factors.changed_at = a.changed_at
                 AND created_at > clock.now - coalesce(current_setting('totp.pending_ttl', true), '15min')::interval
           ) AS pending,
           max(last_used_at) AS last_used_at
    FROM totp.factors WHERE factors.account = a.account AND NOT is_recovered
) AS f,
LATERAL (
    SELECT count(*) FILTER (WHERE code.used_at IS NULL)::integer AS unused, max(code.used_at) AS last_used_at
    FROM totp.backup_codes, unnest(backup_codes.used_at) AS code (used_at)
    WHERE backup_codes.account = a.account AND NOT is_recovered
) AS b;
ALTER VIEW totp.account_status OWNER TO totp_owner;
COMMENT ON VIEW totp.account_status IS 'Accounts that have enrolled or must, with their factors, codes and locks, as committed; shared memory might contain a stricter lock';
COMMENT ON COLUMN totp.account_status.account IS 'The application''s key for the account; join it with your table of users';
COMMENT ON COLUMN totp.account_status.enabled IS 'Whether the account has an active factor';
COMMENT ON COLUMN totp.account_status.factors IS 'Number of active factors';
COMMENT ON COLUMN totp.account_status.pending IS 'Whether there is a factor that has not been confirmed, has not expired and is not void';
COMMENT ON COLUMN totp.account_status.backup_codes_left IS 'Number of unused backup codes';
COMMENT ON COLUMN totp.account_status.failures IS 'Number of consecutive failed attempts';
COMMENT ON COLUMN totp.account_status.locked_until IS 'End of the lock; NULL if the account is not locked';
COMMENT ON COLUMN totp.account_status.suspended IS 'Whether TOTP codes are refused until an administrator or a backup code lifts the suspension';
COMMENT ON COLUMN totp.account_status.last_verified_at IS 'When a code was last accepted';
COMMENT ON COLUMN totp.account_status.changed_at IS 'When the account''s factors last changed; NULL if it never enrolled';
COMMENT ON COLUMN totp.account_status.created_at IS 'When the account first enrolled; NULL if it never did';
COMMENT ON COLUMN totp.account_status.recovery_at IS 'When a recovery that waits takes effect; NULL if none waits';
COMMENT ON COLUMN totp.account_status.requirement IS 'not_required, pending (must enrol by the deadline), overdue, enrolled (must stay so) or exempt';
COMMENT ON COLUMN totp.account_status.deadline IS 'When the account must have a second factor: the later of its deadline and the end of its exemption';

CREATE VIEW totp.audit_log AS
SELECT id, at, account, event, outcome, actor, detail, client, application, origin, xid, key_id, mac
FROM totp.audit_events;
ALTER VIEW totp.audit_log OWNER TO totp_owner;
COMMENT ON VIEW totp.audit_log IS 'The audit trail; audit_verify checks it';
COMMENT ON COLUMN totp.audit_log.id IS 'Sequence number; rolled-back events leave gaps';
COMMENT ON COLUMN totp.audit_log.at IS 'When the event happened';
COMMENT ON COLUMN totp.audit_log.account IS 'The account, or its hash (totp.audit_accounts)';
COMMENT ON COLUMN totp.audit_log.event IS 'What was attempted';
COMMENT ON COLUMN totp.audit_log.outcome IS 'Result of the event';
COMMENT ON COLUMN totp.audit_log.actor IS 'The login role';
COMMENT ON COLUMN totp.audit_log.detail IS 'Further information: label, method, reason, a lock that the failure caused, the address if client is totp.client, and the role if it is not the login role';
COMMENT ON COLUMN totp.audit_log.client IS 'The client: totp.client, or else its address; NULL for a local socket';
COMMENT ON COLUMN totp.audit_log.application IS 'The client''s application_name';
COMMENT ON COLUMN totp.audit_log.origin IS 'The database that wrote the entry: a hash of its cluster''s system identifier and its OID';
COMMENT ON COLUMN totp.audit_log.xid IS 'The transaction that wrote the entry, with its epoch';
COMMENT ON COLUMN totp.audit_log.key_id IS 'The key that signed the entry';
COMMENT ON COLUMN totp.audit_log.mac IS 'HMAC-SHA256 of all other columns';

-- The names and numbers of OCSF 1.8. What it has no activity for is 99, Other, with the name of our event.
CREATE VIEW totp.audit_ocsf AS
SELECT e.id, e.at, jsonb_strip_nulls(jsonb_build_object(
    'category_uid', 3,
    'category_name', 'Identity & Access Management',
    'class_uid', class.uid,
    'class_name', class.name,
    'activity_id', coalesce(known.activity_id, 99),
    'activity_name', coalesce(known.activity_name, e.event),
    'type_uid', class.uid * 100 + coalesce(known.activity_id, 99),
    'type_name', class.name || ': ' || coalesce(known.activity_name, 'Other'),
    'time', floor(extract(epoch FROM e.at) * 1000)::bigint,
    'timezone_offset', 0,
    'severity_id', severity.id,
    'severity', (ARRAY['Informational', 'Low', 'Medium'])[severity.id],
    'status_id', CASE e.outcome WHEN 'ok' THEN 1 ELSE 2 END,
    'status', CASE e.outcome WHEN 'ok' THEN 'Success' ELSE 'Failure' END,
    'status_code', e.outcome,
    'message', concat_ws(' ', 'two-factor authentication:', e.event, nullif(e.account, ''), e.outcome),
    'metadata', jsonb_build_object(
        'version', '1.8.0',
        'product', jsonb_build_object(
            'name', 'totp', 'vendor_name', 'totp',
            'version', (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'totp')
        ),
        'log_name', 'totp.audit_log',
        'event_code', e.event,
        'uid', e.id::text
    ),
    -- Events of keys and of the audit trail concern no account.
    'user', CASE e.account
        WHEN '' THEN jsonb_build_object('name', e.actor, 'type_id', 2)
        ELSE jsonb_build_object('name', e.account, 'uid', e.account, 'type_id', 1)
    END,
    'actor', jsonb_build_object('user', jsonb_build_object('name', e.actor), 'app_name', e.application),
    'src_endpoint', CASE
        WHEN e.client ~ '^[0-9]{1,3}([.][0-9]{1,3}){3}$' OR e.client ~ '^[0-9A-Fa-f]*:[0-9A-Fa-f:.]*$'
            THEN jsonb_build_object('ip', e.client)
        WHEN e.client <> '' THEN jsonb_build_object('name', e.client)
    END,
    'service', CASE class.uid WHEN 3002 THEN jsonb_build_object('name', current_database()) END,
    'is_mfa', CASE class.uid WHEN 3002 THEN true END,
    'auth_factors', CASE e.detail ->> 'method'
        WHEN 'totp' THEN jsonb_build_array(jsonb_build_object('factor_type_id', 7, 'factor_type', 'OTP', 'is_totp', true))
        WHEN 'backup' THEN jsonb_build_array(jsonb_build_object('factor_type_id', 99, 'factor_type', 'backup code'))
        WHEN 'pass' THEN jsonb_build_array(jsonb_build_object('factor_type_id', 99, 'factor_type', 'temporary pass'))
    END,
    'unmapped', e.detail
)) AS event
FROM totp.audit_events AS e
LEFT JOIN (VALUES
    ('verify', 3002, 1, 'Logon'),
    ('challenge', 3002, 1, 'Logon'),
    ('approve', 3002, NULL, NULL),
    ('confirm', 3001, 10, 'MFA Factor Enable'),
    ('assign', 3001, 10, 'MFA Factor Enable'),
    ('import', 3001, 10, 'MFA Factor Enable'),
    ('disable', 3001, 11, 'MFA Factor Disable'),
    ('remove', 3001, 11, 'MFA Factor Disable'),
    ('reset', 3001, 11, 'MFA Factor Disable'),
    ('recover', 3001, 11, 'MFA Factor Disable'),
    ('forget', 3001, 6, 'Delete'),
    ('unlock', 3001, 12, 'Unlock')
) AS known (event, class_uid, activity_id, activity_name) ON known.event = e.event AND e.account <> '',
LATERAL (
    SELECT coalesce(known.class_uid, 3001) AS uid,
           CASE known.class_uid WHEN 3002 THEN 'Authentication' ELSE 'Account Change' END AS name
) AS class,
LATERAL (
    SELECT CASE
        WHEN e.outcome = 'replayed' OR e.detail ? 'locked_seconds' OR e.detail ? 'suspended' THEN 3
        WHEN e.event IN ('reset', 'recover', 'reissue', 'pass_issue', 'export', 'forget', 'audit_prune') THEN 3
        WHEN e.outcome = 'ok' THEN 1
        ELSE 2
    END AS id
) AS severity;
ALTER VIEW totp.audit_ocsf OWNER TO totp_owner;
COMMENT ON VIEW totp.audit_ocsf IS 'The audit trail for a SIEM: events of the Open Cybersecurity Schema Framework, of classes 3002 Authentication and 3001 Account Change';
COMMENT ON COLUMN totp.audit_ocsf.id IS 'Sequence number, as in audit_log';
COMMENT ON COLUMN totp.audit_ocsf.at IS 'When the event happened';
COMMENT ON COLUMN totp.audit_ocsf.event IS 'The event, as OCSF 1.8 describes it; unmapped contains the detail';

CREATE VIEW totp.seal_log AS
SELECT id, at, origin, from_xid, to_xid, entries, ids, first_at, last_at, root, previous, next_xid, next_id, key_id, mac
FROM totp.audit_seals;
ALTER VIEW totp.seal_log OWNER TO totp_owner;
COMMENT ON VIEW totp.seal_log IS 'Seals of the audit trail, made by audit_seal';
COMMENT ON COLUMN totp.seal_log.id IS 'Number of the seal, starting at 1, without gaps';
COMMENT ON COLUMN totp.seal_log.at IS 'When the seal was made';
COMMENT ON COLUMN totp.seal_log.origin IS 'The database that wrote the entries, as in audit_log.origin';
COMMENT ON COLUMN totp.seal_log.from_xid IS 'The first transaction whose entries belong to the seal';
COMMENT ON COLUMN totp.seal_log.to_xid IS 'The first transaction whose entries no longer belong to it';
COMMENT ON COLUMN totp.seal_log.entries IS 'Number of entries';
COMMENT ON COLUMN totp.seal_log.ids IS 'Their IDs';
COMMENT ON COLUMN totp.seal_log.first_at IS 'Time of the earliest entry';
COMMENT ON COLUMN totp.seal_log.last_at IS 'Time of the latest entry';
COMMENT ON COLUMN totp.seal_log.root IS 'Root of the Merkle tree of the entries (RFC 9162, section 2.1)';
COMMENT ON COLUMN totp.seal_log.previous IS 'Hash of the seal before; zeros for the first';
COMMENT ON COLUMN totp.seal_log.next_xid IS 'The next transaction when the seal was made';
COMMENT ON COLUMN totp.seal_log.next_id IS 'No entry of that or a later transaction has an ID up to this one';
COMMENT ON COLUMN totp.seal_log.key_id IS 'The key that signed the seal';
COMMENT ON COLUMN totp.seal_log.mac IS 'HMAC-SHA256 of all other columns';

-- A failure is a wrong code, a spent one, or any code for an account without a factor.
CREATE VIEW totp.attacks AS
WITH failures AS (
    SELECT client, account, at FROM totp.clock, totp.audit_events
    WHERE at > clock.now - interval '1 day'
      AND event IN ('verify', 'challenge', 'confirm', 'assign', 'resync', 'disable', 'rotate', 'remove')
      AND outcome IN ('invalid', 'replayed', 'cold_start', 'not_enrolled')
)
SELECT 'hour' COLLATE "C" AS kind, NULL::text AS client, NULL::text AS account, count(*) AS failures,
       count(DISTINCT account) AS accounts, count(DISTINCT client) AS clients, min(at) AS first_at, max(at) AS last_at
FROM failures GROUP BY date_trunc('hour', at)
UNION ALL
SELECT CASE WHEN count(DISTINCT account) >= 10 AND count(*) <= 2 * count(DISTINCT account) THEN 'spray' ELSE 'client' END,
       client, NULL, count(*), count(DISTINCT account), 1, min(at), max(at)
FROM failures GROUP BY client
UNION ALL
SELECT 'account', NULL, account, count(*), 1, count(DISTINCT client), min(at), max(at)
FROM failures GROUP BY account HAVING count(DISTINCT client) > 1;
ALTER VIEW totp.attacks OWNER TO totp_owner;
COMMENT ON VIEW totp.attacks IS 'Failed attempts of the last day over all accounts, from the audit trail: by hour, by client, and for accounts with failures from several clients';
COMMENT ON COLUMN totp.attacks.kind IS 'hour: all failures of an hour; client: those of one client; spray: the same, if it tried one or two codes for each of ten or more accounts; account: those of an account from several clients';
COMMENT ON COLUMN totp.attacks.client IS 'The client: totp.client, or its address; NULL for local sockets';
COMMENT ON COLUMN totp.attacks.account IS 'The account, or its hash (totp.audit_accounts)';
COMMENT ON COLUMN totp.attacks.failures IS 'Number of failures';
COMMENT ON COLUMN totp.attacks.accounts IS 'Number of accounts';
COMMENT ON COLUMN totp.attacks.clients IS 'Number of clients';
COMMENT ON COLUMN totp.attacks.first_at IS 'Time of the first failure';
COMMENT ON COLUMN totp.attacks.last_at IS 'Time of the last failure';

CREATE VIEW totp.key_status AS
SELECT key_id,
       coalesce(ring.is_primary, false) AS is_primary,
       ring.key_id IS NOT NULL AS in_keyring,
       coalesce(used.factors, 0) AS factors,
       coalesce(used.backup_codes, 0) AS backup_codes,
       coalesce(used.hardware_tokens, 0) AS hardware_tokens,
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
           count(*) FILTER (WHERE kind = 'factor') AS factors,
           count(*) FILTER (WHERE kind = 'backup_codes') AS backup_codes,
           count(*) FILTER (WHERE kind = 'hardware_token') AS hardware_tokens,
           round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent,
           min(sealed_at) AS oldest,
           max(sealed_at) AS newest
    FROM (
        SELECT key_id, 'factor' COLLATE "C" AS kind, sealed FROM totp.factors
        UNION ALL
        SELECT key_id, 'backup_codes', sealed FROM totp.backup_codes
        UNION ALL
        SELECT key_id, 'hardware_token', sealed FROM totp.hardware_tokens
    ) AS stored,
    -- A Fernet token begins with its version, 80, and its creation time, in seconds since 1970.
    LATERAL (
        SELECT CASE WHEN sealed ~ '^gAAAAA[-A-Za-z0-9_]{6}' THEN to_timestamp(
            ('x' || right(encode(decode(translate(left(sealed, 12), '-_', '+/'), 'base64'), 'hex'), 16))::bit(64)::bigint
        ) END AS sealed_at
    ) AS token
    GROUP BY key_id
) AS used USING (key_id);
ALTER VIEW totp.key_status OWNER TO totp_owner;
COMMENT ON VIEW totp.key_status IS
'Encryption keys in the keyring and in use by stored rows, and the progress of a rotation; reads all rows of factors, backup codes and hardware tokens, including rows that count for nothing any more and are not removed yet';
COMMENT ON COLUMN totp.key_status.key_id IS 'First 16 hex digits of the SHA-256 of the key''s text';
COMMENT ON COLUMN totp.key_status.is_primary IS 'Whether the key is the first in the keyring, which is the one used to encrypt';
COMMENT ON COLUMN totp.key_status.in_keyring IS 'Whether the key is in the keyring; if not, its rows cannot be decrypted';
COMMENT ON COLUMN totp.key_status.factors IS 'Number of factors encrypted with the key';
COMMENT ON COLUMN totp.key_status.backup_codes IS 'Number of accounts whose backup codes are encrypted with the key';
COMMENT ON COLUMN totp.key_status.hardware_tokens IS 'Number of hardware tokens encrypted with the key';
COMMENT ON COLUMN totp.key_status.percent IS 'Percentage of all rows encrypted with the key; for the first key, the progress of a rotation';
COMMENT ON COLUMN totp.key_status.oldest IS 'When the oldest of these rows was encrypted';
COMMENT ON COLUMN totp.key_status.newest IS 'When the newest of these rows was encrypted';
COMMENT ON COLUMN totp.key_status.sessions IS 'Number of key_rotate sessions that are currently re-encrypting rows with the key';

-- Every user sees only what concerns the session's account.
CREATE VIEW totp.approvals_pending WITH (security_barrier) AS
SELECT id, account::text, approver::text, action, payload, summary, requested_at, expires_at
FROM totp.clock, totp.approvals
WHERE (account = totp.current_account() OR approver = totp.current_account())
  AND confirmed_at IS NULL AND cancelled_at IS NULL AND expires_at > clock.now;
ALTER VIEW totp.approvals_pending OWNER TO totp_owner;
COMMENT ON VIEW totp.approvals_pending IS 'Approvals that the session''s account has requested, or is asked for, and nobody has confirmed yet';
COMMENT ON COLUMN totp.approvals_pending.id IS 'ID of the approval';
COMMENT ON COLUMN totp.approvals_pending.account IS 'The account that asks';
COMMENT ON COLUMN totp.approvals_pending.approver IS 'The account that must confirm; NULL if it is the account itself';
COMMENT ON COLUMN totp.approvals_pending.action IS 'What is to be done: the name of an action';
COMMENT ON COLUMN totp.approvals_pending.payload IS 'With what: the values that are approved';
COMMENT ON COLUMN totp.approvals_pending.summary IS 'The action and the payload as text, in canonical form';
COMMENT ON COLUMN totp.approvals_pending.requested_at IS 'When it was requested';
COMMENT ON COLUMN totp.approvals_pending.expires_at IS 'When it expires';
