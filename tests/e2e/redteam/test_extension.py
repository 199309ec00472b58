"""Attacks that come before CREATE EXTENSION, or after it on its objects."""

import pytest
from psycopg import errors

from client import Client
from cluster import Cluster
from redteam.grant import LOGINS

SQUATTERS = {
    "the schema": "CREATE SCHEMA totp AUTHORIZATION stranger",
    "a table": "CREATE SCHEMA totp; CREATE TABLE totp.accounts (account text)",
    "a function": "CREATE SCHEMA totp; CREATE FUNCTION totp.f() RETURNS int RETURN 1",
    "another table": "CREATE SCHEMA totp; CREATE TABLE totp.factors (account text)",
    "a function of our name": "CREATE SCHEMA totp;"
    " CREATE FUNCTION totp.totp_verify(text, text) RETURNS boolean RETURN true",
    "a function of PostgreSQL's name": "CREATE SCHEMA totp;"
    " CREATE FUNCTION totp.now() RETURNS timestamptz RETURN now()",
    "a type": "CREATE SCHEMA totp; CREATE TYPE totp.verdict AS (verified boolean)",
    "an operator": "CREATE SCHEMA totp; CREATE OPERATOR totp.=="
    " (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)",
    "the schema for browsers": "CREATE SCHEMA totp_api",
    "the schema for browsers, of somebody": "CREATE SCHEMA totp_api AUTHORIZATION stranger",
}


@pytest.mark.parametrize("prepared", SQUATTERS.values(), ids=SQUATTERS.keys())
def test_what_somebody_made_before_is_not_taken_over(cluster, other_database, prepared):
    """CVE-2022-2625: an extension's script that takes an attacker's object for its own."""
    cluster.execute(prepared, dbname=other_database)
    with pytest.raises(errors.Error) as caught:
        cluster.execute("CREATE EXTENSION totp", dbname=other_database)
    assert caught.value.sqlstate in ("42501", "42710", "42P06")
    with cluster.connect(dbname=other_database) as connection:
        assert Client(connection).rows("SELECT FROM pg_extension WHERE extname = 'totp'") == []


def test_the_script_runs_nothing_from_the_installer_s_path(cluster, other_database):
    """A superuser whose path leads through an attacker's schema makes the extension."""
    with cluster.connect(dbname=other_database) as connection:
        client = Client(connection)
        client.execute("""
            CREATE SCHEMA hostile;
            CREATE FUNCTION hostile.trap(text, text) RETURNS boolean LANGUAGE plpgsql
                AS $$ BEGIN RAISE EXCEPTION 'the trap has sprung'; END $$;
            CREATE FUNCTION hostile.trap(oid, oid) RETURNS boolean LANGUAGE plpgsql
                AS $$ BEGIN RAISE EXCEPTION 'the trap has sprung'; END $$;
            CREATE FUNCTION hostile.format(text, text) RETURNS text LANGUAGE plpgsql
                AS $$ BEGIN RAISE EXCEPTION 'the trap has sprung'; END $$;
            CREATE OPERATOR hostile.= (FUNCTION = hostile.trap, LEFTARG = text, RIGHTARG = text);
            CREATE OPERATOR hostile.= (FUNCTION = hostile.trap, LEFTARG = oid, RIGHTARG = oid);
            SET search_path = hostile, pg_catalog
        """)
        with pytest.raises(errors.RaiseException, match="sprung"):
            client.value("SELECT 'a'::text = 'b'::text")
        client.execute("CREATE EXTENSION totp")
        assert client.value("SELECT totp.totp_enabled('nobody')") is False


def test_an_owner_role_that_somebody_can_become_is_refused(cluster, other_database):
    """A role that may create roles makes totp_owner first, or joins it: then it has the tables."""
    cluster.execute("GRANT totp_owner TO stranger")
    try:
        with pytest.raises(errors.InvalidRoleSpecification, match="totp_owner has members"):
            cluster.execute("CREATE EXTENSION totp", dbname=other_database)
    finally:
        cluster.execute("REVOKE totp_owner FROM stranger")


ROLES = ["totp_owner", "totp_app", "totp_user", "totp_admin", "totp_auditor"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("prepared", "undone"),
    [
        ("GRANT {} TO stranger WITH ADMIN OPTION", "REVOKE {} FROM stranger"),
        ("ALTER ROLE {} LOGIN", "ALTER ROLE {} NOLOGIN"),
        ("ALTER ROLE {} CREATEROLE", "ALTER ROLE {} NOCREATEROLE"),
        ("ALTER ROLE {} BYPASSRLS", "ALTER ROLE {} NOBYPASSRLS"),
    ],
)
def test_roles_that_somebody_prepared_are_refused(cluster, other_database, role, prepared, undone):
    """Roles belong to the cluster: who made them before the extension would hold its rights."""
    cluster.execute(prepared.format(role))
    try:
        with pytest.raises(errors.InvalidRoleSpecification, match=role):
            cluster.execute("CREATE EXTENSION totp", dbname=other_database)
    finally:
        cluster.execute(undone.format(role))


def test_an_owner_role_that_is_somebody_else_is_refused(cluster, other_database):
    cluster.execute("GRANT stranger TO totp_owner")
    try:
        with pytest.raises(errors.InvalidRoleSpecification, match="member of other roles"):
            cluster.execute("CREATE EXTENSION totp", dbname=other_database)
    finally:
        cluster.execute("REVOKE stranger FROM totp_owner")


def warnings_of(connection, statement):
    """Messages and details."""
    warnings = {}
    connection.add_notice_handler(
        lambda notice: warnings.update({notice.message_primary: notice.message_detail})
    )
    connection.execute(statement)
    return warnings


def test_members_that_were_there_before_are_reported(cluster, other_database):
    cluster.execute("GRANT totp_admin TO stranger")
    try:
        with cluster.connect(dbname=other_database) as connection:
            warnings = warnings_of(connection, "CREATE EXTENSION totp")
    finally:
        cluster.execute("REVOKE totp_admin FROM stranger")
    assert "stranger" in warnings["role totp_admin already has members"]


@pytest.mark.parametrize("role", ROLES)
def test_whoever_may_create_roles_gets_none_of_ours_by_being_first(role):
    """Since PostgreSQL 16, who creates a role can grant it; before, it takes a GRANT."""
    with Cluster() as cluster:
        cluster.execute("CREATE ROLE delegate LOGIN CREATEROLE")
        with cluster.connect("delegate") as connection:
            connection.execute(f"CREATE ROLE {role}")
            is_old = connection.info.server_version < 160_000
            if is_old:
                connection.execute(f"GRANT {role} TO delegate")
        with cluster.connect() as connection:
            if is_old and role != "totp_owner":
                warnings = warnings_of(connection, "CREATE EXTENSION totp")
                assert "delegate" in warnings[f"role {role} already has members"]
            else:
                with pytest.raises(errors.InvalidRoleSpecification, match=role):
                    connection.execute("CREATE EXTENSION totp")


OBJECTS = ["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS"]
NOT_OURS = """
    SELECT object, CASE WHEN grantee = 'pg_monitor'::regrole THEN -1 ELSE grantee::bigint END
    FROM (
        SELECT relname AS object, relowner AS owner, relacl AS acl FROM pg_class
        WHERE relnamespace = 'totp'::regnamespace
        UNION ALL
        SELECT proname, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
        WHERE pronamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace)
        UNION ALL
        SELECT typname, typowner, coalesce(typacl, acldefault('T', typowner)) FROM pg_type
        WHERE typnamespace = 'totp'::regnamespace AND typcategory <> 'A'
        UNION ALL
        SELECT nspname, nspowner, nspacl FROM pg_namespace WHERE nspname LIKE 'totp%%'
    ) AS objects, aclexplode(acl)
    WHERE grantee <> owner AND (grantee = 0 OR grantee::regrole::text NOT LIKE 'totp\\_%%')
"""


def test_default_privileges_of_the_installer_give_nothing_away(cluster, other_database):
    """With USAGE on the audit trail's sequence, anybody could stop every verification."""
    cluster.execute(
        *(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO PUBLIC, stranger" for kind in OBJECTS),
        "CREATE EXTENSION totp",
        dbname=other_database,
    )
    with cluster.connect(dbname=other_database) as connection:
        found = {tuple(row) for row in Client(connection).rows(NOT_OURS)}
    assert {name for name, grantee in found if grantee == -1} == {"metrics", "metric_values"}
    anonymous = {(name, grantee) for name, grantee in found if grantee > 0}
    assert {name for name, _ in anonymous} <= {"challenge_verify", "totp_api"}
    public = {name for name, grantee in found if grantee == 0}
    assert public == {"totp", "help", "totp_code", "totp_check", "totp_uri", "qr_svg", "qr_text"}
    with (
        cluster.connect("stranger", other_database) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT setval('totp.audit_events_id_seq', 9223372036854775807)")


def test_nobody_makes_a_column_of_our_types(cluster, connect, dba):
    """Such a table keeps DROP EXTENSION and every change of a domain from working."""
    types = dba.rows("""
        SELECT oid::regtype::text AS name FROM pg_type WHERE typnamespace = 'totp'::regnamespace
        AND typtype IN ('d', 'c', 'b')
    """)
    assert len(types) > 40
    dba.execute("CREATE SCHEMA tables AUTHORIZATION stranger")
    client = connect("stranger")
    try:
        for row in types:
            with pytest.raises(errors.InsufficientPrivilege):
                client.execute(f"CREATE TABLE tables.x (a {row.name})")
            with pytest.raises(errors.InsufficientPrivilege):
                client.execute(f"CREATE FUNCTION tables.f({row.name}) RETURNS int RETURN 1")
    finally:
        dba.execute("DROP SCHEMA tables CASCADE")


def test_a_role_that_may_create_roles_does_not_become_one_of_ours(cluster, connect, dba):
    """Since PostgreSQL 16; before, CREATEROLE is as good as membership in every role of ours."""
    if dba.connection.info.server_version < 160_000:
        pytest.skip("docs/security-model.md says so")
    dba.execute("ALTER ROLE stranger CREATEROLE")
    attacker = connect("stranger")
    for role in ("totp_owner", "totp_admin", "totp_app", "totp_user", "totp_auditor"):
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.execute(f"GRANT {role} TO stranger")
    dba.execute("ALTER ROLE stranger NOCREATEROLE")


@pytest.mark.parametrize("login", LOGINS)
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
def test_nobody_changes_the_extension(connect, login, statement):
    # DROP and ALTER of what one does not own say "must be owner", with the same SQLSTATE.
    with pytest.raises(errors.InsufficientPrivilege):
        connect(login).execute(statement)


OWNER = """
CREATE ROLE landlord LOGIN IN ROLE totp_app, totp_user, totp_admin, totp_auditor;
ALTER DATABASE e2e OWNER TO landlord;
CREATE FUNCTION public.mine() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
ALTER FUNCTION public.mine() OWNER TO landlord
"""
NO_OWNER = """
ALTER DATABASE e2e OWNER TO postgres;
DROP OWNED BY landlord;
DROP ROLE landlord
"""


@pytest.fixture
def landlord(dba, connect):
    """Owns the database, may make schemas and objects in it, and has all roles of ours but one."""
    dba.execute(OWNER)
    client = connect("landlord")
    yield client
    client.connection.close()
    dba.execute(NO_OWNER)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE EXTENSION totp",
        "DROP EXTENSION totp",
        "ALTER EXTENSION totp UPDATE",
        "ALTER EXTENSION totp ADD FUNCTION public.mine()",
        "ALTER EXTENSION totp DROP FUNCTION totp.totp_verify(text, text)",
        "DROP SCHEMA totp CASCADE",
        "ALTER SCHEMA totp OWNER TO CURRENT_USER",
        "CREATE SCHEMA totp_mine AUTHORIZATION totp_owner",
        "ALTER FUNCTION totp.totp_verify(text, text) RESET search_path",
        "ALTER FUNCTION totp.totp_verify(text, text) SECURITY INVOKER",
        "ALTER FUNCTION totp.totp_verify(text, text) OWNER TO CURRENT_USER",
        "ALTER FUNCTION totp.totp_verify(text, text) LEAKPROOF",
        "ALTER VIEW totp.audit_log OWNER TO CURRENT_USER",
        "DROP FUNCTION totp.totp_verify(text, text)",
        "COMMENT ON FUNCTION totp.totp_verify(text, text) IS 'mine'",
        "CREATE EVENT TRIGGER trap ON ddl_command_end EXECUTE FUNCTION public.mine()",
        "CREATE FUNCTION public.c() RETURNS int LANGUAGE c AS 'totp', 'totp_verify_wrapper'",
        "LOAD 'totp'",
        "ALTER DEFAULT PRIVILEGES FOR ROLE totp_owner GRANT SELECT ON TABLES TO PUBLIC",
        "REASSIGN OWNED BY totp_owner TO CURRENT_USER",
        "DROP OWNED BY totp_owner",
        "ALTER ROLE totp_owner LOGIN",
        "SET ROLE totp_owner",
    ],
)
def test_the_owner_of_the_database_does_not_own_the_extension(landlord, statement):
    """Nothing of it can be changed, dropped, replaced or taken over."""
    with pytest.raises((errors.InsufficientPrivilege, errors.DuplicateObject)) as caught:
        landlord.execute(statement)
    assert caught.value.sqlstate in ("42501", "42710")


def test_the_owner_of_the_database_may_vacuum_the_tables(landlord):
    """As all tables of a database. Each statement is in a transaction of its own."""
    landlord.execute("VACUUM FULL totp.decoys")
    landlord.execute("ANALYZE totp.decoys")


def test_nobody_hands_on_what_the_extension_granted(landlord, dba):
    """Rights without the grant option: PostgreSQL warns, and grants nothing."""
    landlord.execute("GRANT USAGE ON SCHEMA totp_api TO PUBLIC")
    landlord.execute("GRANT EXECUTE ON FUNCTION totp.totp_export(text, text, text) TO PUBLIC")
    landlord.execute("GRANT SELECT ON totp.audit_log TO PUBLIC")
    assert dba.row("""
        SELECT has_schema_privilege('stranger', 'totp_api', 'USAGE') AS schema,
            has_function_privilege('stranger', 'totp.totp_export(text, text, text)', 'EXECUTE'),
            has_table_privilege('stranger', 'totp.audit_log', 'SELECT') AS view
    """) == (False, False, False)
