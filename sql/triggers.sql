-- Triggers for the application's tables.

CREATE FUNCTION totp.require_totp() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    max_age interval;
BEGIN
    IF TG_WHEN <> 'BEFORE' OR TG_NARGS > 1 THEN
        RAISE EXCEPTION 'require_totp must be called by a BEFORE trigger with at most one argument'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The argument is the maximum age of the two-factor verification.',
                  HINT = 'For example: CREATE TRIGGER ... BEFORE INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION totp.require_totp(''5 min'').';
    END IF;
    IF TG_NARGS = 1 THEN
        max_age := TG_ARGV[0]::interval;
    END IF;
    IF NOT totp.totp_verified(max_age) THEN
        RAISE EXCEPTION 'two-factor authentication is required for %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = 'This session has not been verified, or was verified too long ago.',
                  HINT = CASE WHEN totp.current_account() IS NOT NULL AND totp.missing_claim() IS NOT NULL
                      THEN 'Its token has neither the claim session_id nor jti. Have the issuer of the token add one, with a new value for each login.'
                      ELSE 'Verify a TOTP or backup code in this session first.' END;
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
'Allows a change only in a session for which totp_verified(max_age) is true. To be used in BEFORE triggers, for each row or statement. max_age is the argument of the trigger, totp.session_ttl without one. Errors: 42501 not verified, 22023 wrong kind of trigger.';

CREATE FUNCTION totp.forget_account() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account text;
BEGIN
    IF TG_OP <> 'DELETE' OR TG_LEVEL <> 'ROW' OR TG_NARGS <> 1 THEN
        RAISE EXCEPTION 'forget_account must be called by a FOR EACH ROW trigger on DELETE with one argument'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The argument is the name of the column that contains the account.',
                  HINT = 'For example: CREATE TRIGGER ... AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account(''id'').';
    END IF;
    -- Uses the output function of the column's type. A cast could be a user's own function, which
    -- would run here with the privileges of totp_owner.
    EXECUTE pg_catalog.format('SELECT pg_catalog.format(''%%s'', ($1).%I)', TG_ARGV[0]) INTO account USING OLD;
    IF account IS NULL OR pg_catalog.length(account) NOT BETWEEN 1 AND 255 THEN
        RETURN OLD;
    END IF;
    PERFORM totp.totp_forget(account, pg_catalog.format('row deleted from %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME));
    RETURN OLD;
END $$;
COMMENT ON FUNCTION totp.forget_account() IS
'Erases the account of a row that is deleted from the application''s table of users. To be used in triggers on DELETE, for each row. The argument of the trigger is the name of the column that contains the account. The creator of the trigger needs the role totp_admin. Errors: 22023 wrong kind of trigger, 42703 no such column, 55P03, F0000, 25006.';
