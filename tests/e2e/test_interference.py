"""Transactions that stay open must not hurt other accounts, nor make a right code a wrong one."""

import psycopg
import pytest

from client import Client, Traveller
from conftest import DATABASE, new_account

QUICK = "-c totp.lock_timeout=100ms"
CLAIMS = "SELECT set_config('request.jwt.claims', %s, false)"
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture
def connect(cluster):
    """A function that logs in, by default without autocommit."""
    opened = []

    def log_in(kind=Client, autocommit=False, options=QUICK):
        opened.append(cluster.connect(dbname=DATABASE, autocommit=autocommit, options=options))
        return kind(opened[-1])

    yield log_in
    for connection in opened:
        connection.close()


@pytest.fixture
def person(app, account):
    return app.enrol(account)


def test_a_right_code_that_meets_a_held_row_is_no_failure(connect, app, person):
    """Five tries of a right code would lock the account otherwise."""
    holder, other = connect(), connect(autocommit=True)
    holder.execute("SELECT FROM totp.factors WHERE account = %s FOR UPDATE", person.account)
    code = person.phone.take(app.now)
    for _ in range(6):
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.verify(person.account, code)
    holder.connection.rollback()
    assert app.status(person.account).failures == 0
    assert other.verify(person.account, code)


def test_a_right_code_that_fails_to_serialize_is_no_failure(connect, app, person):
    first, second = connect(), connect()
    second.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    second.execute("SELECT 1")
    assert first.backup_verify(person.account, person.backup_codes[0])
    first.connection.commit()
    with pytest.raises(psycopg.errors.SerializationFailure):
        second.backup_verify(person.account, person.backup_codes[0])
    second.connection.rollback()
    assert app.status(person.account).failures == 0


def test_a_wrong_code_that_fails_is_a_failure(connect, app, dba, person):
    """Only a right code is forgiven: else each error would be a free guess."""
    holder, other = connect(), connect(autocommit=True)
    holder.execute("SELECT FROM totp.accounts WHERE account = %s FOR UPDATE", person.account)
    for _ in range(5):
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.verify(person.account, "1234567")
    holder.connection.rollback()
    assert app.attempt(person.account, person.phone.code(app.now)).reason == "locked"


@pytest.mark.parametrize("level", LEVELS)
def test_tokens_of_several_accounts_do_not_meet(connect, level):
    """Whoever makes one removes some that have ended, which concern nobody else."""
    first, second = connect(Traveller), connect(Traveller)
    for client in first, second:
        client.connection.rollback()
        client.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
        client.travel(Traveller.START)
        client.challenge("someone", ttl="1 s")
        client.connection.commit()
        client.travel(Traveller.START + 60)
    first.challenge("first")
    second.challenge("second")
    first.connection.commit()
    second.connection.commit()


@pytest.mark.parametrize("level", LEVELS)
def test_new_secrets_of_several_accounts_do_not_meet(connect, level):
    """Whoever makes one removes some that nobody confirmed, which concern nobody else."""
    client, other = connect(Traveller), connect(Traveller, autocommit=True)
    other.create(new_account())
    client.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
    client.travel(Traveller.START + 86_400)
    client.connection.commit()
    client.execute("SELECT 1")
    other.travel(Traveller.START + 86_400)
    expired = (
        "SELECT count(*) FROM totp.factors WHERE state = 'pending' AND created_at < %s::timestamptz"
    )
    assert other.value(expired, other.clock) > 0
    other.create(new_account())
    assert other.value(expired, other.clock) == 0
    assert client.create(new_account()).secret
    client.connection.commit()


def test_ended_tokens_do_not_pile_up(connect, dba):
    """However many come in a second."""
    client = connect(Traveller, autocommit=True)
    client.execute("DELETE FROM totp.tokens")
    client.execute(
        "SELECT count(totp.challenge_create('a', ttl => '1 s')) FROM generate_series(1, 450)"
    )
    client.wait(2)
    for left in 350, 250, 150, 50, 0, 0:
        client.challenge("a", ttl="1 day")
        ended = "SELECT count(*) FROM totp.tokens WHERE expires_at < %s::timestamptz"
        moment = client.value("SELECT current_setting('totp.clock')")
        assert client.value(ended, moment) == left


def test_a_verification_holds_no_session_of_another_account(connect, app, dba, account):
    """One whose session has ended would wait for it, and its right code with it."""
    people = [app.enrol(f"{account} {name}") for name in ("first", "second")]
    options = "-c totp.jwt_logins=postgres -c totp.session_ttl=1s -c totp.lock_timeout=100ms"
    first = connect(options=options)
    second = connect(options=options, autocommit=True)
    for client, person in (first, people[0]), (second, people[1]):
        client.execute(CLAIMS, f'{{"sub": "{person.account}", "session_id": "s"}}')
        assert client.backup_verify(person.account, person.backup_codes[0])
    first.connection.commit()
    second.execute("SELECT pg_sleep(1.1)")
    assert first.backup_verify(people[0].account, people[0].backup_codes[1])
    assert second.backup_verify(people[1].account, people[1].backup_codes[1])
    assert second.value("SELECT totp.totp_verified()")


def test_an_ended_session_of_the_account_goes(connect, app, dba, account):
    person = app.enrol(account)
    client = connect(options="-c totp.jwt_logins=postgres -c totp.session_ttl=1s", autocommit=True)
    for session, code in ("old", person.backup_codes[0]), ("new", person.backup_codes[1]):
        client.execute(CLAIMS, f'{{"sub": "{account}", "session_id": "{session}"}}')
        assert client.backup_verify(account, code)
        client.execute("SELECT pg_sleep(1.1)")
    sessions = "SELECT session_id FROM totp.sessions WHERE account = %s"
    assert dba.rows(sessions, account) == [("new",)]


def test_a_revocation_waits_for_a_device_that_is_being_trusted(connect, app, person):
    trusting = connect()
    token = trusting.trust(person.account)
    revoking = connect(autocommit=True)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        revoking.call("trust_revoke", account=person.account)
    trusting.connection.commit()
    assert revoking.call("trust_revoke", account=person.account)[0] == 1
    assert not app.is_trusted(person.account, token)


def test_nothing_of_a_token_in_use_outlives_its_account(connect, dba, person):
    answering = connect()
    token = answering.challenge(person.account, claims='{"email": "p@example.com"}')
    answering.connection.commit()
    answering.answer(token, "123456", binding="wrong")
    forgetting = connect(autocommit=True)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        forgetting.call("totp_forget", account=person.account, reason="they asked")
    answering.connection.commit()
    forgetting.call("totp_forget", account=person.account, reason="they asked")
    assert dba.value("SELECT count(*) FROM totp.tokens WHERE account = %s", person.account) == 0


def test_a_change_that_waited_for_another_is_later_than_it(connect, dba, person):
    """Its time was taken before the wait; a token from in between must not outlive it."""
    changed_at = "SELECT changed_at FROM totp.accounts WHERE account = %s"
    client = connect(Traveller, autocommit=True)
    client.travel(dba.value(changed_at, person.account).timestamp())
    for _ in range(2):
        last = dba.value(changed_at, person.account)
        client.call("totp_reset", account=person.account, reason="again")
        assert dba.value(changed_at, person.account) > last
