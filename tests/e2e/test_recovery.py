"""Recovery links that take effect after totp.recovery_delay, and what cancels them."""

from contextlib import closing
from itertools import islice

import pytest
from psycopg import Error
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


def test_with_a_delay_a_link_takes_effect_by_itself(app, person):
    token = app.recovery(person.account)
    begun = app.now
    assert app.recover(token) is False
    assert app.status(person.account).recovery_at.timestamp() == begun + 2 * DAY
    # Using it again neither restarts the delay nor ends it.
    app.wait(2 * DAY - 1)
    assert attempt(app, token).effective_at.timestamp() == begun + 2 * DAY
    assert app.is_enabled(person.account)
    app.wait(1)
    assert not app.is_enabled(person.account) and not waits(app, person.account)
    assert app.attempt(person.account, person.phone.take(app.now)).reason == "not_enrolled"
    assert not app.is_enabled(person.account)
    assert attempt(app, token).reason == "expired"
    assert app.enrol(person.account).backup_codes


@pytest.mark.parametrize("delay", ["1min", "2d"])
def test_a_link_tells_until_later_that_it_has_taken_effect(app, person, delay):
    app.execute(f"SET totp.recovery_delay = '{delay}'")
    token = ask(app, person.account)
    seconds = {"1min": 60 + HOUR, "2d": 4 * DAY}[delay]
    app.wait(seconds - 1)
    assert app.recover(token)
    app.wait(1)
    assert attempt(app, token).reason == "expired"


READS = {
    "enabled": "SELECT totp.totp_enabled(%(account)s)",
    "status": "SELECT * FROM totp.totp_status(%(account)s)",
    "factors": "SELECT * FROM totp_api.totp_factors()",
    "backup codes": "SELECT totp.backup_remaining(%(account)s)",
    "verified": "SELECT totp.totp_verified()",
    "requirement": "SELECT * FROM totp.totp_requirement(%(account)s)",
    "compliant": "SELECT totp.totp_compliant(), totp.totp_verified('1 hour') AS lately",
    "trusted": "SELECT totp.trust_verify(%(account)s, %(device)s)",
    "challenge": "SELECT totp.challenge_account(%(challenge)s)",
    "approval": "SELECT state FROM totp.approval_status(%(approval)s)",
    "view of factors": "SELECT * FROM totp.factor_status WHERE account = %(account)s",
    "view of accounts": "SELECT to_jsonb(s) - 'changed_at' FROM totp.account_status AS s"
    " WHERE account = %(account)s",
}


def test_before_and_after_its_rows_are_removed_an_account_looks_the_same(server, app, dba):
    """A recovery that has taken effect shows at once to whoever only reads."""
    account = "walker"
    dba.execute(f"CREATE ROLE {account} LOGIN IN ROLE totp_app, totp_user, totp_auditor")
    dba.execute(f"GRANT SET ON PARAMETER totp.clock, totp.recovery_delay TO {account}")
    dba.execute(f"ALTER ROLE {account} SET totp.identity = role")
    with closing(server.connect(account)) as connection:
        walker = Traveller(connection)
        person = walker.enrol(account)
        walker.enrol(account, label="tablet")
        walker.wait(60)
        assert walker.verify(account, person.phone.take(walker.now))
        dba.execute("SELECT set_config('totp.clock', %s, false)", walker.clock)
        dba.call("totp_require", account=account, reason="staff")
        tokens = {"device": walker.trust(account), "challenge": walker.challenge(account)}
        approval = walker.call("approval_request", action="pay", payload="{}", account=account).id
        walker.wait(30)
        code = person.phone.take(walker.now)
        assert walker.call("approval_confirm", id=approval, code=code).verified
        tokens["approval"] = approval
        walker.fail(person, 4)
        walker.execute("SET totp.recovery_delay = '1min'")

        def seen():
            return {
                name: walker.connection.execute(query, {"account": account, **tokens}).fetchall()
                for name, query in READS.items()
            }

        enrolled = seen()
        ask(walker, account)
        waiting = seen()
        walker.wait(60)
        off = seen()
        assert not walker.value("SELECT totp.approval_use('pay', '{}')")
        dba.execute("SELECT set_config('totp.clock', %s, false)", walker.clock)
        assert dba.value("SELECT count(*) FROM totp.factors WHERE account = %s", account) == 2
        dba.call("totp_prune")
        assert dba.value("SELECT count(*) FROM totp.factors WHERE account = %s", account) == 0
        assert seen() == off
    dba.execute("RESET totp.clock")
    assert all(rows != off[name] for name, rows in enrolled.items())
    changed = {name for name, rows in waiting.items() if rows != enrolled[name]}
    assert changed == {"status", "view of accounts"}
    assert [off[name] for name in ("enabled", "backup codes", "verified", "trusted")] == [
        [(False,)],
        [(0,)],
        [(False,)],
        [(False,)],
    ]
    assert not off["factors"] and not off["view of factors"] and off["challenge"] == [(None,)]
    (status,) = off["status"]
    assert (status.factors, status.failures, status.recovery_at) == (0, 0, None)
    assert off["requirement"][0].state == "pending"


WRITES = {
    "totp_verify": lambda c, p: c.verify(p.account, p.phone.take(c.now)),
    "totp_attempt": lambda c, p: c.attempt(p.account, p.phone.take(c.now)).verified,
    "backup_verify": lambda c, p: c.backup_verify(p.account, p.backup_codes[0]),
    "a text that is no code": lambda c, p: c.verify(p.account, "?"),
    "totp_disable": lambda c, p: c.disable(p.account, p.phone.take(c.now)),
    "backup_rotate": lambda c, p: c.backup_rotate(p.account, p.phone.take(c.now)),
    "totp_resync": lambda c, p: by_resync(c, p),
    "challenge_create": lambda c, p: not c.challenge(p.account),
    "recovery_create": lambda c, p: not c.recovery(p.account),
    "recovery_cancel": lambda c, p: c.call("recovery_cancel", account=p.account)[0],
    "trust_revoke": lambda c, p: c.call("trust_revoke", account=p.account)[0],
    "totp_create": lambda c, p: not c.create(p.account, label="new"),
    "totp_unlock": lambda c, p: not c.call("totp_unlock", account=p.account, reason="asked"),
    "totp_prune": lambda c, p: c.call("totp_prune")[0] and False,
}


@pytest.mark.parametrize("is_locked", [False, True], ids=["", "locked"])
@pytest.mark.parametrize("name", WRITES)
def test_whatever_writes_first_carries_it_out(server, app, person, name, is_locked):
    ask(app, person.account)
    app.wait(2 * DAY - 10)
    if is_locked:
        lock(app, person)
    app.wait(10)
    with closing(server.connect()) as connection:
        dba = Traveller(connection)
        dba.travel(app.now)
        assert not WRITES[name](dba, person), "the factor has done something"
        assert not left(dba, person)


def lock(app, person):
    """For 30 seconds."""
    app.fail(person, 5)
    assert app.attempt(person.account, person.phone.code(app.now)).reason == "locked"


@pytest.mark.parametrize("is_undone", [False, True], ids=["committed", "rolled back"])
def test_a_lock_ends_with_the_factors_that_it_protects(app, person, is_undone):
    """The account answers like any without a factor, also if the failures are only in memory."""
    account = person.account
    ask(app, account)
    app.wait(2 * DAY - 10)
    challenges = [app.challenge(account) for _ in range(3)]
    approval = app.call("approval_request", action="pay", payload="{}", account=account).id
    with app.connection.transaction(force_rollback=is_undone):
        lock(app, person)
    app.wait(10)
    code = person.phone.code(app.now)

    def answers():
        yield app.attempt(account, code).reason
        yield app.attempt(account, "?").reason
        yield app.call("approval_confirm", id=approval, code=code).reason
        yield app.answer(app.challenge(account), code).reason

    # Each as the first call of a transaction, and after others.
    for number in range(4):
        with app.connection.transaction(force_rollback=True):
            *_, reason = islice(answers(), number + 1)
            assert reason == "not_enrolled"
            status = app.status(account)
            assert (status.failures, status.locked_until) == (0, None)
    for challenge, text in zip(challenges, ("?", code, person.backup_codes[0]), strict=True):
        assert app.answer(challenge, text).reason == "spent"
    assert set(answers()) == {"not_enrolled"}
    lock(app, app.enrol(account))


def test_a_lock_since_a_restart_ends_all_the_same(server, app, person):
    ask(app, person.account)
    server.restart()
    with closing(server.connect("app")) as connection:
        client = Traveller(connection)
        client.travel(app.now + 2 * DAY - 10)
        lock(client, person)
        client.wait(10)
        assert (
            client.attempt(person.account, person.phone.code(client.now)).reason == "not_enrolled"
        )


def left(dba, person):
    """The rows that a recovery leaves of what was enrolled."""
    events = "SELECT count(*) FROM totp.audit_log WHERE account = %s AND event = 'recover'"
    assert dba.value(events, person.account) == 1
    query = """
        SELECT 'factor' FROM totp.factors WHERE account = %(account)s AND state = 'active'
        UNION ALL SELECT 'codes' FROM totp.backup_codes WHERE account = %(account)s
        UNION ALL SELECT 'pass' FROM totp.passes WHERE account = %(account)s
        UNION ALL SELECT 'token' FROM totp.tokens AS t JOIN totp.accounts AS a USING (account)
                  WHERE account = %(account)s AND t.changed_at <> a.changed_at
    """
    return dba.connection.execute(query, {"account": person.account}).fetchall()


def test_what_comes_after_it_is_kept(server, app, person):
    """An import, a pass or a new name is not undone by a recovery that had taken effect before."""
    with closing(server.connect()) as connection:
        dba = Traveller(connection)
        secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        uri = f"otpauth://totp/x?secret={secret}"

        def again():
            token = ask(app, app.enrol(name).account if app.status(name).factors == 0 else name)
            app.wait(2 * DAY)
            dba.travel(app.now)
            return token

        name = person.account
        again()
        dba.call("totp_import", account=name, uri=uri)
        assert app.status(name).factors == 1 and app.backup_remaining(name) == 0
        again()
        dba.execute("CREATE TEMPORARY TABLE staged (account text, secret text)")
        dba.execute("INSERT INTO staged VALUES (%s, %s)", name, uri)
        for dry_run in (True, False):
            row = dba.call("import_rows", source="staged", dry_run=dry_run)
            assert row.factors == 0 and "which was removed" in row.problem
        again()
        code = dba.call("pass_issue", account=name, reason="lost the phone")[0]
        assert app.attempt(name, code).method == "pass"
        again()
        dba.call("totp_rename", account=name, new_account=f"{name} new", reason="married")
        assert not app.is_enabled(f"{name} new")
        assert app.enrol(f"{name} new").backup_codes


@pytest.fixture
def recovered(server, app, dba):
    """Two accounts whose recovery has taken effect, and whose rows are still there, with a session
    that holds the row of the first one, and another."""
    people = [app.enrol(new_account()) for _ in range(2)]
    for person in people:
        ask(app, person.account)
    app.wait(2 * DAY)
    with closing(server.connect(autocommit=False)) as holder, closing(server.connect()) as other:
        client = Traveller(other)
        client.travel(app.now)
        client.execute("SET totp.lock_timeout = '1s'")
        accounts = [person.account for person in people]
        yield Traveller(holder), client, accounts
        client.call("totp_prune")


def test_an_import_tells_accounts_in_use_from_removed_factors(recovered):
    holder, dba, accounts = recovered
    holder.execute("SELECT FROM totp.accounts WHERE account = %s FOR NO KEY UPDATE", accounts[0])
    dba.execute("CREATE TEMPORARY TABLE staged (account text, secret text)")
    for account in accounts:
        dba.execute("INSERT INTO staged VALUES (%s, %s)", account, OTHER_URI)

    def problems():
        rows = dba.rows("SELECT * FROM totp.import_rows('staged')")
        return {row.account: row.problem for row in rows}

    in_use, removed = (problems()[account] for account in accounts)
    assert "in use by another transaction" in in_use and "which was removed" in removed
    holder.connection.rollback()
    assert all("which was removed" in problem for problem in problems().values())


def test_rows_that_are_not_removed_yet_are_counted_by_key(recovered):
    _, dba, accounts = recovered
    for number in (2, 0):
        of_them = "SELECT count(*) FROM totp.factors WHERE account = ANY (%s)"
        assert dba.value(of_them, accounts) == number
        stored = dba.value("SELECT count(*) FROM totp.factors")
        assert dba.value("SELECT sum(factors) FROM totp.key_status") == stored
        dba.call("totp_prune")


@pytest.mark.parametrize("function", ["totp_export_all", "totp_export_migration"])
def test_exports_of_many_accounts_do_not_wait_for_each_other(recovered, dba, function):
    """Each carries out the recoveries of its accounts, in its own order."""
    holder, other, accounts = recovered
    export = f"SELECT * FROM totp.{function}(%s, 'leaving')"
    holder.travel(other.now)
    # The first one is at its first account.
    assert holder.rows(export, accounts[:1]) == []
    other.connection.autocommit = False
    assert other.rows(export, accounts[::-1]) == []
    assert holder.rows(export, accounts) == []
    for client in (holder, other):
        client.connection.commit()
    other.connection.autocommit = True
    count = "SELECT count(*) FROM totp.factors WHERE account = ANY (%s)"
    assert dba.value(count, accounts) == 0


@pytest.mark.parametrize(
    "call",
    [
        "backup_reissue(%s, 'asked for')",
        "totp_export(%s, 'default', 'asked for')",
        "totp_remove(%s, 'default', '000000')",
        "trust_create(%s)",
    ],
)
def test_what_needs_a_factor_finds_none(server, app, person, call):
    assert by_totp(app, person)
    app.execute("SET totp.recovery_delay = '1min'")
    ask(app, person.account)
    app.wait(60)
    stranger = app.enrol(new_account())
    app.disable(stranger.account, stranger.backup_codes[0])
    with closing(server.connect()) as connection:
        dba = Traveller(connection)
        dba.travel(app.now)
        states = []
        for account in (person.account, stranger.account):
            with pytest.raises(Error) as failure:
                dba.rows(f"SELECT totp.{call}", account)
            states.append(failure.value.sqlstate)
    assert states[0] == states[1]


def test_a_changed_setting_does_not_change_a_recovery_that_waits(app, person):
    token = ask(app, person.account)
    app.execute("SET totp.recovery_delay = 0")
    assert attempt(app, token).reason == "waiting"
    app.execute("SET totp.recovery_delay = '30d'")
    assert attempt(app, token).reason == "waiting"
    app.wait(2 * DAY - 1)
    assert app.is_enabled(person.account)
    app.wait(1)
    assert not app.is_enabled(person.account)


def test_the_next_recovery_has_to_wait_too(app, person):
    ask(app, person.account)
    app.wait(2 * DAY)
    app.enrol(person.account)
    app.wait(HOUR)
    ask(app, person.account)
    assert app.status(person.account).recovery_at.timestamp() == app.now + 2 * DAY


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


def test_nothing_else_cancels_it(server, app, person):
    assert by_totp(app, person)
    device = app.trust(person.account)
    token = ask(app, person.account)
    code = person.phone.code(app.now)
    assert not app.verify(person.account, code), "a code that was spent before"
    app.fail(person, 4)
    assert app.is_trusted(person.account, device)
    app.create(person.account, label="planted")
    app.call("trust_revoke", account=person.account)
    with closing(server.connect()) as connection:
        dba = Traveller(connection)
        dba.travel(app.now)
        dba.call("backup_reissue", account=person.account, reason="asked")
    assert waits(app, person.account)
    app.wait(2 * DAY)
    assert app.recover(token)


OTHER_URI = "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def by_import_rows(dba, person):
    """The app that the account has, and another."""
    dba.execute("CREATE TEMPORARY TABLE staged (account text, secret text, label text)")
    for uri, label in (person.phone.totp.provisioning_uri(), "default"), (OTHER_URI, "other"):
        dba.execute("INSERT INTO staged VALUES (%s, %s, %s)", person.account, uri, label)
    assert dba.call("import_rows", source="staged").factors == 1


CHANGES = {
    "totp_reset": lambda dba, p: dba.call("totp_reset", account=p.account, reason="asked"),
    "totp_import": lambda dba, p: dba.call(
        "totp_import", account=p.account, uri=OTHER_URI, label="other"
    ),
    "import_rows": by_import_rows,
    "totp_rename": lambda dba, p: dba.call(
        "totp_rename", account=p.account, new_account=f"{p.account} new", reason="married"
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_an_administrator_changes_cancels_it(server, app, person, name):
    """And is announced as such: the user was told that it had begun."""
    token = ask(app, person.account)
    app.wait(HOUR)
    with closing(server.connect()) as connection:
        dba = Traveller(connection)
        dba.travel(app.now)
        CHANGES[name](dba, person)
        account = f"{person.account} new" if name == "totp_rename" else person.account
        events = dba.rows("SELECT event FROM totp.events WHERE account = %s ORDER BY id", account)
        announced = [row.event for row in events]
        assert announced.count("recovery_canceled") == 1
        assert announced.index("recovery_canceled") > announced.index("recovery_started")
        trail = "SELECT event FROM totp.audit_log WHERE account = %s AND event = 'recovery_cancel'"
        assert len(dba.rows(trail, person.account)) == 1
    assert not waits(app, account)
    app.wait(2 * DAY)
    assert not attempt(app, token).recovered
    assert app.is_enabled(account) == (name != "totp_reset")


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


# As many rounds, and more until each side has won.
ROUNDS, MOST = 15, 200
BOTH = {"recover", "recovery_cancel"}


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_of_a_recovery_and_what_cancels_it_one_happens(server, app, dba, level):
    """Whoever is first: nobody waits for the other in a circle, and both agree on what happened."""

    def acts(client, ready, place):
        client.execute(f"SET default_transaction_isolation = '{level}'")
        clock = end if place == 0 else before
        client.execute("SELECT set_config('totp.clock', %s, false)", clock)
        ready()
        if place == 0:
            return client.recover(token)
        if place == 1:
            return client.attempt(person.account, code).verified
        return client.call("recovery_cancel", account=person.account)[0]

    seen = set()
    for number in range(MOST):
        if number >= ROUNDS and (seen == BOTH or level != "read committed"):
            break
        app.travel(app.START)
        person = app.enrol(new_account())
        token = ask(app, person.account)
        app.wait(2 * DAY - 1)
        code, before = person.phone.code(app.now), app.clock
        app.wait(1)
        end = app.clock
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
    assert seen == BOTH or level != "read committed"
