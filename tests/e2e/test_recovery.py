"""Recovery links that take effect after totp.recovery_delay, and what cancels them."""

from contextlib import closing

import pytest
from psycopg.errors import SerializationFailure

from client import Client, Traveller
from cluster import Cluster
from concurrency import at_once
from conftest import install, new_account

HOUR = 3600
DAY = 24 * HOUR
ROLES = """
CREATE ROLE app LOGIN IN ROLE totp_app;
CREATE ROLE support LOGIN IN ROLE totp_admin;
GRANT SET ON PARAMETER totp.clock, totp.recovery_delay, totp.max_failures TO app, support;
ALTER ROLE app SET totp.recovery_delay = '2d';
"""


@pytest.fixture(scope="module", params=[True, False], ids=["preloaded", "not preloaded"])
def server(request):
    with Cluster(preload=request.param) as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)
        yield cluster


@pytest.fixture
def app(server):
    with closing(server.connect("app")) as connection:
        yield Traveller(connection)


@pytest.fixture
def dba(server):
    with closing(server.connect()) as connection:
        yield Client(connection)


@pytest.fixture
def person(app):
    person = app.enrol(new_account())
    app.wait(60)
    return person


def ask(app, account):
    """A link that has been used for the first time."""
    token = app.recovery(account)
    answer = attempt(app, token)
    assert (answer.recovered, answer.reason) == (False, "waiting")
    return token


def attempt(app, token):
    return app.call("recovery_attempt", token=token)


def waits(app, account):
    return app.status(account).recovery_at is not None


def test_with_a_delay_the_link_takes_effect_when_it_is_used_again(app, person):
    token = app.recovery(person.account)
    begun = app.now
    assert app.recover(token) is False
    assert app.status(person.account).recovery_at.timestamp() == begun + 2 * DAY
    # Using it again neither restarts the delay nor ends it.
    app.wait(2 * DAY - 1)
    assert attempt(app, token).effective_at.timestamp() == begun + 2 * DAY
    assert app.is_enabled(person.account)
    app.wait(1)
    assert app.recover(token) is True
    assert not app.is_enabled(person.account) and not waits(app, person.account)
    assert app.recover(token) is False
    again = app.enrol(person.account)
    assert again.backup_codes


def test_a_recovery_lapses_as_long_after_the_delay_as_it_is_long(app, person):
    token = ask(app, person.account)
    app.wait(4 * DAY - 1)
    assert waits(app, person.account)
    app.wait(1)
    assert not waits(app, person.account)
    assert attempt(app, token).reason == "expired"
    # What lapsed does not shorten the delay of the next one.
    assert attempt(app, app.recovery(person.account)).reason == "waiting"
    assert app.status(person.account).recovery_at.timestamp() == app.now + 2 * DAY


def test_a_short_delay_leaves_the_lifetime_of_a_link(app, person):
    app.execute("SET totp.recovery_delay = '1min'")
    token = ask(app, person.account)
    app.wait(60 + HOUR - 1)
    assert app.recover(token)


def test_another_link_completes_the_recovery_that_the_first_began(app, person):
    ask(app, person.account)
    app.wait(2 * DAY)
    assert app.recover(app.recovery(person.account))


def test_a_changed_setting_does_not_change_a_recovery_that_waits(app, person):
    token = ask(app, person.account)
    app.execute("SET totp.recovery_delay = 0")
    assert attempt(app, token).reason == "waiting"
    app.execute("SET totp.recovery_delay = '30d'")
    app.wait(2 * DAY)
    assert app.recover(token)


# Right codes


def by_totp(app, person):
    return app.verify(person.account, person.phone.take(app.now))


def by_backup_code(app, person):
    return app.attempt(person.account, person.backup_codes[0]).verified


def by_challenge(app, person):
    token = app.challenge(person.account)
    return app.answer(token, person.phone.take(app.now)).verified


def by_resync(app, person):
    codes = {f"code{n + 1}": person.phone.code(app.now, n) for n in (0, 1)}
    return app.call("totp_resync", account=person.account, **codes)[0]


def by_new_codes(app, person):
    return bool(app.backup_rotate(person.account, person.phone.take(app.now)))


def by_another_device(app, person):
    app.enrol(person.account, label="tablet")
    return True


RIGHT = [by_totp, by_backup_code, by_challenge, by_resync, by_new_codes, by_another_device]


@pytest.mark.parametrize("enter", RIGHT)
def test_any_right_code_cancels_a_recovery_that_waits(app, person, enter):
    token = ask(app, person.account)
    app.wait(HOUR // 2)
    spare = app.recovery(person.account)
    assert waits(app, person.account)
    assert enter(app, person)
    assert not waits(app, person.account)
    for link in (token, spare):
        assert attempt(app, link).reason == "spent"
    app.wait(2 * DAY)
    assert not app.recover(token) and app.is_enabled(person.account)


def test_nothing_else_cancels_it(app, person):
    assert by_totp(app, person)
    device = app.trust(person.account)
    token = ask(app, person.account)
    code = person.phone.code(app.now)
    assert not app.verify(person.account, code), "a code that was spent before"
    app.fail(person, 4)
    assert app.is_trusted(person.account, device)
    app.create(person.account, label="planted")
    app.call("trust_revoke", account=person.account)
    assert waits(app, person.account)
    app.wait(2 * DAY)
    assert app.recover(token)


def test_a_right_code_that_is_undone_cancels_nothing(app, person):
    token = ask(app, person.account)
    with app.connection.transaction(force_rollback=True):
        assert by_totp(app, person)
        assert not waits(app, person.account)
    assert waits(app, person.account)
    app.wait(2 * DAY)
    assert app.recover(token)


def test_a_backup_code_cancels_it_while_the_app_is_suspended(app, person):
    app.execute("SET totp.max_failures = 100")
    app.fail(person, 100)
    app.wait(HOUR)
    ask(app, person.account)
    assert app.status(person.account).suspended
    assert by_backup_code(app, person)
    assert not waits(app, person.account)


# recovery_cancel


def test_support_and_the_application_cancel_a_recovery(server, app, person):
    with closing(server.connect("support")) as connection:
        for client in (app, Traveller(connection)):
            client.travel(app.now)
            token = ask(app, person.account)
            spare = app.recovery(person.account)
            assert client.call("recovery_cancel", account=person.account)[0] is True
            assert not waits(app, person.account)
            assert {attempt(app, link).reason for link in (token, spare)} == {"spent"}
            assert client.call("recovery_cancel", account=person.account)[0] is False


def test_a_link_that_is_not_in_use_is_revoked_without_a_delay(app, person):
    app.execute("SET totp.recovery_delay = 0")
    token = app.recovery(person.account)
    challenge, device = app.challenge(person.account), None
    assert by_totp(app, person)
    device = app.trust(person.account)
    assert app.call("recovery_cancel", account=person.account)[0] is True
    assert attempt(app, token).reason == "spent"
    # Other tokens stay.
    assert app.call("challenge_account", token=challenge)[0] == person.account
    assert app.is_trusted(person.account, device)


def test_an_unknown_account_is_canceled_like_a_known_one(app, person):
    for account in (person.account, new_account()):
        app.recovery(account)
        assert app.call("recovery_cancel", account=account)[0] is True
        assert app.call("recovery_cancel", account=account)[0] is False


def test_each_step_of_a_recovery_is_announced_and_audited(app, dba, person):
    ask(app, person.account)
    app.call("recovery_cancel", account=person.account)
    ask(app, person.account)
    assert by_totp(app, person)
    token = ask(app, person.account)
    attempt(app, token)
    app.wait(2 * DAY)
    assert app.recover(token)
    rows = dba.rows(
        "SELECT event, detail FROM totp.events WHERE account = %s ORDER BY id", person.account
    )
    started = ("recovery_started", {"delay_seconds": 2 * DAY})
    assert [(row.event, row.detail) for row in rows[1:]] == [
        ("recovery_asked", None),
        started,
        ("recovery_canceled", None),
        ("recovery_asked", None),
        started,
        ("recovery_canceled", {"method": "totp"}),
        ("recovery_asked", None),
        started,
        ("recovered", None),
    ]
    events = dba.rows(
        "SELECT event FROM totp.audit_log WHERE account = %s ORDER BY id", person.account
    )
    assert [row.event for row in events if row.event.startswith("recover")] == [
        *("recovery_create", "recovery_start", "recovery_cancel"),
        *("recovery_create", "recovery_start", "recovery_cancel"),
        *("recovery_create", "recovery_start", "recover"),
    ]


ROUNDS = 40


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_of_a_recovery_and_what_cancels_it_one_happens(server, app, dba, level):
    """Whoever is first: nobody waits for the other in a circle, and both agree on what happened."""

    def acts(client, ready, place):
        client.execute(f"SET default_transaction_isolation = '{level}'")
        client.execute("SELECT set_config('totp.clock', %s, false)", end)
        ready()
        if place == 0:
            return client.recover(token)
        if place == 1:
            return client.attempt(person.account, code).verified
        return client.call("recovery_cancel", account=person.account)[0]

    seen = set()
    for _ in range(ROUNDS):
        app.travel(app.START)
        person = app.enrol(new_account())
        token = ask(app, person.account)
        app.wait(2 * DAY)
        code = person.phone.code(app.now)
        end = app.value("SELECT current_setting('totp.clock')")
        recovered, verified, canceled = results = at_once(lambda: server.connect("app"), 3, acts)
        errors = [result for result in results if isinstance(result, Exception)]
        assert all(isinstance(error, SerializationFailure) for error in errors), errors
        assert not errors or level != "read committed"
        events = dba.rows(
            "SELECT event FROM totp.audit_log WHERE account = %s AND outcome = 'ok'"
            " AND event IN ('recover', 'recovery_cancel')",
            person.account,
        )
        is_recovered = recovered is True
        assert app.is_enabled(person.account) is not is_recovered
        expected = "recover" if is_recovered else "recovery_cancel"
        assert [row.event for row in events] == [expected] or (errors and not events)
        assert not (is_recovered and (verified is True or canceled is True))
        seen.update(row.event for row in events)
    assert seen == {"recover", "recovery_cancel"} or level != "read committed"
