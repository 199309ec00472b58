"""The suite's PostgREST answers as the real one does: profiles, tokens, statuses, the schema cache,
a transaction that is repeated. The other tests of requests stand on it."""

import secrets
import time

import jwt
import pytest
from psycopg import sql

from client import Client
from cluster import until
from conftest import DATABASE
from postgrest import PostgREST
from web import Browser, Web

FUNCTIONS = """
CREATE FUNCTION api.setting(name text) RETURNS text STABLE LANGUAGE sql
AS 'SELECT current_setting(name)';
CREATE FUNCTION api.fail(code text) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = 'm', DETAIL = 'd', HINT = 'h'; END $$;
CREATE SEQUENCE api.tries;
GRANT USAGE ON SEQUENCE api.tries TO authenticated;
CREATE FUNCTION api.fail_once(code text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    try bigint := nextval('api.tries');
BEGIN
    IF try % 2 = 1 THEN
        RAISE EXCEPTION USING ERRCODE = code;
    END IF;
    RETURN try;
END $$;
CREATE FUNCTION api.numbers() RETURNS SETOF integer STABLE LANGUAGE sql
AS 'SELECT generate_series(1, 2)';
"""
RELOAD = "NOTIFY pgrst, 'reload schema'"
VERSIONS = [12, 13, 14]


@pytest.fixture(scope="module")
def web():
    with Web() as web:
        web.execute(FUNCTIONS, dbname=DATABASE)
        yield web


@pytest.fixture
def dba(web):
    with web.connect(dbname=DATABASE) as connection:
        yield Client(connection)


@pytest.fixture
def start(web):
    """Starts a server whose clients send no profile header."""
    servers = []

    def start(**options):
        servers.append(web.server(**{"profile": None, **options}))
        return servers[-1]

    yield start
    for server in servers:
        server.connection.close()


def shown(response):
    return response.status, response.sqlstate, response.body["message"]


# Requests


@pytest.mark.parametrize("version", VERSIONS)
def test_a_schema_is_chosen_by_a_profile(start, web, version):
    server = start(version=version)
    token = f"Bearer {web.token('x')}"
    accept = {"Authorization": token, "Accept-Profile": "totp_api"}
    content = {"Authorization": token, "Content-Profile": "totp_api"}
    verify = '{"code": "123456"}'
    assert server.request("GET", "/rpc/totp_status", accept).status == 200
    assert server.request("POST", "/rpc/totp_verify", content, verify).status == 200
    # The other header says nothing.
    assert server.request("GET", "/rpc/totp_status", content).status == 404
    assert server.request("POST", "/rpc/totp_verify", accept, verify).status == 404
    unknown = server.request("GET", "/rpc/totp_status", accept | {"Accept-Profile": "totp"})
    assert (unknown.status, unknown.sqlstate) == (406, "PGRST106")
    exposed = "api, totp_api"
    assert exposed in unknown.body["message" if version == 12 else "hint"]
    assert ("Proxy-Status" in unknown.headers) == (version >= 13)


def test_a_function_that_is_not_there_is_described(start, web):
    token = web.token("x")
    server = start()
    missing = server.post("totp_verify", {"code": "1", "account": "x"}, token)
    assert missing.status == 404
    assert missing.body == {
        "code": "PGRST202",
        "message": "Could not find the function api.totp_verify(account, code) in the schema cache",
        "details": "Searched for the function api.totp_verify with parameters account, code or "
        "with a single unnamed json/jsonb parameter, but no matches were found in the "
        "schema cache.",
        "hint": None,
    }
    server.profile = "totp_api"
    near = server.post("totp_verify", {"kode": "1"}, token)
    hint = "Perhaps you meant to call the function totp_api.totp_verify(code)"
    assert near.body["hint"] == hint
    details = server.get("totp_verify", token).body["details"]
    assert details.startswith("Searched for the function totp_api.totp_verify without parameters,")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", "{", 400, "PGRST102"),
        ("application/json", '{"name": NaN}', 400, "PGRST102"),
        ("application/json", '[{"name": "role"}, {}]', 400, "PGRST102"),
        ("application/json", "", 404, "PGRST202"),
        ("application/json", "7", 404, "PGRST202"),
        ("application/json", '[{"name": "role"}]', 200, None),
        ("application/x-www-form-urlencoded", "name=role", 200, None),
        ("text/plain", "role", 404, "PGRST202"),
        ("image/png", "role", 400, "PGRST102"),
    ],
)
def test_a_body_is_an_object_with_arguments(start, web, content_type, body, status, code):
    headers = {"Authorization": f"Bearer {web.token('x')}", "Content-Type": content_type}
    response = start().request("POST", "/rpc/setting", headers, body)
    assert response.status == status
    assert response.body == "authenticated" if code is None else response.sqlstate == code


def test_an_answer_has_the_shape_of_what_a_function_returns(start, web):
    server, token = start(), web.token("x")
    assert server.get("setting", token, name="role").body == "authenticated"
    assert server.get("numbers", token).body == [1, 2]
    assert server.post("setting", {"name": "request.path"}, token).body == "/rpc/setting"
    assert server.request("PATCH", "/rpc/setting").sqlstate == "PGRST101"
    html = server.request("GET", "/rpc/numbers", {"Accept": "text/html"})
    assert (html.status, html.sqlstate) == (406, "PGRST107")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("42501", 403),
        ("22023", 400),
        ("25006", 405),
        ("40003", 500),
        ("53100", 503),
        ("55P03", 500),
        ("F0000", 500),
        ("XX001", 500),
        ("PT418", 418),
        ("PTXYZ", 500),
        ("ABCDE", 400),
    ],
)
def test_an_error_has_a_status_and_its_texts(start, web, code, status):
    response = start().post("fail", {"code": code}, web.token("x"))
    assert response.status == status
    assert response.body == {"code": code, "message": "m", "details": "d", "hint": "h"}


def test_who_is_anonymous_is_asked_to_log_in(start):
    response = start().post("fail", {"code": "42501"})
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("tx_end", "prefer", "is_kept"),
    [
        ("commit", "", True),
        ("commit", "tx=rollback", True),
        ("commit-allow-override", "tx=rollback", False),
        ("rollback", "tx=commit", False),
        ("rollback-allow-override", "tx=commit", True),
    ],
)
def test_a_client_rolls_back_where_it_may(start, web, tx_end, prefer, is_kept):
    server = start(tx_end=tx_end, profile="totp_api")
    browser = Browser(web, server)
    assert browser.post("totp_create", prefer=prefer).status == 200
    assert (browser.get("totp_status").body["pending"] is True) == is_kept


def test_an_unknown_preference_is_refused_when_the_client_is_strict(start, web):
    for version in VERSIONS:
        prefer = "handling=strict, params=single-object"
        response = start(version=version).get("numbers", web.token("x"), prefer)
        assert response.status == (404 if version == 12 else 400)


# Tokens


def now(seconds=0):
    """A function that returns a time relative to its call; parameters are evaluated too early."""
    return lambda: int(time.time()) + seconds


@pytest.mark.parametrize(
    ("version", "claims", "code", "message"),
    [
        (12, {"exp": now(-40)}, "PGRST301", "JWT expired"),
        (13, {"exp": now(-40)}, "PGRST303", "JWT expired"),
        (14, {"exp": now(-40)}, "PGRST303", "JWT expired"),
        (14, {"exp": now(-10)}, None, None),
        (12, {"exp": now(60.5)}, None, None),
        (13, {"exp": now(60.5)}, "PGRST303", "JWT expired"),
        (14, {"exp": now(60.5)}, "PGRST303", "JWT expired"),
        (14, {"exp": 1e30}, "PGRST303", "JWT expired"),
        (13, {"exp": None}, "PGRST303", "The JWT 'exp' claim must be a number"),
        (14, {"exp": None}, None, None),
        (14, {"exp": "soon"}, "PGRST303", "The JWT 'exp' claim must be a number"),
        (12, {"nbf": now(90)}, "PGRST301", "JWTNotYetValid"),
        (14, {"nbf": now(90)}, "PGRST303", "JWT not yet valid"),
        (14, {"nbf": now(90.5)}, None, None),
        (14, {"iat": now(90)}, "PGRST303", "JWT issued at future"),
        (14, {"aud": ["a", 1]}, "PGRST303", None),
    ],
)
def test_the_claims_of_a_token_are_checked(start, web, version, claims, code, message):
    server = start(version=version)
    claims = {name: value() if callable(value) else value for name, value in claims.items()}
    response = server.get("setting", web.token("x", **claims), name="role")
    if code is None:
        assert response.status == 200
        return
    assert (response.status, response.sqlstate) == (401, code)
    assert message in (None, response.body["message"])
    challenge = f'Bearer error="invalid_token", error_description="{response.body["message"]}"'
    assert response.headers["WWW-Authenticate"] == challenge


def test_a_token_is_signed_with_the_secret(start, web):
    stranger = jwt.encode({"sub": "x", "role": "authenticated"}, secrets.token_hex(32), "HS256")
    none = jwt.encode({"role": "authenticated"}, "", "none")
    for token in (stranger, none, "a.b", "a.b.c", f"{stranger}x"):
        for version in VERSIONS:
            response = start(version=version).get("setting", token, name="role")
            assert (response.status, response.sqlstate) == (401, "PGRST301"), (version, token)
    server = start()
    assert server.get("setting", stranger).body["message"] == "No suitable key or wrong key type"
    assert server.get("setting", "a.b").body["message"] == "Expected 3 parts in JWT; got 2"
    # An empty one is none in version 12.
    empty = {"Authorization": "Bearer "}
    assert server.request("GET", "/rpc/setting?name=role", empty).status == 401
    assert start(version=12).request("GET", "/rpc/setting?name=role", empty).body == "anon"


def test_a_role_that_is_missing_and_none_at_all(start, web):
    token = web.token("x", role="nobody")
    assert start(version=12).get("setting", token, name="role").status == 400
    assert start(version=14).get("setting", token, name="role").status == 401
    assert start().get("setting", name="role").body == "anon"
    refused = start(anon=None).get("setting", name="role")
    assert shown(refused) == (401, "PGRST302", "Anonymous access is disabled")


# Transactions


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_a_transaction_is_repeated_after_a_conflict(start, web, version, code):
    server = start(version=version)
    response = server.post("fail_once", {"code": code}, web.token("x"))
    if (version, code) == (12, "40P01"):
        assert (response.status, server.repeats) == (500, 0)
        server.post("fail_once", {"code": "40001"}, web.token("x"))
    else:
        assert (response.status, server.repeats) == (200, 1)
        assert response.body % 2 == 0


def test_settings_and_isolation_are_those_of_the_role_and_the_function(start, web, dba):
    server, token = start(), web.token("x")

    def setting(name):
        return server.get("setting", token, name=name).body

    assert setting("transaction_isolation") == "read committed"
    dba.execute("ALTER ROLE authenticated SET default_transaction_isolation = 'serializable'")
    dba.execute("ALTER ROLE authenticated SET statement_timeout = '7s'")
    try:
        # As of the last time that it looked.
        assert setting("transaction_isolation") == "read committed"
        server.reload_config()
        assert setting("transaction_isolation") == "serializable"
        assert setting("statement_timeout") == "7s"
        dba.execute(
            "ALTER FUNCTION api.setting SET default_transaction_isolation = 'repeatable read'"
        )
        server.reload_schema()
        assert setting("transaction_isolation") == "repeatable read"
    finally:
        dba.execute("ALTER ROLE authenticated RESET ALL")
        dba.execute("ALTER FUNCTION api.setting RESET ALL")


# The schema cache


def test_a_new_function_is_found_after_a_reload(start, web, dba):
    server, token = start(), web.token("x")
    dba.execute("CREATE FUNCTION api.new() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    assert server.post("new", token=token).sqlstate == "PGRST202"
    dba.execute(RELOAD)
    until(lambda: server.post("new", token=token).status == 200, what="reload")
    dba.execute("DROP FUNCTION api.new()")
    gone = server.post("new", token=token)
    assert (gone.status, gone.sqlstate) == (404, "42883")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_extension_comes_and_goes_under_a_server(web, version):
    """The order of the steps in docs/postgrest.md."""
    name = f"later_{version}"
    web.new_database(name)
    web.execute("CREATE SCHEMA api; GRANT USAGE ON SCHEMA api TO authenticated", dbname=name)
    one = "CREATE FUNCTION api.one() RETURNS integer LANGUAGE sql AS 'SELECT 1'"
    web.execute(one, dbname=name)
    server = PostgREST(web.connect("authenticator", name), web.secret, version=version)
    browser = Browser(web, server)

    def statuses():
        server.profile = None
        own = browser.post("one")
        server.profile = "totp_api"
        return own.status, browser.get("totp_status").status

    # Without the schema everything is down, but for version 12.
    assert statuses() == ((200, 404) if version == 12 else (503, 503))
    web.execute("CREATE EXTENSION totp", "GRANT totp_user TO authenticated", dbname=name)
    if version == 12:
        assert statuses() == (200, 404)
    else:
        until(lambda: statuses() == (200, 200), what="the next try")
    web.execute(RELOAD, dbname=name)
    until(lambda: statuses() == (200, 200), what="reload")
    web.execute("DROP EXTENSION totp", dbname=name)
    assert statuses() == (200, 400)
    assert browser.get("totp_status").sqlstate == "3F000"
    web.execute(RELOAD, dbname=name)
    after = (200, 404) if version == 12 else (503, 503)
    until(lambda: statuses() == after, what="reload")
    server.connection.close()
    web.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
