-- The audit trail: each event, its actor and its outcome.
TRUNCATE totp.audit_events RESTART IDENTITY;
SET totp.clock = '2030-03-01 00:00:00+00';
SELECT secret FROM totp.totp_create('alice') \gset
SELECT backup_codes[1] AS code FROM totp.totp_confirm('alice', totp.totp_code(:'secret', '2030-03-01 00:00:00+00')) \gset
SELECT totp.totp_verify('alice', totp.totp_code(:'secret', '2030-03-01 00:00:00+00'));
SELECT totp.totp_verify('alice', totp.totp_code(:'secret', '2030-03-01 00:00:30+00'));
SELECT totp.backup_verify('alice', :'code');
SELECT totp.backup_verify('alice', :'code');
SELECT totp.totp_verify('nobody', '123456');
-- The current role is recorded if it differs from the login role.
CREATE ROLE regress_totp_role;
GRANT totp_app TO regress_totp_role;
SET ROLE regress_totp_role;
SELECT count(totp.backup_rotate('alice', totp.totp_code(:'secret', '2030-03-01 00:00:30+00')));
RESET ROLE;
DROP OWNED BY regress_totp_role;
DROP ROLE regress_totp_role;
-- The next event reports attempts that were rolled back.
BEGIN;
SELECT totp.totp_verify('alice', '12345678');
SELECT totp.totp_verify('alice', '12345678');
ROLLBACK;
SELECT totp.totp_verify('alice', '12345678');
SET totp.clock = '2030-03-01 01:00:00+00';
SELECT totp.totp_disable('alice', totp.totp_code(:'secret', '2030-03-01 01:00:00+00'));
SELECT id, at, account, event, outcome, actor = session_user AS actor, detail, length(mac) AS mac FROM totp.audit_events ORDER BY id;

-- A setting controls how much is recorded.
TRUNCATE totp.audit_events;
SET totp.audit = changes;
SELECT count(*), totp.totp_verify('bob', '123456') FROM totp.totp_create('bob');
SET totp.audit = off;
SELECT count(*), totp.totp_verify('bob', '123456') FROM totp.totp_create('bob');
SET totp.audit = 'some';
RESET totp.audit;
SELECT account, event, outcome FROM totp.audit_events;
RESET totp.clock;
DELETE FROM totp.accounts;
