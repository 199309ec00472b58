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
