-- Logins: each code once, in order, within the clock tolerance; locks.
CREATE FUNCTION pg_temp.enrol(account text, OUT secret text) LANGUAGE sql AS $$
    SELECT secret FROM (SELECT c.secret, totp.totp_confirm(account, totp.totp_code(c.secret, current_setting('totp.clock')::timestamptz)) AS done
                        FROM totp.totp_create(account) AS c) AS enrolled $$;
CREATE FUNCTION pg_temp.at(seconds integer) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT '2030-01-01 00:00:00+00'::timestamptz + seconds * interval '1 second' $$;
CREATE FUNCTION pg_temp.wrong(secret text, seconds integer) RETURNS text LANGUAGE sql AS $$
    SELECT lpad(code::text, 6, '0') FROM generate_series(0, 999999) AS code
    WHERE NOT totp.totp_check(secret, lpad(code::text, 6, '0'), pg_temp.at(seconds), drift_steps => 3) LIMIT 1 $$;
SELECT pg_temp.enrol('alice') AS secret \gset
SELECT pg_temp.wrong(:'secret', 600) AS wrong \gset

-- Each code works once and older ones never again, with or without blanks.
SET totp.clock = '2030-01-01 00:10:00+00';
SELECT totp.totp_verify(account => 'alice', code => totp.totp_code(:'secret', pg_temp.at(600))) AS right_code;
SELECT totp.totp_verify('alice', totp.totp_code(:'secret', pg_temp.at(600))) AS again;
SELECT totp.totp_verify('alice', ' ' || totp.totp_code(:'secret', pg_temp.at(600)) || ' ') AS with_blanks;
SELECT totp.totp_verify('alice', totp.totp_code(:'secret', pg_temp.at(570))) AS older_step;
SELECT failures FROM totp.totp_status('alice');
SELECT totp.totp_verify('alice', overlay(totp.totp_code(:'secret', pg_temp.at(630)) PLACING ' ' FROM 4 FOR 0)) AS next_step_with_a_blank_inside;
SELECT failures FROM totp.totp_status('alice');
-- The window: one step before and after.
SELECT pg_temp.enrol('bob') AS bob \gset
SET totp.clock = '2030-01-01 00:20:00+00';
SELECT totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(1200 - 60))) AS two_before,
       totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(1200 + 60))) AS two_after,
       totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(1200 - 30))) AS one_before;
SELECT drift FROM totp.factors WHERE account = 'bob';
-- With a window of 0, the current step and the one at the factor's drift are accepted.
SET totp.window_steps = 0;
SET totp.clock = '2030-01-01 00:30:00+00';
SELECT totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(1800 + 30))) AS one_after_with_window_0,
       totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(1800 - 30))) AS at_its_drift,
       totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(1800))) AS at_zero;
RESET totp.window_steps;
SELECT drift FROM totp.factors WHERE account = 'bob';

-- Resync: two consecutive codes from an authenticator app whose clock is 10 minutes ahead.
SET totp.clock = '2030-01-01 00:40:00+00';
SELECT totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(3000))) AS far_off;
SELECT totp.totp_resync('bob', totp.totp_code(:'bob', pg_temp.at(2970)), totp.totp_code(:'bob', pg_temp.at(3030))) AS not_consecutive,
       totp.totp_resync('bob', totp.totp_code(:'bob', pg_temp.at(3000)), totp.totp_code(:'bob', pg_temp.at(2970))) AS wrong_order;
SELECT totp.totp_resync('bob', NULL, '123456'), totp.totp_resync('nobody', '123456', '123456'), totp.totp_resync('bob', '123456', '123456', 'no such label');
SELECT failures FROM totp.totp_status('bob');
SELECT totp.totp_resync('bob', totp.totp_code(:'bob', pg_temp.at(2970)), totp.totp_code(:'bob', pg_temp.at(3000)));
SELECT drift, failures FROM totp.factors JOIN totp.accounts USING (account) WHERE account = 'bob';
SELECT totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(2970))) AS first_is_spent,
       totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(3000))) AS second_is_spent,
       totp.totp_verify('bob', totp.totp_code(:'bob', pg_temp.at(3030))) AS the_next_works;
SELECT totp.totp_resync('bob', totp.totp_code(:'bob', pg_temp.at(2400 + 600)), totp.totp_code(:'bob', pg_temp.at(2400 + 630))) AS replayed,
       totp.totp_resync('bob', totp.totp_code(:'bob', pg_temp.at(2400 + 690)), totp.totp_code(:'bob', pg_temp.at(2400 + 720))) AS too_far;

-- Malformed codes are refused and not counted; unknown accounts look the same.
SET totp.clock = '2030-01-01 01:00:00+00';
SELECT translate(code, U&'\20E3', '~') AS code, totp.totp_verify('alice', code), totp.backup_verify('alice', code), (totp.totp_attempt('alice', code)).reason
FROM unnest(ARRAY[NULL, '', ' ', 'abcdef', '１２３４５６', '12345', '123456789', '+123456', '-123456', '1e5', U&'123456\20E3']) AS code;
SELECT totp.totp_verify('alice', repeat('1', 100000)), totp.totp_verify('alice', repeat(' ', 10000000));
SELECT failures FROM totp.totp_status('alice');
SELECT totp.totp_verify('nobody', '123456'), totp.backup_verify('nobody', '0000-0000-0000-0000'), totp.totp_verify('nobody', NULL);
SELECT * FROM totp.totp_attempt('nobody', '123456');
SELECT totp.totp_verify(NULL, '123456');
\echo :LAST_ERROR_SQLSTATE
SELECT totp.totp_verify('', '123456');
SELECT totp.backup_verify(repeat('x', 10000000), '123456');

-- Five failures lock the account for 30 seconds, which is reported.
SELECT attempt, a.reason, a.retry_after FROM generate_series(1, 6) AS attempt, LATERAL totp.totp_attempt('alice', left(:'wrong', 6 + 0 * attempt)) AS a;
SELECT failures, locked_until, suspended FROM totp.totp_status('alice');
-- A right code is refused during the lock, but not spent.
SELECT totp.totp_verify('alice', totp.totp_code(:'secret', pg_temp.at(3600))) AS right_code_while_locked;
SET totp.clock = '2030-01-01 01:00:29+00';
SELECT reason, retry_after FROM totp.totp_attempt('alice', totp.totp_code(:'secret', pg_temp.at(3600)));
SET totp.clock = '2030-01-01 01:00:30+00';
-- The next failure locks for twice as long.
SELECT reason, retry_after FROM totp.totp_attempt('alice', :'wrong');
SET totp.clock = '2030-01-01 01:01:30+00';
SELECT verified, reason, retry_after FROM totp.totp_attempt('alice', totp.totp_code(:'secret', pg_temp.at(3690)));
SELECT failures, locked_until, suspended FROM totp.totp_status('alice');

-- A lock that is only in the table applies, too: memory is updated from the table.
UPDATE totp.accounts SET failures = 9, locked_until = '2030-01-01 02:00:00+00' WHERE account = 'alice';
SELECT reason, retry_after FROM totp.totp_attempt('alice', totp.totp_code(:'secret', pg_temp.at(3720)));
-- A hundred failures in a row suspend TOTP until a backup code is used.
UPDATE totp.accounts SET failures = 99, locked_until = NULL WHERE account = 'alice';
SELECT reason, retry_after FROM totp.totp_attempt('alice', :'wrong');
SET totp.clock = '2030-01-01 03:00:00+00';
SELECT failures, locked_until, suspended FROM totp.totp_status('alice');
SELECT reason, retry_after FROM totp.totp_attempt('alice', totp.totp_code(:'secret', pg_temp.at(10800)));
SELECT (totp.totp_create('alice')).secret AS pending \gset
SELECT confirmed, reason FROM totp.totp_confirm('alice', totp.totp_code(:'pending', pg_temp.at(10800)));
SELECT totp.totp_resync('alice', totp.totp_code(:'secret', pg_temp.at(10800)), totp.totp_code(:'secret', pg_temp.at(10830)));
SELECT failures FROM totp.totp_status('alice');

-- Read-only transactions: writing is refused, reading is not.
BEGIN READ ONLY;
SELECT totp.totp_verify('alice', '123456');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT totp.totp_create('alice');
ROLLBACK;
BEGIN READ ONLY;
SELECT totp.totp_disable('alice', '123456');
ROLLBACK;
BEGIN READ ONLY;
SELECT totp.backup_rotate('alice', '123456');
ROLLBACK;
BEGIN READ ONLY;
SELECT totp.totp_enabled('alice'), totp.backup_remaining('alice'), failures FROM totp.totp_status('alice');
ROLLBACK;

-- Invalid clock settings.
SET totp.clock = 'half past nine';
SELECT totp.totp_verify('alice', '123456');
\echo :LAST_ERROR_SQLSTATE
SET totp.clock = 'infinity';
SELECT totp.totp_verify('alice', '123456');
SET totp.clock = '1969-12-31 00:00:00+00';
SELECT totp.totp_verify('alice', '123456');
RESET totp.clock;
DELETE FROM totp.accounts;
