-- Run this as a superuser, in a database with the extension and a key.
CREATE ROLE express LOGIN IN ROLE totp_app;
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL UNIQUE,
    salt bytea NOT NULL,
    hash bytea NOT NULL
);
GRANT SELECT, INSERT ON users TO express;
CREATE TRIGGER forget_second_factor AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION totp.forget_account('id');
