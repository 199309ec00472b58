-- Self-service for PostgREST: add totp_api to its db-schemas. No function here takes an account: they
-- use that of the session. OUT parameters make each result a JSON object.

CREATE SCHEMA totp_api;
COMMENT ON SCHEMA totp_api IS 'Two-factor authentication for the session''s own account, for PostgREST';

-- PostgREST answers 403 to 42501 from anyone with a token, and 401 to PT401.
CREATE FUNCTION totp.request_account() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF totp.current_account() IS NULL AND totp.missing_claim() IS NOT NULL THEN
        RAISE SQLSTATE 'PT401'
            USING MESSAGE = 'could not determine the account of this session',
                  DETAIL = format('The JSON Web Token has no %s claim.', totp.missing_claim()),
                  HINT = 'Log in, and send a JSON Web Token that contains the claim named by totp.jwt_claim.';
    END IF;
    RETURN totp.session_account();
END $$;
COMMENT ON FUNCTION totp.request_account() IS
'Returns the account of this session, as session_account does. Used by the functions in totp_api. Errors: PT401 the token has no claim that names an account; 42501 no account for another reason.';

CREATE FUNCTION totp.verified_request_account() RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM totp.request_account();
    RETURN totp.verified_account();
END $$;
COMMENT ON FUNCTION totp.verified_request_account() IS
'Returns the account of this session, as verified_account does. Used by the functions in totp_api. Errors: those of request_account and verified_account.';

-- The argument arrives as text, whether the request contained a string or a number. Volatile, so that the
-- account is checked first.
CREATE FUNCTION totp.request_code(code text) RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF octet_length(code) < 6 AND code ~ '^[0-9]+$' THEN
        RAISE invalid_parameter_value
            USING MESSAGE = 'code has fewer than 6 digits',
                  DETAIL = 'No code is that short. This was not counted as an attempt.',
                  HINT = 'Send the code as a JSON string: a JSON number loses its leading zeros.';
    END IF;
    RETURN code;
END $$;
COMMENT ON FUNCTION totp.request_code(text) IS
'Returns a code unchanged. Used by the functions in totp_api. Errors: 22023 it consists of 1 to 5 digits.';

CREATE FUNCTION totp_api.totp_create(
    label text DEFAULT 'default', issuer text DEFAULT NULL, reuse boolean DEFAULT false,
    OUT secret text, OUT uri text, OUT qr_svg text
) LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT secret, uri, qr_svg
    FROM totp.totp_create(totp.verified_request_account(), label, issuer, reuse => reuse)
$$;
COMMENT ON FUNCTION totp_api.totp_create(text, text, boolean) IS
'Creates a secret for an authenticator app of the session''s account.
See totp.totp_create. If the account already has an app, the session must be verified. reuse: return the secret that this session created less than a minute ago, if it is still pending; not for a session without a session_id or jti claim. Errors: PT401, 42501, 22023, 54000, 55P03, F0000, 25006.';

CREATE FUNCTION totp_api.totp_confirm(
    code text, label text DEFAULT 'default', OUT confirmed boolean, OUT backup_codes text[], OUT reason text,
    OUT retry_after_seconds integer, OUT clock_offset_seconds integer
) LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT confirmed, backup_codes, reason, retry_after_seconds, clock_offset_seconds
    FROM totp.totp_confirm(totp.verified_request_account(), totp.request_code(code), label)
$$;
COMMENT ON FUNCTION totp_api.totp_confirm(text, text) IS
'Activates a new authenticator app with its first code, and verifies the session.
See totp.totp_confirm. If the account already has an app, the session must be verified. Errors: PT401, 42501, 42704, 22023, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.totp_verify(code text) RETURNS totp.verdict
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT verdict FROM totp.totp_attempt(totp.request_account(), totp.request_code(code)) AS verdict
$$;
COMMENT ON FUNCTION totp_api.totp_verify(text) IS
'Checks a TOTP or backup code of the session''s account, and verifies the session if it is accepted.
See totp.totp_attempt and totp.totp_verified. A session without a session_id or jti claim is not verified. Errors: PT401, 42501, 22023, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.totp_disable(code text, OUT disabled boolean, OUT reason text, OUT retry_after_seconds integer)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT disabled, reason, retry_after_seconds
    FROM totp.disable_attempt(totp.verified_request_account(), totp.request_code(code))
$$;
COMMENT ON FUNCTION totp_api.totp_disable(text) IS
'Turns off two-factor authentication, given a valid code and a verified session.
See totp.totp_disable. reason is as in totp.totp_attempt, or required if the account must have a second factor. Errors: PT401, 42501, 22023, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.totp_remove(label text, code text, OUT removed boolean, OUT reason text, OUT retry_after_seconds integer)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT removed, reason, retry_after_seconds
    FROM totp.remove_attempt(totp.verified_request_account(), label, totp.request_code(code))
$$;
COMMENT ON FUNCTION totp_api.totp_remove(text, text) IS
'Removes one of several authenticator apps, given a valid code and a verified session.
See totp.totp_remove. reason is as in totp.totp_attempt, or last_factor, or required if the account must have a second factor. Errors: PT401, 42501, 42704, 22023, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.backup_rotate(code text, OUT backup_codes text[], OUT reason text, OUT retry_after_seconds integer)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT backup_codes, reason, retry_after_seconds
    FROM totp.rotate_attempt(totp.verified_request_account(), totp.request_code(code))
$$;
COMMENT ON FUNCTION totp_api.backup_rotate(text) IS
'Replaces the backup codes, given a valid code and a verified session.
See totp.backup_rotate. reason is as in totp.totp_attempt. Errors: PT401, 42501, 22023, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.totp_status(
    OUT enabled boolean, OUT pending boolean, OUT factors integer, OUT backup_codes_left integer, OUT failures integer,
    OUT locked_until timestamptz, OUT suspended boolean, OUT last_verified_at timestamptz, OUT verified boolean,
    OUT recovery_at timestamptz, OUT requirement text, OUT deadline timestamptz
) LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT enabled, pending, factors, backup_codes_left, failures, locked_until, suspended, last_verified_at,
           totp.totp_verified(), recovery_at, requirement, deadline
    FROM totp.totp_status(totp.request_account())
$$;
COMMENT ON FUNCTION totp_api.totp_status() IS
'Returns the state of the session''s account, and whether the session is verified.
See totp.totp_status. requirement and deadline say whether the account must enrol. Errors: PT401, 42501.';

CREATE FUNCTION totp_api.totp_factors()
RETURNS TABLE (label text, state text, created_at timestamptz, last_used_at timestamptz)
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT label, state, created_at, last_used_at FROM totp.account_factors(totp.request_account())
$$;
COMMENT ON FUNCTION totp_api.totp_factors() IS
'Returns the authenticator apps of the session''s account.
One row per app: label, state (active or pending), when the secret was created, and when one of its codes was last accepted. Pending apps that can no longer be confirmed are left out. Errors: PT401, 42501.';

CREATE FUNCTION totp_api.challenge_verify(
    token text, code text, binding text DEFAULT NULL,
    OUT verified boolean, OUT account text, OUT method text, OUT label text, OUT reason text,
    OUT retry_after interval, OUT backup_codes_left integer, OUT access_token text, OUT retry_after_seconds integer
) LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT verified, account, method, label, reason, retry_after, backup_codes_left, access_token, retry_after_seconds
    FROM totp.challenge_login(token, totp.request_code(code), binding)
$$;
COMMENT ON FUNCTION totp_api.challenge_verify(text, text, text) IS
'Completes a login with a code for the account of a challenge.
See totp.challenge_verify; the purpose is login. A refusal does not reveal whose challenge it was. If the code is accepted, access_token is a JSON Web Token with sub, role (totp.jwt_role), aal, amr, session_id, and the claims of the challenge; its session is verified. This is the only function for anonymous callers. Errors: 22023, 55P03, F0000, XX001, 25006.';

-- A password alone must not be enough: a thief could name an account of their own as the approver.
CREATE FUNCTION totp_api.approval_request(
    action text, payload jsonb, approver text DEFAULT NULL, ttl interval DEFAULT NULL,
    OUT id uuid, OUT summary text, OUT expires_at timestamptz
) LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT id, summary, expires_at
    FROM totp.approval_request(
        action, payload,
        CASE WHEN approver IS NULL THEN totp.request_account() ELSE totp.verified_request_account() END, approver, ttl)
$$;
COMMENT ON FUNCTION totp_api.approval_request(text, jsonb, text, interval) IS
'Requests an approval for an action of the session''s account.
See totp.approval_request. If the account has a second factor, the session must be verified to name an approver. Errors: PT401, 42501, 22023, 54000, 55P03, F0000, 25006.';

-- The code is looked at only if the approval is asked of the session's account.
CREATE FUNCTION totp_api.approval_confirm(id uuid, code text) RETURNS totp.verdict
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    me text := totp.request_account();
    verdict totp.verdict;
BEGIN
    IF EXISTS (SELECT FROM totp.approval_status(id) AS a WHERE coalesce(a.approver, a.account) = me) THEN
        RETURN totp.approval_confirm(id, totp.request_code(code));
    END IF;
    verdict.verified := false;
    verdict.reason := 'invalid';
    RETURN verdict;
END $$;
COMMENT ON FUNCTION totp_api.approval_confirm(uuid, text) IS
'Confirms an approval with a code of the session''s account, which must be the one that is asked.
See totp.approval_confirm. Does not verify the session. For an approval that is not asked of this account, reason is invalid, and the code is not looked at. Errors: PT401, 42501, 22023, 55P03, F0000, XX001, 25006.';

CREATE FUNCTION totp_api.approval_status(
    id uuid, OUT state text, OUT account text, OUT approver text, OUT action text, OUT payload jsonb, OUT summary text,
    OUT requested_at timestamptz, OUT expires_at timestamptz, OUT confirmed_at timestamptz, OUT used_at timestamptz
) LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.state, a.account, a.approver, a.action, a.payload, a.summary, a.requested_at, a.expires_at, a.confirmed_at, a.used_at
    FROM totp.request_account() AS me, totp.approval_status(id) AS a WHERE me IN (a.account, a.approver)
$$;
COMMENT ON FUNCTION totp_api.approval_status(uuid) IS
'Returns the state of an approval that the session''s account has requested, or is asked for.
See totp.approval_status. All columns are NULL for other approvals. Errors: PT401, 42501, 22023.';

CREATE FUNCTION totp_api.approval_cancel(id uuid, OUT cancelled boolean)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM totp.approval_status(id) AS a WHERE me IN (a.account, a.approver))
           THEN totp.approval_cancel(id) ELSE false END
    FROM totp.request_account() AS me
$$;
COMMENT ON FUNCTION totp_api.approval_cancel(uuid) IS
'Cancels an approval that the session''s account has requested, or is asked for.
See totp.approval_cancel. Errors: PT401, 42501, 22023, 55P03, F0000, 25006.';

CREATE FUNCTION totp_api.approvals_pending()
RETURNS TABLE (id uuid, account text, approver text, action text, payload jsonb, summary text, requested_at timestamptz, expires_at timestamptz)
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.id, p.account, p.approver, p.action, p.payload, p.summary, p.requested_at, p.expires_at
    FROM totp.request_account() AS me, totp.approvals_pending AS p WHERE me IN (p.account, p.approver)
$$;
COMMENT ON FUNCTION totp_api.approvals_pending() IS
'Returns pending approvals that the session''s account has requested, or is asked for.
See the view totp.approvals_pending. Errors: PT401, 42501.';
