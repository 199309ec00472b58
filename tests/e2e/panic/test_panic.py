"""A panic in the library is an error of one statement, and no lock outlives it.

Run by tests/run with a library that has a function that panics: the feature `panic`."""

import psycopg
import pytest

from client import session
from cluster import Cluster
from conftest import install, new_account

DATABASE = "postgres"


@pytest.fixture(scope="module")
def fragile():
    with Cluster() as cluster:
        install(cluster, DATABASE)
        yield cluster


@pytest.fixture
def client(fragile):
    with session(fragile, dbname=DATABASE) as client:
        yield client


@pytest.mark.parametrize("how", ["panic", "index", "under a lock"])
def test_a_panic_is_an_error_of_one_statement(fragile, client, how):
    backend = client.value("SELECT pg_backend_pid()")
    with pytest.raises(psycopg.errors.InternalError_) as raised:
        client.execute("SELECT tests.fail(%s)", how)
    assert raised.value.sqlstate == "XX000"
    # No path of the machine that built the library, and no backtrace.
    shown = f"{raised.value} {raised.value.diag.message_detail} {raised.value.diag.context}"
    assert "/src/" not in shown and "stack backtrace" not in shown
    assert client.value("SELECT pg_backend_pid()") == backend
    assert client.value("SELECT tests.fail('not at all')")
    assert "was terminated by signal" not in fragile.log


def test_no_lock_outlives_a_panic(fragile, client):
    with pytest.raises(psycopg.errors.InternalError_):
        client.execute("SELECT tests.fail('under a lock')")
    with session(fragile, "statement_timeout = '10s'", dbname=DATABASE) as other:
        # It takes the lock of every stripe in turn.
        assert other.value("SELECT locked FROM totp.guard_status") == 0
        for _ in range(20):
            person = other.enrol(new_account())
            assert not other.verify(person.account, person.phone.wrong(other.now))
