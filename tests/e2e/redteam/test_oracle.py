"""Attacks that ask questions: what the answers and the errors give away. What the time they take
gives away is in test_timing.py."""

import pytest
from psycopg import errors

from conftest import new_account
from web import Browser


def outcome(client, function, **arguments):
    """All that a caller sees of a call."""
    try:
        return client.call(function, **arguments)
    except errors.Error as error:
        diagnosis = error.diag
        return (
            error.sqlstate,
            diagnosis.message_primary,
            diagnosis.message_detail,
            diagnosis.message_hint,
        )


@pytest.fixture
def people(app):
    """Accounts in every state in which one can be, but locked ones."""
    enrolled, pending, former = (new_account() for _ in range(3))
    app.enrol(enrolled)
    app.create(pending)
    person = app.enrol(former)
    app.disable(former, person.backup_codes[0])
    return {"enrolled": enrolled, "pending": pending, "former": former, "unknown": new_account()}


GUESSES = {
    "totp_verify": {"code": "123456"},
    "backup_verify": {"code": "0000-0000-0000-0000"},
    "totp_disable": {"code": "123456"},
    "backup_rotate": {"code": "123456"},
    "totp_resync": {"code1": "123456", "code2": "654321"},
    "trust_verify": {"token": "x"},
}


@pytest.mark.parametrize("function", GUESSES)
def test_a_guess_tells_nothing_of_the_account(app, people, function):
    """One answer for an account that is enrolled, not yet or no more, and for none at all."""
    answers = {
        outcome(app, function, account=account, **GUESSES[function]) for account in people.values()
    }
    assert len(answers) == 1


def test_a_recovery_link_and_a_challenge_are_made_for_nobody_as_for_somebody(app, people):
    """ "Forgot your phone?" must not tell who has an account."""
    for function in ("recovery_create", "challenge_create"):
        lengths = {len(outcome(app, function, account=account)[0]) for account in people.values()}
        assert len(lengths) == 1
    for account in people.values():
        token = app.call("challenge_create", account=account)[0]
        assert app.call("challenge_account", token=token)[0] == account


def test_a_spent_a_wrong_and_a_right_code_look_alike_while_locked(app, victim):
    """A lock that refuses a right code in another way tells that it was right."""
    spent, right = victim.phone.code(app.now, -1), victim.phone.take(app.now)
    app.fail(victim, 5)
    answers = {
        tuple(app.attempt(victim.account, code))[:5]
        for code in (right, spent, victim.phone.wrong(app.now), victim.backup_codes[0], "x", None)
    }
    assert answers == {(False, victim.account, None, None, "locked")}


def test_a_spent_code_looks_like_a_wrong_one(app, victim):
    """Otherwise whoever looks over a shoulder learns that the code was right."""
    code = victim.phone.take(app.now)
    assert app.verify(victim.account, code) is True
    replayed, wrong = (
        app.attempt(victim.account, guess) for guess in (code, victim.phone.wrong(app.now))
    )
    assert replayed == wrong


def test_what_is_refused_for_want_of_rights_tells_nothing_of_accounts(connect, people):
    """The same error for everybody, known or not."""
    for role in ("stranger", "self_service", "auditor"):
        client = connect(role)
        for function, rest in GUESSES.items():
            answers = {
                outcome(client, function, account=account, **rest) for account in people.values()
            }
            assert len(answers) == 1


def test_a_person_s_browser_tells_nothing_of_others(cluster, server, people):
    """Self-service knows one account: what it says of it does not depend on another."""
    browser = Browser(cluster, server)
    before = browser.get("totp_status").body
    for account in people.values():
        assert server.get("totp_status", browser.token, account=account).status == 404
    assert browser.get("totp_status").body == before


def test_bad_tokens_of_every_kind_look_alike(server, app, victim):
    """Forged, of another kind, of another purpose, with another binding, cut, and none."""
    account = victim.account
    tokens = [
        "",
        "x",
        None,
        app.call("recovery_create", account=account)[0],
        app.call("trust_create", account=account)[0]
        if app.verify(account, victim.phone.take(app.now))
        else None,
        app.call("challenge_create", account=account, purpose="transfer")[0],
        app.call("challenge_create", account=account, binding="x")[0],
        app.call("challenge_create", account=account)[0][:-3],
    ]
    answers = {
        str(server.post("challenge_verify", {"token": token, "code": "123456"}).body)
        for token in tokens
    }
    assert len(answers) == 1
