-- The writes of a challenge, without cryptography: a row, its use, the spent step, an audit event.
INSERT INTO bench.challenges (account, purpose, binding, claims, created_at, expires_at)
VALUES (:account, 'login', sha256(''), '{}', now(), now() + interval '5 min') RETURNING id \gset
WITH claimed AS (
    UPDATE bench.challenges SET used_at = clock_timestamp(), attempts = attempts + 1
    WHERE id = :id AND used_at IS NULL AND attempts < 5 AND expires_at > clock_timestamp()
    RETURNING account
), spent AS (
    UPDATE bench.factors AS f
    SET last_step = :step, drift = 0, last_used_at = clock_timestamp()
    FROM claimed, bench.accounts AS a
    WHERE a.account = claimed.account AND f.account = a.account AND f.state = 'active'
      AND f.last_step < :step AND NOT a.suspended
      AND (a.locked_until IS NULL OR a.locked_until <= clock_timestamp())
    RETURNING f.account, f.label, f.last_used_at
)
INSERT INTO bench.audit_events (at, account, event, outcome, actor, application, detail, origin, xid, key_id, mac)
SELECT last_used_at, account, 'challenge', 'ok', session_user, current_setting('application_name'),
       jsonb_build_object('method', 'totp', 'label', label), 1, 1, '0123456789abcdef', sha256(account::bytea)
FROM spent;
