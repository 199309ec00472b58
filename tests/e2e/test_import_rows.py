"""import_rows: rows of any origin, and what holds for all imports."""

import base64
import contextlib
import re

import psycopg
import pyotp
import pytest

from mover import assert_app_works, place_to_move_to
from refusal import BAD_ARGUMENT, refused
from trap import trap, victims

S160, T160 = "HXDMVJECJJWSRB3HWIZR4IFUGFTMXBOZ", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
URI = f"otpauth://totp/Acme:bob?secret={T160}&issuer=Acme&digits=8&period=60&algorithm=SHA256"


@pytest.fixture(scope="module")
def place(cluster):
    with place_to_move_to(cluster) as (name, mover):
        yield name, mover


@pytest.fixture
def mover(place):
    """A mover with an empty staging table of its own, and no accounts."""
    _, mover = place
    for (account,) in mover.rows("SELECT account FROM totp.account_status"):
        mover.execute("SELECT totp.totp_forget(%s, 'the next test')", account)
    mover.execute("DROP TABLE IF EXISTS pg_temp.staging")
    mover.execute("""
        CREATE TEMPORARY TABLE staging (account text, secret text, label text, last_step bigint)
    """)
    mover.travel(mover.START)
    return mover


def stage(mover, *rows):
    for row in rows:
        row = (*row, *[None] * (4 - len(row)))
        mover.execute("INSERT INTO staging VALUES (%s, %s, %s, %s)", *row)


def import_(mover, **options):
    return mover.import_("rows", source="staging", **options)


def test_secrets_and_uris_work_at_once(mover):
    stage(mover, ("alice", S160, "phone"), ("bob", URI))
    rows = import_(mover)
    assert rows == {"alice": ("alice", 1, 0, None), "bob": ("bob", 1, 0, None)}
    assert_app_works(mover, "alice", f"otpauth://totp/alice?secret={S160}")
    assert_app_works(mover, "bob", URI)
    exported = mover.value("SELECT totp.totp_export('bob', 'default', 'to look at')")
    assert exported.startswith("otpauth://totp/Acme:bob?") and T160 in exported


def test_a_csv_is_copied_and_imported(mover, tmp_path):
    """What an app exports: COPY takes the file, with any columns."""
    lines = f'account,secret\nalice,"{URI}"\nbob,{S160}\n'
    with mover.connection.cursor().copy(
        "COPY staging (account, secret) FROM STDIN (FORMAT csv, HEADER true)"
    ) as copy:
        copy.write(lines)
    assert {row.factors for row in import_(mover).values()} == {1}


def test_the_last_step_is_spent(mover):
    step = int(mover.now // 30)
    stage(mover, ("alice", S160, None, step))
    import_(mover)
    app = pyotp.TOTP(S160)
    assert mover.verify("alice", app.at(mover.now)) is False
    assert mover.verify("alice", app.at(mover.now + 30)) is True


def test_without_a_last_step_every_code_until_now_is_refused(mover):
    stage(mover, ("alice", S160))
    import_(mover)
    app = pyotp.TOTP(S160)
    assert [mover.verify("alice", app.at(mover.now + 30 * n)) for n in (-1, 0, 1)] == [False] * 3
    mover.execute("SELECT totp.totp_unlock('alice', 'the test goes on')")
    mover.wait(30)
    assert mover.verify("alice", app.at(mover.now + 30)) is True


def test_an_import_that_is_repeated_changes_nothing(mover):
    stage(mover, ("alice", S160, "a"), ("alice", T160, "a"), ("bob", S160))
    first = import_(mover)
    assert {row.account: row.factors for row in first.values()} == {"alice": 2, "bob": 1}
    before = mover.stored()
    assert [row.label for row in before] == ["a", "a 2", "default"]
    events = "SELECT count(*) FROM totp.audit_log"
    audited = mover.value(events)
    mover.wait(60)
    again = import_(mover)
    assert all(row.factors == 0 and row.problem is None for row in again.values())
    assert mover.stored() == before
    assert mover.value(events) == audited


def test_a_new_device_is_added_to_those_that_were_imported(mover):
    stage(mover, ("alice", S160, "phone"))
    import_(mover)
    stage(mover, ("alice", T160, "tablet"))
    assert import_(mover)["alice"].factors == 1
    assert [row.label for row in mover.stored()] == ["phone", "tablet"]


def test_the_apps_of_an_account_stay_together_in_a_large_table(mover):
    """Rows are read a thousand at a time, in whatever order they are stored."""
    mover.execute("""
        INSERT INTO staging
        SELECT 'user ' || n % 700, encode(sha256(n::text::bytea), 'hex'), 'app', NULL
        FROM generate_series(1, 2100) AS n
    """)
    mover.execute("UPDATE staging SET secret = translate(left(secret, 32), '0189', 'ABCD')")
    rows = import_(mover)
    assert len(rows) == 700
    assert {(row.factors, row.problem) for row in rows.values()} == {(3, None)}
    assert len(mover.stored()) == 2100
    again = import_(mover)
    assert {(row.factors, row.problem) for row in again.values()} == {(0, None)}


def test_a_second_factor_that_was_removed_here_does_not_come_back(mover):
    """By its user, or by the help desk."""
    stage(mover, ("alice", S160), ("bob", S160), ("carol", S160))
    import_(mover)
    mover.wait(60)
    code = pyotp.TOTP(S160).at(mover.now)
    assert mover.call("totp_disable", account="alice", code=code)[0]
    mover.execute("SELECT totp.totp_reset('bob', 'lost her phone')")
    for dry_run in (True, False):
        rows = import_(mover, dry_run=dry_run)
        for account in ("alice", "bob"):
            assert rows[account].factors == 0
            assert rows[account].problem.startswith("the account had a second factor here")
        assert rows["carol"][1:] == (0, 0, None)
    assert [row.account for row in mover.stored()] == ["carol"]
    mover.execute("SELECT totp.totp_forget('bob', 'she wants it back')")
    assert import_(mover)["bob"].factors == 1


def test_an_account_with_another_factor_is_reported_and_kept(mover):
    person = mover.enrol("alice")
    stage(mover, ("alice", S160), ("bob", S160))
    before = [row for row in mover.stored() if row.account == "alice"]
    rows = import_(mover)
    assert rows["alice"][1:] == (0, 0, "the account already has another active factor")
    assert rows["bob"].factors == 1
    assert [row for row in mover.stored() if row.account == "alice"] == before
    mover.wait(30)
    assert mover.verify("alice", person.phone.take(mover.now))


def test_a_pending_factor_is_replaced_and_others_are_void(mover):
    waiting = mover.create("alice", label="phone")
    other = mover.create("alice", label="tablet")
    stage(mover, ("alice", S160, "phone"))
    assert import_(mover)["alice"].factors == 1
    assert_app_works(mover, "alice", f"otpauth://totp/alice?secret={S160}")
    for uri, label in (waiting.uri, "phone"), (other.uri, "tablet"):
        with refused("42704"):
            mover.confirm("alice", pyotp.parse_uri(uri).at(mover.now), label=label)


BROKEN = {
    "no account": ((None, S160), None, "account must not be null or empty"),
    "an empty account": (("", S160), None, "account must not be null or empty"),
    "a long account": (("x" * 256, S160), None, "account is too long"),
    "no secret": (("broken", None), "broken", "secret is missing"),
    "no base32": (("broken", "0189"), "broken", "secret is not valid base32"),
    "a short secret": (("broken", "GEZDGNBV"), "broken", "secret must be 10 to 128 bytes"),
    "HOTP": (("broken", f"otpauth://hotp/x?secret={S160}"), "broken", "its type is hotp"),
    "ten digits": (("broken", f"otpauth://totp/x?secret={S160}&digits=10"), "broken", "digits"),
    "a step of next year": (("broken", S160, None, 10**9), "broken", "last step is out of range"),
    "a negative step": (("broken", S160, None, -2), "broken", "last step is out of range"),
}


@pytest.mark.parametrize(("row", "account", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_broken_row_is_reported_and_the_others_are_imported(mover, row, account, problem):
    stage(mover, ("alice", S160), row, ("zoe", T160))
    rows = import_(mover)
    assert problem in rows[account].problem
    assert rows[account].factors == 0
    assert [row.account for row in mover.stored()] == ["alice", "zoe"]
    accounts = mover.rows("SELECT account FROM totp.account_status ORDER BY 1")
    assert [row.account for row in accounts] == ["alice", "zoe"]
    secrets = [text for text in row if isinstance(text, str) and re.fullmatch("[A-Z2-7]{8,}", text)]
    assert not any(secret in str(rows) for secret in secrets)


def test_a_broken_row_does_not_keep_another_of_its_account_out(mover):
    stage(mover, ("alice", S160, "a"), ("alice", "0", "b"), ("alice", "1", "c"))
    row = import_(mover)["alice"]
    assert (row.factors, row.problem) == (1, "secret is not valid base32")


def test_a_dry_run_reports_the_same_and_writes_nothing(mover):
    mover.enrol("zoe")
    before = mover.stored()
    stage(
        mover, ("alice", S160, "a"), ("alice", T160, "b"), ("bob", "0"), ("zoe", S160), (None, "")
    )
    dry = import_(mover, dry_run=True)
    assert mover.stored() == before
    assert [r.account for r in mover.rows("SELECT account FROM totp.account_status")] == ["zoe"]
    assert import_(mover) == dry


def test_every_factor_is_in_the_audit_trail_with_the_reason(mover):
    stage(mover, ("alice", S160, "phone"), ("bob", "JBSWY3DPEHPK3PXP"))
    import_(mover, reason="the old system ends")
    query = """
        SELECT account, event, outcome, actor, detail FROM totp.audit_log
        WHERE account IN ('alice', 'bob') ORDER BY id DESC LIMIT 2
    """
    for row, (account, label, weak) in zip(
        sorted(mover.rows(query)),
        [("alice", "phone", False), ("bob", "default", True)],
        strict=True,
    ):
        assert row[:4] == (account, "import", "ok", "mover")
        assert row.detail == {
            "label": label,
            "weak": weak,
            "function": "import_rows",
            "reason": "the old system ends",
        }


def test_an_import_leaves_the_audit_trail_intact(mover):
    stage(mover, ("alice", S160, "a"), ("alice", T160, "b"), ("bob", S160))
    import_(mover)
    entries = mover.rows(
        "SELECT * FROM totp.audit_log WHERE event = 'import' ORDER BY id DESC LIMIT 3"
    )
    assert len({row.id for row in entries}) == 3
    assert len({(row.xid, row.key_id, row.client, row.application) for row in entries}) == 1
    assert not mover.rows("SELECT * FROM totp.audit_verify() WHERE problem <> 'unsealed'")


def test_an_import_keeps_names_out_of_the_audit_trail(cluster, place, mover):
    cluster.execute("GRANT SET ON PARAMETER totp.audit_accounts TO mover", dbname=place[0])
    mover.execute("SET totp.audit_accounts = hash")
    stage(mover, ("carol", S160))
    import_(mover)
    mover.execute("RESET totp.audit_accounts")
    account = mover.value("SELECT account FROM totp.audit_log ORDER BY id DESC LIMIT 1")
    assert account.startswith("hmac-sha256:")
    assert account in mover.value("SELECT totp.audit_names('carol')")


def test_every_factor_is_announced(cluster, place, mover):
    """Like those of totp_import: one event each, and none of a dry run."""
    parameters = "totp.events, totp.notify"
    cluster.execute(f"GRANT SET ON PARAMETER {parameters} TO mover", dbname=place[0])
    stage(mover, ("alice", S160, "a"), ("alice", T160, "b"), ("bob", S160), (None, S160))
    mover.execute("SET totp.events = off")
    import_(mover)
    events = "SELECT account, event, detail FROM totp.events_read(0, 1000) WHERE event = 'imported'"
    assert mover.rows(events) == []
    for (account,) in mover.rows("SELECT account FROM totp.account_status"):
        mover.execute("SELECT totp.totp_forget(%s, 'once more')", account)
    mover.execute("RESET totp.events")
    mover.execute("SET totp.notify = on")
    with cluster.connect("mover", place[0]) as listener:
        listener.execute("LISTEN totp")
        import_(mover, dry_run=True)
        import_(mover)
        import_(mover)
        told = [notice.channel for notice in listener.notifies(timeout=1)]
    mover.execute("RESET totp.notify")
    assert told == ["totp"] * 3
    assert mover.rows(events) == [
        ("alice", "imported", {"label": "a"}),
        ("alice", "imported", {"label": "b"}),
        ("bob", "imported", {"label": "default"}),
    ]


def test_a_notice_counts_weak_secrets(mover):
    seen = []
    mover.connection.add_notice_handler(lambda notice: seen.append(notice.message_primary))
    stage(mover, ("alice", "JBSWY3DPEHPK3PXP"), ("bob", S160), ("carol", "GEZDGNBVGY3TQOJQ"))
    import_(mover)
    assert seen == ["2 of the imported secrets have fewer than 128 bits"]


def test_a_rollback_undoes_it_all(mover):
    stage(mover, ("alice", S160))
    with contextlib.suppress(ZeroDivisionError), mover.connection.transaction():
        import_(mover)
        raise ZeroDivisionError
    assert mover.stored() == []
    assert import_(mover)["alice"].factors == 1


def test_a_view_can_name_the_account_and_the_columns(mover):
    mover.execute("CREATE TEMPORARY TABLE old (id integer, uri text)")
    mover.execute("INSERT INTO old VALUES (7, %s)", URI)
    mover.execute("CREATE TEMPORARY VIEW seen AS SELECT 'user ' || id AS account, uri FROM old")
    assert mover.import_("rows", source="seen")["user 7"].factors == 1
    mover.execute("DROP TABLE old CASCADE")


@pytest.mark.parametrize(
    ("source", "sqlstate"),
    [(None, BAD_ARGUMENT), ("pg_type_oid_index", "42809"), ("pg_class", "42703")],
)
def test_what_is_no_source_is_refused(mover, source, sqlstate):
    with refused(sqlstate):
        mover.import_("rows", source=source)


def test_an_account_in_use_is_reported_and_the_others_are_imported(cluster, place, mover):
    """It has no factor, or none would have to be added: only then is its row locked."""
    name, _ = place
    mover.create("alice")
    stage(mover, ("alice", S160), ("bob", T160))
    with cluster.connect(dbname=name, autocommit=False) as other:
        other.execute("SELECT FROM totp.accounts WHERE account = 'alice' FOR UPDATE")
        rows = import_(mover)
    assert rows["alice"].problem.startswith("the account is in use by another transaction")
    assert rows["bob"].factors == 1
    assert import_(mover)["alice"].factors == 1


# Rights


def test_a_table_is_read_with_the_rights_of_the_caller(place, mover, cluster):
    name, _ = place
    cluster.execute(
        f"CREATE TABLE hidden AS SELECT 'alice' AS account, '{S160}' AS secret", dbname=name
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="hidden"):
        mover.import_("rows", source="hidden")
    mover.execute(
        "CREATE TEMPORARY VIEW ours AS SELECT account::text AS account, sealed AS secret"
        " FROM totp.factors"
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="factors"):
        mover.import_("rows", source="ours")
    mover.execute("DROP VIEW ours")
    cluster.execute("GRANT SELECT ON hidden TO mover", dbname=name)
    assert mover.import_("rows", source="hidden")["alice"].factors == 1
    cluster.execute("ALTER TABLE hidden ENABLE ROW LEVEL SECURITY", dbname=name)
    mover.execute("SELECT totp.totp_forget('alice', 'the test goes on')")
    assert mover.import_("rows", source="hidden") == {}
    cluster.execute("DROP TABLE hidden", dbname=name)


SPY = """
CREATE TABLE public.seen (who text, path text, context text);
GRANT INSERT, SELECT ON public.seen TO PUBLIC;
CREATE FUNCTION public.spy() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO public.seen VALUES (current_user, current_setting('search_path'), '');
    BEGIN
        PERFORM FROM totp.factors;
        INSERT INTO public.seen VALUES ('reads totp.factors', '', '');
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
    RETURN 'HXDMVJECJJWSRB3HWIZR4IFUGFTMXBOZ';
END $$;
CREATE VIEW public.trap AS
    SELECT 'user ' || n AS account, public.spy() AS secret FROM generate_series(1, 3) AS n;
GRANT SELECT ON public.trap TO PUBLIC;
"""


def test_functions_of_a_view_run_as_the_caller_and_never_as_the_owner(place, mover, cluster):
    name, _ = place
    cluster.execute(SPY, dbname=name)
    rows = mover.import_("rows", source="public.trap")
    assert len(rows) == 3
    seen = mover.rows("SELECT DISTINCT who, path FROM public.seen")
    assert seen == [("mover", "pg_catalog, pg_temp")]
    assert mover.value("SELECT current_user") == "mover"
    assert mover.value("SELECT current_setting('search_path')") == '"$user", public'
    cluster.execute(
        "DROP VIEW public.trap; DROP FUNCTION public.spy(); DROP TABLE public.seen", dbname=name
    )


UNNEST = """
CREATE FUNCTION attic.unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attic.ran VALUES (current_user);
    RETURN QUERY SELECT pg_catalog.unnest($1);
END $$;
"""
VIEW = """
CREATE VIEW attic.trap AS
    SELECT 'user' AS account, 'HXDMVJECJJWSRB3HWIZR4IFUGFTMXBOZ'
        || left(set_config('search_path', 'attic, pg_catalog', {is_local}), 0) AS secret;
GRANT SELECT ON attic.trap TO PUBLIC;
"""


@pytest.mark.parametrize("is_local", ["true", "false"])
def test_what_functions_of_a_view_set_is_undone(place, mover, cluster, is_local):
    """Otherwise their search_path would have our statements call their functions, as totp_owner."""
    name, _ = place
    view = VIEW.format(is_local=is_local)
    cluster.execute("CREATE SCHEMA attic", trap("attic"), UNNEST, view, dbname=name)
    try:
        before = mover.value("SELECT current_setting('search_path')")
        assert mover.import_("rows", source="attic.trap") == {"user": ("user", 1, 0, None)}
        assert victims(mover, "attic") == []
        assert mover.value("SELECT current_setting('search_path')") == before
    finally:
        cluster.execute("DROP SCHEMA attic CASCADE", dbname=name)


FAILING = """
CREATE FUNCTION pg_temp.fail(n integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF n > 1500 THEN RAISE EXCEPTION 'enough'; END IF;
    RETURN 'HXDMVJECJJWSRB3HWIZR4IFUGFTMXBOZ';
END $$;
CREATE TEMPORARY VIEW failing AS
    SELECT 'user ' || n AS account, pg_temp.fail(n) AS secret
    FROM (SELECT n FROM generate_series(1, 2000) AS n ORDER BY ('user ' || n) COLLATE "C") AS s;
"""


def test_an_error_in_the_source_leaves_no_rights_and_no_rows(mover):
    """It comes in the middle of an import."""
    mover.execute(FAILING)
    with pytest.raises(psycopg.errors.RaiseException):
        mover.import_("rows", source="failing")
    assert mover.value("SELECT current_user") == "mover"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        mover.execute("SELECT FROM totp.factors")
    assert mover.stored() == []
    mover.execute("DROP VIEW failing")


CAUGHT = """
DO $$ BEGIN
    PERFORM totp.import_rows('staging');
EXCEPTION WHEN lock_not_available THEN
    PERFORM set_config('my.user', current_user, false);
    BEGIN
        PERFORM FROM totp.factors;
        PERFORM set_config('my.user', 'reads totp.factors', false);
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
END $$
"""


def test_an_error_while_it_writes_leaves_no_rights(cluster, place, mover):
    """Somebody is creating the account, and does not commit."""
    name, _ = place
    stage(mover, ("alice", S160), ("bob", T160))
    with cluster.connect("mover", name, autocommit=False) as other:
        other.execute("SELECT totp.totp_create('alice')")
        with refused("55P03"):
            import_(mover)
        assert mover.value("SELECT current_user") == "mover"
        mover.execute(CAUGHT)
        assert mover.value("SELECT current_setting('my.user')") == "mover"
        other.rollback()
    assert mover.stored() == []
    assert len(import_(mover)) == 2


def test_a_cursor_is_closed(mover):
    stage(mover, ("alice", S160))
    with mover.connection.transaction():
        import_(mover)
        import_(mover)
        assert mover.value("SELECT count(*) FROM pg_cursors WHERE name LIKE '<unnamed%'") == 0


def test_names_in_the_search_path_are_not_used(place, mover):
    """Operators and functions of the caller's, in front of the system's."""
    mover.execute("""
        CREATE FUNCTION pg_temp.left(text, integer) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;
        CREATE TEMPORARY TABLE pg_class (oid oid, relname name, relkind "char", relnamespace oid);
        SET search_path = pg_temp, pg_catalog, public;
    """)
    stage(mover, ("alice", S160))
    assert import_(mover)["alice"].factors == 1
    mover.execute("RESET search_path; DROP TABLE pg_temp.pg_class")


def test_only_administrators_import(cluster, place):
    name, _ = place
    for role in ("app", "auditor", "stranger"):
        with cluster.connect(role, name) as connection, refused_by_postgresql():
            connection.execute("SELECT * FROM totp.import_rows('pg_class')")


def refused_by_postgresql():
    return pytest.raises(psycopg.errors.InsufficientPrivilege, match="import_rows")


EVERYTHING = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_verbose": "on",
    "auto_explain.log_parameter_max_length": "-1",
}


def test_a_log_of_everything_has_no_secret_of_a_table(cluster, place, mover):
    """Neither of nested statements nor of their plans and parameters."""
    name, _ = place
    secret = pyotp.random_base32()
    cluster.execute(
        "CREATE TABLE public.loud (account text, secret text)",
        "GRANT SELECT ON public.loud TO mover",
        dbname=name,
    )
    with (
        cluster.connect(dbname=name) as dba,
        dba.cursor().copy("COPY public.loud FROM STDIN") as copy,
    ):
        copy.write(f"alice\t{secret}\nbob\t{secret}0\n")
    with cluster.connect(dbname=name) as dba:
        dba.execute("LOAD 'auto_explain'")
        known = {row.name for row in dba.execute("SELECT name FROM pg_settings")}
        for setting, value in EVERYTHING.items():
            if setting not in known:
                assert setting == "auto_explain.log_parameter_max_length"  # from PostgreSQL 16 on
                continue
            dba.execute("SELECT set_config(%s, %s, false)", [setting, value])
        rows = dba.execute("SELECT * FROM totp.import_rows('public.loud')").fetchall()
        assert [row.factors for row in rows] == [1, 0]
    log = cluster.log
    assert "INSERT INTO totp.factors" in log and "public.loud" in log
    raw = base64.b32decode(secret)
    for shape in (secret, secret.lower(), raw.hex(), base64.b64encode(raw).decode()):
        assert shape not in log
    cluster.execute("DROP TABLE public.loud", dbname=name)
