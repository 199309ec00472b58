-- Administrative functions and reports.
CREATE ROLE regress_totp_admin;
GRANT totp_admin TO regress_totp_admin;
CREATE ROLE regress_totp_auditor;
GRANT totp_auditor TO regress_totp_auditor;
TRUNCATE totp.audit_events RESTART IDENTITY;
SET totp.clock = '2030-04-01 00:00:00+00';
SELECT secret FROM totp.totp_create('alice') \gset
SELECT backup_codes[1] AS code FROM totp.totp_confirm('alice', totp.totp_code(:'secret', '2030-04-01 00:00:00+00')) \gset
GRANT SET ON PARAMETER totp.clock TO regress_totp_admin;
SET ROLE regress_totp_admin;

-- A reason is required.
SELECT totp.totp_unlock('alice', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_unlock('alice', '');
SELECT totp.totp_unlock('alice', ' ab ');
SELECT totp.totp_unlock('alice', repeat('x', 501));
SELECT totp.totp_unlock('', 'new phone');

-- Unlocking an account.
RESET ROLE;
SELECT attempt, a.reason FROM generate_series(1, 6) AS attempt, LATERAL totp.totp_attempt('alice', left('12345678', 8 + 0 * attempt)) AS a;
SET ROLE regress_totp_admin;
SELECT totp.totp_unlock('nobody', 'new phone'), totp.totp_unlock('alice', 'called the help desk');
RESET ROLE;
SELECT totp.totp_verify('alice', totp.totp_code(:'secret', '2030-04-01 00:00:30+00'));
SET ROLE regress_totp_admin;

-- Reissuing backup codes.
SELECT cardinality(totp.backup_reissue('alice', 'lost the sheet'));
SELECT totp.backup_reissue('nobody', 'lost the sheet');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT totp.backup_verify('alice', :'code') AS old_code;
SET ROLE regress_totp_admin;

-- Importing a URI as common authenticator apps write it, or just a secret.
SELECT totp.totp_import('bob', 'otpauth://totp/Acme%20Inc:bob%40example.com?secret=gezdgnbvgy3tqojqgezdgnbvgy3tqojq&issuer=Acme+Inc');
SELECT totp.totp_import('bob', 'GEZD GNBV GY3T QOJQ', 'old phone', 'migration');
SELECT totp.totp_import('bob', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_import('bob', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', 'same secret');
SELECT totp.totp_import('carol', 'otpauth://hotp/carol?secret=GEZDGNBVGY3TQOJQ&counter=1');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_import('carol', 'otpauth://steam/carol?secret=GEZDGNBVGY3TQOJQ');
SELECT totp.totp_import('carol', 'otpauth-migration://offline?data=CjEKCkhlbGxv');
SELECT totp.totp_import('carol', 'otpauth://totp/carol');
SELECT totp.totp_import('carol', 'otpauth://totp/carol?secret=GEZDGNBVGY3TQOJQ&secret=GEZDGNBVGY3TQOJQ');
SELECT totp.totp_import('carol', 'otpauth://totp/carol?secret=GEZDGNBVGY3TQOJQ&digits=10');
SELECT totp.totp_import('carol', 'otpauth://totp/carol?secret=GEZDGNBVGY3TQOJQ&period=3600');
SELECT totp.totp_import('carol', 'otpauth://totp/carol?secret=GEZDGNBVGY3TQOJQ&algorithm=MD5');
SELECT totp.totp_import('carol', 'otpauth://totp/carol?secret=GEZDGNBVGY3TQOJQ&algo=SHA256');
SELECT totp.totp_import('carol', 'otpauth://totp/carol?secret=GEZDGNBVGY3TQOJQ&issuer=A;digits=8');
SELECT totp.totp_import('carol', 'otpauth://totp/carol?secret=GEZDGNBVGY3TQOJQ&issuer=A otpauth://totp/x');
SELECT totp.totp_import('carol', 'GEZDGNBVGY3TQOI');
SELECT totp.totp_import('carol', 'secret=GEZDGNBVGY3TQOJQ');
SELECT totp.totp_import('carol', 'secret GEZDGNBVGY3TQOJQ');
SELECT totp.totp_import('carol', '');
SELECT totp.totp_import('carol', NULL);
SELECT totp.totp_import('carol', 'GEZDGNBVGY3TQOJQ', reason => 'x');
RESET ROLE;
SELECT totp.totp_enabled('carol') AS carol, totp.totp_verify('bob', totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-04-01 00:00:00+00')) AS bob;
SET ROLE regress_totp_admin;

-- Exporting returns an equal URI.
SELECT totp.totp_export('bob', 'default', 'moves to another system');
SELECT totp.totp_export('bob', 'old phone', 'moves to another system');
SELECT totp.totp_export('bob', 'no such label', 'moves to another system');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_export('bob', 'default', NULL);
RESET ROLE;
SELECT secret AS dave, uri FROM totp.totp_create('dave', issuer => 'Ünï & 100%', account_name => 'd:a+v e', algorithm => 'SHA256', digits => 8, period => 60) \gset
SELECT confirmed FROM totp.totp_confirm('dave', totp.totp_code(:'dave', '2030-04-01 00:00:00+00', 'SHA256', 8, 60));
SELECT totp.totp_export('dave', 'default', 'compare') = :'uri' AS equal;

-- Renaming re-encrypts secrets: everything keeps working under the new name.
SELECT (totp.backup_reissue('dave', 'for this test'))[1] AS code \gset
SELECT totp.totp_rename('dave', 'alice', 'married'), 1;
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_rename('nobody', 'somebody', 'married');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_rename('dave', 'david', 'married');
SELECT totp.totp_enabled('dave') AS old_name, totp.totp_verify('david', totp.totp_code(:'dave', '2030-04-01 00:01:00+00', 'SHA256', 8, 60)) AS new_name, totp.backup_verify('david', :'code') AS backup;
SELECT totp.totp_export('david', 'default', 'compare') = :'uri' AS equal;

-- Resetting: the account must enrol again.
SET ROLE regress_totp_admin;
SELECT totp.totp_reset('nobody', 'lost the phone'), totp.totp_reset('alice', 'lost the phone');
SELECT * FROM totp.totp_status('alice');

-- Removing devices one by one; the last one cannot be removed.
RESET ROLE;
SELECT totp.totp_remove('bob', 'no such label', '123456');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_remove('bob', 'old phone', '12345678') AS wrong_code;
SELECT totp.totp_remove('bob', 'old phone', totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-04-01 00:00:30+00')) AS right_code;
SET totp.clock = '2030-04-01 01:00:00+00';
SELECT totp.totp_remove('bob', 'default', totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-04-01 01:00:00+00')) AS last_one,
       totp.totp_verify('bob', totp.totp_code('GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ', '2030-04-01 01:00:00+00')) AS code_not_spent;

-- A low number of backup codes is recorded in the audit trail.
SELECT (totp.backup_reissue('bob', 'for this test'))[1:8] AS codes \gset
SELECT count(*) FILTER (WHERE totp.backup_verify('bob', code)) FROM unnest(:'codes'::text[]) AS code;

-- Reports, for roles that may read them.
SET ROLE regress_totp_auditor;
SELECT account, label, state, algorithm, digits, period, drift, created_at, confirmed_at, last_used_at FROM totp.factor_status ORDER BY 1, 2;
SELECT account, enabled, factors, pending, backup_codes_left, failures, locked_until, suspended, last_verified_at FROM totp.account_status ORDER BY 1;
SELECT account, event, outcome, detail FROM totp.audit_log ORDER BY id;
SELECT totp.totp_reset('bob', 'not allowed');
SELECT * FROM totp.factors;
RESET ROLE;

-- Erasing by a call or with the user's row. Only the audit trail remains, with hashed names if configured.
CREATE TABLE users (id integer PRIMARY KEY, name text);
INSERT INTO users VALUES (1, 'bob'), (2, 'david'), (3, 'nobody'), (4, NULL);
CREATE TRIGGER forget AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account('name');
TRUNCATE totp.audit_events;
SET totp.audit_accounts = 'hash';
SELECT totp.totp_rename('david', 'dave', 'renamed back');
UPDATE users SET name = 'dave' WHERE id = 2;
DELETE FROM users;
SELECT totp.totp_forget('alice', 'asked for it'), totp.totp_forget('alice', 'asked for it');
RESET totp.audit_accounts;
SELECT account FROM totp.accounts;
SELECT event, account ~ '^hmac-sha256:[0-9a-f]{64}$' AS hashed, regexp_replace(detail::text, '[0-9a-f]{64}', '...') AS detail
FROM totp.audit_log, unnest(ARRAY['alice', 'bob', 'dave', 'david']) AS name
WHERE account = ANY (totp.audit_names(name)) ORDER BY id;
CREATE TRIGGER bad AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account('name');
INSERT INTO users VALUES (5, 'erin');
UPDATE users SET name = 'eric';
\echo :LAST_ERROR_SQLSTATE
DROP TABLE users;

-- The padding of character(n) is not part of an account, no more than in a call.
CREATE DOMAIN padded AS character(8);
CREATE TABLE users (login padded PRIMARY KEY);
CREATE TRIGGER must AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION totp.require_enrolment('login');
CREATE TRIGGER rename AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION totp.rename_account('login');
CREATE TRIGGER forget AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account('login');
INSERT INTO users VALUES ('erin');
SELECT totp.totp_import(login, 'otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ') AS weak FROM users;
SELECT account, enabled, requirement FROM totp.account_status WHERE account ~ '^er';
UPDATE users SET login = 'eric';
SELECT account, enabled, requirement FROM totp.account_status WHERE account ~ '^er';
DELETE FROM users;
SELECT account, enabled, requirement FROM totp.account_status WHERE account ~ '^er';
DROP TABLE users;
DROP DOMAIN padded;

-- Expired rows are pruned.
SELECT count(*) FROM generate_series(1, 3) AS n, LATERAL totp.totp_create('pending ' || n);
SET totp.clock = '2030-04-01 02:00:00+00';
SET ROLE regress_totp_admin;
SELECT totp.totp_prune(), totp.totp_prune();
RESET ROLE;
DROP OWNED BY regress_totp_admin, regress_totp_auditor;
DROP ROLE regress_totp_admin, regress_totp_auditor;
RESET totp.clock;
DELETE FROM totp.accounts;
