"""Many clients at the same moment: a code counts once, and no burst outruns the limit."""

from itertools import islice

import pytest
from psycopg.errors import SerializationFailure, UndefinedObject

from conftest import DATABASE
from crowd import at_once, wrong_codes

CROWD = 50
LIMIT = 5
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def connect(cluster):
    return lambda: cluster.connect("app", DATABASE)


def outcomes(dba, account, event="verify"):
    """How many attempts of an account ended in which way, as the audit trail counts them."""
    return dict(
        dba.rows(
            "SELECT outcome, count(*) FROM totp.audit_events"
            " WHERE account = %s AND event = %s GROUP BY outcome",
            account,
            event,
        )
    )


@pytest.mark.parametrize("level", LEVELS)
def test_one_right_code_is_accepted_once(connect, app, dba, account, level):
    person = app.enrol(account)
    code = person.phone.take(app.now)

    def verify(client, ready, _):
        with client.connection.transaction():
            client.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            client.value("SELECT count(*) FROM pg_class")  # takes the snapshot
            ready()
            return client.verify(account, code)

    results = at_once(connect, CROWD, verify)
    assert results.count(True) == 1
    errors = [result for result in results if result is not True and result is not False]
    assert all(isinstance(error, SerializationFailure) for error in errors), errors
    assert level != "READ COMMITTED" or not errors
    assert outcomes(dba, account)["ok"] == 1
    assert not app.verify(account, code)


def test_one_right_code_is_accepted_once_without_transaction_blocks(connect, app, account):
    person = app.enrol(account)
    code = person.phone.take(app.now)

    def verify(client, ready, _):
        ready()
        return client.verify(account, code)

    results = at_once(connect, CROWD, verify)
    assert sorted(results) == [False] * (CROWD - 1) + [True]


def test_one_backup_code_is_accepted_once(connect, app, dba, account):
    person = app.enrol(account)

    def verify(client, ready, _):
        ready()
        return client.backup_verify(account, person.backup_codes[0])

    results = at_once(connect, CROWD, verify)
    assert sorted(results) == [False] * (CROWD - 1) + [True]
    assert outcomes(dba, account)["ok"] == 1
    assert app.backup_remaining(account) == len(person.backup_codes) - 1


def test_one_enrolment_is_confirmed_once(connect, app, account):
    created = app.create(account)

    def confirm(client, ready, _):
        code = client.value("SELECT totp.totp_code(%s, clock_timestamp())", created.secret)
        ready()
        return client.confirm(account, code)

    results = at_once(connect, 20, confirm)
    confirmed = [result for result in results if not isinstance(result, Exception)]
    assert [row.confirmed for row in confirmed].count(True) == 1
    (winner,) = (row for row in confirmed if row.confirmed)
    assert len(winner.backup_codes) == app.backup_remaining(account)
    errors = [result for result in results if isinstance(result, Exception)]
    assert all(isinstance(error, UndefinedObject) for error in errors), errors


def test_a_burst_of_wrong_codes_gets_no_more_comparisons_than_the_limit(connect, app, dba, account):
    person = app.enrol(account)
    codes = list(islice(wrong_codes(person, app.now), CROWD))
    right = person.phone.take(app.now)

    def guess(client, ready, place):
        ready()
        return client.attempt(account, codes[place]).reason

    reasons = at_once(connect, CROWD, guess)
    assert (reasons.count("invalid"), reasons.count("locked")) == (LIMIT, CROWD - LIMIT)
    assert outcomes(dba, account) == {"invalid": LIMIT}
    assert app.status(account).failures == LIMIT
    assert app.attempt(account, right).reason == "locked"


def test_a_burst_that_is_rolled_back_gets_no_more_comparisons(connect, app, dba, account):
    person = app.enrol(account)
    codes = list(islice(wrong_codes(person, app.now), CROWD))
    counted = "SELECT rolled_back FROM totp.guard_status"
    before = dba.value(counted)

    def guess(client, ready, place):
        client.connection.autocommit = False
        client.value("SELECT count(*) FROM pg_class")
        ready()
        reason = client.attempt(account, codes[place]).reason
        client.connection.rollback()
        return reason

    reasons = at_once(connect, CROWD, guess)
    assert (reasons.count("invalid"), reasons.count("locked")) == (LIMIT, CROWD - LIMIT)
    assert dba.value(counted) - before == LIMIT
    assert outcomes(dba, account) == {}
    assert app.status(account).failures == LIMIT


@pytest.mark.parametrize("level", LEVELS)
def test_a_burst_at_any_isolation_level_gets_no_more_comparisons(connect, app, account, level):
    person = app.enrol(account)
    codes = list(islice(wrong_codes(person, app.now), CROWD))

    def guess(client, ready, place):
        with client.connection.transaction():
            client.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            client.value("SELECT count(*) FROM pg_class")
            ready()
            return client.attempt(account, codes[place]).reason

    results = at_once(connect, CROWD, guess)
    conflicts = [result for result in results if isinstance(result, SerializationFailure)]
    assert results.count("invalid") + len(conflicts) == LIMIT
    assert results.count("locked") == CROWD - LIMIT
    assert app.status(account).failures == LIMIT


def test_a_burst_at_one_account_holds_up_no_other(connect, app, account):
    attacked, other = app.enrol(account), app.enrol(f"{account}-other")
    codes = list(islice(wrong_codes(attacked, app.now), CROWD))
    right = other.phone.take(app.now)

    def act(client, ready, place):
        ready()
        if place == CROWD - 1:
            return client.verify(other.account, right)
        return client.verify(account, codes[place])

    assert at_once(connect, CROWD, act)[-1] is True


def test_wrong_codes_of_all_kinds_share_one_limit(connect, app, account):
    person = app.enrol(account)
    codes = list(islice(wrong_codes(person, app.now), CROWD))

    def guess(client, ready, place):
        ready()
        match place % 5:
            case 0:
                return client.verify(account, codes[place])
            case 1:
                return client.backup_verify(account, "0000-0000-0000-0000")
            case 2:
                return client.disable(account, codes[place])
            case 3:
                return client.backup_rotate(account, codes[place]) is not None
            case 4:
                return client.call(
                    "totp_resync", account=account, code1=codes[place], code2=codes[place]
                )[0]

    assert at_once(connect, CROWD, guess) == [False] * CROWD
    assert app.status(account).failures == LIMIT
    assert app.is_enabled(account)
