"""Challenges during a lockout, in transactions that are rolled back, and overtaken by a change."""

import pytest

from client import Client, Traveller
from concurrency import wrong_codes
from conftest import DATABASE

LIMIT = 5


@pytest.fixture
def person(app, account):
    return app.enrol(account)


def test_a_lock_leaves_challenges_as_they_are(traveller, account):
    person = traveller.enrol(account)
    token = traveller.challenge(account)
    traveller.fail(person, LIMIT)
    for _ in range(2 * LIMIT):
        verdict = traveller.answer(token, person.backup_codes[0])
        assert (verdict.reason, verdict.retry_after.total_seconds()) == ("locked", 30)
    traveller.wait(30)
    assert traveller.answer(token, person.backup_codes[0]).verified


def test_an_answer_that_is_not_looked_at_uses_no_attempt(cluster, account):
    """The account is locked by failures that were rolled back, or the client by those of others."""
    with cluster.connect(dbname=DATABASE) as connection:
        dba = Traveller(connection)
        person, token = dba.enrol(account), dba.challenge(account)
        dba.wait(60)
        with connection.transaction(force_rollback=True):
            dba.fail(person, LIMIT)
        for _ in range(2 * LIMIT):
            with connection.transaction():
                assert dba.answer(token, person.backup_codes[0]).reason == "locked"
                assert dba.value("SELECT pg_current_xact_id_if_assigned()") is None
        dba.execute("SELECT totp.totp_unlock(%s, 'a test')", account)
        dba.execute("SET totp.max_client_failures = 3")
        dba.execute("SET totp.client = '192.0.2.77'")
        for _ in range(3):
            assert not dba.verify("nobody", "000000")
        for _ in range(2 * LIMIT):
            assert dba.answer(token, person.backup_codes[0]).reason == "locked"
        dba.wait(60)
        assert dba.answer(token, person.backup_codes[0]).verified


def test_a_totp_code_while_totp_is_suspended_uses_no_attempt(traveller, cluster, account):
    person, token = traveller.enrol(account), traveller.challenge(account, ttl="1 hour")
    suspend = "UPDATE totp.accounts SET failures = 100, suspended = true WHERE account = %s"
    with cluster.connect(dbname=DATABASE) as connection:
        connection.execute(suspend, [account])
    for _ in range(2 * LIMIT):
        with traveller.connection.transaction():
            assert traveller.answer(token, person.phone.wrong(traveller.now)).reason == "suspended"
            assert traveller.value("SELECT pg_current_xact_id_if_assigned()") is None
    assert traveller.answer(token, person.backup_codes[0]).verified


# Rolled back


def test_a_rolled_back_answer_leaves_the_challenge_open_and_the_totp_code_spent(dba, person):
    token, code = dba.challenge(person.account), person.phone.take(dba.now)
    with dba.connection.transaction(force_rollback=True):
        assert dba.answer(token, code).verified
        assert dba.answer(token, person.backup_codes[0]).reason == "spent"
    again = dba.answer(token, code)
    assert (again.verified, again.reason) == (False, "invalid")
    assert dba.verify(person.account, code) is False
    assert dba.answer(token, person.backup_codes[0]).verified, "one of five tries was used"


def test_a_rolled_back_answer_gives_a_backup_code_back_with_the_challenge(dba, person):
    token, code = dba.challenge(person.account), person.backup_codes[0]
    with dba.connection.transaction(force_rollback=True):
        assert dba.answer(token, code).verified
    assert dba.backup_remaining(person.account) == 10
    assert dba.answer(token, code).verified
    assert dba.answer(token, person.backup_codes[1]).reason == "spent"


def test_guesses_that_are_rolled_back_lock_the_account_all_the_same(dba, person):
    """The token forgets them; the account does not."""
    token = dba.challenge(person.account)
    codes = wrong_codes(person, dba.now)
    seen = []
    for _ in range(2 * LIMIT):
        with dba.connection.transaction(force_rollback=True):
            seen.append(dba.answer(token, next(codes)).reason)
    assert seen == ["invalid"] * LIMIT + ["locked"] * LIMIT
    assert dba.status(person.account).failures == LIMIT
    assert dba.call("challenge_account", token=token)[0] == person.account


def test_a_challenge_that_is_rolled_back_was_never_made(dba, person):
    with dba.connection.transaction(force_rollback=True):
        token = dba.challenge(person.account)
        assert dba.call("challenge_account", token=token)[0] == person.account
    assert dba.call("challenge_account", token=token)[0] is None
    assert dba.answer(token, person.backup_codes[0]).reason == "spent"


def test_a_recovery_that_is_rolled_back_changes_nothing(dba, person):
    token = dba.recovery(person.account)
    with dba.connection.transaction(force_rollback=True):
        assert dba.recover(token)
        assert not dba.is_enabled(person.account)
    assert dba.is_enabled(person.account)
    assert dba.verify(person.account, person.phone.take(dba.now))
    assert dba.recover(token)


@pytest.mark.parametrize("change", ["totp_reset", "totp_forget"])
def test_a_challenge_that_a_change_of_factors_overtakes_is_worthless(cluster, dba, person, change):
    """It is made from what was there before the change, and committed after it."""
    with cluster.connect("app", DATABASE) as connection, connection.transaction():
        client = Client(connection)
        token, recovery = client.challenge(person.account), client.recovery(person.account)
        assert dba.call(change, account=person.account, reason="a test")[0]
    fresh = dba.enrol(person.account)
    assert dba.answer(token, fresh.backup_codes[0]).reason == "spent"
    assert dba.recover(recovery) is False
    assert dba.is_enabled(person.account)


def test_a_challenge_that_an_enrolment_overtakes_is_worthless_also_during_a_lock(
    cluster, traveller, account
):
    with cluster.connect("traveller", DATABASE) as connection, connection.transaction():
        token = Traveller(connection).challenge(account)
        person = traveller.enrol(account)
    traveller.fail(person, LIMIT)
    verdict = traveller.answer(token, person.backup_codes[0])
    assert (verdict.reason, verdict.account) == ("spent", None)
    traveller.wait(30)
    assert traveller.answer(token, person.backup_codes[0]).reason == "spent"


def test_the_same_holds_when_the_clock_was_set_back_in_between(cluster, traveller, account):
    """A change must differ from the one before it, even where time does not."""
    traveller.enrol(account)
    with cluster.connect("traveller", DATABASE) as connection, connection.transaction():
        recovery = Traveller(connection).recovery(account)
        traveller.enrol(account, label="second")
    assert traveller.recover(recovery) is False
    assert traveller.is_enabled(account)
