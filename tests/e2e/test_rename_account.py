"""The trigger function rename_account: an account follows the key of its row in the application's
table of users. Otherwise a changed key would have no second factor."""

from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest

from client import Client
from conftest import DATABASE
from refusal import BAD_ARGUMENT, NOT_THERE, refused

TAKEN = "42710"


@pytest.fixture
def users(cluster, dba, account):
    """Makes a table of users whose column `key` has a type, as an administrator's table."""
    table = f"users_{account.removeprefix('user-')}"

    @contextmanager
    def users(kind="text", trigger="AFTER UPDATE"):
        dba.execute(f"CREATE TABLE {table} (key {kind}, name text)")
        dba.execute(f"GRANT ALL ON {table} TO app")
        dba.execute(f"ALTER TABLE {table} OWNER TO administrator")
        dba.execute("GRANT CREATE ON SCHEMA public TO administrator")
        try:
            with (
                cluster.connect("administrator", DATABASE) as administrator,
                cluster.connect("app", DATABASE) as connection,
            ):
                administrator.execute(
                    f"CREATE TRIGGER follow {trigger} ON {table} FOR EACH ROW"
                    " EXECUTE FUNCTION totp.rename_account('key')"
                )
                yield Users(connection, table)
        finally:
            dba.execute(f"DROP TABLE {table}")
            dba.execute("REVOKE CREATE ON SCHEMA public FROM administrator")

    return users


class Users(Client):
    """The application's table of users, as its backend changes it."""

    def __init__(self, connection, table):
        super().__init__(connection)
        self.table = table

    def add(self, key, name="somebody"):
        self.execute(f"INSERT INTO {self.table} VALUES (%s, %s)", key, name)

    def change(self, key):
        self.execute(f"UPDATE {self.table} SET key = %s", key)

    @property
    def key(self):
        return self.value(f"SELECT key::text FROM {self.table}")


@pytest.mark.parametrize("kind", ["text", "varchar(80)", "citext", "name"])
def test_the_account_follows_its_key(users, dba, account, kind):
    dba.execute("CREATE EXTENSION IF NOT EXISTS citext")
    with users(kind) as client:
        person = client.enrol(account)
        client.add(account)
        client.change(f"{account}-new")
        assert not client.is_enabled(account)
        assert client.verify(f"{account}-new", person.phone.code(client.now, 1)) is True
        assert client.backup_verify(f"{account}-new", person.backup_codes[0]) is True


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [("uuid", str(uuid4()), str(uuid4())), ("bigint", "9" * 18, "8" * 18)],
    ids=["uuid", "bigint"],
)
def test_keys_that_are_no_text_are_accounts_as_they_are_printed(users, kind, old, new):
    with users(kind) as client:
        client.enrol(old)
        client.add(old)
        client.change(new)
        assert (client.is_enabled(old), client.is_enabled(new)) == (False, True)


def test_letters_that_citext_takes_for_the_same_are_another_account(users, dba, account):
    dba.execute("CREATE EXTENSION IF NOT EXISTS citext")
    with users("citext") as client:
        client.enrol(account)
        client.add(account)
        client.change(account.upper())
        assert (client.is_enabled(account), client.is_enabled(account.upper())) == (False, True)


def test_the_audit_trail_names_the_table_and_the_login(users, dba, account):
    with users() as client:
        client.enrol(account)
        client.add(account)
        client.change(f"{account}-new")
        entry = dba.row(
            "SELECT actor, detail FROM totp.audit_log WHERE account = %s AND event = 'rename'",
            account,
        )
        reason = f"row changed in public.{client.table}"
        assert (entry.actor, entry.detail["reason"]) == ("app", reason)
        assert entry.detail["new_account"] == f"{account}-new"


def test_another_column_changes_nothing(users, dba, account):
    with users() as client:
        client.enrol(account)
        client.add(account)
        client.execute(f"UPDATE {client.table} SET name = 'x', key = key")
        assert client.is_enabled(account)
        renames = "SELECT count(*) FROM totp.audit_log WHERE account = %s AND event = 'rename'"
        assert dba.value(renames, account) == 0


def test_a_key_without_account_changes_freely(users, account):
    with users() as client:
        client.add(account)
        for key in [None, "", "x" * 300, f"{account}-new", None, account]:
            client.change(key)
        assert client.key == account
        assert not client.status(account).pending


@pytest.mark.parametrize("key", [None, "", "x" * 256], ids=["NULL", "empty", "too long"])
def test_a_key_that_no_account_can_have_fails_the_update(users, account, key):
    """Otherwise a user could lose the second factor by changing the key twice."""
    with users() as client:
        client.enrol(account)
        client.add(account)
        with refused(BAD_ARGUMENT):
            client.change(key)
        assert client.key == account
        assert client.is_enabled(account)


def test_a_name_that_is_taken_fails_the_update(users, account):
    with users() as client:
        client.enrol(account)
        client.enrol(f"{account}-new")
        client.add(account)
        with refused(TAKEN):
            client.change(f"{account}-new")
        assert client.key == account
        assert client.is_enabled(account)


def test_an_update_that_is_rolled_back_renames_nothing(users, account):
    with users() as client:
        person = client.enrol(account)
        client.add(account)
        with client.connection.transaction(force_rollback=True):
            client.change(f"{account}-new")
            assert client.is_enabled(f"{account}-new")
        assert not client.is_enabled(f"{account}-new")
        assert client.backup_verify(account, person.backup_codes[0]) is True


def test_a_pending_enrolment_ends(users, account):
    """As with any change of the account: somebody else may have planted it."""
    with users() as client:
        created = client.create(account)
        client.add(account)
        client.change(f"{account}-new")
        code = client.value("SELECT totp.totp_code(%s, clock_timestamp())", created.secret)
        assert not client.status(f"{account}-new").pending
        with refused(NOT_THERE):
            client.confirm(f"{account}-new", code)


def test_what_a_trigger_before_it_does_to_the_key_counts(users, dba, account):
    with users() as client:
        dba.execute("""
            CREATE OR REPLACE FUNCTION pg_temp.add_suffix() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.key := OLD.key || '-new'; RETURN NEW; END $$
        """)
        dba.execute(
            f"CREATE TRIGGER suffix BEFORE UPDATE ON {client.table}"
            " FOR EACH ROW EXECUTE FUNCTION pg_temp.add_suffix()"
        )
        dba.enrol(account)
        client.add(account)
        dba.execute(f"UPDATE {client.table} SET name = 'x'")
        assert dba.is_enabled(f"{account}-new")


@pytest.mark.parametrize(
    "trigger", ["BEFORE UPDATE", "AFTER INSERT OR UPDATE"], ids=["before", "insert"]
)
def test_another_kind_of_trigger_is_refused(users, account, trigger):
    with users(trigger=trigger) as client, refused(BAD_ARGUMENT):
        client.add(account)
        client.change("new")


def test_a_virtual_column_is_refused(cluster, dba, account):
    if cluster.connect().info.server_version < 180000:
        pytest.skip("PostgreSQL 18 has virtual generated columns")
    with dba.connection.transaction(force_rollback=True):
        columns = "email text, key text GENERATED ALWAYS AS (lower(email)) VIRTUAL"
        dba.execute(f"CREATE TABLE virtual ({columns})")
        dba.execute(
            "CREATE TRIGGER follow AFTER UPDATE ON virtual FOR EACH ROW"
            " EXECUTE FUNCTION totp.rename_account('key')"
        )
        dba.execute("INSERT INTO virtual VALUES (%s)", account)
        with refused("0A000"):
            dba.execute("UPDATE virtual SET email = 'new'")


def test_a_column_that_is_not_there_is_an_error(dba):
    with dba.connection.transaction(force_rollback=True):
        dba.execute("CREATE TABLE misspelled (key text)")
        dba.execute(
            "CREATE TRIGGER follow AFTER UPDATE ON misspelled FOR EACH ROW"
            " EXECUTE FUNCTION totp.rename_account('kye')"
        )
        dba.execute("INSERT INTO misspelled VALUES ('alice')")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            dba.execute("UPDATE misspelled SET key = 'bob'")
