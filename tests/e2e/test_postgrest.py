"""Self-service through PostgREST: the whole job from a browser, and the status of each refusal."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import jwt
import pytest
from psycopg import sql

from authenticator import Authenticator
from client import Client
from conftest import DATABASE
from web import POLICY, PRE_REQUEST, Browser, Web


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
    """The application's own server, which checks passwords."""
    with web.connect("app", DATABASE) as connection:
        yield Client(connection)


@pytest.fixture
def dba(web):
    with web.connect(dbname=DATABASE) as connection:
        yield Client(connection)


@pytest.fixture
def browser(web, server):
    return Browser(web, server)


def test_the_whole_job(web, server, browser):
    """Enrols, comes back with a new token, verifies, adds a device, removes it, switches it off."""
    assert browser.get("totp_status").body["enabled"] is False
    created = browser.post("totp_create", issuer="Acme")
    assert created.status == 200
    assert set(created.body) == {"secret", "uri", "qr_svg"}
    phone = Authenticator(created.body["uri"])
    confirmed = browser.post("totp_confirm", code=phone.take(time.time()))
    assert set(confirmed.body) == {
        *("confirmed", "backup_codes", "reason", "retry_after_seconds", "clock_offset_seconds"),
    }
    codes = confirmed.body["backup_codes"]
    assert browser.get("totp_status").body["verified"] is True

    again = Browser(web, server, browser.account)
    status = again.get("totp_status").body
    assert (status["enabled"], status["verified"]) == (True, False)
    assert again.post("totp_create", label="tablet").status == 403
    wrong = again.post("totp_verify", code=phone.wrong(time.time()))
    assert (wrong.status, wrong.body["verified"], wrong.body["reason"]) == (200, False, "invalid")
    right = again.post("totp_verify", code=codes[0])
    assert right.body | {"retry_after": None} == {
        "verified": True,
        "account": browser.account,
        "method": "backup",
        "label": None,
        "reason": "ok",
        "retry_after": None,
        "backup_codes_left": 9,
        "retry_after_seconds": None,
    }
    again.enrol(label="tablet")
    assert again.post("totp_remove", label="tablet", code=codes[1]).body["removed"] is True
    assert again.get("totp_status").body["verified"] is True
    rotated = again.post("backup_rotate", code=codes[4]).body
    assert len(rotated["backup_codes"]) == 10
    assert again.post("totp_verify", code=rotated["backup_codes"][0]).body["verified"] is True
    disabled = again.post("totp_disable", code=rotated["backup_codes"][1])
    assert disabled.body["disabled"] is True
    assert again.get("totp_status").body["enabled"] is False


def test_the_second_step_of_a_login_gives_a_token(web, server, browser, backend):
    """Password at the backend, code from anybody: the only call that needs no token."""
    _, codes = browser.enrol()
    login = {
        "token": backend.call("challenge_create", account=browser.account)[0],
        "code": codes[0],
    }
    answer = server.post("challenge_verify", login)
    assert answer.status == 200 and answer.body["verified"] is True
    claims = jwt.decode(answer.body["access_token"], web.secret, ["HS256"])
    assert (claims["sub"], claims["role"], claims["aal"]) == (
        browser.account,
        "authenticated",
        "aal2",
    )
    browser.token = answer.body["access_token"]
    assert browser.get("totp_status").body["verified"] is True
    assert server.post("challenge_verify", login).body["reason"] == "spent"


def test_a_request_without_a_profile_finds_nothing_of_ours(browser):
    """It goes to the application's own schema, the first of db-schemas."""
    server = browser.server
    server.profile = None
    assert server.schemas == "api, totp_api"
    missing = browser.post("totp_verify", code="123456")
    assert (missing.status, missing.sqlstate) == (404, "PGRST202")
    message = "Could not find the function api.totp_verify(code) in the schema cache"
    assert missing.body["message"] == message
    assert browser.get("totp_status").status == 404
    server.profile = "totp_api"
    found = browser.post("totp_verify", code="123456")
    assert (found.status, found.body["reason"]) == (200, "not_enrolled")
    assert found.headers["Content-Profile"] == "totp_api"
    assert browser.get("totp_status").status == 200


def test_a_code_is_a_string(web, server, browser):
    """As a number it loses its leading zeros."""
    browser.enrol()
    session = Browser(web, server, browser.account)
    short = session.post("totp_verify", code=12345)
    assert (short.status, short.sqlstate) == (400, "22023")
    refused = server.post("totp_verify", '{"code": 012345}', session.token)
    assert (refused.status, refused.sqlstate) == (400, "PGRST102")


def test_no_function_takes_a_whole_body(web):
    """Prefer: params=single-object, which PostgREST 12 still knows."""
    server = web.server(version=12)
    browser = Browser(web, server)
    for function in CALLS:
        response = browser.post(function, prefer="params=single-object", **CALLS[function])
        assert (response.status, response.sqlstate) == (404, "PGRST202"), function
        assert "single json/jsonb parameter" in response.body["details"]
    server.connection.close()


def test_which_sessions_end(web, server, browser):
    """The last column of the table of functions in docs/postgrest.md."""
    _, codes = browser.enrol()
    browser.enrol(label="tablet")
    this, other = sessions = [Browser(web, server, browser.account) for _ in range(2)]

    def verify():
        for session in sessions:
            assert session.post("totp_verify", code=codes.pop()).body["verified"] is True

    def verified():
        return [session.get("totp_status").body["verified"] for session in sessions]

    verify()
    laptop = Authenticator(this.post("totp_create", label="laptop").body["uri"])
    assert verified() == [True, True]
    confirmed = this.post("totp_confirm", label="laptop", code=laptop.take(time.time()))
    assert confirmed.body["confirmed"] is True
    assert verified() == [True, False]
    other.post("totp_verify", code=codes.pop())
    assert this.post("totp_remove", label="tablet", code=codes.pop()).body["removed"] is True
    assert verified() == [True, False]
    other.post("totp_verify", code=codes.pop())
    codes = this.post("backup_rotate", code=codes.pop()).body["backup_codes"]
    assert verified() == [True, True]
    assert this.post("totp_disable", code=codes.pop()).body["disabled"] is True
    assert verified() == [False, False]


@pytest.mark.parametrize(
    ("function", "body", "status", "sqlstate"),
    [
        ("totp_confirm", {"code": "123456"}, 400, "42704"),
        ("totp_create", {"issuer": "a:b"}, 400, "22023"),
        ("totp_create", {"label": "x" * 65}, 400, "22023"),
        ("totp_verify", '{"code": "\\u0000"}', 400, "22P05"),
        ("totp_verify", '{"code": ', 400, "PGRST102"),
        ("totp_verify", '{"code": 012345}', 400, "PGRST102"),
        ("totp_verify", {"code": "1", "account": "victim"}, 404, "PGRST202"),
        ("totp_verify", {}, 404, "PGRST202"),
        ("totp_export", {"account": "x"}, 404, "PGRST202"),
    ],
)
def test_a_refused_request_has_a_fitting_status(browser, function, body, status, sqlstate):
    response = browser.server.post(function, body, browser.token)
    assert (response.status, response.sqlstate) == (status, sqlstate)


def test_nobody_is_401_and_somebody_who_may_not_is_403(web, server, browser):
    for function, body in CALLS.items():
        assert server.post(function, body).status == 401, function
    stranger = Browser(web, server, role="anon")
    assert stranger.post("totp_create").status == 401
    browser.enrol()
    session = Browser(web, server, browser.account)
    refusal = session.post("totp_create")
    assert (refusal.status, refusal.sqlstate) == (403, "42501")
    assert refusal.body["message"] == "two-factor authentication is required"
    assert refusal.body["hint"] == "Call totp_verify with a code first."


# Every function, with arguments of the right names.
CALLS = {
    "totp_create": {},
    "totp_confirm": {"code": "123456"},
    "totp_verify": {"code": "123456"},
    "totp_disable": {"code": "123456"},
    "totp_remove": {"label": "x", "code": "123456"},
    "backup_rotate": {"code": "123456"},
    "totp_status": {},
    "totp_factors": {},
}


def test_a_get_reads_only(browser):
    """PostgREST runs it in a read-only transaction: 405, Method Not Allowed."""
    for function, arguments in CALLS.items():
        response = browser.get(function, **arguments)
        reads = function in ("totp_status", "totp_factors")
        assert response.status == (200 if reads else 405), function


def test_a_row_that_is_held_and_a_missing_key_are_errors_of_the_server(web, browser, dba):
    browser.enrol()
    with dba.connection.transaction():
        dba.execute("SELECT FROM totp.accounts WHERE account = %s FOR UPDATE", browser.account)
        browser.server.connection.execute("SET lock_timeout = '100ms'")
        busy = browser.post("totp_create", label="x")
        assert (busy.status, busy.sqlstate) == (500, "55P03")
    keys = web.data_dir / "totp.keys"
    keys.rename(keys.with_suffix(".away"))
    try:
        missing = browser.post("totp_verify", code="123456")
        assert (missing.status, missing.sqlstate) == (500, "F0000")
    finally:
        keys.with_suffix(".away").rename(keys)


def test_a_function_before_each_request_can_ask_for_the_second_factor(web, dba):
    dba.execute(PRE_REQUEST)
    server = web.server(pre_request="public.ask_for_totp")
    browser = Browser(web, server)
    _, codes = browser.enrol()
    assert browser.post("totp_create", label="x").status == 200
    session = Browser(web, server, browser.account)
    assert session.post("backup_rotate", code=codes[0]).status == 403
    assert session.get("totp_status").status == 200
    assert session.post("totp_verify", code=codes[0]).body["verified"] is True
    assert len(session.post("backup_rotate", code=codes[1]).body["backup_codes"]) == 10
    # Who has no token yet is let through to answer a challenge.
    assert server.post("challenge_verify", {"token": "x", "code": "123456"}).status == 200
    server.connection.close()


PAYSLIPS = """
CREATE TABLE public.payslips (owner text, amount integer);
ALTER TABLE payslips ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON payslips TO authenticated;
"""


def test_a_policy_shows_rows_to_a_verified_session_only(web, dba):
    """Supabase's way: tables, and policies that look at the token."""
    dba.execute(PAYSLIPS + POLICY)
    server = web.server(schemas="public", profile=None)
    browser = Browser(web, web.server())
    dba.execute("INSERT INTO payslips VALUES (%s, 1), ('somebody else', 2)", browser.account)
    assert server.read("payslips", browser.token).body == [], "who has not enrolled sees rows"
    browser.enrol()
    assert server.read("payslips", browser.token).body == [{"owner": browser.account, "amount": 1}]
    assert server.read("payslips", web.token(browser.account)).body == []
    assert server.read("payslips").status == 401
    assert server.read("payslips", web.token("x", role="service_role")).status == 403
    # Whoever may read the table, and has no policy, sees no row, and no error.
    dba.execute("GRANT SELECT ON payslips TO anon")
    assert server.read("payslips").body == []
    dba.execute("ALTER POLICY own ON payslips TO PUBLIC")
    assert server.read("payslips").status == 401
    for opened in (server, browser.server):
        opened.connection.close()


def test_anon_has_one_function_and_the_service_the_application_s(web, dba):
    """The grants of docs/postgrest.md, seen from each role of Supabase."""
    query = """
        SELECT p.oid::regprocedure::text FROM pg_proc AS p
        WHERE pronamespace = %s::regnamespace AND has_function_privilege(%s, p.oid, 'EXECUTE')
            AND has_schema_privilege(%s, pronamespace, 'USAGE') AND prorettype <> 'trigger'::regtype
    """

    def callable_by(role, schema):
        return {row[0] for row in dba.rows(query, schema, role, role)}

    own = callable_by("totp_user", "totp_api")
    assert len(own) == 14
    assert callable_by("authenticated", "totp_api") == own
    assert callable_by("anon", "totp_api") == {"totp_api.challenge_verify(text,text,text)"}
    assert callable_by("service_role", "totp_api") == set()
    assert callable_by("service_role", "totp") == callable_by("app", "totp")
    assert callable_by("anon", "totp") == callable_by("stranger", "totp")
    assert callable_by("authenticator", "totp_api") == set()


def test_an_anon_that_is_there_first_is_granted_its_function(web, dba):
    """Then the page's two GRANTs are not needed."""
    name = web.new_database("later")
    web.execute("CREATE EXTENSION totp", dbname=name)
    function = "totp_api.challenge_verify(text, text, text)"
    with web.connect(dbname=name) as connection:
        allowed = connection.execute(
            "SELECT has_function_privilege('anon', %s, 'EXECUTE')", [function]
        )
        assert allowed.fetchone() == (True,)
    web.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_a_right_and_a_wrong_code_at_once(web, dba, level):
    """PostgREST repeats a transaction that meets another: the attempt stays one attempt."""
    dba.execute(f"ALTER ROLE authenticated SET default_transaction_isolation = '{level}'")
    servers = [web.server(), web.server()]
    try:
        with ThreadPoolExecutor(2) as pool:
            for _ in range(12):
                owner = Browser(web, servers[0])
                phone, _ = owner.enrol()
                now = time.time()
                codes = [phone.take(now), phone.wrong(now)]
                sessions = [Browser(web, server, owner.account) for server in servers]
                start = Barrier(2)

                def send(session, code, start=start):
                    start.wait()
                    return session.post("totp_verify", code=code).body

                right, wrong = pool.map(send, sessions, codes)
                assert (right["verified"], wrong["reason"]) == (True, "invalid")
                failures = owner.get("totp_status").body["failures"]
                assert failures in (0, 1)
                owner.post("totp_verify", code=codes[1])
                assert owner.get("totp_status").body["failures"] == failures + 1
    finally:
        dba.execute("ALTER ROLE authenticated RESET default_transaction_isolation")
        for server in servers:
            server.connection.close()
