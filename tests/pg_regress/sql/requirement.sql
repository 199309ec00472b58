-- Accounts that must have a second factor.
CREATE ROLE regress_requirement_app;
GRANT totp_app TO regress_requirement_app;
TRUNCATE totp.audit_events RESTART IDENTITY;
SET totp.clock = '2031-01-01 00:00:00+00';
CREATE FUNCTION pg_temp.enrol(account text, OUT secret text, OUT codes text[]) LANGUAGE sql AS $$
    SELECT c.secret, done.backup_codes FROM totp.totp_create(account) AS c,
    LATERAL totp.totp_confirm(account, totp.totp_code(c.secret, current_setting('totp.clock')::timestamptz)) AS done $$;

-- Nobody has to, and arguments are checked.
SELECT * FROM totp.totp_requirement('nina');
SELECT totp.totp_require('nina', NULL);
SELECT totp.totp_require('nina', 'ab');
SELECT totp.totp_require('', 'staff');
SELECT totp.totp_require('nina', 'staff', '-1 s');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_require('nina', 'staff', '367 days');
SELECT totp.totp_exempt('nina', NULL, 'on leave');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_exempt('nina', '2031-02-01 00:00:00+00', 'on leave') AS not_required, totp.totp_release('nina', 'left') AS not_required;
SELECT totp.totp_requirement(NULL);

-- The deadline does not move, unless it is renewed. It is also kept when the account enrols.
SELECT totp.totp_require('nina', 'staff') AS by_the_setting, totp.totp_require('olga', 'staff', '7 days'), totp.totp_require('pia', 'staff', '0');
SET totp.clock = '2031-01-05 00:00:00+00';
SELECT totp.totp_require('nina', 'another reason', '1 day') AS unchanged, totp.totp_require('olga', 'security incident', '1 day', renew => true) AS moved;
SELECT account, r.* FROM unnest('{nina,olga,pia,nobody}'::text[]) AS account, LATERAL totp.totp_requirement(account) AS r;
SELECT account, enabled, requirement, deadline FROM unnest('{nina,pia,nobody}'::text[]) AS account, LATERAL totp.totp_status(account);
SET totp.clock = '2031-01-15 00:00:00+00';
SELECT state, deadline, remaining FROM totp.totp_requirement('nina');
SET totp.clock = '2031-01-14 23:59:59.999999+00';
SELECT state, deadline, remaining FROM totp.totp_requirement('nina');

-- Exemptions.
-- Drivers cannot read infinity.
SELECT totp.totp_exempt('nina', 'infinity', 'on leave'), deadline FROM totp.totp_requirement('nina');
SELECT state, deadline FROM totp.totp_requirement('nina');
SELECT totp.totp_exempt('nina', '2031-02-01 00:00:00+00', 'on leave');
SELECT * FROM totp.totp_requirement('nina');
SELECT totp.totp_exempt('nina', '2031-01-01 00:00:00+00', 'back early');
SELECT * FROM totp.totp_requirement('nina');

-- An enrolled account keeps its last factor, and the code is not spent.
SELECT secret AS nina, codes[1] AS nina1, codes[2] AS nina2 FROM pg_temp.enrol('nina') \gset
SELECT * FROM totp.totp_requirement('nina');
SELECT totp.totp_disable('nina', :'nina1');
SELECT * FROM totp.disable_attempt('nina', :'nina1');
SELECT * FROM totp.remove_attempt('nina', 'default', :'nina1');
SELECT totp.totp_enabled('nina'), totp.backup_remaining('nina');
-- While it is exempt, and after a release, it need not.
SELECT totp.totp_exempt('nina', '2031-02-01 00:00:00+00', 'on leave'), totp.totp_disable('nina', :'nina1') AS disabled;
SELECT * FROM totp.totp_requirement('nina');
SELECT totp.totp_exempt('nina', '2031-01-01 00:00:00+00', 'back early');
SELECT codes[1] AS nina2 FROM pg_temp.enrol('nina') \gset
SELECT totp.totp_release('nina', 'left the staff'), totp.totp_disable('nina', :'nina2') AS disabled;
SELECT * FROM totp.totp_requirement('nina');

-- A recovery and a reset succeed, and leave the requirement with its deadline.
SELECT secret FROM pg_temp.enrol('olga') \gset
SELECT state, deadline FROM totp.totp_requirement('olga');
SELECT totp.totp_reset('olga', 'lost her phone');
SELECT state, deadline, remaining FROM totp.totp_requirement('olga');
SELECT secret FROM pg_temp.enrol('olga') \gset
SELECT totp.recovery_confirm(totp.recovery_create('olga'));
SELECT state, deadline, remaining FROM totp.totp_requirement('olga');
-- An overdue account can enrol.
SELECT secret FROM pg_temp.enrol('olga') \gset
SELECT state FROM totp.totp_requirement('olga');

-- The session's account.
DO $$ BEGIN EXECUTE format('SET totp.jwt_logins = %L', 'authenticator, ' || session_user); END $$;
SELECT totp.totp_compliant() AS nobody;
SELECT sub, set_config('request.jwt.claims', json_build_object('sub', sub, 'session_id', 's')::text, false) <> '' AS set, totp.totp_compliant()
FROM unnest('{nobody,olga,pia}'::text[]) AS sub;
SELECT requirement, deadline FROM totp_api.totp_status();
RESET request.jwt.claims;

-- A rename takes the requirement along, also before the account has enrolled; the earlier deadline counts.
SELECT totp.totp_rename('pia', 'pia2', 'married');
SELECT account, state, deadline FROM unnest('{pia,pia2}'::text[]) AS account, LATERAL totp.totp_requirement(account);
SELECT totp.totp_require('pia3', 'staff') > totp.totp_require('pia2', 'staff') AS later, totp.totp_rename('pia2', 'pia3', 'married');
SELECT account, state, deadline FROM unnest('{pia2,pia3}'::text[]) AS account, LATERAL totp.totp_requirement(account);
-- An exemption of the name does not become one of the account that takes it.
SELECT totp.totp_require('pia4', 'staff') IS NOT NULL AS required, totp.totp_exempt('pia4', 'infinity', 'left'), totp.totp_rename('pia3', 'pia4', 'married');
SELECT state, deadline, reason FROM totp.totp_requirement('pia4');
SELECT totp.totp_rename('pia4', 'pia3', 'and back');
SELECT totp.totp_rename('pia3', 'olga', 'taken');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_rename('pia3', 'pia3', 'no change');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_rename('nobody', 'somebody', 'nobody there');
\echo :LAST_ERROR_SQLSTATE
-- Erasing leaves nothing.
SELECT totp.totp_forget('pia3', 'left'), totp.totp_forget('pia3', 'left') AS again;
SELECT state FROM totp.totp_requirement('pia3');

-- The trigger.
CREATE TABLE staff (login text, is_staff boolean, nickname text);
CREATE TRIGGER enrol AFTER INSERT OR UPDATE OF is_staff ON staff FOR EACH ROW WHEN (NEW.is_staff)
    EXECUTE FUNCTION totp.require_enrolment('login', '3 days');
INSERT INTO staff VALUES ('quin', false), ('rosa', true), (NULL, true), ('', true);
SELECT account, r.* FROM unnest('{quin,rosa}'::text[]) AS account, LATERAL totp.totp_requirement(account) AS r;
UPDATE staff SET nickname = 'Q' WHERE login = 'quin';
SELECT state FROM totp.totp_requirement('quin');
UPDATE staff SET is_staff = true WHERE login = 'quin';
SELECT state, remaining FROM totp.totp_requirement('quin');
INSERT INTO staff VALUES (repeat('x', 256), true);
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER wrong BEFORE INSERT ON staff FOR EACH ROW EXECUTE FUNCTION totp.require_enrolment('login');
INSERT INTO staff VALUES ('sven', false);
\echo :LAST_ERROR_SQLSTATE
DROP TRIGGER wrong ON staff;
CREATE TRIGGER wrong AFTER INSERT ON staff FOR EACH ROW EXECUTE FUNCTION totp.require_enrolment('logn');
INSERT INTO staff VALUES ('sven', false);
\echo :LAST_ERROR_SQLSTATE
DROP TABLE staff;

-- The report lists those that never enrolled. Views go by the real clock.
SELECT account, enabled, failures, requirement IN ('pending', 'overdue') AS must, deadline, created_at FROM totp.account_status WHERE account IN ('nina', 'olga', 'rosa') ORDER BY 1;

-- Who may.
SET ROLE regress_requirement_app;
SELECT state FROM totp.totp_requirement('rosa');
SELECT totp.totp_require('rosa', 'because');
SELECT totp.totp_release('rosa', 'because');
RESET ROLE;

-- The audit trail.
SELECT account, event, outcome, detail FROM totp.audit_log
WHERE event IN ('require', 'exempt', 'release') OR outcome = 'required' ORDER BY id;
SELECT count(totp.totp_forget(account, 'end of the test')) FROM unnest('{nina,olga,rosa,quin}'::text[]) AS account;
DROP ROLE regress_requirement_app;
RESET totp.clock;
