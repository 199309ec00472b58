-- Ownership and privileges. Runs last.

-- Functions that access tables run as totp_owner, which can do nothing else.
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

-- The installer's default privileges might already have granted access to others.
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

-- Who can call which function: roles without their prefix, PUBLIC for everyone. Every function is
-- listed, including those that only their owner calls.
DO $$
DECLARE
    entry record;
    role text;
    listed oid[];
BEGIN
    FOR entry IN
        SELECT * FROM (VALUES
            -- Anyone: computations on secrets that the caller already has.
            ('PUBLIC',                       'totp.totp_code(text, timestamptz, text, integer, integer)'),
            ('PUBLIC',                       'totp.totp_check(text, text, timestamptz, text, integer, integer, integer)'),
            ('PUBLIC',                       'totp.totp_uri(text, text, text, text, integer, integer)'),
            ('PUBLIC',                       'totp.qr_svg(text)'),
            ('PUBLIC',                       'totp.qr_text(text)'),
            -- The application's backend: it names the account, so it is trusted with all of them.
            ('app',                          'totp.totp_create(text, text, text, text, text, integer, integer)'),
            ('app',                          'totp.totp_confirm(text, text, text)'),
            ('app',                          'totp.totp_disable(text, text)'),
            ('app',                          'totp.totp_remove(text, text, text)'),
            ('app',                          'totp.totp_verify(text, text)'),
            ('app',                          'totp.backup_verify(text, text)'),
            ('app',                          'totp.totp_attempt(text, text)'),
            ('app',                          'totp.totp_resync(text, text, text, text)'),
            ('app',                          'totp.backup_rotate(text, text)'),
            ('app',                          'totp.challenge_create(text, text, text, jsonb, interval)'),
            ('app',                          'totp.challenge_verify(text, text, text, text)'),
            ('app',                          'totp.challenge_account(text)'),
            ('app',                          'totp.recovery_create(text, interval)'),
            ('app',                          'totp.recovery_confirm(text)'),
            ('app',                          'totp.trust_create(text, interval)'),
            ('app',                          'totp.trust_verify(text, text)'),
            ('app',                          'totp.trust_revoke(text)'),
            -- Status of accounts and of shared memory.
            ('app admin auditor',            'totp.totp_enabled(text)'),
            ('app admin auditor',            'totp.totp_status(text)'),
            ('app admin auditor',            'totp.backup_remaining(text)'),
            ('admin auditor owner',          'totp.guard_usage()'),
            ('admin auditor owner',          'totp.key_ids()'),
            ('admin',                        'totp.preflight()'),
            -- Row security policies and triggers: whose session this is, and whether it is verified.
            ('app user admin auditor owner', 'totp.current_account()'),
            ('app user admin auditor',       'totp.totp_verified(interval)'),
            ('app admin',                    'totp.require_totp()'),
            -- Users behind PostgREST: only their own account.
            ('user',                         'totp_api.totp_create(text, text)'),
            ('user',                         'totp_api.totp_confirm(text, text)'),
            ('user',                         'totp_api.totp_verify(text)'),
            ('user',                         'totp_api.totp_disable(text)'),
            ('user',                         'totp_api.totp_remove(text, text)'),
            ('user',                         'totp_api.backup_rotate(text)'),
            ('user',                         'totp_api.totp_status()'),
            ('user',                         'totp_api.challenge_verify(text, text, text)'),
            -- Called by these functions, which run as totp_owner.
            ('owner',                        'totp.session_account()'),
            ('owner',                        'totp.verified_account()'),
            ('',                             'totp.challenge_login(text, text, text)'),
            ('admin owner',                  'totp.jwt_sign(jsonb)'),
            -- Administrators: each action has a reason that is audited.
            ('admin',                        'totp.totp_reset(text, text)'),
            ('admin',                        'totp.totp_unlock(text, text)'),
            ('admin',                        'totp.backup_reissue(text, text)'),
            ('admin',                        'totp.totp_import(text, text, text, text)'),
            ('admin',                        'totp.totp_export(text, text, text)'),
            ('admin',                        'totp.totp_rename(text, text, text)'),
            ('admin',                        'totp.totp_forget(text, text)'),
            ('admin',                        'totp.totp_prune()'),
            ('admin',                        'totp.forget_account()'),
            ('admin',                        'totp.key_rotate(integer)'),
            ('admin',                        'totp.key_rotate_step(integer, boolean)'),
            -- Superusers.
            ('',                             'totp.key_generate()')
        ) AS grants (roles, function)
    LOOP
        listed := listed || entry.function::pg_catalog.regprocedure::oid;
        FOREACH role IN ARRAY pg_catalog.string_to_array(entry.roles, ' ') LOOP
            IF role <> 'PUBLIC' THEN
                role := pg_catalog.quote_ident('totp_' || role);
            END IF;
            EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO %s', entry.function, role);
        END LOOP;
    END LOOP;
    IF EXISTS (
        SELECT FROM pg_catalog.pg_proc
        WHERE pronamespace IN ('totp'::pg_catalog.regnamespace, 'totp_api'::pg_catalog.regnamespace)
          AND oid <> ALL (listed)
    ) THEN
        RAISE EXCEPTION 'a function is missing from the list of grants'
            USING DETAIL = 'The list must state who can call each function.', HINT = 'Add it to sql/grants.sql.';
    END IF;
END $$;

GRANT USAGE ON SCHEMA totp TO PUBLIC;
GRANT USAGE ON SCHEMA totp_api TO totp_user;
GRANT SELECT ON totp.guard_status, totp.factor_status, totp.account_status, totp.key_status, totp.audit_log
TO totp_admin, totp_auditor;

-- Anonymous callers, if the role that PostgREST and Supabase use for them exists.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'anon') THEN
        GRANT USAGE ON SCHEMA totp_api TO anon;
        GRANT EXECUTE ON FUNCTION totp_api.challenge_verify(text, text, text) TO anon;
    END IF;
END $$;
