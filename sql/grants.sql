-- Who owns and who may call what. Runs last.

-- Functions that touch tables run as totp_owner, which can do nothing else.
DO $$
DECLARE
    definer record;
BEGIN
    FOR definer IN
        SELECT oid::pg_catalog.regprocedure AS signature FROM pg_catalog.pg_proc
        WHERE pronamespace IN ('totp'::pg_catalog.regnamespace, 'totp_api'::pg_catalog.regnamespace) AND prosecdef
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO totp_owner', definer.signature);
    END LOOP;
END $$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA totp, totp_api FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA totp FROM PUBLIC;
REVOKE ALL ON SCHEMA totp, totp_api FROM PUBLIC;

-- Default privileges of whoever installs may have let others in already.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT object, grantee::pg_catalog.regrole AS grantee FROM (
            SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || oid::pg_catalog.regclass AS object,
                   relacl AS acl, relowner AS owner
            FROM pg_catalog.pg_class
            WHERE relnamespace = 'totp'::pg_catalog.regnamespace AND relkind IN ('r', 'v', 'S')
            UNION ALL
            SELECT 'ROUTINE ' || oid::pg_catalog.regprocedure, proacl, proowner
            FROM pg_catalog.pg_proc
            WHERE pronamespace IN ('totp'::pg_catalog.regnamespace, 'totp_api'::pg_catalog.regnamespace)
            UNION ALL
            SELECT 'SCHEMA ' || nspname, nspacl, nspowner FROM pg_catalog.pg_namespace
            WHERE nspname IN ('totp', 'totp_api')
        ) AS objects, LATERAL pg_catalog.aclexplode(acl) AS privilege
        WHERE grantee <> owner AND grantee <> 0
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM %s', granted.object, granted.grantee);
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA totp TO PUBLIC;

-- Anybody: computations on secrets that the caller already has.
GRANT EXECUTE ON FUNCTION
    totp.totp_code(text, timestamptz, text, integer, integer),
    totp.totp_check(text, text, timestamptz, text, integer, integer, integer),
    totp.totp_uri(text, text, text, text, integer, integer),
    totp.qr_svg(text),
    totp.qr_text(text)
TO PUBLIC;

-- The application's backend: names the account, so it is trusted with all of them.
GRANT EXECUTE ON FUNCTION
    totp.totp_create(text, text, text, text, text, integer, integer),
    totp.totp_confirm(text, text, text),
    totp.totp_disable(text, text),
    totp.totp_remove(text, text, text),
    totp.totp_enabled(text),
    totp.totp_status(text),
    totp.totp_verify(text, text),
    totp.backup_verify(text, text),
    totp.totp_attempt(text, text),
    totp.totp_resync(text, text, text, text),
    totp.backup_rotate(text, text),
    totp.backup_remaining(text),
    totp.challenge_create(text, text, text, jsonb, interval),
    totp.challenge_verify(text, text, text, text),
    totp.challenge_account(text),
    totp.recovery_create(text, interval),
    totp.recovery_confirm(text),
    totp.trust_create(text, interval),
    totp.trust_verify(text, text),
    totp.trust_revoke(text)
TO totp_app;

-- Row policies and triggers: who this session is, and whether it is verified.
GRANT EXECUTE ON FUNCTION
    totp.current_account(),
    totp.totp_verified(interval)
TO totp_app, totp_user, totp_admin, totp_auditor;
GRANT EXECUTE ON FUNCTION totp.require_totp() TO totp_app, totp_admin;
GRANT EXECUTE ON FUNCTION totp.jwt_sign(jsonb) TO totp_admin;

-- People behind PostgREST: their own account only.
GRANT USAGE ON SCHEMA totp_api TO totp_user;
GRANT EXECUTE ON FUNCTION
    totp_api.totp_create(text, text),
    totp_api.totp_confirm(text, text),
    totp_api.totp_verify(text),
    totp_api.totp_disable(text),
    totp_api.totp_remove(text, text),
    totp_api.backup_rotate(text),
    totp_api.totp_status(),
    totp_api.challenge_verify(text, text, text)
TO totp_user;

-- Anonymous callers, if there is a role of the name that PostgREST and Supabase use.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'anon') THEN
        GRANT USAGE ON SCHEMA totp_api TO anon;
        GRANT EXECUTE ON FUNCTION totp_api.challenge_verify(text, text, text) TO anon;
    END IF;
END $$;

-- What these functions call; they run as totp_owner.
GRANT EXECUTE ON FUNCTION
    totp.current_account(),
    totp.session_account(),
    totp.verified_account(),
    totp.jwt_sign(jsonb)
TO totp_owner;

-- Administrators and auditors: look.
GRANT EXECUTE ON FUNCTION
    totp.totp_enabled(text),
    totp.totp_status(text),
    totp.backup_remaining(text),
    totp.guard_usage(),
    totp.key_ids()
TO totp_admin, totp_auditor;
GRANT SELECT ON totp.guard_status, totp.factor_status, totp.account_status, totp.audit_log, totp.key_status
TO totp_admin, totp_auditor;
GRANT EXECUTE ON FUNCTION totp.guard_usage(), totp.key_ids() TO totp_owner;

-- Administrators: act, each time with a reason that is audited.
GRANT EXECUTE ON FUNCTION
    totp.totp_reset(text, text),
    totp.totp_unlock(text, text),
    totp.backup_reissue(text, text),
    totp.totp_import(text, text, text, text),
    totp.totp_export(text, text, text),
    totp.totp_rename(text, text, text),
    totp.totp_forget(text, text),
    totp.totp_prune(),
    totp.forget_account(),
    totp.key_rotate_step(integer, boolean),
    totp.preflight()
TO totp_admin;
GRANT EXECUTE ON PROCEDURE totp.key_rotate(integer) TO totp_admin;
