"""Attacks on the tables themselves: reading and changing them, hanging something on them, carrying
them away. Who may lock them is in test_lock.py."""

import re

import pytest
from psycopg import errors

from conftest import DATABASE
from redteam.grant import LOGINS, OWN_VIEW, READERS_OF_OWN_VIEW, READERS_OF_VIEWS, ROLES, VIEWS

RELATIONS = """
SELECT oid::regclass::text AS name, relkind, relname,
    reltoastrelid::regclass::text AS toast,
    ARRAY(SELECT attname FROM pg_attribute
          WHERE attrelid = c.oid AND (attnum > 0 OR relkind <> 'v') AND NOT attisdropped) AS columns
FROM pg_class AS c WHERE relnamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace)
AND relkind IN ('r', 'v', 'S', 'm', 'f', 'p')
"""
OUR_TABLES = [
    *("accounts", "factors", "backup_codes", "hardware_tokens", "tokens", "sessions"),
    *("requirements", "approvals", "passes"),
    *("audit_events", "audit_seals", "events"),
]


# Views that are not simple enough to be written to.
NOT_UPDATABLE = {
    "guard_status",
    "factor_status",
    "hardware_token_status",
    "account_status",
    "key_status",
    "metrics",
    "attacks",
    "audit_ocsf",
}


@pytest.fixture
def take_role(connect):
    def take(role):
        if role in LOGINS:
            return connect(role)
        client = connect("authenticator")
        client.execute(f"SET ROLE {role}")
        return client

    return take


def refuses(client, statement):
    """Whether PostgreSQL denies a statement; any other error is one of the test."""
    try:
        with client.connection.transaction(force_rollback=True):
            client.execute(statement)
    except errors.InsufficientPrivilege:
        return True
    return False


@pytest.mark.parametrize("role", ROLES)
def test_no_column_of_any_table_view_or_sequence_is_read_but_by_its_readers(take_role, dba, role):
    """Every relation whole, each of its columns, its system columns, its row, and its TOAST."""
    client = take_role(role)
    relations = dba.rows(RELATIONS)
    assert {*OUR_TABLES, *VIEWS, OWN_VIEW} <= {relation.relname for relation in relations}
    for relation in relations:
        if relation.relname in VIEWS and role in READERS_OF_VIEWS:
            continue
        if relation.relname == OWN_VIEW and role in READERS_OF_OWN_VIEW:
            continue
        name = relation.name
        statements = [f'SELECT "{column}" FROM {name}' for column in relation.columns]
        statements += [f"SELECT FROM {name}", f"SELECT count(*) FROM {name}", f"TABLE {name}"]
        if relation.relkind != "S":
            statements += [f"SELECT t FROM {name} AS t", f"COPY {name} TO STDOUT"]
        if relation.toast != "-":
            statements.append(f"SELECT chunk_data FROM {relation.toast}")
        for statement in statements:
            assert refuses(client, statement), statement


@pytest.mark.parametrize("role", sorted(READERS_OF_VIEWS))
def test_readers_of_views_change_nothing_through_them(take_role, role):
    """A simple view can be written to, by whom it is granted."""
    client = take_role(role)
    for view in VIEWS - NOT_UPDATABLE:
        assert refuses(client, f"DELETE FROM totp.{view}")
        assert refuses(client, f"SELECT FROM totp.{view} FOR UPDATE")
        assert refuses(client, f"LOCK TABLE totp.{view} IN EXCLUSIVE MODE")
    assert refuses(client, "UPDATE totp.audit_log SET account = 'x'")
    assert refuses(client, "INSERT INTO totp.audit_log (account) VALUES ('x')")


# Whatever could be hung on a table, or made from it, without having to read it at once.
PLANTED = {
    "a trigger": "CREATE TRIGGER trap BEFORE UPDATE ON {} EXECUTE FUNCTION mine.trap()",
    "a trigger for new rows": "CREATE TRIGGER trap BEFORE INSERT ON {}"
    " EXECUTE FUNCTION mine.trap()",
    "a rule": "CREATE RULE trap AS ON UPDATE TO {} DO ALSO NOTIFY trap",
    "a policy": "CREATE POLICY trap ON {} USING (true)",
    "an index": "CREATE INDEX ON {} (mine.index(account))",
    "statistics": "CREATE STATISTICS mine.spy ON (account || 'x') FROM {}",
    "a publication": "CREATE PUBLICATION spy FOR TABLE {}",
    "a publication of all": "CREATE PUBLICATION spy FOR ALL TABLES",
    "a foreign key": "CREATE TABLE mine.t (a text REFERENCES totp.accounts)",
    "a child": "CREATE TABLE mine.t () INHERITS ({})",
    "a parent": "ALTER TABLE {} INHERIT mine.parent",
    "a copy": "CREATE TABLE mine.t (LIKE {} INCLUDING ALL)",
    "a column": "ALTER TABLE {} ADD x text",
    "a column with a default": "ALTER TABLE {} ADD x text DEFAULT mine.index('x')",
    "a constraint": "ALTER TABLE {} ADD CHECK (mine.index(account) = '')",
    "row security": "ALTER TABLE {} ENABLE ROW LEVEL SECURITY",
    "no log": "ALTER TABLE {} SET UNLOGGED",
    "no trigger": "ALTER TABLE {} DISABLE TRIGGER ALL",
    "an owner": "ALTER TABLE {} OWNER TO CURRENT_USER",
    "a comment": "COMMENT ON TABLE {} IS 'mine'",
    "a row": "INSERT INTO {} (account) VALUES ('x')",
    "a merge": "MERGE INTO {} AS t USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE",
    "a change": "UPDATE {} SET account = account",
    "a deletion": "DELETE FROM {}",
    "an end": "TRUNCATE {}",
    "no table": "DROP TABLE {}",
    "a rewrite": "CLUSTER {}",
    "a new index": "REINDEX TABLE {}",
}


@pytest.fixture(params=["stranger", "app", "administrator", "auditor", "self_service"])
def gardener(request, dba, connect):
    """Each role, with a schema of its own and functions to plant."""
    role = request.param
    dba.execute(
        f"CREATE SCHEMA mine AUTHORIZATION {role}; GRANT CREATE ON DATABASE {DATABASE} TO {role}"
    )
    client = connect(role)
    client.execute("""
        CREATE TABLE mine.parent (account text);
        CREATE FUNCTION mine.trap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE FUNCTION mine.index(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'
    """)
    yield client
    client.connection.close()
    dba.execute(f"REVOKE CREATE ON DATABASE {DATABASE} FROM {role}")
    dba.execute("SET client_min_messages = warning; DROP SCHEMA mine CASCADE")


@pytest.mark.parametrize("statement", PLANTED.values(), ids=PLANTED.keys())
def test_nothing_is_planted_on_a_table(gardener, statement):
    """What hangs on a table runs when we write to it, with our rights."""
    for table in OUR_TABLES:
        planted = statement.format(f"totp.{table}")
        if table == "audit_seals":
            # It has no account.
            planted = re.sub(r"\baccount\b", "key_id", planted)
        assert refuses(gardener, planted), table


def test_what_is_planted_on_one_s_own_view_of_a_table_shows_nothing(gardener):
    """A view may be made of anything; whoever reads it needs its owner's right to the table."""
    gardener.execute("CREATE VIEW mine.spy AS SELECT account::text, sealed FROM totp.factors")
    assert refuses(gardener, "SELECT count(*) FROM mine.spy")
    with pytest.raises(errors.InsufficientPrivilege):
        gardener.execute("CREATE MATERIALIZED VIEW mine.kept AS SELECT * FROM totp.factors")


def test_explain_tells_nothing_of_a_table(connect, victim, dba):
    """Estimates come from statistics of the columns, and can be asked for one value at a time."""
    dba.execute("ANALYZE totp.accounts")
    ask = f"EXPLAIN SELECT FROM totp.accounts WHERE account = '{victim.account}'"
    assert "rows=1" in str(dba.rows(ask))
    for role in LOGINS:
        attacker = connect(role)
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.rows(ask)
        assert attacker.rows("SELECT * FROM pg_stats WHERE schemaname = 'totp'") == []
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.rows("SELECT * FROM pg_statistic")


def test_what_anybody_learns_is_how_large_and_how_busy_tables_are(connect, app, dba, account):
    """PostgreSQL shows sizes and counters to everybody: docs/security-model.md says so."""
    observer = connect("stranger")
    count = """
        SELECT pg_stat_force_next_flush(), n_tup_ins FROM pg_stat_all_tables
        WHERE schemaname = 'totp' AND relname = 'accounts'
    """
    before = observer.row(count).n_tup_ins
    app.enrol(account)
    app.row(count)
    assert observer.row(count).n_tup_ins > before
    assert observer.value("SELECT pg_table_size('totp.accounts')") > 0
    with pytest.raises(errors.InsufficientPrivilege):
        observer.value("SELECT currval('totp.audit_events_id_seq')")


@pytest.mark.parametrize("role", ["app", "self_service", "stranger", "auditor", "administrator"])
def test_pg_dump_by_a_role_of_ours_brings_nothing(cluster, victim, dba, role):
    """As the application's operators make a backup with the application's own role."""
    sealed = dba.value("SELECT sealed FROM totp.factors WHERE account = %s", victim.account)
    assert sealed in cluster.run("pg_dump", DATABASE)
    with pytest.raises(RuntimeError, match=r"permission denied|may lack SELECT") as caught:
        cluster.run("pg_dump", "--username", role, DATABASE)
    assert sealed not in str(caught.value) and victim.account not in str(caught.value)
    dump = cluster.run("pg_dump", "-N", "totp", "--username", role, DATABASE)
    assert sealed not in dump and "CREATE EXTENSION IF NOT EXISTS totp" in dump


@pytest.mark.parametrize("login", LOGINS)
def test_no_role_of_ours_reads_the_key_file(cluster, connect, login):
    """By what PostgreSQL offers for files. Roles that may read them can: pg_read_server_files."""
    attacker = connect(login)
    path = cluster.data_dir / "totp.keys"
    attacker.execute("CREATE TEMPORARY TABLE t (line text)")
    for statement in (
        f"SELECT pg_read_file('{path}')",
        "SELECT pg_read_file('totp.keys')",
        "SELECT pg_ls_dir('.')",
        "SELECT pg_stat_file('totp.keys')",
        f"COPY pg_temp.t FROM '{path}'",
        "COPY pg_temp.t FROM PROGRAM 'cat totp.keys'",
        f"SELECT lo_import('{path}')",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            attacker.execute(statement)


def test_those_who_read_server_files_read_the_key_file(cluster, connect, dba):
    """The limit that docs/security-model.md names: this role is as good as the server's owner."""
    dba.execute("GRANT pg_read_server_files TO stranger")
    attacker = connect("stranger")
    path = cluster.data_dir / "totp.keys"
    attacker.execute(f"CREATE TEMPORARY TABLE t (line text); COPY t FROM '{path}'")
    dba.execute("REVOKE pg_read_server_files FROM stranger")
    assert attacker.value("SELECT string_agg(line, E'\\n') FROM t") == path.read_text().strip()


def test_those_who_read_or_write_all_data_read_or_write_ours(connect, dba, victim):
    """The limit that docs/security-model.md names, too: these roles are for superusers."""
    for role, statement in {
        "pg_read_all_data": "SELECT sealed FROM totp.factors, totp.audit_events",
        "pg_write_all_data": "DELETE FROM totp.factors",
    }.items():
        attacker = connect("stranger")
        assert refuses(attacker, statement)
        dba.execute(f"GRANT {role} TO stranger")
        assert not refuses(attacker, statement)
        dba.execute(f"REVOKE {role} FROM stranger")
