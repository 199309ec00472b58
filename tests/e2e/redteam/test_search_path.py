"""Attacks with objects of the caller that have the names of ours, or of PostgreSQL's."""

import pytest
from psycopg import errors

from refusal import NOT_THERE

# A schema that goes before all others, and springs a trap for whoever looks into it.
HOSTILE = """
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.trap() RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the trap has sprung, as %', current_user; END $$;
CREATE FUNCTION hostile.equal(text, text) RETURNS boolean RETURN hostile.trap();
CREATE FUNCTION hostile.equal(totp.account, text) RETURNS boolean RETURN hostile.trap();
CREATE FUNCTION hostile.equal(timestamptz, timestamptz) RETURNS boolean RETURN hostile.trap();
CREATE FUNCTION hostile.length(text) RETURNS integer RETURN hostile.trap()::integer;
CREATE FUNCTION hostile.coalesce(text) RETURNS text RETURN hostile.trap()::text;
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the trap has sprung, as %', current_user; END $$;
CREATE FUNCTION hostile.jsonb_typeof(jsonb) RETURNS text RETURN hostile.trap()::text;
CREATE FUNCTION hostile.count(text) RETURNS bigint RETURN hostile.trap()::integer;
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the trap has sprung, as %', current_user; END $$;
CREATE OPERATOR hostile.= (FUNCTION = hostile.equal, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR hostile.< (FUNCTION = hostile.equal, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR hostile.= (FUNCTION = hostile.equal, LEFTARG = totp.account, RIGHTARG = text);
CREATE OPERATOR hostile.<=
    (FUNCTION = hostile.equal, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE OPERATOR hostile.> (FUNCTION = hostile.equal, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE OPERATOR hostile.~ (FUNCTION = hostile.equal, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION hostile.totp_enabled(account text) RETURNS boolean RETURN hostile.trap();
CREATE FUNCTION hostile.current_account() RETURNS text RETURN hostile.trap()::text;
CREATE TYPE hostile.verdict AS (verified text);
CREATE TABLE hostile.accounts AS SELECT * FROM totp.accounts WITH NO DATA;
CREATE TABLE hostile.factors AS SELECT * FROM totp.factors WITH NO DATA;
CREATE TABLE hostile.sessions AS SELECT * FROM totp.sessions WITH NO DATA;
CREATE TABLE hostile.tokens AS SELECT * FROM totp.tokens WITH NO DATA;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA hostile TO PUBLIC;
"""
# What anybody can make in their own session: tables and types that hide others.
TEMPORARY = """
CREATE TEMPORARY TABLE accounts (account text, failures integer, changed_at timestamptz);
CREATE TEMPORARY TABLE factors (account text, label text, sealed text);
CREATE TEMPORARY TABLE backup_codes (account text, failures integer, label text);
CREATE TEMPORARY TABLE sessions (account text, session_id text);
CREATE TEMPORARY TABLE tokens (id uuid, account text);
CREATE TEMPORARY TABLE audit_events (account text);
CREATE DOMAIN pg_temp.verdict AS text;
CREATE DOMAIN pg_temp.interval AS text CHECK (false);
CREATE DOMAIN pg_temp.timestamptz AS text CHECK (false);
"""
PATH = "SET search_path = hostile, pg_temp, pg_catalog, public"
NAIVE = """
CREATE FUNCTION public.naive(account text) RETURNS boolean LANGUAGE sql SECURITY DEFINER
    AS 'SELECT account = ''enrolled'''
"""


@pytest.fixture
def hostile(dba):
    dba.execute(HOSTILE)
    yield
    dba.execute("SET client_min_messages = warning; DROP SCHEMA hostile CASCADE")


@pytest.fixture
def attacker(connect, hostile):
    """Has all roles, so that it reaches all functions, and the hostile schema in front."""

    def log_in(role):
        client = connect(role)
        client.execute(TEMPORARY)
        client.execute(PATH)
        return client

    return log_in


def test_the_trap_springs_in_a_function_without_a_path_of_its_own(attacker, dba):
    """The attack on a naive twin: it runs the caller's operator, as its owner."""
    dba.execute(NAIVE)
    client = attacker("app")
    with pytest.raises(errors.RaiseException, match="sprung, as app"):
        client.value("SELECT 'a'::text = 'b'::text")
    with pytest.raises(errors.RaiseException, match="sprung, as postgres"):
        client.value("SELECT public.naive('x')")
    dba.execute("DROP FUNCTION public.naive(text)")


def test_no_function_of_the_application_runs_objects_of_its_caller(attacker, account):
    """Tables, functions, operators and types of the names that our statements use."""
    client = attacker("app")
    person = client.enrol(account)
    assert client.verify(account, person.phone.take(client.now)) is True
    assert client.attempt(account, person.backup_codes[0]).verified is True
    assert client.fail(person, 1).reason == "invalid"
    assert len(client.backup_rotate(account, person.backup_codes[1])) == 10
    code = person.phone.wrong(client.now)
    token = client.call("challenge_create", account=account)[0]
    assert client.call("challenge_account", token=token)[0] == account
    assert client.call("challenge_verify", token=token, code=code).reason == "invalid"
    trust = client.call("trust_create", account=account)[0]
    assert client.call("trust_verify", account=account, token=trust)[0] is True
    assert client.call("trust_revoke", account=account)[0] == 1
    assert client.call("totp_resync", account=account, code1=code, code2=code)[0] is False
    with pytest.raises(errors.UndefinedObject) as caught:
        client.call("totp_remove", account=account, label="tablet", code=code)
    assert caught.value.sqlstate == NOT_THERE
    recovery = client.call("recovery_create", account=account)[0]
    assert client.call("recovery_confirm", token=recovery)[0] is True
    assert client.is_enabled(account) is False
    assert_untouched(client)


def test_a_lockout_runs_no_objects_of_its_caller(attacker, account):
    client = attacker("app")
    person = client.enrol(account)
    assert client.fail(person, 5).retry_after is not None
    assert client.status(account).failures == 5
    assert client.is_enabled(account) is True
    assert client.disable(account, "000000") is False
    assert_untouched(client)


def assert_untouched(client):
    """No row went into a table of the caller."""
    for table in ("accounts", "factors", "backup_codes", "sessions", "tokens", "audit_events"):
        assert client.value(f"SELECT count(*) FROM pg_temp.{table}") == 0


def test_no_function_that_a_superuser_calls_runs_objects_in_front_of_ours(dba, account, hostile):
    with dba.connection.transaction():
        dba.execute("SET LOCAL search_path = hostile, pg_catalog")
        person = dba.enrol(account)
        assert dba.verify(account, person.phone.take(dba.now)) is True
        assert dba.value("SELECT totp.key_generate()")


def test_no_function_of_administrators_runs_objects_of_its_caller(attacker, app, account):
    """They can do more, so more can be had from them."""
    person = app.enrol(account)
    client = attacker("administrator")
    reason = {"reason": "called the help desk"}
    assert client.call("totp_unlock", account=account, **reason)[0] is True
    assert len(client.call("backup_reissue", account=account, **reason)[0]) == 10
    uri = client.call("totp_export", account=account, label="default", **reason)[0]
    assert person.phone.totp.secret in uri
    renamed = f"{account}-renamed"
    assert client.call("totp_rename", account=account, new_account=renamed, **reason)[0] is True
    assert client.call("totp_reset", account=renamed, **reason)[0] is True
    assert client.call("totp_import", account=renamed, uri=uri, **reason)[0] is True
    assert client.call("totp_forget", account=renamed, **reason)[0] is True
    assert client.call("totp_prune")[0] >= 0
    for view in ("account_status", "factor_status", "audit_log", "audit_ocsf", "guard_status"):
        assert client.rows(f"SELECT * FROM totp.{view}") is not None


def test_no_function_for_browsers_runs_objects_of_its_caller(attacker, account):
    """An API server puts schemas of the application in front of the path."""
    client = attacker("authenticator")
    client.execute("SET ROLE authenticated")
    client.execute("SELECT set_config('request.jwt.claims', %s, false)", f'{{"sub": "{account}"}}')
    assert client.value("SELECT uri FROM totp_api.totp_create()").startswith("otpauth://")
    assert client.value("SELECT confirmed FROM totp_api.totp_confirm('000000')") is False
    assert client.value("SELECT reason FROM totp_api.totp_verify('000000')") == "not_enrolled"
    assert client.value("SELECT pending FROM totp_api.totp_status()") is True
    assert client.value("SELECT reason FROM totp_api.challenge_verify('x', 'y')") == "invalid"
    assert client.value("SELECT totp.current_account()") == account


def test_an_overload_in_front_of_ours_cannot_be_made(connect):
    """totp_verify(text, integer) would be the better match for a code without quotes."""
    for role in ("stranger", "app", "administrator", "auditor", "self_service", "authenticator"):
        for schema in ("totp", "totp_api"):
            with pytest.raises(errors.InsufficientPrivilege):
                connect(role).execute(
                    f"CREATE FUNCTION {schema}.totp_verify(text, integer) RETURNS int RETURN 1"
                )
            with pytest.raises(errors.InsufficientPrivilege):
                connect(role).execute(f"CREATE TABLE {schema}.accounts ()")


def test_a_cast_of_the_caller_runs_as_the_caller(connect, dba, account):
    """A type of one's own that becomes text, and our function asks it to."""
    dba.execute("CREATE SCHEMA attic AUTHORIZATION app")
    attacker = connect("app")
    attacker.execute("""
        CREATE TYPE attic.evil AS ENUM ('123456');
        CREATE TABLE attic.ran (name text);
        CREATE FUNCTION attic.become(attic.evil) RETURNS text LANGUAGE sql
            AS 'INSERT INTO attic.ran VALUES (current_user) RETURNING ''123456''';
        CREATE CAST (attic.evil AS text) WITH FUNCTION attic.become(attic.evil) AS IMPLICIT
    """)
    code = "'123456'::attic.evil"
    assert attacker.value(f"SELECT totp.totp_verify(%s, {code})", account) is False
    assert attacker.rows("SELECT name FROM attic.ran") == [("app",)]
    dba.execute("SET client_min_messages = warning; DROP SCHEMA attic CASCADE")


def test_a_cast_from_our_types_needs_their_owner_or_a_type_of_one_s_own(connect):
    """A cast between our types would be used inside of our statements."""
    attacker = connect("app")
    with pytest.raises(errors.InsufficientPrivilege):
        attacker.execute("CREATE FUNCTION pg_temp.f(totp.verdict) RETURNS text RETURN 'x'")
    with pytest.raises(errors.InsufficientPrivilege):
        attacker.execute("CREATE CAST (totp.verdict AS text) WITH INOUT")
    with pytest.raises(errors.InsufficientPrivilege):
        attacker.execute("ALTER DOMAIN totp.account DROP CONSTRAINT account_check")
    with pytest.raises(errors.InsufficientPrivilege):
        attacker.execute("ALTER TYPE totp.verdict ADD ATTRIBUTE trusted boolean")
