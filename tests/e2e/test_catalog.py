"""What CREATE EXTENSION leaves in the catalogs."""

import pytest
from psycopg import errors

OBJECTS = """
    SELECT pg_describe_object(classid, objid, 0) AS object FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'totp') ORDER BY 1
"""
OURS = "pronamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace)"


def test_the_roles_cannot_log_in_and_have_no_power(dba):
    rows = dba.rows("""
        SELECT rolname, rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls
            OR rolreplication FROM pg_roles WHERE rolname LIKE 'totp\\_%' ORDER BY 1
    """)
    names = ["totp_admin", "totp_app", "totp_auditor", "totp_owner", "totp_user"]
    assert [tuple(row) for row in rows] == [(name, False) for name in names]


def test_tables_belong_to_totp_owner(dba):
    rows = dba.rows("""
        SELECT relname, pg_get_userbyid(relowner) AS owner, relpersistence, relacl::text
        FROM pg_class WHERE relnamespace = 'totp'::regnamespace AND relkind IN ('r', 'S')
    """)
    tables = {
        *("accounts", "factors", "backup_codes", "hardware_tokens", "tokens", "sessions"),
        *("audit_events", "audit_seals", "events"),
        *("requirements", "approvals", "passes"),
    }
    assert tables <= {row.relname for row in rows}
    assert {(row.owner, row.relpersistence) for row in rows} == {("totp_owner", "p")}


def test_functions_that_run_with_other_rights_pin_their_path_and_belong_to_totp_owner(dba):
    rows = dba.rows(f"""
        SELECT oid::regprocedure::text AS function, pg_get_userbyid(proowner) AS owner, proconfig,
            provolatile, proparallel FROM pg_proc WHERE {OURS} AND prosecdef
    """)
    assert len(rows) >= 10
    for row in rows:
        assert row.owner == "totp_owner", row
        assert row.proconfig == ["search_path=pg_catalog, pg_temp"], row
        assert row.proparallel != "s", row


def test_no_function_that_decides_is_strict_or_leakproof(dba):
    strict = "(proisstrict AND pronargs > 0 OR proleakproof)"
    assert dba.rows(f"SELECT proname FROM pg_proc WHERE {OURS} AND {strict}") == []


def test_functions_that_write_are_volatile_and_parallel_unsafe(dba):
    names = ["totp_create", "totp_confirm", "totp_verify", "totp_attempt", "totp_disable"]
    names += ["backup_verify", "backup_rotate", "challenge_create", "challenge_verify"]
    names += ["recovery_create", "recovery_confirm", "recovery_attempt", "recovery_cancel"]
    names += ["trust_create", "trust_revoke"]
    query = f"""
        SELECT proname, provolatile, proparallel FROM pg_proc WHERE {OURS} AND proname = ANY(%s)
    """
    rows = dba.rows(query, names)
    assert {tuple(row) for row in rows} == {(name, "v", "u") for name in names}


def test_pure_functions_are_immutable_and_parallel_safe(dba):
    names = ["totp_code", "totp_check", "totp_uri", "qr_svg", "qr_text"]
    query = f"""
        SELECT proname, provolatile, proparallel, prosecdef FROM pg_proc
        WHERE {OURS} AND proname = ANY(%s)
    """
    rows = dba.rows(query, names)
    assert {tuple(row) for row in rows} == {(name, "i", "s", False) for name in names}


def test_every_function_table_column_and_type_has_a_comment(dba):
    rows = dba.rows(f"""
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE {OURS} AND obj_description(oid, 'pg_proc') IS NULL
        UNION ALL
        SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = 'totp'::regnamespace AND relkind IN ('r', 'v')
        AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL
        SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class
        ON pg_class.oid = attrelid WHERE relnamespace = 'totp'::regnamespace
        AND relkind IN ('r', 'v', 'c') AND attnum > 0 AND NOT attisdropped
        AND col_description(attrelid, attnum) IS NULL
    """)
    assert [row[0] for row in rows] == []
    assert dba.value(
        "SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'totp'"
    )


def test_every_table_and_sequence_is_dumped(dba):
    missing = dba.rows("""
        SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace = 'totp'::regnamespace AND relkind IN ('r', 'S')
        EXCEPT SELECT unnest(extconfig)::regclass::text FROM pg_extension WHERE extname = 'totp'
    """)
    assert missing == []


def test_every_setting_explains_itself(dba):
    rows = dba.rows("SELECT * FROM pg_settings WHERE name LIKE 'totp.%'")
    assert len(rows) > 10
    for row in rows:
        assert row.short_desc.endswith(".") and row.extra_desc.endswith("."), row.name
        # Each caller says for whom it acts.
        by_users = row.name == "totp.client"
        assert by_users or row.context in ("superuser", "sighup", "postmaster"), row.name
        if row.name.endswith(("lockout", "ttl", "timeout")):
            assert row.unit, row.name


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("window_steps", "1"),
        ("max_failures", "5"),
        ("lockout", "30s"),
        ("max_lockout", "1h"),
        ("suspend_after", "100"),
        ("pending_ttl", "15min"),
        ("backup_codes", "10"),
        ("challenge_ttl", "5min"),
        ("challenge_attempts", "5"),
        ("recovery_ttl", "1h"),
        ("recovery_delay", "0"),
        ("trust_ttl", "30d"),
        ("session_ttl", "12h"),
        ("grace", "14d"),
        ("approval_ttl", "15min"),
        ("amr", "supabase"),
        ("identity", "jwt"),
        ("jwt_logins", "authenticator"),
        ("jwt_claim", "sub"),
        ("jwt_role", "authenticated"),
        ("jwt_ttl", "1h"),
        ("jwt_secret_file", ""),
        ("jwt_secret_command", ""),
        ("jwt_secret_base64", "off"),
        ("lock_timeout", "2s"),
        ("audit", "all"),
        ("key_file", "totp.keys"),
        ("key_command", ""),
        ("clock", ""),
        ("issuer", ""),
    ],
)
def test_a_setting_has_the_documented_default(dba, name, default):
    assert dba.value("SELECT current_setting(%s)", f"totp.{name}") == default


def test_a_misspelt_setting_is_refused(dba):
    with pytest.raises(errors.InvalidName):
        dba.execute("SET totp.max_failure = 3")


def test_the_extension_is_not_trusted_and_stays_in_its_schema(dba):
    row = dba.row("SELECT * FROM pg_available_extension_versions WHERE name = 'totp' AND installed")
    assert (row.superuser, row.trusted, row.relocatable, row.schema) == (True, False, False, "totp")


def test_constraints_hold_what_they_can(dba, account):
    dba.enrol(account)
    dba.challenge(account)
    dba.call("totp_require", account=account, reason="a test")
    dba.call("pass_issue", account=account, reason="a test")
    dba.call("approval_request", action="transfer", payload="{}", account=account)
    dba.execute(
        """
        INSERT INTO totp.sessions (account, session_id, verified_at, method, changed_at)
        VALUES (%s, 's', now(), 'totp', now())
    """,
        account,
    )
    bad = [
        ("accounts", "failures = -1"),
        ("accounts", "account = ''"),
        ("accounts", "suspended = NULL"),
        ("accounts", "suspended = true"),
        ("accounts", "locked_until = now()"),
        ("factors", "state = 'new'"),
        ("factors", "algorithm = 'MD5'"),
        ("factors", "digits = 5"),
        ("factors", "period = 0"),
        ("factors", "confirmed_at = NULL"),
        ("factors", "state = 'pending'"),
        ("factors", "sealed = NULL"),
        ("factors", "key_id = 'x'"),
        ("factors", "account = 'nobody at all'"),
        ("backup_codes", "salt = ''"),
        ("backup_codes", "used_at = '{}'"),
        ("backup_codes", "used_at[0] = now()"),
        ("backup_codes", "used_at[51] = now()"),
        ("backup_codes", "used_at = NULL"),
        ("tokens", "kind = 'x'"),
        ("tokens", "purpose = ''"),
        ("tokens", "binding = ''"),
        ("tokens", "claims = '[]'"),
        ("tokens", "attempts = -1"),
        ("tokens", "expires_at = NULL"),
        ("requirements", "deadline = NULL"),
        ("requirements", "reason = NULL"),
        ("requirements", "account = ''"),
        ("requirements", "exempt_until = now()"),
        ("passes", "uses_left = -1"),
        ("passes", "salt = ''"),
        ("passes", "expires_at = issued_at + interval '25 hours'"),
        ("approvals", "approver = account"),
        ("approvals", "payload = '[]'"),
        ("approvals", "digest = ''"),
        ("approvals", "used_at = now()"),
        ("approvals", "expires_at = NULL"),
        ("sessions", "method = 'x'"),
        ("sessions", "changed_at = NULL"),
        ("sessions", "account = 'nobody at all'"),
    ]
    for table, change in bad:
        with pytest.raises(Exception) as caught:
            dba.execute(f"UPDATE totp.{table} SET {change} WHERE account = %s", account)
        assert caught.value.sqlstate[:2] == "23", (table, change)


def test_the_extension_can_be_dropped_and_made_again(cluster, other_database):
    def objects():
        with cluster.connect(dbname=other_database) as connection:
            return [row.object for row in connection.execute(OBJECTS).fetchall()]

    cluster.execute("CREATE EXTENSION totp", dbname=other_database)
    first = objects()
    cluster.execute("DROP EXTENSION totp", dbname=other_database)
    with cluster.connect(dbname=other_database) as connection:
        left = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text = 'totp'"
        ).fetchone()
        assert left == (0,)
    cluster.execute("CREATE EXTENSION totp", dbname=other_database)
    assert objects() == first
