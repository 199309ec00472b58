"""A transaction with an old snapshot still sees an account under a name that it no longer has. It gets
no guesses at it: shared memory counts them under the new name."""

from contextlib import closing

import psycopg
import pytest

from client import Client
from conftest import DATABASE, new_account

ATTEMPTS = {
    "attempt": lambda client, account: client.attempt(account, "123456"),
    "backup": lambda client, account: client.backup_verify(account, "0000-0000-0000-0000"),
    "resync": lambda client, account: client.call(
        "totp_resync", account=account, code1="123456", code2="654321"
    ),
    "disable": lambda client, account: client.disable(account, "123456"),
    "rotate": lambda client, account: client.backup_rotate(account, "123456"),
}


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("kind", ATTEMPTS)
@pytest.mark.parametrize("end", ["rename", "forget"])
def test_an_old_name_is_not_guessed_at(cluster, dba, account, level, kind, end):
    dba.enrol(account)
    new = new_account()
    with closing(cluster.connect("postgres", DATABASE)) as connection:
        client = Client(connection)
        client.execute(f"BEGIN ISOLATION LEVEL {level}")
        client.execute("SELECT 1")
        if end == "rename":
            dba.call("totp_rename", account=account, new_account=new, reason="a new name")
        else:
            dba.call("totp_forget", account=account, reason="gone")
        for _ in range(3):
            client.execute("SAVEPOINT guess")
            with pytest.raises(psycopg.errors.SerializationFailure):
                ATTEMPTS[kind](client, account)
            client.execute("ROLLBACK TO guess")
            assert client.status(account).failures == 0
        client.execute("ROLLBACK")
    assert dba.status(account).failures == 0


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_right_code_under_an_old_name_stays_unspent(cluster, dba, account, level):
    person = dba.enrol(account)
    code, new = person.phone.take(dba.now), new_account()
    with closing(cluster.connect("postgres", DATABASE)) as connection:
        client = Client(connection)
        client.execute(f"BEGIN ISOLATION LEVEL {level}")
        client.execute("SELECT 1")
        dba.call("totp_rename", account=account, new_account=new, reason="a new name")
        with pytest.raises(psycopg.errors.SerializationFailure):
            client.verify(account, code)
    assert dba.verify(new, code)


def test_a_login_with_an_old_snapshot_is_accepted_after_failures_of_others(cluster, dba, account):
    """Holding the account's row is no reason to fail: only its name has to be the same."""
    person = dba.enrol(account)
    with closing(cluster.connect("postgres", DATABASE)) as connection:
        client = Client(connection)
        client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        client.execute("SELECT 1")
        dba.execute("UPDATE totp.accounts SET created_at = created_at WHERE account = %s", account)
        assert client.verify(account, person.phone.take(dba.now))
        client.execute("COMMIT")
