-- Self-service for PostgREST: add totp_api to its db-schemas. No function here takes an account: they
-- use that of the session. OUT parameters make each result a JSON object.

CREATE SCHEMA totp_api;
COMMENT ON SCHEMA totp_api IS 'Two-factor authentication for the session''s own account, for PostgREST';

CREATE FUNCTION totp_api.totp_create(
    label text DEFAULT 'default', issuer text DEFAULT NULL, OUT secret text, OUT uri text, OUT qr_svg text
) LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT secret, uri, qr_svg FROM totp.totp_create(totp.verified_account(), label, issuer)
$$;
COMMENT ON FUNCTION totp_api.totp_create(text, text) IS
'Creates a new secret for an authenticator app of the session''s account: see totp.totp_create. If the account already has an app, the session must be verified. Errors: 42501, 22023, 54000, 55P03, F0000, 25006.';

CREATE FUNCTION totp_api.totp_confirm(
    code text, label text DEFAULT 'default', OUT confirmed boolean, OUT backup_codes text[], OUT reason text
) LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT confirmed, backup_codes, reason FROM totp.totp_confirm(totp.verified_account(), code, label)
$$;
COMMENT ON FUNCTION totp_api.totp_confirm(text, text) IS
'Activates a new authenticator app with its first code, which also verifies the session: see totp.totp_confirm. If the account already has an app, the session must be verified. Errors: 42501, 42704, 22023, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.totp_verify(code text) RETURNS totp.verdict
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT verdict FROM totp.totp_attempt(totp.session_account(), code) AS verdict
$$;
COMMENT ON FUNCTION totp_api.totp_verify(text) IS
'Checks a TOTP or backup code of the session''s account and, if it is accepted, verifies the session: see totp.totp_attempt and totp.totp_verified. Errors: 42501, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.totp_disable(code text, OUT disabled boolean)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT totp.totp_disable(totp.verified_account(), code)
$$;
COMMENT ON FUNCTION totp_api.totp_disable(text) IS
'Turns off two-factor authentication, given a valid code and a verified session: see totp.totp_disable. Errors: 42501, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.totp_remove(label text, code text, OUT removed boolean)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT totp.totp_remove(totp.verified_account(), label, code)
$$;
COMMENT ON FUNCTION totp_api.totp_remove(text, text) IS
'Removes one of several authenticator apps, given a valid code and a verified session: see totp.totp_remove. Errors: 42501, 42704, 22023, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.backup_rotate(code text, OUT backup_codes text[])
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT totp.backup_rotate(totp.verified_account(), code)
$$;
COMMENT ON FUNCTION totp_api.backup_rotate(text) IS
'Replaces the backup codes, given a valid code and a verified session: see totp.backup_rotate. Errors: 42501, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.totp_status(
    OUT enabled boolean, OUT pending boolean, OUT factors integer, OUT backup_codes_left integer, OUT failures integer,
    OUT locked_until timestamptz, OUT suspended boolean, OUT last_verified_at timestamptz, OUT verified boolean
) LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT enabled, pending, factors, backup_codes_left, failures, locked_until, suspended, last_verified_at,
           totp.totp_verified()
    FROM totp.totp_status(totp.session_account())
$$;
COMMENT ON FUNCTION totp_api.totp_status() IS
'Returns the state of the session''s account and whether the session is verified: see totp.totp_status. Errors: 42501.';

CREATE FUNCTION totp_api.challenge_verify(
    token text, code text, binding text DEFAULT NULL,
    OUT verified boolean, OUT account text, OUT method text, OUT label text, OUT reason text,
    OUT retry_after interval, OUT backup_codes_left integer, OUT access_token text
) LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT verified, account, method, label, reason, retry_after, backup_codes_left, access_token
    FROM totp.challenge_login(token, code, binding)
$$;
COMMENT ON FUNCTION totp_api.challenge_verify(text, text, text) IS
'Completes a login by checking a code for the account of a challenge with purpose login: see totp.challenge_verify. A refusal does not reveal whose challenge it was. If the code is accepted, access_token is a JSON Web Token with sub, role (totp.jwt_role), aal, amr, session_id, and the claims of the challenge; its session is verified. This is the only function for anonymous callers. Errors: 55P03, F0000, XX001, 25006.';
