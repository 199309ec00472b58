"""Attacks by HTTP: whatever a browser can send to PostgREST."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from authenticator import Authenticator
from conftest import new_account
from web import Browser


@pytest.fixture
def owner(cluster, server):
    """The victim, enrolled in their own browser."""
    browser = Browser(cluster, server)
    browser.phone, browser.codes = browser.enrol()
    return browser


@pytest.fixture
def thief(cluster, server, owner):
    """Knows the victim's password: a token of its own session, without a second factor."""
    return Browser(cluster, server, owner.account)


def wrong(owner):
    return owner.phone.wrong(time.time())


def test_guesses_that_are_rolled_back_lock_all_the_same(thief, owner):
    """Prefer: tx=rollback. A counter in a table would forget each guess."""
    verdicts = [
        thief.post("totp_verify", prefer="tx=rollback", code=wrong(owner)).body for _ in range(6)
    ]
    assert [verdict["reason"] for verdict in verdicts] == ["invalid"] * 5 + ["locked"]
    # Also for whoever looks at what is committed.
    assert thief.get("totp_status").body["failures"] == 5


def test_a_right_code_that_is_rolled_back_is_spent_and_proves_nothing(cluster, server, owner):
    """Ask whether a code is right, and use it afterwards."""
    session = Browser(cluster, server, owner.account)
    code = owner.phone.take(time.time())
    assert session.post("totp_verify", prefer="tx=rollback", code=code).body["verified"] is True
    assert session.get("totp_status").body["verified"] is False
    assert session.post("totp_verify", code=code).body["verified"] is False


def test_guesses_by_get_are_not_compared(thief, owner):
    """A read-only transaction cannot count: it must not compare either."""
    for _ in range(10):
        assert thief.get("totp_verify", code=wrong(owner)).status == 405
    assert thief.get("totp_verify", code=owner.phone.take(time.time())).status == 405
    assert thief.get("totp_status").body["failures"] == 0


def test_a_single_object_reaches_no_function(thief):
    """Prefer: params=single-object gives all of the body to one argument of type json."""
    body = {"code": "123456", "account": "victim"}
    for function in ("totp_verify", "totp_create", "challenge_verify"):
        assert thief.post(function, "params=single-object", **body).status == 404


def test_an_account_as_an_argument_reaches_no_function(thief, owner):
    """No function takes one, and PostgREST chooses by the names of arguments."""
    for name in ("account", "sub", "account_name", "claims", "user_id"):
        assert thief.post("totp_create", **{name: owner.account}).status == 404


def test_a_body_that_names_an_argument_twice_changes_nobody(thief, owner):
    """The last one counts, for a code as for anything else."""
    body = f'{{"code": "123456", "code": "{wrong(owner)}"}}'
    response = thief.server.post("totp_verify", body, thief.token)
    assert response.body["account"] == owner.account


@pytest.mark.parametrize("schema", ["totp", "pg_catalog", "information_schema"])
def test_other_schemas_are_out_of_reach_even_if_exposed(cluster, schema, owner):
    """A careless db-schemas = "totp": roles of people may not call what takes an account."""
    server = cluster.server(schemas=schema, profile=None)
    token = cluster.token(new_account())
    guess = {"account": owner.account, "code": "123456"}
    assert server.post("totp_verify", guess, token).status in (403, 404)
    assert server.post("totp_export", guess | {"label": "default"}, token).status in (403, 404)
    assert server.read("factors", token).status in (403, 404)
    server.connection.close()


def test_a_challenge_is_no_access_token_and_the_reverse(cluster, server, app, owner):
    """Tokens of one kind in the place of another."""
    challenge = app.call("challenge_create", account=owner.account)[0]
    recovery = app.call("recovery_create", account=owner.account)[0]
    trust = app.call("trust_create", account=owner.account)[0]
    for token in (challenge, recovery, trust):
        assert server.get("totp_status", token).status == 401
    code = owner.codes[0]
    for token in (recovery, trust, owner.token):
        answer = server.post("challenge_verify", {"token": token, "code": code}).body
        assert (answer["reason"], answer["access_token"]) == ("invalid", None)
    # None of these tries has spent the code.
    answer = server.post("challenge_verify", {"token": challenge, "code": code}).body
    assert answer["verified"] is True


def test_a_challenge_for_something_else_is_no_login(server, app, owner):
    """A confirmation of a transfer, offered as the second step of a login."""
    token = app.call("challenge_create", account=owner.account, purpose="transfer")[0]
    answer = server.post("challenge_verify", {"token": token, "code": owner.codes[0]}).body
    assert (answer["verified"], answer["account"], answer["access_token"]) == (False, None, None)


def test_a_challenge_of_one_person_with_the_code_of_another_logs_nobody_in(
    cluster, server, app, owner
):
    """The attacker's own phone answers the victim's challenge."""
    attacker = Browser(cluster, server)
    _, codes = attacker.enrol()
    token = app.call("challenge_create", account=owner.account)[0]
    answer = server.post("challenge_verify", {"token": token, "code": codes[0]}, attacker.token)
    assert (answer.body["verified"], answer.body["access_token"]) == (False, None)


def test_a_stolen_challenge_is_bound_to_where_it_was_made(server, app, owner):
    """With a binding, say of a cookie, the token alone is not enough; nor are many tries."""
    token = app.call("challenge_create", account=owner.account, binding="cookie")[0]
    for binding in ({}, {"binding": "another"}, {"binding": ""}, {"binding": "COOKIE"}):
        answer = server.post("challenge_verify", {"token": token, "code": owner.codes[0]} | binding)
        assert (answer.body["verified"], answer.body["account"]) == (False, None)
    answer = {"token": token, "code": owner.codes[0], "binding": "cookie"}
    assert server.post("challenge_verify", answer).body["verified"] is True


def test_anonymous_guesses_at_a_challenge_end_with_it(server, app, owner):
    """Whoever has the token has a few tries, and they count for the account."""
    token = app.call("challenge_create", account=owner.account)[0]
    guess = {"token": token, "code": wrong(owner)}
    answers = [server.post("challenge_verify", guess).body["reason"] for _ in range(8)]
    assert answers[:5] == ["invalid"] * 5 and set(answers[5:]) <= {"spent", "locked"}
    assert app.status(owner.account).locked_until is not None


def test_anonymous_nonsense_costs_no_account_anything(server, app, owner, dba):
    """Tokens that we did not sign: no table is looked at, nothing is written."""
    good = app.call("challenge_create", account=owner.account)[0]
    rows = "SELECT (SELECT count(*) FROM totp.audit_events), sum(attempts) FROM totp.tokens"
    before = dba.row(rows)
    for token in ("", "x", "\x01", "." * 5000, good[:-1], f"{good}A", good.swapcase(), good[::-1]):
        answer = server.post("challenge_verify", {"token": token, "code": wrong(owner)})
        assert (answer.status, answer.body["reason"]) == (200, "invalid"), token
        assert answer.body["account"] is None
    assert dba.row(rows) == before


def test_the_claims_of_a_challenge_do_not_make_somebody_else(cluster, server, app, owner):
    """Who may choose some claims, a language say, chooses sub and role as well."""
    claims = {"sub": "admin", "role": "service_role", "aal": "aal9", "session_id": "s", "exp": 1}
    token = app.call("challenge_create", account=owner.account, claims=json.dumps(claims))[0]
    answer = server.post("challenge_verify", {"token": token, "code": owner.codes[0]}).body
    given = jwt.decode(answer["access_token"], cluster.secret, ["HS256"])
    assert (given["sub"], given["role"], given["aal"]) == (owner.account, "authenticated", "aal2")
    assert given["session_id"] != "s" and given["exp"] > time.time()


def test_fifty_browsers_with_one_code_make_one_session(cluster, owner):
    """The same code at the same moment, each in a session of its own."""
    code = owner.phone.take(time.time())

    def answer(_):
        server = cluster.server()
        browser = Browser(cluster, server, owner.account)
        verified = browser.post("totp_verify", code=code).body["verified"]
        server.connection.close()
        return verified

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(answer, range(50))) == 1


def test_a_session_does_not_outlive_a_change_of_factors(cluster, server, owner):
    """A stolen session that was verified, after its owner has taken another phone."""
    stolen = Browser(cluster, server, owner.account)
    assert stolen.post("totp_verify", code=owner.codes[0]).body["verified"] is True
    owner.enrol(label="new")
    assert stolen.get("totp_status").body["verified"] is False
    assert stolen.post("totp_disable", code=owner.codes[1]).status == 403


def test_an_enrolment_is_not_confirmed_by_somebody_else(cluster, server):
    """Another person's pending secret is not within reach of a label."""
    owner, attacker = Browser(cluster, server), Browser(cluster, server)
    phone = Authenticator(owner.post("totp_create").body["uri"])
    refusal = attacker.post("totp_confirm", code=phone.take(time.time()))
    assert (refusal.status, refusal.sqlstate) == (400, "42704")
