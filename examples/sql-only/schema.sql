-- Transfers that need the code of another person, whoever makes them and with whatever program.
-- Run this as a superuser, in a database with the extension and a key.

CREATE ROLE clerk LOGIN IN ROLE totp_user;
CREATE ROLE supervisor LOGIN IN ROLE totp_user;
-- The account is the login role. Use this without a connection pool only.
ALTER ROLE clerk SET totp.identity = 'role';
ALTER ROLE supervisor SET totp.identity = 'role';

CREATE TABLE transfers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient text NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    made_by text NOT NULL DEFAULT session_user
);
GRANT SELECT, INSERT (recipient, amount) ON transfers TO clerk;

CREATE TRIGGER approved AFTER INSERT OR UPDATE OR DELETE ON transfers FOR EACH ROW
    EXECUTE FUNCTION totp.require_other_approval('transfer', 'recipient', 'amount');
CREATE TRIGGER approved_truncate BEFORE TRUNCATE ON transfers FOR EACH STATEMENT
    EXECUTE FUNCTION totp.require_other_approval('transfer', 'recipient', 'amount');
