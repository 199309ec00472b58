"""The trigger function `forget_account`: no deletion of a user leaves the account behind."""

import pytest
from psycopg import errors

USERS = """
CREATE TABLE users (login text PRIMARY KEY);
CREATE TRIGGER forget AFTER DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION totp.forget_account('login');
CREATE TRIGGER forget_truncate BEFORE TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION totp.forget_account('login');
"""


@pytest.fixture
def users(dba):
    dba.execute(USERS)
    yield dba
    dba.execute("DROP TABLE users CASCADE")


def test_truncate_is_refused(users, account):
    users.create(account)
    users.execute("INSERT INTO users VALUES (%s)", account)
    users.execute("CREATE TABLE orders (login text REFERENCES users)")
    for statement in "TRUNCATE users", "TRUNCATE users CASCADE", "TRUNCATE orders, users":
        with pytest.raises(errors.Error) as caught:
            users.execute(statement)
        assert caught.value.sqlstate == "0A000"
    users.execute("DROP TABLE orders")
    users.execute("DELETE FROM users")
    assert users.value("SELECT count(*) FROM totp.accounts WHERE account = %s", account) == 0


def test_a_virtual_generated_column_is_refused(dba, account):
    """Its value is NULL in the row that was deleted: the account stayed."""
    if dba.connection.info.server_version < 180_000:
        pytest.skip("virtual generated columns are of PostgreSQL 18")
    dba.create(account)
    dba.execute("CREATE TABLE virtual (name text, login text GENERATED ALWAYS AS (name) VIRTUAL)")
    dba.execute("""
        CREATE TRIGGER forget AFTER DELETE ON virtual
        FOR EACH ROW EXECUTE FUNCTION totp.forget_account('login')
    """)
    dba.execute("INSERT INTO virtual (name) VALUES (%s)", account)
    with pytest.raises(errors.FeatureNotSupported, match="virtual generated column"):
        dba.execute("DELETE FROM virtual")
    dba.execute("DROP TABLE virtual")


@pytest.mark.parametrize("timing", ["BEFORE", "AFTER"])
def test_a_stored_generated_column_is_read(dba, account, timing):
    dba.create(account)
    dba.execute("CREATE TABLE stored (name text, login text GENERATED ALWAYS AS (name) STORED)")
    dba.execute(f"""
        CREATE TRIGGER forget {timing} DELETE ON stored
        FOR EACH ROW EXECUTE FUNCTION totp.forget_account('login')
    """)
    dba.execute("INSERT INTO stored (name) VALUES (%s)", account)
    dba.execute("DELETE FROM stored")
    dba.execute("DROP TABLE stored")
    assert dba.value("SELECT count(*) FROM totp.accounts WHERE account = %s", account) == 0


@pytest.mark.parametrize("name", [None, "", "x" * 256, "ü" * 300])
def test_a_user_who_cannot_have_an_account_is_deleted(users, name):
    users.execute("ALTER TABLE users DROP CONSTRAINT users_pkey")
    users.execute("ALTER TABLE users ALTER login DROP NOT NULL")
    users.execute("INSERT INTO users VALUES (%s)", name)
    users.execute("DELETE FROM users")
    assert users.value("SELECT count(*) FROM users") == 0
