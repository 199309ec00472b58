"""Attacks on who a session is: forged claims, borrowed roles, and sessions that prove nothing."""

import json
import threading
from contextlib import contextmanager

import pytest
from psycopg import errors

from authenticator import Authenticator
from cluster import until
from conftest import DATABASE
from refusal import BAD_ARGUMENT, NOT_ALLOWED, refused


def claim(client, account, **claims):
    """Says that it is somebody, as any login can say."""
    text = json.dumps({"sub": account, "session_id": "s", **claims})
    client.execute("SELECT set_config('request.jwt.claims', %s, false)", text)


def who(client):
    return client.value("SELECT totp.current_account()")


@contextmanager
def names_by_role(dba, role):
    """For sessions of a role that begin meanwhile, the login role is the account."""
    dba.execute(f"ALTER ROLE {role} IN DATABASE {DATABASE} SET totp.identity = 'role'")
    yield
    dba.execute(f"ALTER ROLE {role} IN DATABASE {DATABASE} RESET totp.identity")


@pytest.fixture
def person(connect):
    """The API server, in the middle of a request of somebody who gave the right password only."""

    def log_in(account, **claims):
        client = connect("authenticator")
        client.execute("SET ROLE authenticated")
        claim(client, account, **claims)
        return client

    return log_in


def test_forged_claims_of_another_login_make_nobody(connect, victim):
    """Any SQL role sets request.jwt.claims. A policy that reads the setting itself believes it."""
    attacker = connect("self_service")
    claim(attacker, victim.account)
    naive = "SELECT current_setting('request.jwt.claims')::json ->> 'sub'"
    assert attacker.value(naive) == victim.account
    assert who(attacker) is None
    for call in ("totp_create()", "totp_verify('123456')", "totp_status()", "totp_disable('1')"):
        with refused(NOT_ALLOWED, without=[victim.account]):
            attacker.execute(f"SELECT totp_api.{call}")


def test_claims_are_not_believed_under_the_role_of_the_api_server(connect, dba, victim):
    """A member of the API server's role becomes it by SET ROLE: the login stays what it was."""
    dba.execute("GRANT authenticator TO self_service")
    attacker = connect("self_service")
    attacker.execute("SET ROLE authenticator")
    claim(attacker, victim.account)
    assert attacker.value("SELECT current_user") == "authenticator"
    attacker.execute("RESET ROLE")
    assert who(attacker) is None
    dba.execute("REVOKE authenticator FROM self_service")


def test_nobody_else_becomes_the_login_of_the_api_server(connect):
    """SET SESSION AUTHORIZATION changes the login role: for superusers only."""
    for role in ("self_service", "app", "administrator", "authenticator"):
        with pytest.raises(errors.InsufficientPrivilege):
            connect(role).execute("SET SESSION AUTHORIZATION postgres")


def test_a_function_that_forges_claims_for_its_run_makes_nobody(connect, dba, victim):
    """A function's SET clause sets the claims, out of sight of its caller."""
    dba.execute(f"""
        CREATE FUNCTION public.forge() RETURNS text LANGUAGE sql SECURITY DEFINER
        SET request.jwt.claims = '{{"sub": "{victim.account}"}}'
        AS 'SELECT totp.current_account()'
    """)
    assert connect("self_service").value("SELECT public.forge()") is None
    dba.execute("DROP FUNCTION public.forge()")


def test_the_login_role_is_the_account_whatever_is_claimed_or_set(connect, dba, victim):
    """With totp.identity = role neither claims nor SET ROLE make another account."""
    with names_by_role(dba, "self_service"):
        attacker = connect("self_service")
        assert who(attacker) == "self_service"
        claim(attacker, victim.account)
        assert who(attacker) == "self_service"
        attacker.execute("SET ROLE totp_user")
        assert who(attacker) == "self_service"


def test_a_role_named_like_a_list_of_logins_is_not_of_the_list(connect, dba):
    """totp.jwt_logins is a list of names: no name is taken for several."""
    dba.execute('CREATE ROLE "x, authenticator" LOGIN IN ROLE totp_user')
    dba.execute('CREATE ROLE " authenticator" LOGIN IN ROLE totp_user')
    for role in ("x, authenticator", " authenticator"):
        attacker = connect(role)
        claim(attacker, "anybody")
        assert who(attacker) is None
        attacker.connection.close()
        dba.execute(f'DROP ROLE "{role}"')


def test_a_nul_in_a_claim_makes_nobody(person, dba):
    """JSON can write NUL, a text of SQL ends there: "victim\\0x" would be shown, cast and compared
    in policies as "victim"."""
    attacker = person("victim\0x")
    assert who(attacker) is None
    with refused(NOT_ALLOWED):
        attacker.execute("SELECT totp_api.totp_create()")
    assert dba.value("SELECT count(*) FROM totp.accounts WHERE account = 'victim'") == 0


@pytest.mark.parametrize(
    "sub", ["", None, True, [], ["victim"], {"sub": "victim"}, "v" * 256], ids=str
)
def test_a_claim_that_can_be_no_account_is_nobody(person, sub):
    """Identity providers differ: what is no name must not become one."""
    assert who(person(sub)) is None


NUMBER = "$serde_json::private::Number"


@pytest.mark.parametrize(
    "claims",
    [
        f'{{"sub": {{"{NUMBER}": "42"}}, "session_id": "s"}}',
        '{"sub": {"\\u0024serde_json::private::Number": "42"}, "session_id": "s"}',
        f'{{"sub": "42", "session_id": {{"{NUMBER}": "1"}}}}',
        f'{{"sub": "42", "session_id": "s", "a": [{{"{NUMBER}": "1"}}]}}',
    ],
)
def test_an_object_that_the_parser_takes_for_a_number_is_none(person, claims):
    """sub is a text or a number, as it came."""
    attacker = person("x")
    attacker.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
    assert who(attacker) is None
    attacker.execute("SELECT set_config('request.jwt.claims', %s, false)", '{"sub": 42}')
    assert who(attacker) == "42"


@pytest.mark.parametrize("nested", ["{}", '{{"a": [{}]}}'])
def test_claims_do_not_grow_by_what_the_parser_takes_for_a_number(app, dba, account, nested):
    """4096 bytes became a token of 10 MB."""
    bomb = nested.format(json.dumps({NUMBER: "1e131071"}))
    for claims in (f'{{"x": {bomb}}}', bomb):
        with refused(BAD_ARGUMENT):
            app.call("challenge_create", account=account, claims=claims)
        with refused(BAD_ARGUMENT):
            dba.call("jwt_sign", claims=claims)


def test_the_secret_of_another_session_is_not_shown_again(person, app, account):
    """Who knows the password asks again and again, until the owner opens the page; or has made a
    secret before, which the owner's page would show."""
    attacker, owner = person(account, session_id="a"), person(account, session_id="o")
    create = "SELECT secret FROM totp_api.totp_create(reuse => true)"
    planted = attacker.value(create)
    assert attacker.value(create) == planted
    secret = owner.value(create)
    assert secret != planted
    assert owner.value(create) == secret
    assert attacker.value(create) != secret
    assert app.create(account, reuse=True).secret not in (planted, secret)
    # Nothing tells a session without an ID from another one.
    nobody = person(account, session_id="")
    assert nobody.value(create) != nobody.value(create)


def test_a_stolen_password_does_not_change_the_second_factor(person, victim):
    """The session of somebody who knows the password, and has no phone."""
    attacker = person(victim.account)
    code = victim.phone.wrong(attacker.now)
    for call in (
        "totp_create('mine')",
        "totp_confirm('123456', 'mine')",
        f"totp_disable('{code}')",
        f"totp_remove('default', '{code}')",
        f"backup_rotate('{code}')",
    ):
        with refused(NOT_ALLOWED):
            attacker.execute(f"SELECT totp_api.{call}")
    assert attacker.value("SELECT enabled FROM totp_api.totp_status()") is True


def test_a_second_factor_made_before_the_victim_enrolled_is_not_confirmed_afterwards(
    person, app, account
):
    """Who knows the password makes a secret while there is no second factor, and waits."""
    attacker = person(account)
    uri = attacker.value("SELECT uri FROM totp_api.totp_create('mine')")
    app.enrol(account)
    code = Authenticator(uri).take(attacker.now)
    with refused(NOT_ALLOWED):
        attacker.execute("SELECT totp_api.totp_confirm(%s, 'mine')", code)
    assert app.status(account).factors == 1


def test_a_confirmation_that_waits_for_the_victim_s_is_refused(person, app, account):
    """As above, but sent while the victim's confirmation is under way: there is no factor yet when
    it is looked at first."""
    attacker, owner = person(account), person(account, session_id="owner")
    evil = Authenticator(attacker.value("SELECT uri FROM totp_api.totp_create('mine')"))
    good = Authenticator(owner.value("SELECT uri FROM totp_api.totp_create()"))
    outcome = []

    def confirm():
        try:
            outcome.append(confirmed(attacker, evil, "mine"))
        except errors.InsufficientPrivilege as error:
            outcome.append(error.sqlstate)

    thread = threading.Thread(target=confirm)
    with owner.connection.transaction():
        assert confirmed(owner, good, "default") is True
        thread.start()
        wait_for_lock(app, attacker.connection.info.backend_pid)
    thread.join()
    assert outcome == [NOT_ALLOWED]
    assert app.status(account).factors == 1


def confirmed(client, phone, label):
    query = "SELECT confirmed FROM totp_api.totp_confirm(%s, %s)"
    return client.value(query, phone.take(client.now), label)


def wait_for_lock(client, pid):
    until(lambda: client.value("SELECT cardinality(pg_blocking_pids(%s)) > 0", pid), what="a lock")


def test_a_snapshot_from_before_the_enrolment_sees_it(person, app, account):
    """A transaction at REPEATABLE READ goes on in a world in which there is no second factor."""
    attacker = person(account)
    evil = Authenticator(attacker.value("SELECT uri FROM totp_api.totp_create('mine')"))
    attacker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert attacker.value("SELECT enabled FROM totp_api.totp_status()") is False
    app.enrol(account)
    with pytest.raises(errors.SerializationFailure):
        confirmed(attacker, evil, "mine")
    attacker.execute("ROLLBACK")
    assert app.status(account).factors == 1


def test_a_code_of_the_attacker_s_own_account_verifies_no_other_session(person, app, victim):
    """Their own phone, the victim's session id."""
    attacker = app.enrol(f"{victim.account}-attacker")
    session = person(victim.account, session_id="shared")
    own = person(attacker.account, session_id="shared")
    code = attacker.backup_codes[0]
    assert own.value("SELECT verified FROM totp_api.totp_verify(%s)", code) is True
    assert own.value("SELECT totp.totp_verified()") is True
    assert session.value("SELECT totp.totp_verified()") is False


def test_another_person_on_the_same_connection_is_not_verified(person, app, victim):
    """An API server serves everybody over one connection, and two people's sessions may have the
    same ID."""
    client = person(victim.account)
    for who_is_there, is_verified in ((victim.account, True), ("somebody-else", False)):
        claim(client, who_is_there)
        if is_verified:
            code = victim.backup_codes[0]
            assert client.value("SELECT verified FROM totp_api.totp_verify(%s)", code) is True
        assert client.value("SELECT totp.totp_verified()") is is_verified


@pytest.mark.parametrize("end", ["ROLLBACK TO mark; COMMIT", "ROLLBACK"])
def test_a_proof_that_is_rolled_back_is_none(person, victim, end):
    """A right code inside of a savepoint, for what is done after it."""
    client = person(victim.account)
    client.execute("BEGIN; SAVEPOINT mark")
    code = victim.backup_codes[0]
    assert client.value("SELECT verified FROM totp_api.totp_verify(%s)", code) is True
    assert client.value("SELECT totp.totp_verified()") is True
    client.execute(end)
    assert client.value("SELECT totp.totp_verified()") is False


def test_the_next_person_on_a_connection_inherits_no_proof(connect, dba, app):
    """Two people after one another on a connection that a superuser's pooler keeps: with
    totp.identity = role the connection is the session, but for the account that it was."""
    pooler = connect("postgres")
    pooler.execute("SET totp.identity = 'role'; SET SESSION AUTHORIZATION self_service")
    person = app.enrol("self_service")
    code = person.backup_codes[0]
    assert pooler.value("SELECT verified FROM totp_api.totp_verify(%s)", code) is True
    pooler.execute("RESET SESSION AUTHORIZATION; SET SESSION AUTHORIZATION app")
    assert pooler.value("SELECT totp.totp_verified()") is False
    pooler.execute("RESET SESSION AUTHORIZATION")
    dba.call("totp_forget", account="self_service", reason="the test is over")


def test_discard_all_does_not_end_the_proof_of_a_login_role(connect, dba, app):
    """The limit that docs/login.md names: with totp.identity = role, a pool hands the proof on."""
    with names_by_role(dba, "self_service"):
        pooler = connect("self_service")
        code = app.enrol("self_service").backup_codes[0]
        assert pooler.value("SELECT verified FROM totp_api.totp_verify(%s)", code) is True
        pooler.execute("DISCARD ALL")
        assert pooler.value("SELECT totp.totp_verified()") is True
        dba.call("totp_forget", account="self_service", reason="the test is over")
