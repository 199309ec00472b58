"""Attacks on and with settings: ours, which nobody may change, and those that anybody may."""

from contextlib import closing

import pytest
from psycopg import OperationalError, errors

from client import Client
from cluster import Cluster
from conftest import DATABASE, ROLES, install
from redteam.parallel import forcing

# Values that would open doors, were they taken.
WISHES = {
    "identity": "role",
    "jwt_logins": "stranger, app, self_service, postgres",
    "jwt_claim": "email",
    "jwt_role": "postgres",
    "max_failures": "100",
    "lockout": "1",
    "window_steps": "10",
    "clock": "2030-01-01",
    "audit": "off",
    "session_ttl": "31622400",
    "cold_start": "off",
    "key_file": "/tmp/keys",
    "key_command": "touch /tmp/pwned",
    "jwt_secret_file": "/tmp/secret",
    "jwt_secret_command": "touch /tmp/pwned",
    "jwt_secret_base64": "on",
}
ROLES_THAT_TRY = ["stranger", "app", "administrator", "auditor", "self_service", "authenticator"]
REFUSED = (errors.InsufficientPrivilege, errors.CantChangeRuntimeParam)


def quoted(name):
    return f'totp."{name}"'


@pytest.fixture(params=ROLES_THAT_TRY)
def attacker(request, connect):
    return connect(request.param)


def settings_now(dba):
    query = "SELECT name, setting FROM pg_settings WHERE name LIKE 'totp.%' ORDER BY name"
    return dict(dba.rows(query))


def test_the_wishes_name_settings_that_are_there(dba):
    """A wish for what does not exist would be refused for the wrong reason."""
    assert {f"totp.{name}" for name in WISHES} <= settings_now(dba).keys()


def test_no_role_sets_one_for_its_session(attacker, dba):
    """SET, set_config and an UPDATE of the view, not even to the value that it has."""
    settings = settings_now(dba)
    assert len(settings) > 10
    # Each caller says for whom it acts.
    assert settings.pop("totp.client") == ""
    for setting, present in settings.items():
        name = setting.removeprefix("totp.")
        for value in (WISHES.get(name, "1"), present):
            for statement in (
                f"SET {quoted(name)} = '{value}'",
                f"SELECT set_config('totp.{name}', '{value}', false)",
                f"SELECT set_config('totp.{name}', '{value}', true)",
            ):
                with pytest.raises(REFUSED):
                    attacker.execute(statement)
    # The view turns an UPDATE into set_config; a row that is not shown is not updated.
    with pytest.raises(REFUSED):
        attacker.execute("UPDATE pg_settings SET setting = 'off' WHERE name = 'totp.audit'")


def test_no_role_sets_one_for_a_function_a_role_or_a_database(attacker, dba):
    """Settings that are stored, and come into force for others."""
    role = attacker.value("SELECT session_user")
    for name, value in WISHES.items():
        for statement in (
            f"CREATE FUNCTION pg_temp.f() RETURNS int SET {quoted(name)} = '{value}' RETURN 1",
            f"ALTER ROLE {role} SET {quoted(name)} = '{value}'",
            f"ALTER ROLE {role} IN DATABASE {DATABASE} SET {quoted(name)} = '{value}'",
            f"ALTER DATABASE {DATABASE} SET {quoted(name)} = '{value}'",
            f"ALTER SYSTEM SET {quoted(name)} = '{value}'",
        ):
            with pytest.raises(REFUSED):
                attacker.execute(statement)


def test_no_role_sets_one_when_it_connects(cluster, attacker):
    """PGOPTIONS, which goes into the first message to the server."""
    role = attacker.value("SELECT session_user")
    for name, value in WISHES.items():
        options = f"-c totp.{name}={value.replace(' ', '')}"
        with pytest.raises(OperationalError, match=r"permission denied|cannot be changed"):
            cluster.connect(role, DATABASE, options=options).close()


def test_the_owner_of_a_database_sets_none_for_it(connect, dba):
    """An owner may set for a database what it may set for a session."""
    dba.execute(f"ALTER DATABASE {DATABASE} OWNER TO app")
    attacker = connect("app")
    for name, value in WISHES.items():
        with pytest.raises(REFUSED):
            attacker.execute(f"ALTER DATABASE {DATABASE} SET {quoted(name)} = '{value}'")
    # Nor one that brings other code along.
    with pytest.raises(REFUSED):
        attacker.execute(f"ALTER DATABASE {DATABASE} SET session_preload_libraries = 'x'")
    dba.execute(f"ALTER DATABASE {DATABASE} OWNER TO postgres")


def test_no_role_sees_where_the_keys_are(attacker):
    names = ("key_file", "key_command", "jwt_secret_file", "jwt_secret_command")
    for name in (f"totp.{name}" for name in names):
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.execute(f"SHOW {name}")
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.value("SELECT current_setting(%s)", name)
        assert attacker.value("SELECT count(*) FROM pg_settings WHERE name = %s", name) == 0


@pytest.fixture(scope="module")
def bare():
    """A server that loads the library when a session first needs it."""
    with Cluster(preload=False) as bare:
        install(bare, "postgres")
        bare.execute(ROLES.replace("GRANT SET", "-- GRANT SET"))
        yield bare


def test_what_was_set_before_the_library_came_is_not_taken_over(bare):
    """Until then anybody sets totp.identity: PostgreSQL keeps it as a setting that nobody knows."""
    with closing(bare.connect("self_service")) as connection:
        attacker = Client(connection)
        for name, value in WISHES.items():
            attacker.execute(f"SET {quoted(name)} = '{value}'")
        attacker.execute('SET request.jwt.claims = \'{"sub": "victim"}\'')
        assert attacker.value("SHOW totp.identity") == "role"
        assert attacker.value("SELECT totp.current_account()") is None
        assert attacker.value("SHOW totp.identity") == "jwt"
        shown = dict(
            attacker.rows("SELECT name, setting FROM pg_settings WHERE name LIKE 'totp.%'")
        )
        assert not {
            f"totp.{name}" for name, value in WISHES.items() if shown.get(f"totp.{name}") == value
        }


def test_what_came_with_the_connection_before_the_library_is_not_taken_over(bare):
    """The same by PGOPTIONS."""
    options = "-c totp.identity=role -c totp.jwt_logins=self_service -c totp.max_failures=100"
    with closing(bare.connect("self_service", options=options)) as connection:
        attacker = Client(connection)
        assert attacker.value("SHOW totp.identity") == "role"
        assert attacker.value("SELECT totp.current_account()") is None
        assert attacker.value("SHOW totp.max_failures") == "5"


def test_what_a_function_sets_before_the_library_came_cannot_be_stored(bare):
    """A SET clause would set it again at each call, also when the library is there."""
    with closing(bare.connect("app")) as connection:
        for name, value in WISHES.items():
            wish = f"SET {quoted(name)} = '{value}'"
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"CREATE FUNCTION pg_temp.f() RETURNS int {wish} RETURN 1")
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"ALTER ROLE app {wish}")


# What any role may set, chosen to be in the way.
CONTRARY = {
    "parsing": {
        "standard_conforming_strings": "off",
        "backslash_quote": "on",
        "transform_null_equals": "on",
        "quote_all_identifiers": "on",
        "array_nulls": "off",
        "search_path": "pg_temp",
        "check_function_bodies": "off",
        "xmloption": "document",
    },
    "planning": {
        "plan_cache_mode": "force_generic_plan",
        "enable_indexscan": "off",
        "enable_indexonlyscan": "off",
        "enable_seqscan": "off",
        "from_collapse_limit": "1",
        "join_collapse_limit": "1",
        "geqo_threshold": "2",
        "work_mem": "64kB",
        "parallel": "on",
        "parallel_setup_cost": "0",
        "min_parallel_table_scan_size": "0",
        "jit_above_cost": "0",
    },
    "texts and times": {
        "bytea_output": "escape",
        "DateStyle": "SQL, DMY",
        "IntervalStyle": "sql_standard",
        "TimeZone": "Pacific/Kiritimati",
        "extra_float_digits": "-15",
        "client_min_messages": "debug5",
        "debug_print_plan": "on",
    },
    "transactions": {
        "row_security": "off",
        "default_transaction_isolation": "serializable",
        "default_transaction_deferrable": "on",
        "synchronous_commit": "off",
        "lock_timeout": "1s",
        "statement_timeout": "1min",
        "idle_in_transaction_session_timeout": "1min",
    },
}


def whole_job(client, account):
    """Every function of the application, with what each has to answer."""
    person = client.enrol(account)
    code = person.phone.take(client.now)
    assert client.verify(account, code) is True
    assert client.verify(account, code) is False
    assert client.backup_verify(account, person.backup_codes[0]) is True
    assert client.backup_verify(account, person.backup_codes[0]) is False
    assert client.fail(person, 2).reason == "invalid"
    assert client.value("SELECT failures FROM totp.totp_status(%s)", account) == 3
    token = client.call("challenge_create", account=account, claims='{"a\'b\\\\": "\\\\"}')[0]
    verdict = client.call("challenge_verify", token=token, code=person.backup_codes[1])
    assert verdict.reason == "ok"
    assert len(client.backup_rotate(account, person.backup_codes[2])) == 10
    assert client.disable(account, "000000") is False


@pytest.mark.parametrize("settings", CONTRARY.values(), ids=CONTRARY.keys())
def test_settings_of_the_caller_change_no_answer(connect, account, settings):
    """A function runs with its caller's settings, but for the path. Quotes and backslashes in names
    show whether a text is ever put into a statement."""
    client = connect("app")
    for name, value in settings.items():
        name = forcing(client.connection) if name == "parallel" else name
        client.execute("SELECT set_config(%s, %s, false)", name, value)
    whole_job(client, f"{account}'\\'' OR true --\\")


def test_who_may_read_all_settings_sees_the_key_command(connect, dba):
    """So no password belongs into it."""
    dba.execute("GRANT pg_monitor TO stranger")
    assert connect("stranger").value("SHOW totp.key_command") == ""
    dba.execute("REVOKE pg_monitor FROM stranger")
    with pytest.raises(errors.InsufficientPrivilege):
        connect("stranger").execute("SHOW totp.key_command")
