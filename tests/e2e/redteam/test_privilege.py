"""Attacks on rights: every function as every role, and rights that were taken away."""

from functools import partial

import pytest
from psycopg import errors

from conftest import DATABASE
from function import INTERNAL, OF_ACCOUNTS, OF_SELF_SERVICE, OF_TOKENS
from redteam.grant import LOGINS, PURE, ROLES, allowed
from redteam.parallel import forcing
from refusal import denied, refused

FUNCTIONS = """
SELECT pronamespace::regnamespace::text AS schema, proname AS name,
    pronargs - pronargdefaults AS required,
    ARRAY(SELECT format_type(type, NULL) FROM unnest(proargtypes) AS type) AS types,
    prorettype = 'trigger'::regtype AS is_trigger, prokind = 'p' AS is_procedure
FROM pg_proc WHERE pronamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace) ORDER BY 1, 2
"""


@pytest.fixture(params=ROLES)
def role(request):
    return request.param


@pytest.fixture
def actor(connect, role):
    """A client of the role, also of one that cannot log in."""
    if role in LOGINS:
        return connect(role)
    client = connect("authenticator")
    client.execute(f"SET ROLE {role}")
    return client


def may_call(client, call):
    """Whatever comes of a call, PostgreSQL's own refusal comes before."""
    try:
        with client.connection.transaction(force_rollback=True):
            call()
    except errors.InsufficientPrivilege as error:
        return not error.diag.message_primary.startswith("permission denied for ")
    except errors.Error:
        pass
    return True


def call_with_nulls(client, function):
    types = ["text" if kind == "anyelement" else kind for kind in function.types]
    nulls = ", ".join(f"NULL::{kind}" for kind in types[: function.required])
    verb = "CALL" if function.is_procedure else "SELECT * FROM"
    client.execute(f"{verb} {function.schema}.{function.name}({nulls})")


def test_every_function_as_every_role_is_as_the_table_of_grants_says(actor, role, dba):
    """One call of each: what the catalog says is not what counts."""
    functions = [function for function in dba.rows(FUNCTIONS) if not function.is_trigger]
    assert len(functions) > 45
    called = {"totp": set(), "totp_api": set()}
    for function in functions:
        if may_call(actor, partial(call_with_nulls, actor, function)):
            called[function.schema].add(function.name)
    assert called == {schema: allowed(role, schema) for schema in called}


def test_good_arguments_call_no_more_than_the_table_of_grants_says(actor, role, app, account):
    """The same with an account, a token, a code: rights do not depend on arguments."""
    token = app.recovery(account)
    functions = {
        "totp": {
            **{name: {"account": account, **rest} for name, rest in OF_ACCOUNTS.items()},
            **{name: {"token": token, **rest} for name, rest in OF_TOKENS.items()},
            **INTERNAL,
            "jwt_sign": {"claims": "{}"},
        },
        "totp_api": OF_SELF_SERVICE,
    }
    for schema, calls in functions.items():
        called = {
            name
            for name, arguments in calls.items()
            if may_call(actor, partial(actor.call, name, schema, **arguments))
        }
        assert called == allowed(role, schema) & calls.keys()


def test_public_may_execute_the_pure_functions_only(dba):
    """As the catalog says it, which also knows of triggers."""
    rows = dba.rows("""
        SELECT DISTINCT proname FROM pg_proc
        WHERE pronamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace)
        AND has_function_privilege('stranger', oid, 'EXECUTE')
    """)
    assert {row.proname for row in rows} == PURE


def test_triggers_are_attached_by_their_roles_only(actor, role):
    """A trigger function runs with its owner's rights, whoever attaches it to a table."""
    actor.execute("CREATE TEMPORARY TABLE mine (id text)")
    for function, roles in {
        "require_totp": {"app", "administrator", "service_role"},
        "forget_account": {"administrator"},
        "rename_account": {"administrator"},
        "require_enrolment": {"administrator"},
        "require_approval": {"app", "administrator", "service_role"},
        "require_other_approval": {"app", "administrator", "service_role"},
    }.items():
        statement = (
            f"CREATE TRIGGER {function} BEFORE DELETE ON mine FOR EACH ROW"
            f" EXECUTE FUNCTION totp.{function}('id')"
        )
        if role in roles:
            actor.execute(statement)
        else:
            with denied():
                actor.execute(statement)


def test_a_function_of_one_s_own_borrows_no_rights(connect, dba, account):
    """SECURITY DEFINER runs as its owner: one's own rights, and no more."""
    dba.execute("GRANT CREATE ON SCHEMA public TO stranger")
    attacker = connect("stranger")
    attacker.execute("""
        CREATE FUNCTION public.borrow(account text) RETURNS boolean LANGUAGE sql SECURITY DEFINER
        AS 'SELECT totp.totp_enabled(account)'
    """)
    for role in ("stranger", "app"):
        with denied():
            connect(role).value("SELECT public.borrow(%s)", account)
    dba.execute("DROP FUNCTION public.borrow(text); REVOKE CREATE ON SCHEMA public FROM stranger")


@pytest.fixture
def leaver(dba, connect):
    """Somebody whose role is taken away in the middle of a session."""
    dba.execute("CREATE ROLE leaver LOGIN IN ROLE totp_app")
    yield connect("leaver")
    dba.execute("SET client_min_messages = warning; DROP OWNED BY leaver; DROP ROLE leaver")


def test_what_was_prepared_before_a_revoke_is_refused_after_it(leaver, dba, victim):
    """A statement, a plan in PL/pgSQL, and a cursor's statement, all made when it was allowed."""
    leaver.execute("PREPARE guess AS SELECT totp.totp_verify($1, $2)")
    leaver.execute("""
        CREATE FUNCTION pg_temp.guess(account text, code text) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN RETURN totp.totp_verify(account, code); END $$
    """)
    wrong = victim.phone.wrong(leaver.now)
    for guess in (
        f"EXECUTE guess('{victim.account}', '{wrong}')",
        f"SELECT pg_temp.guess('{victim.account}', '{wrong}')",
    ):
        assert leaver.value(guess) is False
        dba.execute("REVOKE totp_app FROM leaver")
        with denied():
            leaver.execute(guess)
        dba.execute("GRANT totp_app TO leaver")
    leaver.execute("SET ROLE totp_app")
    dba.execute("REVOKE totp_app FROM leaver")
    leaver.execute("RESET ROLE")
    with denied():
        leaver.execute("SET ROLE totp_app")
    assert dba.status(victim.account).failures == 2


@pytest.mark.parametrize("login", LOGINS)
def test_nobody_switches_triggers_off(connect, login):
    """session_replication_role = replica fires no trigger: neither require_totp nor others."""
    attacker = connect(login)
    with pytest.raises(errors.InsufficientPrivilege):
        attacker.execute("SET session_replication_role = replica")
    with pytest.raises(errors.InsufficientPrivilege):
        attacker.execute(
            "CREATE FUNCTION pg_temp.f() RETURNS int"
            " SET session_replication_role = replica RETURN 1"
        )


def test_the_audit_trail_and_the_locks_need_no_trigger(connect, dba, victim):
    """Whoever may set it, a superuser, does not escape the trail by it."""
    dba.execute("SET session_replication_role = replica")
    assert dba.fail(victim, 5).retry_after is not None
    dba.execute("RESET session_replication_role")
    events = "SELECT count(*) FROM totp.audit_log WHERE account = %s AND outcome = 'invalid'"
    assert dba.value(events, victim.account) == 5


@pytest.mark.parametrize("login", LOGINS)
def test_nobody_hears_of_ddl_or_logins(connect, login):
    """Event triggers run in the sessions of others, as these: for superusers only."""
    attacker = connect(login)
    attacker.execute(
        "CREATE FUNCTION pg_temp.spy() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'"
    )
    with pytest.raises(errors.InsufficientPrivilege):
        attacker.execute(
            "CREATE EVENT TRIGGER spy ON ddl_command_end EXECUTE FUNCTION pg_temp.spy()"
        )


def test_a_trojan_that_an_administrator_runs_is_in_the_audit_trail(connect, dba, victim):
    """A trigger on a stranger's table calls what only the administrator may, who inserts a row.
    That is PostgreSQL's way; the trail tells it from the calls of the help desk by its reason."""
    dba.execute("CREATE SCHEMA lair AUTHORIZATION stranger; GRANT USAGE ON SCHEMA lair TO PUBLIC")
    connect("stranger").execute(f"""
        CREATE TABLE lair.tickets (n integer);
        CREATE FUNCTION lair.trap() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM totp.totp_reset('{victim.account}', 'as you wish'); RETURN NEW; END $$;
        CREATE TRIGGER trap BEFORE INSERT ON lair.tickets FOR EACH ROW EXECUTE FUNCTION lair.trap();
        GRANT INSERT ON lair.tickets TO PUBLIC
    """)
    with denied():
        connect("app").execute("INSERT INTO lair.tickets VALUES (1)")
    connect("administrator").execute("INSERT INTO lair.tickets VALUES (1)")
    event = dba.row(
        """
        SELECT event, actor, detail ->> 'reason' AS reason FROM totp.audit_log
        WHERE account = %s ORDER BY id DESC LIMIT 1
    """,
        victim.account,
    )
    assert event == ("reset", "administrator", "as you wish")
    dba.execute("SET client_min_messages = warning; DROP SCHEMA lair CASCADE")


PARALLEL = """
CREATE FUNCTION pg_temp.guess(account text, code text) RETURNS boolean
LANGUAGE plpgsql PARALLEL SAFE AS
    $$ BEGIN RETURN (totp.totp_attempt(account, code)).verified; END $$;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
"""


def test_codes_are_not_compared_in_parallel_workers(connect, app, victim):
    """A wrapper that lies about parallel safety. A worker can neither count a guess nor spend a
    code: it must not tell which it was, and a right code must not be lost."""
    attacker = connect("app")
    attacker.execute(PARALLEL)
    attacker.execute(f"SET {forcing(attacker.connection)} = on")
    right = victim.phone.take(app.now)
    for code in (right, victim.phone.wrong(app.now), victim.backup_codes[0]):
        for _ in range(6):
            with refused("25000", without=[code]):
                attacker.execute("SELECT pg_temp.guess(%s, %s)", victim.account, code)
    assert app.status(victim.account).failures == 0
    assert app.verify(victim.account, right) is True


def test_policies_hold_in_parallel_plans(connect, dba, app, victim):
    """What a worker does not know, the session's proof on a connection, it must not invent."""
    dba.execute(f"ALTER ROLE self_service IN DATABASE {DATABASE} SET totp.identity = 'role'")
    client = connect("self_service")
    client.execute(f"SET {forcing(client.connection)} = on")
    client.execute(
        PARALLEL.replace("(totp.totp_attempt(account, code)).verified", "totp.totp_verified()")
    )
    assert client.value("SELECT pg_temp.guess('', '')") is False
    person = app.enrol("self_service")
    code = person.backup_codes[0]
    assert client.value("SELECT verified FROM totp_api.totp_verify(%s)", code) is True
    assert client.value("SELECT totp.totp_verified()") is True
    assert client.value("SELECT pg_temp.guess('', '')") is False
    dba.execute(f"ALTER ROLE self_service IN DATABASE {DATABASE} RESET totp.identity")
    dba.call("totp_forget", account="self_service", reason="the test is over")
