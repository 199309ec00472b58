-- An application that is SQL alone: sign-up, login in two steps, and notes that only their owner sees.
-- Run this as a superuser after the steps of docs/postgrest.md.

CREATE EXTENSION IF NOT EXISTS pgcrypto;

-- The owner of the functions below. Nobody logs in with it.
CREATE ROLE login_service NOLOGIN;
GRANT totp_app TO login_service;
GRANT EXECUTE ON FUNCTION totp.jwt_sign(jsonb) TO login_service;

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    password_hash text NOT NULL
);
GRANT SELECT, INSERT ON users TO login_service;

CREATE FUNCTION api.signup(email text, password text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF length(password) < 10 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'password has fewer than 10 characters';
    END IF;
    INSERT INTO public.users (email, password_hash)
    VALUES (lower($1), public.crypt(password, public.gen_salt('bf', 10)));
END $$;

-- Returns a token if the password is enough, and otherwise a challenge for totp_api.challenge_verify.
-- binding: any text that the client keeps, and sends again with the code.
CREATE FUNCTION api.login(email text, password text, binding text, OUT access_token text, OUT challenge text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account text;
    expected text;
    given text;
BEGIN
    SELECT u.id, u.password_hash INTO account, expected FROM public.users AS u WHERE u.email = lower($1);
    -- Takes as long for an unknown name.
    given := public.crypt(password, coalesce(expected, public.gen_salt('bf', 10)));
    IF account IS NULL OR given IS DISTINCT FROM expected THEN
        RAISE SQLSTATE 'PT401' USING MESSAGE = 'email address or password is wrong';
    ELSIF totp.totp_enabled(account) THEN
        challenge := totp.challenge_create(account, binding => binding);
    ELSE
        access_token := totp.jwt_sign(jsonb_build_object(
            'sub', account, 'role', 'authenticated', 'aal', 'aal1', 'session_id', gen_random_uuid()));
    END IF;
END $$;

ALTER FUNCTION api.signup(text, text) OWNER TO login_service;
ALTER FUNCTION api.login(text, text, text) OWNER TO login_service;
REVOKE ALL ON FUNCTION api.signup(text, text), api.login(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION api.signup(text, text), api.login(text, text, text) TO anon;

CREATE TABLE api.notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL DEFAULT totp.current_account(),
    body text NOT NULL
);
GRANT SELECT, DELETE, INSERT (body) ON api.notes TO authenticated;
ALTER TABLE api.notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON api.notes TO authenticated USING (owner = (SELECT totp.current_account()));
-- Restrictive: it applies in addition to other policies.
CREATE POLICY verified ON api.notes AS RESTRICTIVE TO authenticated USING ((SELECT totp.totp_verified('12 h')));
NOTIFY pgrst, 'reload schema';
