"""`preflight`: each check finds what it is for, and nothing else."""

import shutil
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg import pq

from client import Client
from cluster import ROOT, Cluster, until
from conftest import DATABASE, install, new_account


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


def test_members_of_members_are_listed(dba):
    with undone(dba):
        dba.execute(
            "CREATE ROLE operations; GRANT totp_admin TO operations; GRANT operations TO stranger"
        )
        assert "stranger of operations" in check(dba, "role_members").detail
        assert check(dba, "role_admins").status == "ok"
        dba.execute("GRANT operations TO stranger WITH ADMIN OPTION")
        found = check(dba, "role_admins")
        assert found.status == "warn" and "stranger of operations with ADMIN OPTION" in found.detail


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
            for view in ("totp.audit_log", "totp.audit_ocsf"):
                dba.execute(f"ALTER EXTENSION totp DROP VIEW {view}; DROP VIEW {view}")
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
    when = dba.value("SELECT at FROM totp.seal_log ORDER BY id DESC LIMIT 1")
    assert f"made at {when.astimezone(UTC):%Y-%m-%d %H:%M} UTC" in check(dba, "audit_seal").detail


# A server of its own: what cannot be changed for a transaction


@pytest.fixture(scope="module")
def server():
    settings = {"listen_addresses": "*", "fsync": "on", "max_wal_senders": "5"}
    with Cluster(settings=settings) as cluster:
        install(cluster, "postgres")
        cluster.execute("CREATE ROLE admin LOGIN IN ROLE totp_admin", "CREATE ROLE app LOGIN")
        yield cluster


@pytest.fixture
def root(server):
    with closing(server.connect()) as connection:
        yield Client(connection)


@contextmanager
def configured(client, **settings):
    """Settings of the server, until the end of the block."""
    for name, value in settings.items():
        client.execute(f"ALTER SYSTEM SET {name.replace('__', '.')} = '{value}'")
    reload(client)
    try:
        yield
    finally:
        for name in settings:
            client.execute(f"ALTER SYSTEM RESET {name.replace('__', '.')}")
        reload(client)


def reload(client):
    """Has the server read its files, and waits until this session has done so, too."""
    before = client.value("SELECT pg_conf_load_time()")
    client.value("SELECT pg_reload_conf()")
    until(lambda: client.value("SELECT pg_conf_load_time()") != before, what="the new settings")


@pytest.mark.parametrize(
    ("name", "setting", "value", "status"),
    [
        ("fsync", "fsync", "off", "fail"),
        ("full_page_writes", "full_page_writes", "off", "warn"),
        ("clock", "totp__clock", "2030-01-01 00:00:00+00", "fail"),
        ("tenant_function", "totp__tenant_function", "nowhere.tenant(text)", "fail"),
        ("burn_on_rollback", "totp__burn_on_rollback", "off", "warn"),
        ("cold_start", "totp__cold_start", "off", "warn"),
        ("force_sync_commit", "totp__force_sync_commit", "off", "warn"),
    ],
)
def test_a_setting_that_weakens_the_second_factor_is_found(root, name, setting, value, status):
    assert check(root, name).status == "ok"
    with configured(root, **{setting: value}):
        assert check(root, name).status == status
    assert check(root, name).status == "ok"


def test_a_missing_library_is_found(root):
    assert check(root, "shared_preload_libraries").status == "ok"
    with Cluster(preload=False) as cluster:
        install(cluster, "postgres")
        with closing(cluster.connect()) as connection:
            assert check(Client(connection), "shared_preload_libraries").status == "warn"


def test_a_key_file_in_the_data_directory_and_a_missing_one_are_found(server, root, tmp_path):
    root.enrol(new_account())
    assert check(root, "key_source").status == "fail"
    elsewhere = server.directory / "keys"
    shutil.copy(server.data_dir / "totp.keys", elsewhere)
    shutil.chown(elsewhere, server.data_dir.stat().st_uid)
    elsewhere.chmod(0o600)
    with configured(root, totp__key_file=elsewhere):
        for name in ("key_source", "keyring", "missing_keys"):
            assert check(root, name).status == "ok", name
    with configured(root, totp__key_file=tmp_path / "none"):
        assert check(root, "key_source").status == "warn"
        assert check(root, "keyring").status == "fail"
        assert check(root, "missing_keys").status == "fail"


def test_keys_that_nothing_needs_are_found(server, root):
    path = server.data_dir / "totp.keys"
    root.enrol(new_account())
    (old,) = (row.key_id for row in root.rows("SELECT key_id FROM totp.key_ids()"))
    assert check(root, "unused_keys").status == "ok"
    kept, spare = path.read_text(), Fernet.generate_key().decode()
    try:
        # A key that nobody has used, below the first one.
        path.write_text(f"{kept}{spare}\n")
        keys = {row.key_id for row in root.rows("SELECT key_id FROM totp.key_ids()")}
        (other,) = keys - {old}
        found = check(root, "unused_keys")
        assert (found.status, other in found.detail, old in found.detail) == ("warn", True, False)
        # The old one, below a new one: rows and signatures need it, then signatures only.
        path.write_text(f"{spare}\n{kept}")
        assert check(root, "key_rotation").status == "warn"
        assert check(root, "unused_keys").status == "ok"
        root.execute("CALL totp.key_rotate()")
        assert check(root, "key_rotation").status == "ok"
        assert check(root, "unused_keys").status == "ok"
        with undone(root):
            root.execute("DELETE FROM totp.audit_events WHERE key_id = %s", old)
            found = check(root, "unused_keys")
        assert (found.status, old in found.detail) == ("warn", True)
    finally:
        path.write_text(f"{kept}{spare}\n")
        root.execute("CALL totp.key_rotate()")


def test_rows_that_nobody_removes_are_found(root):
    statements = {
        "factors": """
            INSERT INTO totp.factors
                (account, label, state, algorithm, digits, period, sealed, key_id, created_at)
            SELECT min(account), n, 'pending', 'SHA1', 6, 30, '', repeat('0', 16),
                now() - %s::interval
            FROM totp.accounts, generate_series(1, %s) AS n GROUP BY n""",
        "tokens": """
            INSERT INTO totp.tokens
                (id, kind, account, purpose, binding, claims, created_at, expires_at)
            SELECT gen_random_uuid(), 'trust', 'x', 'x', sha256(''), '{}', now(),
                now() - %s::interval
            FROM generate_series(1, %s)""",
        "sessions": """
            INSERT INTO totp.sessions (account, session_id, verified_at, method, changed_at)
            SELECT min(account), n, now() - %s::interval, 'totp', now()
            FROM totp.accounts, generate_series(1, %s) AS n GROUP BY n""",
        "events": """
            INSERT INTO totp.events (at, account, event)
            SELECT now() - %s::interval, 'x', 'enrolled' FROM generate_series(1, %s)""",
    }
    root.enrol(new_account())
    assert "No rows" in check(root, "expired_rows").detail
    for age, number, status, text in [
        ("32 days", 10_001, "warn", "10001"),
        ("32 days", 3, "ok", "day ago: 3."),
        ("1 hour", 10_001, "ok", "No rows"),
    ]:
        for table, statement in statements.items():
            if (table, age) == ("sessions", "1 hour") or (table, age) == ("events", "1 hour"):
                continue
            with undone(root):
                root.execute(statement, age, number)
                found = check(root, "expired_rows")
            assert (found.status, text in found.detail) == (status, True), (table, age, number)
    # What totp_prune removes is no longer reported.
    with undone(root):
        for statement in statements.values():
            root.execute(statement, "32 days", 3_000)
        assert check(root, "expired_rows").status == "warn"
        assert root.value("SELECT totp.totp_prune()") >= 12_000
        assert "No rows" in check(root, "expired_rows").detail


# Logins over the network


@contextmanager
def rules(server, *lines):
    """Other rules in pg_hba.conf. Nobody loads them: preflight reads the file."""
    path = server.data_dir / "pg_hba.conf"
    kept = path.read_text()
    try:
        path.write_text("\n".join(["local all all trust", *lines, ""]))
        yield
    finally:
        path.write_text(kept)


PLAIN = {
    "IPv4": "host all all 0.0.0.0/0 scram-sha-256",
    "IPv6": "host all all ::/0 scram-sha-256",
    "a network": "host postgres app 10.0.0.0/8 md5",
    "a mask": "host postgres app 10.0.0.0 255.0.0.0 md5",
    "all": "host all all all scram-sha-256",
    "a host name": "host all all .example.org scram-sha-256",
    "without TLS only": "hostnossl all all all scram-sha-256",
    "the same subnet": "host all all samenet trust",
}
SAFE = {
    "TLS only": "hostssl all all all scram-sha-256",
    "this machine": "host all all 127.0.0.1/32 trust",
    "this machine by IPv6": "host all all ::1/128 trust",
    "this machine by name": "host all all localhost trust",
    "all addresses of this machine": "host all all samehost trust",
    "another database": "host other all all scram-sha-256",
    "replication": "host replication all all scram-sha-256",
    "a rejection": "host all all all reject",
    "a rejection before": "hostnossl all all all reject\nhost all all all scram-sha-256",
}


@pytest.mark.parametrize("line", PLAIN.values(), ids=PLAIN.keys())
def test_network_logins_without_tls_are_found(server, root, line):
    with rules(server, "hostssl all all all scram-sha-256", line):
        found = check(root, "network_logins")
    assert (found.status, "line 3 (host" in found.detail) == ("warn", True), found


@pytest.mark.parametrize("line", SAFE.values(), ids=SAFE.keys())
def test_other_logins_are_not(server, root, line):
    with rules(server, line):
        assert check(root, "network_logins").status == "ok"


def test_a_server_that_listens_here_only_has_no_network_logins(dba):
    assert "no address" in check(dba, "network_logins").detail


def test_an_administrator_is_told_that_the_rules_are_unknown(server, root):
    with closing(server.connect("admin")) as connection, rules(server, PLAIN["all"]):
        admin = Client(connection)
        found = check(admin, "network_logins")
        assert (found.status, "unknown" in found.detail) == ("warn", True)
        root.execute("GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO admin")
        try:
            assert "line 2 (host)" in check(admin, "network_logins").detail
        finally:
            root.execute("REVOKE EXECUTE ON FUNCTION pg_hba_file_rules() FROM admin")


# Clocks of standbys


@contextmanager
def replica(server, **options):
    """A standby that says what time it is."""
    address = {**server.address, "user": "postgres", "dbname": "postgres", **options}
    words = " ".join(f"{name}='{value}'" for name, value in address.items())
    connection = pq.PGconn.connect(f"{words} replication=true application_name=replica".encode())
    try:
        position = connection.exec_(b"IDENTIFY_SYSTEM").get_value(0, 2).decode()
        started = connection.exec_(f"START_REPLICATION PHYSICAL {position}".encode())
        assert started.status == pq.ExecStatus.COPY_BOTH, connection.get_error_message()

        def reply(seconds_ahead):
            """A standby status update: three positions, the time since 2000, and no question."""
            high, low = (int(part, 16) for part in position.split("/"))
            at = round((time.time() + seconds_ahead - EPOCH) * 1_000_000)
            message = [number.to_bytes(8, "big") for number in [(high << 32) + low] * 3 + [at]]
            connection.put_copy_data(b"r" + b"".join(message) + b"\0")
            connection.flush()

        yield reply
    finally:
        connection.finish()


EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, "ok"), (-20, "ok"), (-300, "warn"), (30, "warn"), (7200, "warn")]
)
def test_a_standby_with_another_time_is_found(server, root, seconds, status):
    assert check(root, "standby_clocks").status == "ok"
    replied = """
        SELECT count(*) FROM pg_stat_replication
        WHERE application_name = 'replica' AND reply_time IS NOT NULL
    """
    with replica(server) as reply:
        reply(seconds)
        until(lambda: root.value(replied) == 1, what="the reply")
        found = check(root, "standby_clocks")
        assert found.status == status
        if status == "warn":
            assert f"replica {seconds:+d} s" in found.detail or "replica" in found.detail
        with closing(server.connect("admin")) as connection:
            hidden = check(Client(connection), "standby_clocks")
        assert (hidden.status, "unknown" in hidden.detail) == ("warn", True)
    until(lambda: root.value("SELECT count(*) FROM pg_stat_replication") == 0, what="its end")


def test_a_real_standby_has_the_same_time(server, root):
    standby = server.standby()
    try:
        standby.wait_for_replay(server)
        assert check(root, "standby_clocks").status == "ok"
        with closing(standby.connect()) as connection:
            assert check(Client(connection), "standby_clocks").status == "ok"
    finally:
        standby.destroy()


# All checks together


def test_a_deployment_ends_on_one_question(server, root):
    elsewhere = server.directory / "keys2"
    shutil.copy(server.data_dir / "totp.keys", elsewhere)
    shutil.chown(elsewhere, server.data_dir.stat().st_uid)
    assert root.value("SELECT totp.preflight_ok()") is False
    with configured(root, totp__key_file=elsewhere):
        failed = root.rows("SELECT * FROM totp.preflight() WHERE status = 'fail'")
        assert failed == [] and root.value("SELECT totp.preflight_ok()") is True
        # A warning is no failure.
        assert check(root, "jwt_logins").status == "warn"
        with closing(server.connect("admin")) as connection:
            assert Client(connection).value("SELECT totp.preflight_ok()") is True
        root.execute("ALTER ROLE totp_owner LOGIN")
        try:
            assert root.value("SELECT totp.preflight_ok()") is False
        finally:
            root.execute("ALTER ROLE totp_owner NOLOGIN")
    denied = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with closing(server.connect("app")) as connection, denied:
        connection.execute("SELECT totp.preflight_ok()")


# Checks that another file of tests makes fail and pass.
ELSEWHERE = {
    "citus": "test_preflight_fails_and_says_what_the_error_says",
    "audit_sequence": "audit_sequence",
}


def test_each_check_has_a_test(root):
    """A new check must be made to fail and to pass."""
    texts = {path.name: path.read_text() for path in (ROOT / "tests/e2e").glob("test_*.py")}
    for row in root.rows("SELECT check_name FROM totp.preflight()"):
        name = row.check_name
        if name in ELSEWHERE:
            assert any(ELSEWHERE[name] in text for text in texts.values()), name
        else:
            assert texts["test_preflight.py"].count(f'"{name}"') >= 1, name
