-- An AI agent that pays: it has a login of its own, and may insert into one table, but each row needs the code of a
-- person. Run this as a superuser, in a database with the extension and a key.

CREATE ROLE payments_agent LOGIN IN ROLE totp_user;
-- The agent's account is its login role, whatever it says about itself.
ALTER ROLE payments_agent SET totp.identity = 'role';

CREATE TABLE transfers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient text NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    at timestamptz NOT NULL DEFAULT now()
);
GRANT INSERT (recipient, amount) ON transfers TO payments_agent;

-- Not require_approval: the agent could enrol an authenticator app of its own.
CREATE TRIGGER approved AFTER INSERT OR UPDATE OR DELETE ON transfers FOR EACH ROW
    EXECUTE FUNCTION totp.require_other_approval('transfer', 'recipient', 'amount');
CREATE TRIGGER approved_truncate BEFORE TRUNCATE ON transfers FOR EACH STATEMENT
    EXECUTE FUNCTION totp.require_other_approval('transfer', 'recipient', 'amount');
