-- Values for monitoring, by the rules of Prometheus. No account appears in them.

-- One branch for each name: a query for some names reads only their tables. PostgreSQL compares a condition with the
-- names of the branches only if all have the same type and collation.
CREATE VIEW totp.metrics AS
SELECT 'totp_preloaded'::text COLLATE "C" AS name, '{}'::jsonb AS labels, value,
       'Whether totp is in shared_preload_libraries.' COLLATE "C" AS help, 'gauge' COLLATE "C" AS type
FROM totp.metric_values() WHERE name = 'preloaded'
UNION ALL
SELECT 'totp_verifications_total'::text COLLATE "C", jsonb_build_object('method', label, 'outcome', outcome, 'source', 'memory'), value,
       'Codes checked or refused: since the server started, in all databases, if source is memory; else in the audit trail.', 'counter'
FROM totp.metric_values() WHERE name = 'verifications'
UNION ALL
-- Without shared memory. What was rolled back is missing here.
SELECT 'totp_verifications_total'::text COLLATE "C", jsonb_build_object('method', known.method, 'outcome', known.outcome, 'source', 'tables'), coalesce(trail.number, 0),
       'Codes checked or refused: since the server started, in all databases, if source is memory; else in the audit trail.', 'counter'
FROM (
    SELECT coalesce(detail ->> 'method', 'none') AS method, outcome, count(*)::double precision AS number
    FROM totp.audit_events WHERE event IN ('verify', 'challenge', 'approve', 'confirm', 'assign', 'resync', 'disable', 'rotate', 'remove')
    GROUP BY 1, 2
) AS trail
RIGHT JOIN (
    SELECT method, outcome
    FROM unnest(ARRAY['totp', 'backup', 'pass', 'none']) AS method,
         unnest(ARRAY['ok', 'invalid', 'replayed', 'cold_start', 'clock_off', 'locked', 'suspended', 'not_enrolled']) AS outcome
) AS known ON trail.method = known.method AND trail.outcome COLLATE "C" = known.outcome COLLATE "C"
WHERE EXISTS (SELECT FROM totp.metric_values() WHERE name = 'preloaded' AND value = 0)
UNION ALL
SELECT 'totp_guard_slots'::text COLLATE "C", '{}', value, 'Capacity of shared memory in entries: totp.guard_slots.', 'gauge'
FROM totp.metric_values() WHERE name = 'slots'
UNION ALL
SELECT 'totp_guard_slots_used'::text COLLATE "C", '{}', value, 'Entries of shared memory that are still needed.', 'gauge'
FROM totp.metric_values() WHERE name = 'used'
UNION ALL
SELECT 'totp_guard_evictions_total'::text COLLATE "C", '{}', value, 'Entries of shared memory that were replaced by others since the server started.', 'counter'
FROM totp.metric_values() WHERE name = 'evictions'
UNION ALL
SELECT 'totp_rolled_back_total'::text COLLATE "C", '{}', value, 'Attempts whose transaction was rolled back since the server started.', 'counter'
FROM totp.metric_values() WHERE name = 'rolled_back'
UNION ALL
SELECT 'totp_keyring_readable'::text COLLATE "C", '{}', value, 'Whether the encryption keys can be read.', 'gauge'
FROM totp.metric_values() WHERE name = 'keyring'
UNION ALL
SELECT 'totp_keys'::text COLLATE "C", jsonb_build_object('state', state),
       CASE state
           WHEN 'primary' THEN (SELECT count(*) FROM totp.metric_values() WHERE name = 'key' AND value = 1)
           WHEN 'old' THEN (SELECT count(*) FROM totp.metric_values() WHERE name = 'key' AND value = 0)
           ELSE (SELECT count(*) FROM (
                     SELECT key_id::text FROM totp.factors UNION SELECT key_id::text FROM totp.backup_codes
                     UNION SELECT key_id::text FROM totp.hardware_tokens
                     EXCEPT SELECT label FROM totp.metric_values() WHERE name = 'key'
                 ) AS missing)
       END::double precision,
       'Encryption keys: the first one, old ones in the keyring, and missing ones that rows need.', 'gauge'
FROM unnest(ARRAY['primary', 'old', 'missing']) AS state
UNION ALL
SELECT 'totp_rows_under_old_keys'::text COLLATE "C", '{}', count(*)::double precision,
       'Factors, backup codes and hardware tokens that are not encrypted with the first key; reads all of them.', 'gauge'
FROM (
    SELECT key_id::text FROM totp.factors UNION ALL SELECT key_id::text FROM totp.backup_codes
    UNION ALL SELECT key_id::text FROM totp.hardware_tokens
) AS stored
WHERE key_id NOT IN (SELECT label FROM totp.metric_values() WHERE name = 'key' AND value = 1)
UNION ALL
SELECT 'totp_accounts'::text COLLATE "C", '{}', count(*)::double precision, 'Accounts that have or had a factor.', 'gauge'
FROM totp.accounts
UNION ALL
SELECT 'totp_locked_accounts'::text COLLATE "C", '{}', count(*)::double precision, 'Accounts that are locked now, as committed.', 'gauge'
FROM totp.clock, totp.accounts WHERE locked_until > clock.now AND (recovery_at <= clock.now) IS NOT TRUE
UNION ALL
SELECT 'totp_suspended_accounts'::text COLLATE "C", '{}', count(*)::double precision, 'Accounts whose TOTP codes are refused until someone acts.', 'gauge'
FROM totp.clock, totp.accounts WHERE suspended AND (recovery_at <= clock.now) IS NOT TRUE
UNION ALL
SELECT 'totp_pending_factors'::text COLLATE "C", '{}', count(*)::double precision, 'Factors that have not been confirmed, including expired and void ones that are not removed yet.', 'gauge'
FROM totp.factors WHERE state = 'pending'
UNION ALL
SELECT 'totp_pending_recoveries'::text COLLATE "C", '{}', count(*)::double precision, 'Recoveries that wait for totp.recovery_delay.', 'gauge'
FROM totp.clock, totp.accounts WHERE recovery_at > clock.now
UNION ALL
SELECT 'totp_events_unread'::text COLLATE "C", '{}', count(*)::double precision, 'Events that no call of events_read has returned yet.', 'gauge'
FROM totp.events WHERE position IS NULL
UNION ALL
SELECT 'totp_audit_seals_total'::text COLLATE "C", '{}', coalesce(max(id), 0)::double precision, 'Seals of the audit trail.', 'counter'
FROM totp.audit_seals
UNION ALL
-- Seals close all transactions of a database up to the last one's to_xid. Entries before the last but one have lower IDs.
SELECT 'totp_audit_unsealed_rows'::text COLLATE "C", '{}', count(*)::double precision, 'Entries of the audit trail that are not sealed yet.', 'gauge'
FROM totp.audit_events AS e
LEFT JOIN (SELECT origin, max(to_xid) AS to_xid FROM totp.audit_seals GROUP BY origin) AS sealed ON sealed.origin = e.origin
WHERE (sealed.to_xid IS NULL OR e.xid >= sealed.to_xid)
  AND e.id > coalesce((
      SELECT max(s.next_id)
      FROM totp.audit_seals AS s, (SELECT origin, to_xid FROM totp.audit_seals ORDER BY id DESC LIMIT 1) AS last
      WHERE s.origin = last.origin AND s.next_xid <= last.to_xid
  ), 0)
UNION ALL
SELECT 'totp_audit_last_seal_age_seconds'::text COLLATE "C", '{}',
       extract(epoch FROM clock.now - coalesce(
           (SELECT at FROM totp.audit_seals ORDER BY id DESC LIMIT 1),
           (SELECT at FROM totp.audit_events ORDER BY id LIMIT 1),
           clock.now
       ))::double precision,
       'Time since the last seal of the audit trail, or since its first entry if there is none.', 'gauge'
FROM totp.clock;
ALTER VIEW totp.metrics OWNER TO totp_owner;
COMMENT ON VIEW totp.metrics IS 'Values for monitoring, without names of accounts; members of pg_monitor can read it. A query for some names reads only what they need';
COMMENT ON COLUMN totp.metrics.name IS 'Name of the metric';
COMMENT ON COLUMN totp.metrics.labels IS 'Its labels, as a JSON object of strings';
COMMENT ON COLUMN totp.metrics.value IS 'The value';
COMMENT ON COLUMN totp.metrics.help IS 'What the metric says';
COMMENT ON COLUMN totp.metrics.type IS 'counter or gauge';
