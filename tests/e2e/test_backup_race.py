"""A hundred people with one backup code, at the same moment: it counts once."""

from collections import Counter

import psycopg
import pytest

from conftest import DATABASE
from crowd import at_once

CROWD = 100
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture(params=[5, 100], ids=["5 failures lock", "100 failures lock"])
def connect(request, cluster):
    """A superuser's connections. With the larger limit all hundred codes are compared."""
    options = f"-c totp.lock_timeout=30s -c totp.max_failures={request.param}"
    return lambda: cluster.connect(dbname=DATABASE, options=options)


@pytest.fixture
def code(app, account):
    """A backup code of the account."""
    return app.enrol(account).backup_codes[0]


def use_after_all(dba, account, code):
    """Whether the code is still good when the race is over."""
    dba.call("totp_unlock", account=account, reason="the race is over")
    return dba.backup_verify(account, code)


def test_a_hundred_parallel_uses_are_one(connect, dba, account, code):
    def use(client, ready, _):
        ready()
        return client.backup_verify(account, code)

    results = at_once(connect, CROWD, use)
    assert Counter(results) == {True: 1, False: CROWD - 1}
    assert not use_after_all(dba, account, code)
    assert dba.backup_remaining(account) == 9


@pytest.mark.parametrize("function", ["backup_verify", "attempt", "backup_rotate", "disable"])
def test_a_hundred_parallel_uses_of_all_kinds_are_one(connect, dba, account, code, function):
    """All others verify; the one in the middle does something else with the code."""

    def use(client, ready, place):
        ready()
        if place == CROWD // 2:
            result = getattr(client, function)(account, code)
            return getattr(result, "verified", result) not in (False, None)
        return client.backup_verify(account, code)

    results = at_once(connect, CROWD, use)
    assert Counter(results) == {True: 1, False: CROWD - 1}
    assert not use_after_all(dba, account, code)


@pytest.mark.parametrize("level", LEVELS)
def test_uses_that_are_rolled_back_leave_exactly_one(connect, dba, account, code, level):
    """Every other one rolls back, and sees its use accepted perhaps; of those that commit, or come
    later, one is accepted."""

    def use(client, ready, place):
        client.connection.autocommit = False
        client.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        client.value("SELECT count(*) FROM pg_class")  # takes the snapshot
        ready()
        accepted = client.backup_verify(account, code)
        if place % 2:
            client.connection.rollback()
            return False
        client.connection.commit()
        return accepted

    results = at_once(connect, CROWD, use)
    errors = [result for result in results if isinstance(result, Exception)]
    assert all(isinstance(error, psycopg.errors.SerializationFailure) for error in errors), errors
    assert level != "READ COMMITTED" or not errors
    assert results.count(True) + use_after_all(dba, account, code) == 1
    assert not use_after_all(dba, account, code)
    assert dba.backup_remaining(account) == 9
