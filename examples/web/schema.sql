-- The database of the site. Run this as a superuser, in a database with the extension and a key.

CREATE ROLE web LOGIN;
-- totp_app: the calls that name an account. totp_user: those for the account of the session.
GRANT totp_app, totp_user TO web;
-- The site sets request.jwt.claims to the user who is logged in, so its word must be taken for it.
ALTER ROLE web SET totp.jwt_logins = 'web';

-- The ID never changes, so it is the account.
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL UNIQUE,
    password_hash text NOT NULL
);
GRANT SELECT, INSERT (email, password_hash) ON users TO web;

CREATE TRIGGER forget_second_factor AFTER DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION totp.forget_account('id');

-- The payer is whoever is logged in; recipient and amount are what was approved with a code.
CREATE TABLE payments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payer uuid NOT NULL DEFAULT totp.current_account()::uuid REFERENCES users,
    recipient text NOT NULL,
    amount numeric(12, 2) NOT NULL CHECK (amount > 0),
    at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT (recipient, amount) ON payments TO web;

CREATE TRIGGER approved AFTER INSERT OR UPDATE OR DELETE ON payments FOR EACH ROW
    EXECUTE FUNCTION totp.require_approval('payment', 'recipient', 'amount');
CREATE TRIGGER approved_truncate BEFORE TRUNCATE ON payments FOR EACH STATEMENT
    EXECUTE FUNCTION totp.require_approval('payment', 'recipient', 'amount');
