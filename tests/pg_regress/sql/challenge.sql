-- Signed tokens: challenges, recovery links, trusted devices.
CREATE FUNCTION pg_temp.enrol(account text, OUT secret text, OUT codes text[]) LANGUAGE sql AS $$
    SELECT c.secret, done.backup_codes FROM totp.totp_create(account) AS c,
    LATERAL totp.totp_confirm(account, totp.totp_code(c.secret, current_setting('totp.clock')::timestamptz)) AS done $$;
CREATE FUNCTION pg_temp.code(secret text) RETURNS text LANGUAGE sql AS $$
    SELECT totp.totp_code(secret, current_setting('totp.clock')::timestamptz) $$;
CREATE FUNCTION pg_temp.wrong(secret text) RETURNS text LANGUAGE sql AS $$
    SELECT lpad(code::text, 6, '0') FROM generate_series(0, 999999) AS code
    WHERE NOT totp.totp_check(secret, lpad(code::text, 6, '0'), current_setting('totp.clock')::timestamptz, drift_steps => 3) LIMIT 1 $$;
SELECT secret AS ada, codes[1] AS ada_backup, codes[2] AS ada_backup2 FROM pg_temp.enrol('ada') \gset

-- A login: a token, then a code with it; the token works once.
SET totp.clock = '2030-01-01 00:10:00+00';
SELECT totp.challenge_create('ada') AS token \gset
SELECT :'token' ~ '^[A-Za-z0-9_-]{78}$' AS is_url_safe, totp.challenge_account(:'token') AS account;
SELECT * FROM totp.challenge_verify(:'token', pg_temp.wrong(:'ada'));
SELECT failures FROM totp.totp_status('ada');
SELECT * FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'));
SELECT * FROM totp.challenge_verify(:'token', :'ada_backup');
SELECT totp.challenge_account(:'token') AS account_of_a_spent_token;
SELECT failures, backup_codes_left FROM totp.totp_status('ada');
SELECT totp.challenge_create('ada') AS token \gset
SELECT * FROM totp.challenge_verify(:'token', :'ada_backup');
SELECT event, outcome, detail FROM totp.audit_log WHERE account = 'ada' ORDER BY id DESC LIMIT 3;

-- Tokens expire to the microsecond; their lifetime can be set.
SELECT totp.challenge_create('ada') AS token, totp.challenge_create('ada', ttl => '1 day') AS long \gset
SET totp.clock = '2030-01-01 00:14:59.999999+00';
SELECT totp.challenge_account(:'token') AS account;
SET totp.clock = '2030-01-01 00:15:00+00';
SELECT totp.challenge_account(:'token') AS account, totp.challenge_account(:'long') AS account_of_a_longer_one;
SELECT verified, account, reason FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'));
SELECT verified, account, reason FROM totp.challenge_verify(:'long', pg_temp.code(:'ada'));

-- Purpose and binding must match; an attempt with others counts against the token.
SET totp.clock = '2030-01-01 00:20:00+00';
SELECT totp.challenge_create('ada', 'transfer', 'transfer 7') AS token \gset
SELECT reason, account FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'));
SELECT reason, account FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'), 'transfer 7');
SELECT reason, account FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'), 'transfer 8', 'transfer');
SELECT reason, account FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'), repeat('x', 10000), 'transfer');
SELECT reason, account FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'), 'transfer 7', 'transfer');
SELECT totp.challenge_create('ada', 'transfer', 'transfer 7') AS token \gset
SELECT (totp.challenge_verify(:'token', '123456', NULL, 'login')).reason FROM generate_series(1, 6);
SELECT reason FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'), 'transfer 7', 'transfer');
SELECT totp.challenge_create('ada') AS token \gset
SELECT reason FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'), repeat('x', 10000));
SELECT failures FROM totp.totp_status('ada');

-- Five wrong codes invalidate a token, and count against the account as well.
SET totp.clock = '2030-01-01 00:30:00+00';
SELECT totp.challenge_create('ada') AS token, totp.challenge_create('ada') AS other \gset
SELECT (totp.challenge_verify(:'token', pg_temp.wrong(:'ada'))).reason FROM generate_series(1, 6);
SELECT reason, retry_after FROM totp.challenge_verify(:'other', pg_temp.code(:'ada'));
SET totp.clock = '2030-01-01 00:31:00+00';
SELECT reason FROM totp.challenge_verify(:'token', pg_temp.code(:'ada'));
SELECT reason FROM totp.challenge_verify(:'other', pg_temp.code(:'ada'));
SET totp.challenge_attempts = 1;
SELECT totp.challenge_create('ada') AS token \gset
SELECT reason FROM totp.challenge_verify(:'token', pg_temp.wrong(:'ada'));
SELECT reason FROM totp.challenge_verify(:'token', :'ada_backup2');
RESET totp.challenge_attempts;

-- Invalid tokens.
SELECT reason, account FROM unnest(ARRAY[NULL, '', ' ', 'x', repeat('A', 78), repeat('é', 39), repeat('A', 1000000)]) AS token,
LATERAL totp.challenge_verify(token, pg_temp.code(:'ada'));
SELECT count(totp.challenge_account(token)) AS accounts, bool_or(totp.recovery_confirm(token)) AS recovered, bool_or(totp.trust_verify('ada', token)) AS trusted
FROM unnest(ARRAY[NULL, '', 'x', repeat('A', 78), repeat('A', 1000000)]) AS token;
-- A malformed code does not count as an attempt.
SELECT totp.challenge_create('ada') AS token \gset
SELECT DISTINCT (totp.challenge_verify(:'token', '12 34')).reason FROM generate_series(1, 10);
SELECT reason FROM totp.challenge_verify(:'token', NULL);
SELECT attempts FROM totp.tokens WHERE used_at IS NULL AND created_at = '2030-01-01 00:31:00+00' AND account = 'ada';

-- An unknown account gets a token like any other.
SELECT totp.challenge_create('nobody') AS token, totp.recovery_create('nobody') AS recovery \gset
SELECT totp.challenge_account(:'token') AS account;
SELECT reason, account FROM totp.challenge_verify(:'token', '123456');
SELECT totp.recovery_confirm(:'recovery') AS nothing_to_recover;

-- Invalid arguments.
\set VERBOSITY default
SELECT totp.challenge_create(NULL);
SELECT totp.challenge_create('ada', purpose => '');
SELECT totp.challenge_create('ada', purpose => repeat('x', 65));
SELECT totp.challenge_create('ada', binding => '');
SELECT totp.challenge_create('ada', claims => '[]');
SELECT totp.challenge_create('ada', claims => 'null');
SELECT totp.challenge_create('ada', claims => ('{"a":' || repeat('[', 500) || repeat(']', 500) || '}')::jsonb);
SELECT totp.challenge_create('ada', claims => jsonb_build_object('a', repeat('x', 5000)));
-- A number can be longer as text than in storage.
SELECT totp.challenge_create('ada', claims => '{"a": 1e5000}');
SELECT totp.challenge_create('ada', ttl => '0');
SELECT totp.challenge_create('ada', ttl => '-1 min');
SELECT totp.challenge_create('ada', ttl => '25 hours');
SELECT totp.recovery_create('ada', '0.9 s');
SELECT totp.recovery_create('ada', '8 days');
SELECT totp.trust_create('ada', '100000 years');
SELECT totp.trust_verify(NULL, 'x');
\set VERBOSITY terse

-- Recovery works once and removes everything.
SET totp.clock = '2030-01-01 00:40:00+00';
SELECT totp.recovery_create('ada') AS recovery, totp.recovery_create('ada') AS second, totp.challenge_create('ada') AS challenge \gset
SELECT totp.recovery_confirm(:'challenge') AS by_a_challenge, totp.challenge_account(:'recovery') AS challenge_by_a_recovery;
SET totp.clock = '2030-01-01 01:40:00+00';
SELECT totp.recovery_confirm(:'recovery') AS too_late;
SELECT totp.recovery_create('ada') AS recovery, totp.recovery_create('ada') AS second, totp.challenge_create('ada') AS challenge \gset
SELECT totp.recovery_confirm(:'recovery') AS recovered, totp.recovery_confirm(:'recovery') AS again, totp.recovery_confirm(:'second') AS by_another;
SELECT enabled, pending, factors, backup_codes_left, failures FROM totp.totp_status('ada');
SELECT reason FROM totp.challenge_verify(:'challenge', pg_temp.code(:'ada'));
SELECT event, outcome FROM totp.audit_log WHERE account = 'ada' ORDER BY id DESC LIMIT 3;

-- With a delay, a recovery takes effect by itself.
SET totp.recovery_delay = '2d';
SET totp.clock = '2030-01-01 01:50:00+00';
SELECT secret AS eve, codes[1] AS eve1, codes[2] AS eve2 FROM pg_temp.enrol('eve') \gset
SELECT totp.recovery_create('eve') AS recovery, totp.recovery_create('eve') AS second \gset
SELECT recovery_at FROM totp.totp_status('eve');
SELECT totp.recovery_confirm(:'recovery') AS recovered;
SELECT * FROM totp.recovery_attempt(:'recovery');
SELECT enabled, recovery_at FROM totp.totp_status('eve');
SELECT recovery_at FROM totp.account_status WHERE account = 'eve';
SELECT value FROM totp.metrics WHERE name = 'totp_pending_recoveries';
-- The link that was used is good for longer than it says, another one is not.
SET totp.clock = '2030-01-03 01:49:59+00';
SELECT * FROM totp.recovery_attempt(:'recovery');
SELECT * FROM totp.recovery_attempt(:'second');
SET totp.clock = '2030-01-03 01:50:00+00';
SELECT enabled, recovery_at, backup_codes_left FROM totp.totp_status('eve');
SELECT enabled, recovery_at, factors FROM totp.account_status WHERE account = 'eve';
SELECT value FROM totp.metrics WHERE name = 'totp_pending_recoveries';
-- The rows are removed by the next call that writes. The link says that it has taken effect.
SELECT count(*) FROM totp.factors WHERE account = 'eve';
SELECT * FROM totp.recovery_attempt(:'recovery');
SELECT * FROM totp.recovery_attempt(:'recovery');
SELECT enabled, recovery_at FROM totp.totp_status('eve');
SELECT count(*) FROM totp.factors WHERE account = 'eve';
SELECT event, outcome, detail FROM totp.audit_log WHERE account = 'eve' ORDER BY id DESC LIMIT 2;
-- It can be canceled, which revokes all links.
SELECT secret AS eve, codes[1] AS eve1, codes[2] AS eve2 FROM pg_temp.enrol('eve') \gset
SELECT totp.recovery_cancel('eve') AS nothing_to_cancel;
SELECT totp.recovery_create('eve') AS recovery, totp.recovery_create('eve') AS second \gset
SELECT reason FROM totp.recovery_attempt(:'recovery');
SELECT totp.recovery_cancel('eve') AS canceled, totp.recovery_cancel('eve') AS again;
SELECT recovery_at FROM totp.totp_status('eve');
SELECT first.reason, second.reason FROM totp.recovery_attempt(:'recovery') AS first, totp.recovery_attempt(:'second') AS second;
-- A wrong code does not cancel it; a right one does, of whatever kind.
SELECT totp.recovery_create('eve') AS recovery \gset
SELECT reason FROM totp.recovery_attempt(:'recovery');
SELECT totp.backup_verify('eve', '0000000000000000') AS wrong, recovery_at IS NOT NULL AS waits FROM totp.totp_status('eve');
SELECT totp.backup_verify('eve', :'eve1') AS verified;
SELECT recovery_at FROM totp.totp_status('eve');
SELECT reason FROM totp.recovery_attempt(:'recovery');
SELECT event, outcome, detail FROM totp.audit_log WHERE account = 'eve' ORDER BY id DESC LIMIT 3;
SELECT totp.recovery_create('eve') AS recovery \gset
SELECT reason FROM totp.recovery_attempt(:'recovery');
SET totp.clock = '2030-01-03 01:51:00+00';
SELECT totp.totp_verify('eve', pg_temp.code(:'eve')) AS verified, recovery_at FROM totp.totp_status('eve');
-- After the delay, a right code comes too late.
SELECT totp.recovery_create('eve') AS recovery \gset
SELECT * FROM totp.recovery_attempt(:'recovery');
SET totp.clock = '2030-01-07 01:51:00+00';
SELECT reason FROM totp.totp_attempt('eve', :'eve2');
SELECT event, outcome FROM totp.audit_log WHERE account = 'eve' ORDER BY id DESC LIMIT 2;
SELECT secret AS eve FROM pg_temp.enrol('eve') \gset
SELECT totp.recovery_create('eve') AS recovery \gset
SELECT * FROM totp.recovery_attempt(:'recovery');
-- Any change of the factors ends it.
SELECT totp.totp_rename('eve', 'eva', 'married') AS renamed;
SELECT recovery_at FROM totp.totp_status('eva');
SELECT reason FROM totp.recovery_attempt(:'recovery');
-- Links that are not in use yet are canceled without a delay, too, even for unknown accounts.
RESET totp.recovery_delay;
SELECT totp.recovery_create('eva') AS recovery, totp.recovery_create('nobody') AS unknown \gset
SELECT totp.recovery_cancel('eva') AS canceled, totp.recovery_cancel('nobody') AS of_unknown;
SELECT first.reason, second.reason FROM totp.recovery_attempt(:'recovery') AS first, totp.recovery_attempt(:'unknown') AS second;
SELECT reason FROM totp.recovery_attempt('x');
SELECT reason FROM totp.recovery_attempt(NULL);
SELECT totp.recovery_cancel(NULL);
-- The message has units since PostgreSQL 17.
\set VERBOSITY sqlstate
SET totp.recovery_delay = -1;
SET totp.recovery_delay = '31d';
\set VERBOSITY default
SET totp.clock = '2030-01-01 01:40:00+00';

-- Trusted devices.
SELECT secret AS bea, codes[1] AS bea1, codes[2] AS bea2 FROM pg_temp.enrol('bea') \gset
SELECT totp.trust_create('bea') AS device, totp.trust_create('bea', '1 hour') AS guest \gset
SELECT totp.trust_verify('bea', :'device') AS device, totp.trust_verify('bea', :'guest') AS guest, totp.trust_verify('ada', :'device') AS of_another;
SELECT totp.challenge_account(:'device') AS as_challenge, totp.recovery_confirm(:'device') AS as_recovery;
SET totp.clock = '2030-01-01 03:00:00+00';
SELECT totp.trust_verify('bea', :'device') AS device, totp.trust_verify('bea', :'guest') AS guest;
-- Trusting a device requires a recently verified code.
\set VERBOSITY default
SELECT totp.trust_create('bea');
SELECT totp.trust_create('nobody');
\set VERBOSITY terse
SELECT totp.backup_verify('bea', :'bea1');
SET totp.clock = '2030-01-01 03:05:00+00';
SELECT totp.trust_create('bea') <> '' AS five_minutes_after;
SET totp.clock = '2030-01-01 02:58:59.999999+00';
SELECT totp.trust_create('bea') AS when_the_clock_was_set_back;
SET totp.clock = '2030-01-01 03:05:01+00';
SELECT totp.trust_create('bea');
SELECT totp.trust_revoke('bea') AS devices, totp.trust_revoke('bea') AS again;
SELECT totp.trust_verify('bea', :'device') AS after_revoke;
-- A device is trusted for 30 days.
SELECT totp.backup_verify('bea', :'bea2');
SELECT totp.trust_create('bea') AS device \gset
SET totp.clock = '2030-01-31 03:05:00.999999+00';
SELECT totp.trust_verify('bea', :'device') AS to_the_end;
SET totp.clock = '2030-01-31 03:05:01+00';
SELECT totp.trust_verify('bea', :'device') AS at_the_end;

-- Every change of factors invalidates all tokens of the account, but no others.
CREATE TEMP TABLE changes (name text, change text);
INSERT INTO changes VALUES
    ('disable', $$SELECT totp.totp_disable('cem', :backup)$$),
    ('remove', $$SELECT totp.totp_remove('cem', 'second', :backup)$$),
    ('second factor', $$SELECT totp.totp_confirm('cem', pg_temp.code(c.secret), 'third') FROM totp.totp_create('cem', 'third') AS c$$),
    ('reset', $$SELECT totp.totp_reset('cem', 'test')$$),
    ('import', $$SELECT totp.totp_import('cem', 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP', 'imported', 'test')$$),
    ('rename', $$SELECT totp.totp_rename('cem', 'cem2', 'test')$$),
    ('forget', $$SELECT totp.totp_forget('cem', 'test')$$),
    ('rotation of backup codes', $$SELECT totp.backup_rotate('cem', :backup)$$);
DO $$
DECLARE
    change record; enrolled record; tokens text[]; other text;
BEGIN
    PERFORM pg_temp.enrol('dan');
    other := totp.trust_create('dan');
    FOR change IN SELECT * FROM changes LOOP
        PERFORM totp.totp_forget('cem', 'test'), totp.totp_forget('cem2', 'test');
        SELECT * INTO enrolled FROM pg_temp.enrol('cem');
        PERFORM totp.totp_confirm('cem', pg_temp.code(c.secret), 'second') FROM totp.totp_create('cem', 'second') AS c;
        tokens := ARRAY[totp.challenge_create('cem'), totp.recovery_create('cem'), totp.trust_create('cem')];
        EXECUTE replace(change.change, ':backup', quote_literal(enrolled.codes[1]));
        RAISE NOTICE '%: challenge %, trust %, recovery %, rows %, other %', change.name,
            (totp.challenge_verify(tokens[1], enrolled.codes[2])).reason,
            totp.trust_verify('cem', tokens[3]) OR totp.trust_verify('cem2', tokens[3]),
            totp.recovery_confirm(tokens[2]),
            (SELECT count(*) FROM totp.tokens WHERE account LIKE 'cem%'),
            totp.trust_verify('dan', other);
    END LOOP;
END $$;

-- Expired tokens are removed when new ones are created, and by totp_prune.
SELECT count(*) > 0 AS some_have_ended FROM totp.tokens WHERE expires_at <= current_setting('totp.clock')::timestamptz;
SELECT count(totp.challenge_create('dan', ttl => '1 s')) FROM generate_series(1, 100);
SELECT count(*) AS ended FROM totp.tokens WHERE expires_at <= current_setting('totp.clock')::timestamptz;
SET totp.clock = '2030-02-01 00:00:00+00';
SELECT totp.totp_prune() >= 100 AS pruned, count(*) FILTER (WHERE expires_at <= '2030-02-01 00:00:00+00') AS before FROM totp.tokens;
SELECT count(*) AS ended FROM totp.tokens WHERE expires_at <= current_setting('totp.clock')::timestamptz;

-- Read-only: tokens cannot be created or verified, but they can be looked up.
SELECT totp.challenge_create('dan') AS token \gset
BEGIN READ ONLY;
SELECT totp.challenge_account(:'token') AS account;
SELECT totp.challenge_verify(:'token', '123456');
ROLLBACK;
BEGIN READ ONLY;
SELECT totp.challenge_create('dan');
ROLLBACK;
SELECT count(totp.totp_forget(account, 'test is over')) > 0 AS forgotten FROM totp.accounts;
