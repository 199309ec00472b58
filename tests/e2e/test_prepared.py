"""PREPARE TRANSACTION: a code that an open two-phase transaction spent is spent for everybody."""

from contextlib import closing, contextmanager

import pytest

from client import Traveller
from concurrency import wrong_codes
from conftest import DATABASE, new_account
from refusal import refused
from rollback import Stage

START = Traveller.START
NOT_SUPPORTED = "0A000"


@pytest.fixture
def person(traveller):
    return traveller.enrol(new_account())


@pytest.fixture
def stage(cluster):
    # Whoever waits for ever fails.
    settings = {"totp.lock_timeout": "100ms", "statement_timeout": "20s"}
    with Stage(cluster, DATABASE, START + 30, **settings) as stage:
        yield stage


@contextmanager
def two_phase(stage, name):
    """A session in a transaction that is prepared at the end of the block."""
    with closing(stage.connect()) as connection:
        connection.execute("BEGIN")
        yield connection
        connection.execute(f"PREPARE TRANSACTION '{name}'")


def verify(connection, person, code):
    query = "SELECT totp.totp_verify(%s, %s)"
    return connection.execute(query, [person.account, code]).fetchone()[0]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_code_in_a_prepared_transaction_is_refused_elsewhere(stage, person, end):
    code = person.phone.code(START, 1)
    with two_phase(stage, person.account) as connection:
        assert verify(connection, person, code)
    assert not stage.client.verify(person.account, code)
    stage.watcher.execute(f"{end} PREPARED '{person.account}'")
    assert not stage.client.verify(person.account, code)
    assert stage.client.verify(person.account, person.phone.code(START, 2))


def test_a_newer_code_does_not_wait_for_a_prepared_transaction_for_ever(stage, person):
    with two_phase(stage, person.account) as connection:
        assert verify(connection, person, person.phone.code(START, 1))
    with refused("55P03"):
        stage.client.verify(person.account, person.phone.code(START, 2))
    stage.watcher.execute(f"COMMIT PREPARED '{person.account}'")


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_wrong_code_in_a_prepared_transaction_is_counted(stage, person, end):
    code = next(wrong_codes(person, START))
    with two_phase(stage, person.account) as connection:
        assert not verify(connection, person, code)
    assert stage.client.status(person.account).failures == 1
    stage.watcher.execute(f"{end} PREPARED '{person.account}'")
    assert stage.client.status(person.account).failures == 1


@pytest.fixture
def forgiving(cluster):
    """A stage on which a code that was rolled back is given back."""
    settings = {"totp.burn_on_rollback": "off", "totp.lock_timeout": "100ms"}
    with Stage(cluster, DATABASE, START + 30, **settings) as stage:
        yield stage


def test_a_transaction_that_may_give_a_code_back_is_not_prepared(stage, forgiving, person):
    code = person.phone.code(START, 1)
    with refused(NOT_SUPPORTED), two_phase(forgiving, person.account) as connection:
        assert verify(connection, person, code)
    prepared = "SELECT count(*) FROM pg_prepared_xacts WHERE gid = %s"
    assert stage.client.value(prepared, person.account) == 0
    assert stage.client.verify(person.account, code), "the code was given back"


def test_a_transaction_with_a_wrong_code_is_prepared_all_the_same(forgiving, person):
    with two_phase(forgiving, person.account) as connection:
        assert not verify(connection, person, next(wrong_codes(person, START)))
    forgiving.watcher.execute(f"COMMIT PREPARED '{person.account}'")
    assert forgiving.client.status(person.account).failures == 1


def test_a_transaction_that_has_given_its_code_back_is_prepared(forgiving, person):
    code = person.phone.code(START, 1)
    with two_phase(forgiving, person.account) as connection:
        connection.execute("SAVEPOINT mark")
        assert verify(connection, person, code)
        connection.execute("ROLLBACK TO mark")
    forgiving.watcher.execute(f"COMMIT PREPARED '{person.account}'")
    assert forgiving.client.verify(person.account, code)


def test_an_unlock_that_was_prepared_leaves_the_lock_in_memory(stage, person):
    with two_phase(stage, "failures") as connection:
        for code in list(wrong_codes(person, START))[:5]:
            assert not verify(connection, person, code)
    stage.watcher.execute("ROLLBACK PREPARED 'failures'")
    unlock = "SELECT totp.totp_unlock(%s, 'called from her known number')"
    with two_phase(stage, "unlock") as connection:
        connection.execute(unlock, [person.account])
    stage.watcher.execute("COMMIT PREPARED 'unlock'")
    code = person.phone.code(START, 1)
    assert stage.client.attempt(person.account, code).reason == "locked"
    stage.watcher.execute(unlock, [person.account])
    assert stage.client.verify(person.account, code)
