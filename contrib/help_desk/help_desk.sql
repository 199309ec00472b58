-- "I have lost my phone": shows the state of an account, and helps its owner. For psql, as a member of totp_admin:
--
--     psql -f help_desk.sql
--     psql -v account=alice -f help_desk.sql
--
-- Make sure first that the caller is the owner of the account. The reason goes into the audit trail, with your name.

\set ON_ERROR_STOP on
\set QUIET on
\pset pager off
\pset footer off

\if :{?account}
\else
    \prompt 'Account: ' account
\endif

SELECT EXISTS (SELECT FROM totp.account_status WHERE account = :'account') AS is_known \gset
\if :is_known
\else
    \echo There is no such account. Names are compared exactly, also in upper and lower case.
    \quit
\endif

\echo
\echo Status:
\pset expanded on
SELECT * FROM totp.totp_status(:'account');
\pset expanded off
\echo Devices:
SELECT label, state, created_at, last_used_at, drift FROM totp.factor_status WHERE account = :'account' ORDER BY label, state;
\echo Last entries of the audit trail:
SELECT at, event, outcome, actor, client, detail ->> 'reason' AS reason
FROM totp.audit_log WHERE account = ANY (totp.audit_names(:'account')) ORDER BY id DESC LIMIT 10;

\echo What to do:
\echo '  pass     a temporary pass for one login within the next hour, if the phone will come back'
\echo '  codes    new backup codes, if the owner will find the phone, or is to remove it without help'
\echo '  reset    remove all devices and codes, so that the owner can enrol again with the password alone'
\echo '  unlock   lift a lock or a suspension'
\echo '  cancel   cancel a recovery that the owner has not asked for'
\echo '  nothing'
\prompt 'Choice: ' choice

SELECT :'choice' = 'pass' AS is_pass, :'choice' = 'codes' AS is_codes, :'choice' = 'reset' AS is_reset,
       :'choice' = 'unlock' AS is_unlock, :'choice' = 'cancel' AS is_cancel,
       :'choice' IN ('pass', 'codes', 'reset', 'unlock') AS needs_reason \gset

\if :needs_reason
    \prompt 'Reason, such as a ticket and how you know the caller: ' reason
\endif

\if :is_pass
    \echo A pass for one login, valid for an hour:
    \pset tuples_only on
    SELECT totp.pass_issue(:'account', :'reason');
    \pset tuples_only off
\elif :is_codes
    \echo Backup codes, each for one login; the old ones no longer work:
    \pset tuples_only on
    SELECT unnest(totp.backup_reissue(:'account', :'reason'));
    \pset tuples_only off
\elif :is_reset
    SELECT totp.totp_reset(:'account', :'reason') AS is_done \gset
    \echo All devices and codes were removed. Ask the owner to set up a new device at once.
\elif :is_unlock
    SELECT totp.totp_unlock(:'account', :'reason') AS is_done \gset
    \echo The account is unlocked.
\elif :is_cancel
    SELECT totp.recovery_cancel(:'account') AS is_done \gset
    \if :is_done
        \echo The recovery was canceled, and its links no longer work.
    \else
        \echo There was no recovery to cancel.
    \endif
\else
    \echo Nothing was changed.
\endif
