"""What a page of one's own second factor can be built from: results, reasons, and hints."""

import json
import time

import jwt
import pytest

from authenticator import Authenticator
from client import Client
from conftest import DATABASE, new_account
from web import Browser, Web

BACKUP = "0000-0000-0000-0000"
# The functions that take a code, with a code that is refused, and what the refusal says.
REFUSED = {
    "totp_verify": ({"code": BACKUP}, "verified", False),
    "totp_confirm": ({"code": "000000", "label": "new"}, "confirmed", False),
    "totp_remove": ({"code": BACKUP, "label": "second"}, "removed", False),
    "totp_disable": ({"code": BACKUP}, "disabled", False),
    "backup_rotate": ({"code": BACKUP}, "backup_codes", None),
}
each_function = pytest.mark.parametrize("function", REFUSED)


@pytest.fixture(scope="module")
def web():
    with Web() as web:
        yield web


@pytest.fixture
def server(web):
    server = web.server()
    yield server
    server.connection.close()


@pytest.fixture
def backend(web):
    with web.connect("app", DATABASE) as connection:
        yield Client(connection)


@pytest.fixture
def browser(web, server):
    """A person with two authenticator apps, in a verified session."""
    browser = Browser(web, server)
    browser.phone, browser.codes = browser.enrol()
    browser.enrol(label="second")
    return browser


def pending(browser):
    """A pending app with eight digits, of which no wrong code is likely to be right."""
    return Authenticator(browser.post("totp_create", label="new").body["uri"])


@each_function
def test_a_refusal_tells_a_wrong_code_from_a_lock(browser, function):
    phone = pending(browser)
    body, name, refused = REFUSED[function]
    if function == "totp_confirm":
        body = {**body, "code": phone.wrong(time.time())}
    wrong = browser.post(function, **body).body
    assert wrong[name] == refused
    # A wrong code may be right for another hour.
    assert wrong["reason"] in ("invalid", "clock_off")
    assert wrong["retry_after_seconds"] is None
    for _ in range(4):
        fifth = browser.post(function, **body).body
    assert fifth["reason"] in ("invalid", "clock_off")
    assert fifth["retry_after_seconds"] == 30
    locked = browser.post(function, **body).body
    assert (locked[name], locked["reason"]) == (refused, "locked")
    assert locked["retry_after_seconds"] in range(20, 31)


def test_a_right_code_gives_the_reason_ok(browser):
    codes = iter(browser.codes)
    for function, name in [
        ("totp_verify", "verified"),
        ("backup_rotate", "backup_codes"),
        ("totp_disable", "disabled"),
    ]:
        done = browser.post(function, code=next(codes)).body
        assert done[name] and (done["reason"], done["retry_after_seconds"]) == ("ok", None)
        if function == "backup_rotate":
            codes = iter(done["backup_codes"])


def test_the_last_app_is_not_removed_and_the_reason_says_so(browser):
    done = browser.post("totp_remove", label="second", code=browser.codes[0]).body
    assert done == {"removed": True, "reason": "ok", "retry_after_seconds": None}
    last = browser.post("totp_remove", label="default", code=browser.codes[1]).body
    assert last == {"removed": False, "reason": "last_factor", "retry_after_seconds": None}
    assert browser.post("totp_disable", code=browser.codes[1]).body["disabled"] is True


def test_a_suspended_account_is_told(web, browser):
    with web.connect(dbname=DATABASE) as connection:
        connection.execute(
            "UPDATE totp.accounts SET failures = 100, suspended = true WHERE account = %s",
            [browser.account],
        )
    refusal = browser.post("totp_disable", code=browser.phone.wrong(time.time())).body
    assert (refusal["disabled"], refusal["reason"]) == (False, "suspended")


def test_a_challenge_says_when_to_try_again(server, backend, browser):
    challenge = backend.challenge(browser.account)
    body = {"token": challenge, "code": BACKUP}
    seconds = [server.post("challenge_verify", body).body["retry_after_seconds"] for _ in range(5)]
    assert seconds == [None] * 4 + [30]
    verdict = backend.answer(backend.challenge(browser.account), BACKUP)
    assert (verdict.reason, verdict.retry_after_seconds in range(20, 31)) == ("locked", True)


@each_function
@pytest.mark.parametrize("code", [12345, 0, 7, "12345"], ids=repr)
def test_a_number_that_lost_its_zeros_is_refused_with_a_hint_and_not_counted(
    server, browser, function, code
):
    """json_to_record makes a text of either: nothing else tells a number from a string."""
    pending(browser)
    body = {**REFUSED[function][0], "code": code}
    refusal = server.post(function, json.dumps(body), browser.token)
    assert (refusal.status, refusal.sqlstate) == (400, "22023")
    assert "JSON string" in refusal.body["hint"]
    assert browser.get("totp_status").body["failures"] == 0


def test_such_a_number_for_a_challenge_is_refused_with_a_hint_and_not_counted(
    server, backend, browser
):
    body = {"token": backend.challenge(browser.account), "code": 12345}
    for _ in range(6):
        refusal = server.post("challenge_verify", body)
        assert (refusal.status, refusal.sqlstate) == (400, "22023")
    right = server.post("challenge_verify", {**body, "code": browser.codes[0]})
    assert right.body["verified"] is True


CALLS = {
    "totp_create": {},
    "totp_status": {},
    "totp_factors": {},
    **{function: body for function, (body, *_) in REFUSED.items()},
}


@pytest.mark.parametrize("function", CALLS)
def test_a_token_without_an_account_is_401(web, server, function):
    for claims in ({}, {"user": "alice"}):
        token = jwt.encode({"role": "authenticated", **claims}, web.secret, "HS256")
        refusal = server.post(function, CALLS[function], token)
        assert refusal.status == 401, (claims, refusal)
        assert "sub" in refusal.body["details"]
    # This one names somebody, who cannot be.
    refusal = server.post(function, CALLS[function], web.token("x" * 256))
    assert (refusal.status, refusal.sqlstate) == (403, "42501")


def test_a_login_that_is_not_the_api_server_s_gets_42501(web):
    with web.connect("self_service", DATABASE) as connection, pytest.raises(Exception) as caught:
        connection.execute("SELECT set_config('request.jwt.claims', '{}', false)")
        connection.execute("SELECT totp_api.totp_status()")
    assert caught.value.sqlstate == "42501"


def test_a_page_can_list_one_s_own_apps(web, server, browser):
    pending(browser)
    listed = browser.get("totp_factors").body
    assert [(app["label"], app["state"]) for app in listed] == [
        ("default", "active"),
        ("new", "pending"),
        ("second", "active"),
    ]
    assert set(listed[0]) == {"label", "state", "created_at", "last_used_at"}
    assert listed[0]["last_used_at"] and listed[1]["last_used_at"] is None
    assert Browser(web, server, new_account()).get("totp_factors").body == []
    removed = browser.post("totp_remove", label="nothing", code=browser.codes[0])
    assert (removed.status, removed.sqlstate) == (400, "42704")
    assert "totp_factors" in removed.body["hint"]
    # What voids the pending one removes it from the list.
    assert browser.post("totp_remove", label="second", code=browser.codes[0]).body["removed"]
    assert [app["label"] for app in browser.get("totp_factors").body] == ["default"]


def test_a_page_that_is_loaded_twice_shows_the_same_secret(web, server):
    browser = Browser(web, server)
    first = browser.post("totp_create", issuer="Acme", reuse=True).body
    assert "secret" in first
    assert browser.post("totp_create", issuer="Acme", reuse=True).body == first
    assert browser.post("totp_create", issuer="Acme").body != first


def test_the_comment_of_each_function_begins_with_a_sentence_of_its_own(web):
    """PostgREST makes the first line the summary of the function in OpenAPI, and the rest its
    description."""
    with web.connect(dbname=DATABASE) as connection:
        rows = connection.execute("""
            SELECT proname, obj_description(oid, 'pg_proc') FROM pg_proc
            WHERE pronamespace = 'totp_api'::regnamespace
        """).fetchall()
    assert len(rows) == 14
    for name, comment in rows:
        summary, _, description = comment.partition("\n")
        assert summary.endswith(".") and len(summary) < 110, name
        assert "Errors: " in description and "Errors: " not in summary, name
