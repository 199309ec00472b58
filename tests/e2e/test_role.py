"""Who may do what. Roles without a grant can do nothing, and nobody reads the tables."""

import pytest
from psycopg import errors

from client import Client
from conftest import DATABASE
from function import OF_ACCOUNTS, OF_SECRETS, OF_TOKENS, call_with_secret
from refusal import NO_KEY, NOT_ALLOWED, denied, refused

TABLES = ["accounts", "factors", "backup_codes", "tokens", "sessions", "audit_events"]
ROLES = ["stranger", "app", "administrator", "auditor", "self_service"]
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
PUBLIC_FUNCTIONS = {"totp_code", "totp_check", "totp_uri", "qr_svg", "qr_text"}


@pytest.fixture(params=ROLES)
def anybody(request, cluster):
    """A client of each role in turn."""
    with cluster.connect(request.param, DATABASE) as connection:
        yield Client(connection)


@pytest.fixture
def connect(cluster):
    """A function that logs in as a role."""
    opened = []

    def log_in(role):
        opened.append(cluster.connect(role, DATABASE))
        return Client(opened[-1])

    yield log_in
    for connection in opened:
        connection.close()


@pytest.mark.parametrize("function", OF_ACCOUNTS)
@pytest.mark.parametrize("role", ["stranger", "self_service"])
def test_functions_of_accounts_are_not_for_everybody(connect, account, role, function):
    with denied():
        connect(role).call(function, account=account, **OF_ACCOUNTS[function])


@pytest.mark.parametrize("function", OF_TOKENS)
@pytest.mark.parametrize("role", ["stranger", "self_service", "administrator", "auditor"])
def test_functions_of_tokens_are_for_the_application(connect, app, account, role, function):
    token = app.recovery(account)
    with denied():
        connect(role).call(function, token=token, **OF_TOKENS[function])
    app.call(function, token=token, **OF_TOKENS[function])


@pytest.mark.parametrize("role", ROLES)
def test_nobody_calls_what_only_other_functions_may(connect, role):
    for call in "challenge_login('x', '1', NULL)", "session_account()", "verified_account()":
        with denied():
            connect(role).execute(f"SELECT totp.{call}")


@pytest.mark.parametrize("role", ROLES)
def test_who_may_ask_about_the_session_and_who_may_sign(connect, role):
    client = connect(role)
    if role == "stranger":
        for function in ("current_account", "totp_verified"):
            with denied():
                client.execute(f"SELECT totp.{function}()")
    else:
        assert client.value("SELECT totp.current_account()") is None
        assert client.value("SELECT totp.totp_verified()") is False
    if role == "administrator":
        with refused(NO_KEY):
            client.execute("SELECT totp.jwt_sign('{}')")
    else:
        with denied():
            client.execute("SELECT totp.jwt_sign('{}')")


SELF_SERVICE = {
    "totp_create": {},
    "totp_confirm": {"code": "123456"},
    "totp_verify": {"code": "123456"},
    "totp_disable": {"code": "123456"},
    "totp_remove": {"label": "default", "code": "123456"},
    "backup_rotate": {"code": "123456"},
    "totp_status": {},
}


@pytest.mark.parametrize("function", SELF_SERVICE)
@pytest.mark.parametrize("role", ["stranger", "app", "administrator", "auditor"])
def test_self_service_is_for_its_role(connect, role, function):
    with denied():
        connect(role).call(function, schema="totp_api", **SELF_SERVICE[function])


@pytest.mark.parametrize("function", SELF_SERVICE)
def test_self_service_is_for_nobody_without_an_account(connect, function):
    with refused(NOT_ALLOWED):
        connect("self_service").call(function, schema="totp_api", **SELF_SERVICE[function])


@pytest.mark.parametrize("function", ["totp_create", "totp_verify", "totp_disable"])
@pytest.mark.parametrize("role", ["administrator", "auditor"])
def test_administrators_and_auditors_do_not_act_as_the_application(
    connect, account, role, function
):
    with denied():
        connect(role).call(function, account=account, **OF_ACCOUNTS[function])


@pytest.mark.parametrize("role", ["administrator", "auditor"])
def test_administrators_and_auditors_see_the_status(connect, app, account, role):
    app.enrol(account)
    assert connect(role).status(account).enabled is True
    assert connect(role).is_enabled(account) is True
    assert connect(role).backup_remaining(account) == 10


@pytest.mark.parametrize("function", OF_SECRETS)
def test_anybody_may_compute(anybody, function):
    assert call_with_secret(anybody, function, SECRET) is not None


def test_anybody_may_draw(anybody):
    assert anybody.value("SELECT totp.qr_svg('data')").startswith("<svg")
    assert "█" in anybody.value("SELECT totp.qr_text('data')")


def test_public_may_execute_the_pure_functions_only(dba):
    rows = dba.rows("""
        SELECT DISTINCT proname FROM pg_proc
        WHERE pronamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace)
        AND has_function_privilege('stranger', oid, 'EXECUTE')
    """)
    assert {row.proname for row in rows} == PUBLIC_FUNCTIONS


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM totp.{}",
        "SELECT account FROM totp.{}",
        "INSERT INTO totp.{} (account) VALUES ('x')",
        "UPDATE totp.{} SET account = account",
        "DELETE FROM totp.{}",
        "TRUNCATE totp.{}",
        "COPY totp.{} TO STDOUT",
        "LOCK TABLE totp.{}",
        "CREATE TRIGGER trap BEFORE INSERT ON totp.{} EXECUTE FUNCTION suppress_redundant()",
        "ALTER TABLE totp.{} ADD COLUMN x text",
        "DROP TABLE totp.{}",
    ],
)
def test_nobody_touches_a_table_directly(anybody, statement):
    for table in TABLES:
        with denied(), anybody.connection.transaction():
            anybody.execute(statement.format(table))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE totp.x ()",
        "CREATE FUNCTION totp.x() RETURNS int RETURN 1",
        "SELECT nextval('totp.audit_events_id_seq')",
        "SET ROLE totp_owner",
        "DROP EXTENSION totp",
        "ALTER EXTENSION totp UPDATE",
        "DROP FUNCTION totp.totp_verify(text, text)",
        "CREATE OR REPLACE FUNCTION totp.totp_verify(text, text) RETURNS boolean RETURN true",
    ],
)
def test_nobody_changes_the_extension(anybody, statement):
    # DROP and ALTER of what one does not own say "must be owner", with the same SQLSTATE.
    with pytest.raises(errors.InsufficientPrivilege):
        anybody.execute(statement)


def test_no_role_but_a_superuser_changes_a_setting(anybody, dba):
    settings = dba.rows("SELECT name, setting FROM pg_settings WHERE name LIKE 'totp.%'")
    assert len(settings) > 10
    for name, value in settings:
        prefix, _, rest = name.partition(".")
        with pytest.raises((errors.InsufficientPrivilege, errors.CantChangeRuntimeParam)):
            anybody.execute(f"SET {prefix}.\"{rest}\" = '{value}'")


def test_no_role_but_a_superuser_sees_where_the_keys_are(anybody):
    for name in ("totp.key_file", "totp.key_command", "totp.jwt_secret_file"):
        with pytest.raises(errors.InsufficientPrivilege):
            anybody.execute(f"SHOW {name}")
        with pytest.raises(errors.InsufficientPrivilege):
            anybody.value("SELECT current_setting(%s)", name)
        assert anybody.value("SELECT count(*) FROM pg_settings WHERE name = %s", name) == 0


def test_a_misspelt_setting_is_refused(dba):
    with pytest.raises(errors.InvalidName):
        dba.execute("SET totp.max_failure = 3")


def test_the_actor_in_the_audit_trail_is_the_login_role(connect, dba, account):
    connect("app").enrol(account)
    with dba.connection.transaction():
        dba.execute("SET LOCAL ROLE app")
        dba.verify(account, "000000")
    query = "SELECT actor, detail FROM totp.audit_events WHERE account = %s ORDER BY id"
    events = dba.rows(query, account)
    assert [event.actor for event in events] == ["app", "app", "postgres"]
    assert events[-1].detail["role"] == "app"


HOSTILE = """
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.trap() RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the trap has sprung'; END $$;
CREATE FUNCTION hostile.equal(text, text) RETURNS boolean RETURN hostile.trap();
CREATE FUNCTION hostile.length(text) RETURNS integer RETURN hostile.trap()::int;
CREATE FUNCTION hostile.coalesce(text) RETURNS text RETURN hostile.trap()::text;
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the trap has sprung'; END $$;
CREATE FUNCTION hostile.count(text) RETURNS bigint RETURN hostile.trap()::int::bigint;
CREATE OPERATOR hostile.= (FUNCTION = hostile.equal, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR hostile.< (FUNCTION = hostile.equal, LEFTARG = text, RIGHTARG = text);
CREATE TABLE hostile.accounts AS SELECT * FROM totp.accounts WITH NO DATA;
CREATE TABLE hostile.factors AS SELECT * FROM totp.factors WITH NO DATA;
CREATE TYPE hostile.verdict AS (verified text);
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA hostile TO PUBLIC;
"""


@pytest.fixture
def hostile_schema(dba):
    """A schema with twins of what the functions use. Its = raises an error."""
    dba.execute(HOSTILE)
    yield "hostile"
    dba.execute("SET client_min_messages = warning; DROP SCHEMA hostile CASCADE")


def test_a_hostile_search_path_changes_nothing(connect, dba, account, hostile_schema):
    client = connect("app")
    for table in TABLES:
        client.execute(f"CREATE TEMPORARY TABLE {table} (account text, failures int, label text)")
    client.execute(f"SET search_path = {hostile_schema}, pg_temp, pg_catalog, public")
    with pytest.raises(errors.RaiseException, match="the trap has sprung"):
        client.value("SELECT 'a'::text = 'b'::text")
    person = client.enrol(account)
    assert client.verify(account, person.phone.take(client.now)) is True
    assert client.attempt(account, person.backup_codes[0]).verified is True
    assert len(client.backup_rotate(account, person.backup_codes[1])) == 10
    assert client.fail(person, 5).retry_after is not None
    assert client.status(account).failures == 5
    assert client.is_enabled(account) is True
    assert client.disable(account, "000000") is False
    for table in TABLES:
        assert client.value(f"SELECT count(*) FROM pg_temp.{table}") == 0


def test_a_superuser_s_session_is_as_safe(dba, account, hostile_schema):
    with dba.connection.transaction():
        dba.execute(f"SET LOCAL search_path = {hostile_schema}, pg_catalog")
        person = dba.enrol(account)
        assert dba.verify(account, person.phone.take(dba.now)) is True
        assert dba.value("SELECT totp.key_generate()")
