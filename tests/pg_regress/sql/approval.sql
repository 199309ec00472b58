-- Approvals: a code for exactly one action.
CREATE ROLE regress_agent LOGIN;
GRANT totp_user TO regress_agent;
CREATE ROLE regress_approval_app;
GRANT totp_app TO regress_approval_app;
TRUNCATE totp.audit_events RESTART IDENTITY;
SET totp.clock = '2032-01-01 00:00:00+00';
CREATE FUNCTION pg_temp.enrol(account text, OUT secret text, OUT codes text[]) LANGUAGE sql AS $$
    SELECT c.secret, done.backup_codes FROM totp.totp_create(account) AS c,
    LATERAL totp.totp_confirm(account, totp.totp_code(c.secret, current_setting('totp.clock')::timestamptz)) AS done $$;
SELECT codes[1] AS una1, codes[2] AS una2, codes[3] AS una3, codes[4] AS una4, codes[5] AS una5 FROM pg_temp.enrol('una') \gset
SELECT codes[1] AS vic1, codes[2] AS vic2, codes[3] AS vic3 FROM pg_temp.enrol('vic') \gset
DO $$ BEGIN EXECUTE format('SET totp.jwt_logins = %L', 'authenticator, ' || session_user); END $$;
SET request.jwt.claims = '{"sub": "una", "session_id": "agent"}';

-- What is asked for, and what is not.
SELECT summary, expires_at FROM totp.approval_request('transfer', '{"to": "bob", "amount": 10.00, "at": "2032-01-02T01:00:00+01:00"}');
SELECT totp.approval_request('transfer', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT totp.approval_request('transfer', '[1]');
SELECT totp.approval_request(NULL, '{}');
SELECT totp.approval_request('transfer {"amount":1}', '{"amount": 1000}');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.approval_request(repeat('a', 65), '{}');
SELECT totp.approval_request('transfer', jsonb_build_object('note', repeat('x', 5000)));
SELECT totp.approval_request('transfer', '{}', account => NULL);
BEGIN; SET LOCAL request.jwt.claims = '';
SELECT totp.approval_request('transfer', '{}');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT totp.approval_request('transfer', '{}', approver => 'una');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.approval_request('transfer', '{}', ttl => '8 days');
SELECT totp.approval_request('transfer', '{}', ttl => '0');
SELECT totp.approval_confirm(NULL, '123456');
SELECT totp.approval_status(NULL);
SELECT totp.approval_cancel(NULL);
SELECT totp.approval_use(NULL, NULL);

-- Its life.
SELECT id FROM totp.approval_request('transfer', '{"amount": 10}') \gset
SELECT state, account, approver, action, payload, summary FROM totp.approval_status(:'id');
SELECT verified, account, reason FROM totp.approval_confirm(:'id', '0000-0000-0000-0000');
SELECT verified, account, reason FROM totp.approval_confirm(:'id', 'no code');
SELECT verified, account, reason FROM totp.approval_confirm('00000000-0000-4000-8000-000000000000', :'una1');
SELECT totp.approval_use('transfer', '{"amount": 10}') AS before;
SELECT verified, account, method, reason FROM totp.approval_confirm(:'id', :'una1');
SELECT totp.totp_verified() AS the_session_is_not_verified;
SELECT verified, reason FROM totp.approval_confirm(:'id', :'una2') AS a_second_time;
SELECT state FROM totp.approval_status(:'id');
SELECT totp.approval_use('transfer', '{"amount": 10.01}') AS another_amount, totp.approval_use('refund', '{"amount": 10}') AS another_action,
       totp.approval_use('transfer', '{"amount": "10"}') AS text, totp.approval_use('transfer', '{"amount": 10, "note": null}') AS more;
SET request.jwt.claims = '{"sub": "vic", "session_id": "agent"}';
SELECT totp.approval_use('transfer', '{"amount": 10}') AS another_account;
SET request.jwt.claims = '{"sub": "una", "session_id": "another session"}';
BEGIN;
SELECT totp.approval_use('transfer', '{"amount": 1e1}') AS used;
ROLLBACK;
SELECT state FROM totp.approval_status(:'id');
SELECT totp.approval_use('transfer', '{"amount": 10.000}') AS used, totp.approval_use('transfer', '{"amount": 10}') AS again;
SELECT state FROM totp.approval_status(:'id');
SELECT totp.approval_cancel(:'id') AS too_late;

-- Cancelled and expired.
SELECT id FROM totp.approval_request('transfer', '{"amount": 20}', ttl => '1 min') \gset
SELECT reason FROM totp.approval_confirm(:'id', :'una2');
SELECT totp.approval_cancel(:'id'), totp.approval_cancel(:'id') AS again, totp.approval_use('transfer', '{"amount": 20}');
SELECT state FROM totp.approval_status(:'id');
SELECT id FROM totp.approval_request('transfer', '{"amount": 30}', ttl => '1 min') \gset
SELECT reason FROM totp.approval_confirm(:'id', :'una3');
SET totp.clock = '2032-01-01 00:01:00+00';
SELECT state FROM totp.approval_status(:'id');
SELECT totp.approval_use('transfer', '{"amount": 30}') AS expired, totp.approval_cancel(:'id');
SELECT reason FROM totp.approval_confirm(:'id', :'una4');
SET totp.clock = '2032-01-01 00:00:30+00';

-- Four eyes: only the other account's code, and any change of its factors voids what it has confirmed.
SELECT id FROM totp.approval_request('transfer', '{"amount": 40}', approver => 'vic') \gset
SELECT verified, account, reason FROM totp.approval_confirm(:'id', :'una4') AS own;
SELECT verified, account, reason FROM totp.approval_confirm(:'id', :'vic1');
SELECT totp.totp_reset('vic', 'stolen phone');
SELECT totp.approval_use('transfer', '{"amount": 40}') AS void;
SELECT codes[1] AS vic1, codes[2] AS vic2, codes[3] AS vic3 FROM pg_temp.enrol('vic') \gset

-- Self-service: one's own, and what one is asked for.
-- An enrolled account names an approver in a verified session only.
SELECT id FROM totp_api.approval_request('transfer', '{"amount": 50}', 'vic');
SELECT totp.backup_verify('una', :'una5');
SELECT id FROM totp_api.approval_request('transfer', '{"amount": 50}', 'vic') \gset
SELECT account, approver, summary FROM totp_api.approvals_pending() ORDER BY summary COLLATE "C" DESC LIMIT 1;
SELECT verified, account, reason FROM totp_api.approval_confirm(:'id', :'una4') AS own;
SET request.jwt.claims = '{"sub": "wim", "session_id": "s"}';
SELECT state FROM totp_api.approval_status(:'id');
SELECT verified, reason FROM totp_api.approval_confirm(:'id', :'vic1');
SELECT * FROM totp_api.approval_cancel(:'id');
SELECT count(*) FROM totp_api.approvals_pending();
SET request.jwt.claims = '{"sub": "vic", "session_id": "s"}';
SELECT summary FROM totp_api.approvals_pending();
SELECT state, account, approver, summary FROM totp_api.approval_status(:'id');
SELECT verified, account, reason FROM totp_api.approval_confirm(:'id', :'vic1');
SELECT * FROM totp_api.approval_cancel(:'id');
SELECT count(*) FROM totp_api.approvals_pending();

-- The trigger.
SET request.jwt.claims = '{"sub": "una", "session_id": "agent"}';
CREATE DOMAIN pg_temp.euro AS numeric CHECK (VALUE > 0);
CREATE TABLE transfers (id int PRIMARY KEY, recipient char(3), amount pg_temp.euro, at timestamptz, tags text[], weight float8, note text);
CREATE TRIGGER approved AFTER INSERT OR UPDATE OR DELETE ON transfers FOR EACH ROW
    EXECUTE FUNCTION totp.require_approval('transfer', 'recipient', 'amount', 'at', 'tags', 'weight');
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON transfers FOR EACH STATEMENT EXECUTE FUNCTION totp.require_approval('transfer', 'amount');
CREATE FUNCTION pg_temp.approve(payload jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT c.reason FROM totp.approval_request('transfer', payload) AS r,
    LATERAL totp.approval_confirm(r.id, (totp.backup_reissue('una', 'a test'))[1]) AS c $$;
INSERT INTO transfers VALUES (1, 'bob', 10.00, '2032-01-01 12:00+01', '{a,b}', 0.1);
\echo :LAST_ERROR_SQLSTATE
SELECT pg_temp.approve('{"recipient": "bob", "amount": 10, "at": "2032-01-01T11:00:00Z", "tags": ["a", "b"], "weight": 0.1}');
-- Settings of the session make no two values one.
SET extra_float_digits = -15;
INSERT INTO transfers VALUES (1, 'bob', 10.00, '2032-01-01 12:00+01', '{a,b}', 0.14);
RESET extra_float_digits;
INSERT INTO transfers VALUES (1, 'box', 10.00, '2032-01-01 12:00+01', '{a,b}', 0.1);
INSERT INTO transfers VALUES (1, 'bob', 10.00, '2032-01-01 12:00+01', '{b,a}', 0.1);
INSERT INTO transfers VALUES (1, 'bob', 10.00, '2032-01-01 11:00+00', '{a,b}', 0.1, 'not part of it');
INSERT INTO transfers VALUES (2, 'bob', 10.00, '2032-01-01 12:00+01', '{a,b}', 0.1);
-- What is not approved changes freely, and so does how a number is written.
UPDATE transfers SET note = 'paid', amount = 10.0;
UPDATE transfers SET amount = 11;
UPDATE transfers SET id = 3;
DELETE FROM transfers;
TRUNCATE transfers;
\echo :LAST_ERROR_SQLSTATE
SELECT pg_temp.approve('{"recipient": "bob", "amount": 11, "at": "2032-01-01T11:00:00Z", "tags": ["a", "b"], "weight": 0.1, "old": {"id": 1}}');
UPDATE transfers SET amount = 11 RETURNING id, amount;
SELECT pg_temp.approve('{"old": {"id": 1, "recipient": "bob", "amount": 10, "at": "2032-01-01T11:00:00Z", "tags": ["a", "b"], "weight": 0.1}}') AS the_amount_has_changed;
DELETE FROM transfers;
SELECT pg_temp.approve('{"old": {"id": 1, "recipient": "bob", "amount": 11, "at": "2032-01-01T11:00:00Z", "tags": ["a", "b"], "weight": 0.1}}');
DELETE FROM transfers RETURNING id;
-- NULL is approved as null.
SELECT pg_temp.approve('{"recipient": null, "amount": 1}') AS absent;
SELECT pg_temp.approve('{"recipient": null, "amount": 1, "at": null, "tags": null, "weight": null}') AS nulls;
INSERT INTO transfers (id, amount) VALUES (4, 1);
-- By another account.
DROP TRIGGER approved ON transfers;
CREATE TRIGGER approved AFTER INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION totp.require_other_approval('transfer', 'amount');
SELECT pg_temp.approve('{"amount": 5}');
INSERT INTO transfers (id, amount) VALUES (5, 5);
SELECT reason FROM totp.approval_request('transfer', '{"amount": 5}', approver => 'vic') AS r, LATERAL totp.approval_confirm(r.id, :'vic2');
INSERT INTO transfers (id, amount) VALUES (5, 5) RETURNING id;
-- Nobody's session, and wrong triggers.
RESET request.jwt.claims;
INSERT INTO transfers (id, amount) VALUES (6, 5);
\echo :LAST_ERROR_SQLSTATE
SET request.jwt.claims = '{"sub": "una", "session_id": "agent"}';
DROP TRIGGER approved ON transfers;
CREATE TRIGGER approved BEFORE INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION totp.require_approval('transfer', 'amount');
INSERT INTO transfers (id, amount) VALUES (6, 5);
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER approved ON transfers;
CREATE TRIGGER approved AFTER INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION totp.require_approval('transfer', 'amuont');
INSERT INTO transfers (id, amount) VALUES (6, 5);
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER approved ON transfers;
ALTER TABLE transfers DROP CONSTRAINT transfers_pkey;
CREATE TRIGGER approved AFTER UPDATE ON transfers FOR EACH ROW EXECUTE FUNCTION totp.require_approval('transfer', 'amount');
UPDATE transfers SET amount = 7;
\echo :LAST_ERROR_SQLSTATE
DROP TABLE transfers;

-- An account that must enrol first can only do that.
SELECT totp.totp_require('xena', 'staff', '0') IS NOT NULL AS required;
SELECT totp.approval_request('transfer', '{}', account => 'xena');
\echo :LAST_ERROR_SQLSTATE
-- Not more than 100 at a time.
SELECT count(r.id) FROM generate_series(1, 99) AS n, LATERAL totp.approval_request('many', jsonb_build_object('n', n), account => 'yan') AS r;
SELECT count(r.id) FROM totp.approval_request('many', '{}', account => 'yan') AS r;
SELECT totp.approval_request('many', '{}', account => 'yan');
\echo :LAST_ERROR_SQLSTATE

-- A rename takes approvals along; erasing removes them, and so does time.
SELECT id FROM totp.approval_request('transfer', '{"amount": 60}', approver => 'vic') \gset
SELECT totp.totp_rename('vic', 'vic2', 'married'), totp.totp_rename('una', 'una2', 'married');
SELECT state, account, approver FROM totp.approval_status(:'id');
-- But not between the two names of one account.
SELECT id AS void FROM totp.approval_request('transfer', '{"amount": 65}', account => 'una2', approver => 'una3') \gset
SELECT totp.totp_rename('una2', 'una3', 'once more');
SELECT count(*) FROM totp.approval_status(:'void');
SELECT state, account, approver FROM totp.approval_status(:'id');
SELECT totp.totp_rename('una3', 'una2', 'and back');
-- An account without a factor can have asked, too.
SELECT id AS asked FROM totp.approval_request('transfer', '{"amount": 66}', account => 'tmp', approver => 'vic2') \gset
SELECT totp.totp_rename('tmp', 'tmp2', 'married');
SELECT state, account, approver FROM totp.approval_status(:'asked');
SELECT totp.totp_forget('vic2', 'left');
SELECT count(*) FROM totp.approval_status(:'id');
SELECT id FROM totp.approval_request('transfer', '{"amount": 70}', account => 'una2') \gset
SET totp.clock = '2032-01-02 00:15:29+00';
SELECT totp.totp_prune() > 0 AS pruned, (SELECT state FROM totp.approval_status(:'id'));
SET totp.clock = '2032-01-02 00:15:30+00';
SELECT totp.totp_prune() AS pruned, (SELECT state FROM totp.approval_status(:'id'));

-- Who may.
SET ROLE regress_agent;
SELECT totp.approval_request('transfer', '{}');
SELECT totp.approval_use('transfer', '{}');
SELECT count(*) FROM totp.approvals_pending;
RESET ROLE;

-- The audit trail.
SELECT account, event, outcome, detail - 'approval' AS detail FROM totp.audit_log
WHERE event LIKE 'appro%' AND NOT (event = 'approval_request' AND account = 'yan') ORDER BY id LIMIT 14;
SELECT count(totp.totp_forget(account, 'end of the test')) FROM unnest('{una2,xena,yan}'::text[]) AS account;
DROP ROLE regress_agent;
DROP ROLE regress_approval_app;
RESET totp.clock;
RESET request.jwt.claims;
