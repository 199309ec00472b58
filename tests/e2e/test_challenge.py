"""Challenges under attack: many guesses at once, and transactions that are rolled back."""

from collections import Counter
from itertools import islice

import pytest

from client import Client, Traveller
from conftest import DATABASE
from crowd import at_once, wrong_codes

CROWD = 50
LIMIT = 5
COMPARED = """
    SELECT count(*) FROM totp.audit_events
    WHERE account = %s AND event = 'challenge' AND outcome = 'invalid'
"""


@pytest.fixture
def person(app, account):
    return app.enrol(account)


def connector(cluster, **settings):
    options = " ".join(f"-c totp.{name}={value}" for name, value in settings.items())
    return lambda: cluster.connect(dbname=DATABASE, options=options)


def guesses_at_once(connect, person, tokens, moment):
    """One wrong code on each token, all at the same moment; how often each reason was given."""
    codes = list(islice(wrong_codes(person, moment), len(tokens)))

    def guess(client, ready, place):
        ready()
        return client.answer(tokens[place], codes[place])

    verdicts = at_once(connect, len(tokens), guess)
    assert not any(verdict.verified for verdict in verdicts)
    return Counter(verdict.reason for verdict in verdicts)


# Many at once


def test_fifty_challenges_of_an_account_give_no_more_guesses_than_one(cluster, app, dba, person):
    tokens = [app.challenge(person.account) for _ in range(CROWD)]
    connect = connector(cluster, lock_timeout="30s")
    reasons = guesses_at_once(connect, person, tokens, app.now)
    assert reasons == {"invalid": LIMIT, "locked": CROWD - LIMIT}
    assert dba.value(COMPARED, person.account) == LIMIT
    assert app.status(person.account).failures == LIMIT
    assert app.answer(app.challenge(person.account), person.backup_codes[0]).reason == "locked"


def test_fifty_guesses_on_one_challenge_are_five(cluster, app, dba, person):
    token = app.challenge(person.account)
    # An account that is hard to lock: it is the token that ends.
    connect = connector(cluster, lock_timeout="30s", max_failures=100)
    reasons = guesses_at_once(connect, person, [token] * CROWD, app.now)
    assert reasons == {"invalid": LIMIT, "spent": CROWD - LIMIT}
    assert dba.value(COMPARED, person.account) == LIMIT
    assert app.status(person.account).failures == LIMIT


@pytest.mark.parametrize("attempts", [1, 3])
def test_totp_challenge_attempts_says_how_many(cluster, app, dba, person, attempts):
    token = app.challenge(person.account)
    connect = connector(cluster, lock_timeout="30s", max_failures=100, challenge_attempts=attempts)
    reasons = guesses_at_once(connect, person, [token] * CROWD, app.now)
    assert reasons == {"invalid": attempts, "spent": CROWD - attempts}
    assert dba.value(COMPARED, person.account) == attempts


def test_guesses_on_challenges_and_without_them_share_one_limit(cluster, app, person):
    tokens = [app.challenge(person.account) for _ in range(CROWD)]
    codes = list(islice(wrong_codes(person, app.now), CROWD))

    def guess(client, ready, place):
        ready()
        if place % 2:
            return client.attempt(person.account, codes[place])
        return client.answer(tokens[place], codes[place])

    verdicts = at_once(connector(cluster, lock_timeout="30s"), CROWD, guess)
    reasons = Counter(verdict.reason for verdict in verdicts)
    assert reasons == {"invalid": LIMIT, "locked": CROWD - LIMIT}


def test_a_lock_leaves_challenges_as_they_are(traveller, account):
    person = traveller.enrol(account)
    token = traveller.challenge(account)
    traveller.fail(person, LIMIT)
    for _ in range(2 * LIMIT):
        verdict = traveller.answer(token, person.backup_codes[0])
        assert (verdict.reason, verdict.retry_after.total_seconds()) == ("locked", 30)
    traveller.wait(30)
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
