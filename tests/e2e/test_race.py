"""Many clients at the same moment: a code or token counts once, and no burst outruns the limit."""

from collections import Counter
from itertools import islice

import pytest
from psycopg.errors import SerializationFailure, UndefinedObject

from client import Client
from concurrency import at_once, wrong_codes
from conftest import DATABASE

CROWD = 50
LARGE_CROWD = 100
LIMIT = 5
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def connect(cluster):
    return lambda: cluster.connect("app", DATABASE)


@pytest.fixture
def person(app, account):
    return app.enrol(account)


def connector(cluster, **settings):
    options = " ".join(f"-c totp.{name}={value}" for name, value in settings.items())
    return lambda: cluster.connect(dbname=DATABASE, options=options)


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


# Right codes


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


# One backup code, and many people who have it


def test_a_raced_code_counts_no_failures_that_its_transaction_has_cleared(
    cluster, connect, app, dba, account
):
    """Otherwise the trail would report a suspension that there is not."""
    person = app.enrol(account)
    code = person.phone.take(app.now)
    first = Client(connect())
    second = Client(connector(cluster, suspend_after=5, max_failures=100)())
    with first.connection.transaction():
        assert first.verify(account, code)
        for _ in range(4):
            assert not second.verify(account, person.phone.wrong(second.now))
        with second.connection.transaction():
            assert second.attempt(account, person.backup_codes[0]).reason == "ok"
            assert not second.verify(account, code)
    assert outcomes(dba, account) == {"ok": 2, "invalid": 4, "replayed": 1}
    query = "SELECT detail FROM totp.audit_events WHERE account = %s AND outcome = 'replayed'"
    assert "suspended" not in (dba.value(query, account) or {})
    assert second.status(account).failures == 1


@pytest.fixture(params=[5, 100], ids=["5 failures lock", "100 failures lock"])
def patient(request, cluster):
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


@pytest.mark.parametrize("function", ["backup_verify", "attempt", "backup_rotate", "disable"])
def test_a_hundred_parallel_uses_of_all_kinds_are_one(patient, dba, account, code, function):
    """All others verify; the one in the middle does something else with the code."""

    def use(client, ready, place):
        ready()
        if place == LARGE_CROWD // 2:
            result = getattr(client, function)(account, code)
            return getattr(result, "verified", result) not in (False, None)
        return client.backup_verify(account, code)

    results = at_once(patient, LARGE_CROWD, use)
    assert Counter(results) == {True: 1, False: LARGE_CROWD - 1}
    assert not use_after_all(dba, account, code)
    if function in ("backup_verify", "attempt"):
        assert dba.backup_remaining(account) == 9


@pytest.mark.parametrize("level", LEVELS)
def test_uses_that_are_rolled_back_leave_exactly_one(patient, dba, account, code, level):
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

    results = at_once(patient, LARGE_CROWD, use)
    errors = [result for result in results if isinstance(result, Exception)]
    assert all(isinstance(error, SerializationFailure) for error in errors), errors
    assert level != "READ COMMITTED" or not errors
    assert results.count(True) + use_after_all(dba, account, code) == 1
    assert not use_after_all(dba, account, code)
    assert dba.backup_remaining(account) == 9


# Enrolments


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


# Wrong codes


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


# Challenges and recoveries


def guesses_at_once(connect, person, tokens, moment):
    """One wrong code on each token, all at the same moment; how often each reason was given."""
    codes = list(islice(wrong_codes(person, moment), len(tokens)))

    def guess(client, ready, place):
        ready()
        return client.answer(tokens[place], codes[place])

    verdicts = at_once(connect, len(tokens), guess)
    assert not any(verdict.verified for verdict in verdicts)
    return Counter(verdict.reason for verdict in verdicts)


def test_fifty_challenges_of_an_account_give_no_more_guesses_than_one(cluster, app, dba, person):
    tokens = [app.challenge(person.account) for _ in range(CROWD)]
    connect = connector(cluster, lock_timeout="30s")
    reasons = guesses_at_once(connect, person, tokens, app.now)
    assert reasons == {"invalid": LIMIT, "locked": CROWD - LIMIT}
    assert outcomes(dba, person.account, "challenge")["invalid"] == LIMIT
    assert app.status(person.account).failures == LIMIT
    assert app.answer(app.challenge(person.account), person.backup_codes[0]).reason == "locked"


def test_fifty_guesses_on_one_challenge_are_five(cluster, app, dba, person):
    token = app.challenge(person.account)
    # An account that is hard to lock: it is the token that ends.
    connect = connector(cluster, lock_timeout="30s", max_failures=100)
    reasons = guesses_at_once(connect, person, [token] * CROWD, app.now)
    assert reasons == {"invalid": LIMIT, "spent": CROWD - LIMIT}
    assert outcomes(dba, person.account, "challenge")["invalid"] == LIMIT
    assert app.status(person.account).failures == LIMIT


@pytest.mark.parametrize("attempts", [1, 3])
def test_totp_challenge_attempts_says_how_many(cluster, app, dba, person, attempts):
    token = app.challenge(person.account)
    connect = connector(cluster, lock_timeout="30s", max_failures=100, challenge_attempts=attempts)
    reasons = guesses_at_once(connect, person, [token] * CROWD, app.now)
    assert reasons == {"invalid": attempts, "spent": CROWD - attempts}
    assert outcomes(dba, person.account, "challenge")["invalid"] == attempts


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


@pytest.fixture
def crowd(cluster):
    """Connections of fifty impatient people, who wait for a row as long as it takes."""
    options = "-c totp.lock_timeout=30s -c totp.backup_codes=50"
    return lambda: cluster.connect(dbname=DATABASE, options=options)


@pytest.mark.parametrize("codes", ["one", "different"])
def test_of_fifty_answers_at_once_one_is_accepted(crowd, dba, account, codes):
    with crowd() as connection:
        person = Client(connection).enrol(account)
    assert len(set(person.backup_codes)) == CROWD
    token = dba.challenge(account)

    def answer(client, ready, place):
        ready()
        return client.answer(token, person.backup_codes[place if codes == "different" else 0])

    verdicts = at_once(crowd, CROWD, answer)
    assert Counter(verdict.reason for verdict in verdicts) == {"ok": 1, "spent": CROWD - 1}
    assert sum(verdict.verified for verdict in verdicts) == 1
    assert dba.backup_remaining(account) == CROWD - 1, "nobody else loses a code"
    assert dba.status(account).failures == 0


def test_of_fifty_answers_at_once_one_totp_code_is_accepted(crowd, dba, account):
    person = dba.enrol(account)
    token, code = dba.challenge(account), person.phone.take(dba.now)

    def answer(client, ready, _):
        ready()
        return client.answer(token, code)

    verdicts = at_once(crowd, CROWD, answer)
    assert Counter(verdict.reason for verdict in verdicts) == {"ok": 1, "spent": CROWD - 1}
    assert dba.verify(account, code) is False


def test_of_fifty_recoveries_at_once_one_happens(crowd, dba, account):
    dba.enrol(account)
    token = dba.recovery(account)

    def recover(client, ready, _):
        ready()
        return client.recover(token)

    assert Counter(at_once(crowd, CROWD, recover)) == {True: 1, False: CROWD - 1}
    assert not dba.is_enabled(account)
