"""`preflight`: each check finds what it is for, and nothing else."""

from contextlib import closing, contextmanager

import pytest

from client import Client
from conftest import DATABASE


@contextmanager
def undone(dba):
    """What is changed here is rolled back."""
    with dba.connection.transaction(force_rollback=True):
        yield


def check(client, name):
    return client.row("SELECT * FROM totp.preflight() WHERE check_name = %s", name)


def test_a_new_installation_fails_no_check(cluster, other_database):
    """Except for how this suite runs it: no flush, the key beside the data, no API server."""
    with cluster.connect(dbname=other_database) as connection:
        connection.execute("CREATE EXTENSION totp")
        checks = connection.execute("SELECT * FROM totp.preflight()").fetchall()
    rows = {row.check_name: row.status for row in checks}
    expected = {"fsync": "fail", "key_source": "fail", "jwt_logins": "warn"}
    assert {name: status for name, status in rows.items() if status != "ok"} == expected


# Logging of parameters

LOGGING = [
    ("log_statement", "all"),
    ("log_statement", "mod"),
    ("log_min_duration_statement", "1s"),
    ("log_min_duration_sample", "0"),
    ("log_transaction_sample_rate", "0.5"),
    ("log_parameter_max_length_on_error", "-1"),
    ("debug_print_plan", "on"),
    ("auto_explain.log_min_duration", "0"),
    ("pgaudit.log_parameter", "on"),
]
PLACES = {
    "a role": ("ALTER ROLE app", "role app"),
    "the database": (f"ALTER DATABASE {DATABASE}", f"database {DATABASE}"),
    "another database": ("ALTER DATABASE postgres", "database postgres"),
    "a role in a database": (
        f"ALTER ROLE app IN DATABASE {DATABASE}",
        f"role app database {DATABASE}",
    ),
    "all roles": ("ALTER ROLE ALL IN DATABASE postgres", "database postgres"),
}


@pytest.mark.parametrize(("name", "value"), LOGGING)
def test_what_logs_parameters_is_found_in_the_session(dba, name, value):
    with undone(dba):
        dba.execute(f"SET {name} = '{value}'")
        found = check(dba, "statement_logging")
    assert found.status == "warn" and f"{name} = " in found.detail


@pytest.mark.parametrize(("change", "place"), PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize(("name", "value"), LOGGING)
def test_what_logs_parameters_of_others_is_found(dba, change, place, name, value):
    """Settings of other roles and databases: this session does not have them."""
    with undone(dba):
        dba.execute(f"{change} SET {name} = '{value}'")
        found = check(dba, "statement_logging")
    assert found.status == "warn" and f"{name} = {value} ({place})" in found.detail


def test_limits_keep_parameters_out(dba):
    with undone(dba):
        dba.execute("SET log_parameter_max_length = 0; SET log_statement = 'all'")
        assert check(dba, "statement_logging").status == "ok"
        dba.execute("ALTER ROLE app SET log_parameter_max_length = -1")
        assert check(dba, "statement_logging").status == "warn"


# Settings


def test_settings_that_differ_are_shown_with_their_origin(cluster, dba):
    """pg_dump without -C carries no ALTER DATABASE ... SET: after a restore they are gone."""
    assert (
        check(dba, "settings").detail == "All settings of the extension have their default values."
    )
    with cluster.database("configured") as name:
        cluster.execute("CREATE EXTENSION totp", dbname=name)
        cluster.execute(
            f"ALTER DATABASE {name} SET totp.issuer = 'Acme'",
            "ALTER ROLE app SET totp.window_steps = 2",
        )
        with closing(cluster.connect(dbname=name)) as connection:
            found = check(Client(connection), "settings")
        cluster.execute("ALTER ROLE app RESET totp.window_steps")
    assert found.status == "ok"
    assert "totp.issuer = Acme (database configured)" in found.detail
    assert "totp.window_steps = 2 (role app)" in found.detail


def test_no_command_or_file_is_shown(dba):
    with undone(dba):
        dba.execute("ALTER ROLE app SET totp.issuer = 'x'")
        assert "key_command" not in check(dba, "settings").detail
        assert "key_file" not in check(dba, "settings").detail


def test_trusted_logins_that_do_not_exist_are_found(dba):
    found = check(dba, "jwt_logins")
    assert found.status == "warn" and "authenticator" in found.detail
    with undone(dba):
        dba.execute("CREATE ROLE authenticator LOGIN")
        assert check(dba, "jwt_logins").status == "ok"
        dba.execute("SET totp.jwt_logins = 'authenticator, api'")
        assert "exist: api." in check(dba, "jwt_logins").detail
    with undone(dba):
        dba.execute("SET totp.jwt_logins = ''")
        assert check(dba, "jwt_logins").status == "ok"
    with undone(dba):
        dba.execute("SET totp.identity = 'role'")
        assert check(dba, "jwt_logins").status == "ok"


# Roles, grants and owners


def test_members_of_the_roles_are_listed(dba):
    """Who has which role is not for us to judge, but to show."""
    found = check(dba, "role_members")
    assert found.status == "ok" and "administrator of totp_admin" in found.detail
    with undone(dba):
        dba.execute("GRANT totp_admin TO stranger")
        assert "stranger of totp_admin" in check(dba, "role_members").detail


FOUND = {
    "an owner that can log in": (
        "ALTER ROLE totp_owner LOGIN",
        ("role_attributes", "fail", "totp_owner LOGIN"),
    ),
    "a role with more rights": (
        "ALTER ROLE totp_app CREATEROLE BYPASSRLS",
        ("role_attributes", "fail", "totp_app CREATEROLE BYPASSRLS"),
    ),
    "a renamed role": (
        "ALTER ROLE totp_auditor RENAME TO auditors",
        ("role_attributes", "fail", "totp_auditor does not exist"),
    ),
    "a renamed owner": (
        "ALTER ROLE totp_owner RENAME TO owner",
        ("role_attributes", "fail", "totp_owner does not exist"),
    ),
    "a member of the owner": (
        "GRANT totp_owner TO stranger",
        ("owner_members", "fail", "stranger of totp_owner"),
    ),
    "who can grant": (
        "GRANT totp_admin TO stranger WITH ADMIN OPTION",
        ("role_admins", "warn", "stranger of totp_admin with ADMIN OPTION"),
    ),
    "a table": (
        "GRANT SELECT ON totp.factors TO stranger",
        ("grants", "warn", "SELECT on table totp.factors to stranger"),
    ),
    "a column": (
        "GRANT UPDATE (failures) ON totp.accounts TO stranger",
        ("grants", "warn", "UPDATE on column totp.accounts.failures to stranger"),
    ),
    "a view": (
        "GRANT SELECT ON totp.audit_log TO PUBLIC",
        ("grants", "warn", "SELECT on table totp.audit_log to PUBLIC"),
    ),
    "a sequence": (
        "GRANT UPDATE ON SEQUENCE totp.audit_events_id_seq TO PUBLIC",
        ("grants", "warn", "UPDATE on sequence totp.audit_events_id_seq to PUBLIC"),
    ),
    "a type": (
        "GRANT USAGE ON TYPE totp.account TO stranger",
        ("grants", "warn", "USAGE on type totp.account to stranger"),
    ),
    "a function": (
        "GRANT EXECUTE ON FUNCTION totp.totp_export(text, text, text) TO stranger",
        ("grants", "warn", "EXECUTE on function totp.totp_export(text,text,text) to stranger"),
    ),
    "a schema": (
        "GRANT CREATE ON SCHEMA totp TO stranger",
        ("grants", "warn", "CREATE on schema totp to stranger"),
    ),
    "the owner of a table": (
        "ALTER TABLE totp.factors OWNER TO stranger",
        ("owners", "fail", "table totp.factors belongs to stranger"),
    ),
    "a superuser's privileged function": (
        "ALTER FUNCTION totp.totp_verify(text, text) OWNER TO postgres",
        ("owners", "fail", "function totp.totp_verify(text,text) belongs to postgres"),
    ),
    "the owner of a type": (
        "ALTER DOMAIN totp.account OWNER TO stranger",
        ("owners", "fail", "type totp.account belongs to stranger"),
    ),
    "the owner of a schema": (
        "ALTER SCHEMA totp_api OWNER TO stranger",
        ("owners", "fail", "schema totp_api belongs to stranger"),
    ),
    "everything of the owner": (
        "REASSIGN OWNED BY totp_owner TO stranger",
        ("owners", "fail", "table totp.accounts belongs to stranger"),
    ),
    "another collation": (
        'ALTER TABLE totp.audit_events ALTER actor TYPE text COLLATE "POSIX"',
        ("collation", "fail", "column totp.audit_events.actor"),
    ),
}


@pytest.mark.parametrize(("change", "expected"), FOUND.values(), ids=FOUND.keys())
def test_what_is_not_as_the_extension_left_it_is_found(dba, change, expected):
    name, status, detail = expected
    assert check(dba, name).status == "ok"
    with undone(dba):
        # A view would keep its column from being changed.
        if "ALTER actor" in change:
            dba.execute("ALTER EXTENSION totp DROP VIEW totp.audit_log; DROP VIEW totp.audit_log")
        dba.execute(change)
        found = check(dba, name)
    assert found.status == status and detail in found.detail


def test_entries_that_have_not_been_sealed_for_a_day_are_reported(dba, account):
    dba.create(account)
    with undone(dba):
        dba.execute("DELETE FROM totp.audit_events WHERE at < now() - interval '1 hour'")
        assert check(dba, "audit_seal").status == "ok"
        old = "UPDATE totp.audit_events SET at = at - interval '25 h' WHERE account = %s"
        dba.execute(old, account)
        found = check(dba, "audit_seal")
        assert (found.status, "audit_seal" in found.hint) == ("warn", True)
    dba.value("SELECT totp.audit_seal()")
    with undone(dba):
        dba.execute(old, account)
        assert check(dba, "audit_seal").status == "ok"
