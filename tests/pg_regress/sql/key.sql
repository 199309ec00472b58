-- Keys: which rows need which key, what is wrong with them, and how to rotate them. Key IDs differ
-- from run to run, so they are not shown.
CREATE ROLE regress_totp_admin;
GRANT totp_admin TO regress_totp_admin;
CREATE ROLE regress_totp_auditor;
GRANT totp_auditor TO regress_totp_auditor;
SET totp.clock = '2030-05-01 00:00:00+00';
SELECT secret FROM totp.totp_create('alice') \gset
SELECT cardinality(backup_codes) FROM totp.totp_confirm('alice', totp.totp_code(:'secret', '2030-05-01 00:00:00+00'));
SELECT totp.totp_import('bob', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ');

-- One key encrypts everything.
SET ROLE regress_totp_auditor;
SELECT is_primary, in_keyring, factors, backup_codes, percent, oldest <= newest AS in_order, newest <= clock_timestamp() AS sealed, sessions FROM totp.key_status;
SELECT count(*), bool_and(key_id ~ '^[0-9a-f]{16}$') FROM totp.key_ids() WHERE is_primary;
RESET ROLE;

-- A rotation has nothing to do.
SET client_min_messages = warning;
SET ROLE regress_totp_admin;
CALL totp.key_rotate();
CALL totp.key_rotate(batch => 1);
SELECT check_name, status, detail, hint FROM totp.preflight() WHERE check_name IN ('missing_keys', 'key_rotation');
RESET ROLE;
SELECT count(*) FROM totp.audit_events WHERE event = 'key_rotate';

-- Invalid arguments.
CALL totp.key_rotate(0);
\echo :LAST_ERROR_SQLSTATE
CALL totp.key_rotate(10001);
CALL totp.key_rotate(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT totp.key_rotate_step(NULL, NULL);
BEGIN;
CALL totp.key_rotate();
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
DO $$ BEGIN CALL totp.key_rotate(); END $$;
SET default_transaction_isolation = 'serializable';
CALL totp.key_rotate();
RESET default_transaction_isolation;
SET default_transaction_read_only = on;
CALL totp.key_rotate();
\echo :LAST_ERROR_SQLSTATE
RESET default_transaction_read_only;

-- A key that is not in the keyring is reported only where it is needed.
UPDATE totp.factors SET key_id = '0123456789abcdef' WHERE account = 'alice';
SELECT totp.totp_verify('alice', '123456');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_verify('bob', totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-05-01 00:00:00+00'));
SELECT key_id, is_primary, in_keyring, factors, backup_codes, sessions FROM totp.key_status WHERE NOT in_keyring;
SELECT status, detail, hint FROM totp.preflight() WHERE check_name = 'missing_keys';
CALL totp.key_rotate();

-- A row that its key cannot decrypt.
UPDATE totp.backup_codes SET key_id = 'fedcba9876543210';
UPDATE totp.factors SET key_id = (SELECT key_id FROM totp.key_ids() WHERE is_primary), sealed = 'gone' WHERE account = 'alice';
SELECT totp.totp_verify('alice', '123456');
\echo :LAST_ERROR_SQLSTATE
CALL totp.key_rotate();
SELECT count(*), sum(factors), sum(backup_codes), sum(percent), bool_and(oldest IS NOT NULL) FROM totp.key_status;
UPDATE totp.factors SET sealed = U&'gAAAAA\00e9\00e9\00e9\00e9\00e9\00e9' WHERE account IN ('alice', 'bob');
SELECT factors, backup_codes, oldest IS NOT NULL AS has_oldest FROM totp.key_status WHERE factors > 0;

-- The checklist. Results for files and logging depend on the server.
RESET totp.clock;
SELECT check_name, status IN ('ok', 'warn', 'fail') AS has_status, detail LIKE '%.' AS has_detail, (status = 'ok') = (hint IS NULL) AS has_hint FROM totp.preflight();
SET totp.clock = '2030-05-01 00:00:00+00';
SET totp.burn_on_rollback = off;
SET totp.cold_start = off;
SET totp.force_sync_commit = off;
SET log_statement = 'all';
SET log_parameter_max_length = -1;
SELECT status, detail, hint FROM totp.preflight() WHERE check_name IN ('clock', 'burn_on_rollback', 'cold_start', 'force_sync_commit', 'statement_logging');
SET log_parameter_max_length = 0;
SELECT status, detail FROM totp.preflight() WHERE check_name = 'statement_logging';
RESET log_statement;
RESET log_parameter_max_length;
RESET totp.burn_on_rollback;
RESET totp.cold_start;
RESET totp.force_sync_commit;

-- Privileges.
SET ROLE regress_totp_auditor;
CALL totp.key_rotate();
\echo :LAST_ERROR_SQLSTATE
SELECT totp.key_rotate_step(1, NULL);
SELECT * FROM totp.preflight();
SELECT totp.key_generate();
RESET ROLE;
RESET client_min_messages;
RESET totp.clock;
DROP OWNED BY regress_totp_admin, regress_totp_auditor;
DROP ROLE regress_totp_admin, regress_totp_auditor;
DELETE FROM totp.accounts;
