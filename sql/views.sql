-- Reports for administrators and auditors. No view has a secret, a ciphertext or a salt.

CREATE VIEW totp.guard_status AS SELECT slots, used, locked, evictions, rolled_back FROM totp.guard_usage();
ALTER VIEW totp.guard_status OWNER TO totp_owner;
COMMENT ON VIEW totp.guard_status IS
'Shared memory that keeps failures and spent codes through a ROLLBACK, for all databases of the server; empty when totp is not in shared_preload_libraries';
COMMENT ON COLUMN totp.guard_status.slots IS 'Entries there is room for: totp.guard_slots';
COMMENT ON COLUMN totp.guard_status.used IS 'Entries that still matter';
COMMENT ON COLUMN totp.guard_status.locked IS 'Accounts that are locked now';
COMMENT ON COLUMN totp.guard_status.evictions IS 'Entries that made room for others since the server started';
COMMENT ON COLUMN totp.guard_status.rolled_back IS 'Attempts whose transaction was rolled back since the server started';

CREATE VIEW totp.factor_status AS
SELECT account::text, label::text, state::text, algorithm::text, digits::integer, period::integer, drift::integer,
       key_id::text, created_at, confirmed_at, last_used_at
FROM totp.factors;
ALTER VIEW totp.factor_status OWNER TO totp_owner;
COMMENT ON VIEW totp.factor_status IS 'Authenticator apps of accounts, without their secrets';
COMMENT ON COLUMN totp.factor_status.account IS 'Whose app it is: join it with your table of users';
COMMENT ON COLUMN totp.factor_status.label IS 'What tells several apps of one account apart';
COMMENT ON COLUMN totp.factor_status.state IS 'pending until a code confirms it, then active';
COMMENT ON COLUMN totp.factor_status.algorithm IS 'SHA1, SHA256 or SHA512';
COMMENT ON COLUMN totp.factor_status.digits IS 'Length of a code';
COMMENT ON COLUMN totp.factor_status.period IS 'Seconds of a step';
COMMENT ON COLUMN totp.factor_status.drift IS 'Steps that the app''s clock is taken to be ahead';
COMMENT ON COLUMN totp.factor_status.key_id IS 'The encryption key that sealed the secret';
COMMENT ON COLUMN totp.factor_status.created_at IS 'When the secret was made or imported';
COMMENT ON COLUMN totp.factor_status.confirmed_at IS 'When it became active';
COMMENT ON COLUMN totp.factor_status.last_used_at IS 'When a code of it was last accepted';

CREATE VIEW totp.account_status AS
SELECT a.account::text,
       f.active > 0 AS enabled,
       f.active AS factors,
       f.pending > 0 AS pending,
       b.unused AS backup_codes_left,
       a.failures::integer,
       CASE WHEN a.locked_until > clock_timestamp() THEN a.locked_until END AS locked_until,
       a.suspended,
       greatest(f.last_used_at, b.last_used_at) AS last_verified_at,
       a.changed_at,
       a.created_at
FROM totp.accounts AS a,
LATERAL (
    SELECT count(*) FILTER (WHERE state = 'active')::integer AS active,
           count(*) FILTER (
               WHERE state = 'pending'
                 AND created_at > clock_timestamp() - coalesce(current_setting('totp.pending_ttl', true), '15min')::interval
           ) AS pending,
           max(last_used_at) AS last_used_at
    FROM totp.factors WHERE factors.account = a.account
) AS f,
LATERAL (
    SELECT count(*) FILTER (WHERE used_at IS NULL)::integer AS unused, max(used_at) AS last_used_at
    FROM totp.backup_codes WHERE backup_codes.account = a.account
) AS b;
ALTER VIEW totp.account_status OWNER TO totp_owner;
COMMENT ON VIEW totp.account_status IS 'Accounts with their factors, codes and locks, as committed; shared memory may hold a stricter lock';
COMMENT ON COLUMN totp.account_status.account IS 'The application''s key of the account: join it with your table of users';
COMMENT ON COLUMN totp.account_status.enabled IS 'Whether it has an active factor';
COMMENT ON COLUMN totp.account_status.factors IS 'Active factors';
COMMENT ON COLUMN totp.account_status.pending IS 'Whether a factor was made, not confirmed, and has not expired';
COMMENT ON COLUMN totp.account_status.backup_codes_left IS 'Unused backup codes';
COMMENT ON COLUMN totp.account_status.failures IS 'Failed attempts in a row';
COMMENT ON COLUMN totp.account_status.locked_until IS 'End of the lock, when there is one now';
COMMENT ON COLUMN totp.account_status.suspended IS 'TOTP codes are refused until an administrator or a backup code lifts it';
COMMENT ON COLUMN totp.account_status.last_verified_at IS 'When a code was last accepted';
COMMENT ON COLUMN totp.account_status.changed_at IS 'Last change of the account''s factors';
COMMENT ON COLUMN totp.account_status.created_at IS 'First enrolment';

CREATE VIEW totp.audit_log AS
SELECT id, at, account, event, outcome, actor, detail FROM totp.audit_events;
ALTER VIEW totp.audit_log OWNER TO totp_owner;
COMMENT ON VIEW totp.audit_log IS 'The audit trail, without its signatures';
COMMENT ON COLUMN totp.audit_log.id IS 'Order of writing; rolled-back events leave gaps';
COMMENT ON COLUMN totp.audit_log.at IS 'When it happened';
COMMENT ON COLUMN totp.audit_log.account IS 'The account, or its hash (totp.audit_accounts)';
COMMENT ON COLUMN totp.audit_log.event IS 'What was tried';
COMMENT ON COLUMN totp.audit_log.outcome IS 'How it ended';
COMMENT ON COLUMN totp.audit_log.actor IS 'The login role';
COMMENT ON COLUMN totp.audit_log.detail IS 'What else is known: label, method, reason, the role when it is not the login role';

-- Triggers for the application's tables.

CREATE FUNCTION totp.require_totp() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    max_age interval;
BEGIN
    IF TG_WHEN <> 'BEFORE' OR TG_NARGS > 1 THEN
        RAISE EXCEPTION 'require_totp is for triggers BEFORE a change, with one argument at most'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The argument is how old the proof of a second factor may be.',
                  HINT = 'CREATE TRIGGER ... BEFORE INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION totp.require_totp(''5 min'').';
    END IF;
    IF TG_NARGS = 1 THEN
        max_age := TG_ARGV[0]::interval;
    END IF;
    IF NOT totp.totp_verified(max_age) THEN
        RAISE EXCEPTION 'two-factor authentication is required for %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = 'This session has not proved a second factor, or too long ago.',
                  HINT = 'Verify a TOTP or backup code in this session first.';
    END IF;
    IF TG_LEVEL = 'STATEMENT' THEN
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        RETURN OLD;
    ELSE
        RETURN NEW;
    END IF;
END $$;
COMMENT ON FUNCTION totp.require_totp() IS
'Trigger BEFORE a change: lets it pass only in a session for which totp_verified(max_age) holds, max_age being its argument, totp.session_ttl without one. For each row or statement. Errors: 42501 not verified, 22023 wrong kind of trigger.';

CREATE FUNCTION totp.forget_account() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account text;
BEGIN
    IF TG_OP <> 'DELETE' OR TG_LEVEL <> 'ROW' OR TG_NARGS <> 1 THEN
        RAISE EXCEPTION 'forget_account is for triggers FOR EACH ROW on DELETE, with one argument'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The argument names the column that holds the account.',
                  HINT = 'CREATE TRIGGER ... AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account(''id'').';
    END IF;
    -- By the output function of the column's type. A cast could be somebody's own function, which
    -- would run here with the rights of totp_owner.
    EXECUTE pg_catalog.format('SELECT pg_catalog.format(''%%s'', ($1).%I)', TG_ARGV[0]) INTO account USING OLD;
    IF account IS NULL OR pg_catalog.length(account) NOT BETWEEN 1 AND 255 THEN
        RETURN OLD;
    END IF;
    PERFORM totp.totp_forget(account, pg_catalog.format('row deleted from %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME));
    RETURN OLD;
END $$;
COMMENT ON FUNCTION totp.forget_account() IS
'Trigger for DELETE on the application''s table of users, for each row: erases the account that the column named by the argument holds. Its creator needs the role totp_admin. Errors: 22023 wrong kind of trigger, 42703 no such column, 55P03, F0000, 25006.';
