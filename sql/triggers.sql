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
                      THEN 'Its token has neither a session_id nor a jti claim. Have the issuer of the token add one, with a new value for each login.'
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
'Allows a change only in a session for which totp_verified(max_age) is true. For use in BEFORE triggers, for each row or statement. max_age is the trigger''s argument, or totp.session_ttl if it has none. Errors: 42501 not verified, 22023 wrong kind of trigger.';

-- Called by the trigger functions below, as totp_owner. Uses the output function of the column's type: a cast could be
-- a user's own function, which would run here with the privileges of totp_owner. That of character(n) prints padding,
-- which is not in the account that totp_verify(users.id, ...) names, since the cast to text removes it.
CREATE FUNCTION totp.row_account(relation regclass, of_row anyelement, name text) RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account text;
BEGIN
    EXECUTE format('SELECT format(''%%s'', ($1).%I)', name) INTO account USING of_row;
    IF EXISTS (
        SELECT FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = relation AND a.attname = name AND t.typoutput = 'bpcharout'::regproc
    ) THEN
        RETURN rtrim(account, ' ');
    END IF;
    RETURN account;
END $$;
COMMENT ON FUNCTION totp.row_account(regclass, anyelement, text) IS
'Returns the account in a column of a row. Used by the trigger functions. Errors: 42703 no such column.';

CREATE FUNCTION totp.forget_account() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
BEGIN
    IF TG_OP = 'TRUNCATE' AND TG_WHEN = 'BEFORE' THEN
        RAISE EXCEPTION 'cannot truncate %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'TRUNCATE does not read the rows that it removes, so their accounts would keep their second factors.',
                  HINT = 'Use DELETE.';
    ELSIF TG_OP <> 'DELETE' OR TG_LEVEL <> 'ROW' OR TG_NARGS <> 1 THEN
        RAISE EXCEPTION 'forget_account must be called by a FOR EACH ROW trigger on DELETE with one argument'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The argument is the name of the column that contains the account.',
                  HINT = 'For example: CREATE TRIGGER ... AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account(''id'').';
    -- Its value is not in the row that was deleted.
    ELSIF EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = TG_RELID AND attname = TG_ARGV[0] AND attgenerated = 'v'
    ) THEN
        RAISE EXCEPTION 'column % of %.% is a virtual generated column', TG_ARGV[0], TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'Triggers cannot read the values of such columns.',
                  HINT = 'Make it a stored generated column.';
    END IF;
    name := totp.row_account(TG_RELID, OLD, TG_ARGV[0]);
    -- A name that is too long for an account has none. Some encodings count characters differently.
    IF name IS NULL OR name = '' OR (
        length(name) > 255 AND NOT EXISTS (SELECT FROM totp.accounts WHERE account = name)
                           AND NOT EXISTS (SELECT FROM totp.requirements WHERE account = name)
    ) THEN
        RETURN OLD;
    END IF;
    PERFORM totp.totp_forget(name, pg_catalog.format('row deleted from %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME));
    RETURN OLD;
END $$;
COMMENT ON FUNCTION totp.forget_account() IS
'Erases the account of a row that is deleted from the application''s table of users. For use in triggers on DELETE, for each row. The argument of the trigger is the name of the column that contains the account. In a BEFORE TRUNCATE trigger, it refuses TRUNCATE, which would leave accounts behind. The creator of the trigger needs the role totp_admin. Errors: 22023 wrong kind of trigger, 42703 no such column, 0A000 TRUNCATE, or a virtual generated column, 55P03, F0000, 25006.';

CREATE FUNCTION totp.rename_account() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old_account text;
    new_account text;
BEGIN
    IF TG_WHEN <> 'AFTER' OR TG_OP <> 'UPDATE' OR TG_LEVEL <> 'ROW' OR TG_NARGS <> 1 THEN
        RAISE EXCEPTION 'rename_account must be called by an AFTER UPDATE FOR EACH ROW trigger with one argument'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The argument is the name of the column that contains the account.',
                  HINT = 'For example: CREATE TRIGGER ... AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION totp.rename_account(''id'').';
    END IF;
    -- PostgreSQL 18 does not compute such a column for triggers: it would never seem to change.
    IF EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = TG_RELID AND attname = TG_ARGV[0] AND attgenerated = 'v'
    ) THEN
        RAISE EXCEPTION 'rename_account cannot use a virtual generated column'
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'Triggers do not see the values of such a column.',
                  HINT = 'Use a stored generated column.';
    END IF;
    old_account := totp.row_account(TG_RELID, OLD, TG_ARGV[0]);
    new_account := totp.row_account(TG_RELID, NEW, TG_ARGV[0]);
    IF old_account COLLATE "C" = new_account COLLATE "C" OR pg_catalog.length(old_account) NOT BETWEEN 1 AND 255 THEN
        RETURN NEW;
    END IF;
    -- Raises an error where accounts cannot be looked up.
    PERFORM totp.totp_enabled(old_account);
    IF EXISTS (SELECT FROM totp.accounts WHERE account = old_account)
       OR EXISTS (SELECT FROM totp.requirements WHERE account = old_account)
       OR EXISTS (SELECT FROM totp.approvals WHERE account = old_account OR approver = old_account)
    THEN
        PERFORM totp.totp_rename(
            old_account, new_account, pg_catalog.format('row changed in %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME)
        );
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION totp.rename_account() IS
'Renames the account of a row whose key changes in the application''s table of users. For use in AFTER UPDATE triggers, for each row, without WHEN. The argument of the trigger is the name of the column that contains the account. The creator of the trigger needs the role totp_admin. If the account cannot be renamed, the UPDATE fails. Errors: 42710 the new name is taken; 42704 another transaction has erased the account; 22023 the new name is empty or too long, or wrong kind of trigger; 42703 no such column; 0A000 virtual generated column; 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp.require_enrolment() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
BEGIN
    IF TG_WHEN <> 'AFTER' OR TG_OP NOT IN ('INSERT', 'UPDATE') OR TG_LEVEL <> 'ROW' OR TG_NARGS NOT IN (1, 2) THEN
        RAISE EXCEPTION 'require_enrolment must be called by an AFTER INSERT OR UPDATE FOR EACH ROW trigger with one or two arguments'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The first argument is the name of the column that contains the account, the second one the time to enrol.',
                  HINT = 'For example: CREATE TRIGGER ... AFTER INSERT OR UPDATE OF is_staff ON users FOR EACH ROW WHEN (NEW.is_staff) EXECUTE FUNCTION totp.require_enrolment(''id'', ''7 days'').';
    ELSIF EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = TG_RELID AND attname = TG_ARGV[0] AND attgenerated = 'v'
    ) THEN
        RAISE EXCEPTION 'require_enrolment cannot use a virtual generated column'
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'Triggers do not see the values of such a column.',
                  HINT = 'Use a stored generated column.';
    END IF;
    name := totp.row_account(TG_RELID, NEW, TG_ARGV[0]);
    IF name <> '' THEN
        PERFORM totp.totp_require(
            name, pg_catalog.format('row in %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME), TG_ARGV[1]::interval
        );
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION totp.require_enrolment() IS
'Requires the account of a row that is inserted or updated in the application''s table of users to have a second factor, as totp_require does. For use in AFTER triggers, for each row, usually with WHEN. The arguments of the trigger are the name of the column that contains the account and, optionally, the time to enrol instead of totp.grace. The creator of the trigger needs the role totp_admin. Errors: 22023 the name is too long, or wrong kind of trigger; 42703 no such column; 0A000 virtual generated column; 55P03, F0000, 25006.';

-- Called by the trigger functions below, as totp_owner, so nothing of a user's may run: values of built-in types
-- become JSON, those of all others text, by the output function of the type. Settings that change how values are
-- printed are fixed: two values must not become one.
CREATE FUNCTION totp.approval_payload(op text, relation regclass, old_row anyelement, new_row anyelement, columns text[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO, YMD' SET timezone = 'UTC' SET intervalstyle = 'postgres' SET extra_float_digits = 1
SET bytea_output = 'hex' SET lc_monetary = 'C' AS $$
DECLARE
    key_columns text[] := ARRAY(
        SELECT a.attname::text FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = relation AND i.indisprimary ORDER BY a.attnum
    );
    wanted text;
    base oid;
    member text;
    of_columns text := '';
    of_key text := '';
    old_values jsonb;
    new_values jsonb;
    old_key jsonb;
    new_key jsonb;
BEGIN
    IF op <> 'INSERT' AND key_columns = '{}' THEN
        RAISE EXCEPTION 'table % has no primary key', relation
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'The approval of an UPDATE or DELETE names the row by its primary key.',
                  HINT = 'Add a primary key.';
    END IF;
    FOREACH wanted IN ARRAY columns || key_columns LOOP
        SELECT a.atttypid INTO base FROM pg_attribute AS a
        WHERE a.attrelid = relation AND a.attname = wanted AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v';
        IF NOT FOUND OR wanted = 'old' THEN
            RAISE EXCEPTION 'cannot approve column "%" of table %', wanted, relation
                USING ERRCODE = 'undefined_column',
                      DETAIL = 'There is no such column, it is a virtual generated column, or its name is old, which stands for the old row.',
                      HINT = 'Name stored columns in the arguments of the trigger.';
        END IF;
        WHILE EXISTS (SELECT FROM pg_type WHERE oid = base AND typtype = 'd') LOOP
            SELECT typbasetype INTO base FROM pg_type WHERE oid = base;
        END LOOP;
        -- Types of the server itself have OIDs below 16384.
        member := format(
            CASE WHEN base < 16384
                THEN ' || jsonb_build_object(%L::text, CASE num_nulls(($1).%I) WHEN 0 THEN to_jsonb(($1).%2$I::%3$s) END)'
                ELSE ' || jsonb_build_object(%L::text, CASE num_nulls(($1).%I) WHEN 0 THEN to_jsonb(format(''%%s'', ($1).%2$I)) END)'
            -- Not format_type: character and bit would be those of length 1.
            END, wanted, wanted, (SELECT format('pg_catalog.%I', typname) FROM pg_type WHERE oid = base)
        );
        IF wanted = ANY (columns) THEN
            of_columns := of_columns || member;
        END IF;
        IF wanted = ANY (key_columns) THEN
            of_key := of_key || member;
        END IF;
    END LOOP;
    EXECUTE format('SELECT jsonb ''{}''%s, jsonb ''{}''%s', of_columns, of_key) INTO old_values, old_key USING old_row;
    EXECUTE format('SELECT jsonb ''{}''%s, jsonb ''{}''%s', of_columns, of_key) INTO new_values, new_key USING new_row;
    RETURN CASE
        WHEN op = 'INSERT' THEN new_values
        WHEN op = 'DELETE' THEN jsonb_build_object('old', old_values || old_key)
        WHEN old_key <> new_key THEN new_values || new_key || jsonb_build_object('old', old_key)
        WHEN old_values <> new_values THEN new_values || jsonb_build_object('old', old_key)
    END;
END $$;
COMMENT ON FUNCTION totp.approval_payload(text, regclass, anyelement, anyelement, text[]) IS
'Returns the payload that is approved for a change of a row, or NULL for an UPDATE that needs no approval. Used by check_approval. Errors: 42703, 55000 no primary key.';

CREATE FUNCTION totp.check_approval(op text, relation regclass, old_row anyelement, new_row anyelement, arguments text[], by_another boolean) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    payload jsonb := totp.approval_payload(op, relation, old_row, new_row, arguments[2:]);
    caller name := coalesce(nullif(current_setting('role'), 'none'), session_user);
    shown text := quote_literal(payload);
BEGIN
    IF payload IS NULL OR totp.approval_spend(arguments[1], payload, by_another) THEN
        RETURN;
    END IF;
    -- Whoever may change a row may not always read it. The values of a new row are the caller's own. As in messages of
    -- PostgreSQL itself, no values of a table with row security are shown.
    IF op <> 'INSERT' AND (
        (SELECT relrowsecurity FROM pg_class WHERE oid = relation)
        OR EXISTS (
            SELECT FROM pg_attribute AS a LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
            WHERE a.attrelid = relation AND (a.attname = ANY (arguments[2:]) OR a.attnum = ANY (i.indkey::int2[]))
                AND NOT has_column_privilege(caller, a.attrelid, a.attnum, 'SELECT')
        )
    ) THEN
        shown := '...';
    END IF;
    RAISE EXCEPTION 'approval is required for table %', relation
        USING ERRCODE = 'insufficient_privilege',
              DETAIL = CASE WHEN by_another
                  THEN 'This session''s account has no unused approval of exactly this change that another account has confirmed.'
                  ELSE 'This session''s account has no unused, confirmed approval of exactly this change.' END,
              HINT = format(
                  'Request it and have it confirmed: SELECT * FROM %I.approval_request(%L, %s%s).',
                  CASE WHEN has_schema_privilege(caller, 'totp_api', 'USAGE') THEN 'totp_api' ELSE 'totp' END, arguments[1], shown, CASE WHEN by_another THEN ', approver => ''...''' ELSE '' END
              );
END $$;
COMMENT ON FUNCTION totp.check_approval(text, regclass, anyelement, anyelement, text[], boolean) IS
'Uses an approval for a change of a row, or raises an error. Used by require_approval and require_other_approval. Errors: 42501, 42703, 55000 no primary key.';

CREATE FUNCTION totp.require_approval() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND TG_WHEN = 'BEFORE' THEN
        RAISE EXCEPTION 'cannot truncate %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'TRUNCATE does not read the rows that it removes, so nobody can approve it.',
                  HINT = 'Use DELETE.';
    -- A BEFORE trigger would see the row before other triggers change it.
    ELSIF TG_WHEN <> 'AFTER' OR TG_LEVEL <> 'ROW' OR TG_NARGS < 2 THEN
        RAISE EXCEPTION 'require_approval must be called by an AFTER FOR EACH ROW trigger with at least two arguments'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The arguments are the action and the names of the columns that are approved.',
                  HINT = 'For example: CREATE TRIGGER ... AFTER INSERT OR UPDATE OR DELETE ON transfers FOR EACH ROW EXECUTE FUNCTION totp.require_approval(''transfer'', ''recipient'', ''amount'').';
    END IF;
    -- The array of arguments begins at 0.
    IF TG_OP = 'INSERT' THEN
        PERFORM totp.check_approval(TG_OP, TG_RELID, NEW, NEW, ARRAY(SELECT unnest(TG_ARGV)), false);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM totp.check_approval(TG_OP, TG_RELID, OLD, OLD, ARRAY(SELECT unnest(TG_ARGV)), false);
    ELSE
        PERFORM totp.check_approval(TG_OP, TG_RELID, OLD, NEW, ARRAY(SELECT unnest(TG_ARGV)), false);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION totp.require_other_approval() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND TG_WHEN = 'BEFORE' THEN
        RAISE EXCEPTION 'cannot truncate %.%', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'TRUNCATE does not read the rows that it removes, so nobody can approve it.',
                  HINT = 'Use DELETE.';
    -- A BEFORE trigger would see the row before other triggers change it.
    ELSIF TG_WHEN <> 'AFTER' OR TG_LEVEL <> 'ROW' OR TG_NARGS < 2 THEN
        RAISE EXCEPTION 'require_other_approval must be called by an AFTER FOR EACH ROW trigger with at least two arguments'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'The arguments are the action and the names of the columns that are approved.',
                  HINT = 'For example: CREATE TRIGGER ... AFTER INSERT OR UPDATE OR DELETE ON transfers FOR EACH ROW EXECUTE FUNCTION totp.require_other_approval(''transfer'', ''recipient'', ''amount'').';
    END IF;
    -- The array of arguments begins at 0.
    IF TG_OP = 'INSERT' THEN
        PERFORM totp.check_approval(TG_OP, TG_RELID, NEW, NEW, ARRAY(SELECT unnest(TG_ARGV)), true);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM totp.check_approval(TG_OP, TG_RELID, OLD, OLD, ARRAY(SELECT unnest(TG_ARGV)), true);
    ELSE
        PERFORM totp.check_approval(TG_OP, TG_RELID, OLD, NEW, ARRAY(SELECT unnest(TG_ARGV)), true);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION totp.require_approval() IS
'Allows a change of a row only with a confirmed approval of exactly this change, and uses it. For use in AFTER triggers, for each row. The arguments of the trigger are the action and the names of the columns that are approved. The payload is an object of these columns of the new row; for UPDATE, also old, an object with the primary key of the old row, and the new key if it changes; for DELETE, only old, with the key and these columns. An UPDATE that changes neither the key nor the columns needs no approval. In a BEFORE TRUNCATE trigger, it refuses TRUNCATE. Errors: 42501 no such approval, or no account; 22023 wrong kind of trigger, or a payload of more than 4096 bytes; 42703 no such column; 55000 no primary key; 0A000 TRUNCATE; 55P03, F0000, 25006.';
COMMENT ON FUNCTION totp.require_other_approval() IS
'Works like require_approval, but the approval must have been confirmed by another account than the one that makes the change (four-eyes principle). Errors: as require_approval.';
