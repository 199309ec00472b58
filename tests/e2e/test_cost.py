"""Queries that verify a code where they look up its user: an attempt counts for that user only, in
whatever order the conditions are written. PostgreSQL evaluates what costs most last."""

from contextlib import closing

import pytest

from client import Client
from conftest import install

TABLES = """
CREATE TABLE users (id integer, email text, phone text, login text, hash text, active boolean);
CREATE TABLE logins (user_id integer, name text);
CREATE INDEX ON logins (user_id);
CREATE TABLE visits (login text, at timestamptz);
CREATE INDEX ON visits (login);
CREATE VIEW plain AS SELECT * FROM users WHERE active;
CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM users WHERE active;
CREATE TABLE guarded (LIKE users);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE ROLE reader IN ROLE totp_app;
CREATE POLICY verified ON guarded
    USING (totp.totp_verify(login, current_setting('my.code')) AND active);
GRANT ALL ON ALL TABLES IN SCHEMA public TO reader;
"""
ROWS = """
INSERT INTO users SELECT i, 'u' || i || '@x', 'p' || i, 'l' || i, md5('x'), true
FROM generate_series(1, {}) AS i;
INSERT INTO logins SELECT id, login FROM users;
INSERT INTO visits SELECT login, now() FROM users;
INSERT INTO guarded SELECT * FROM users
"""
MINE = "email = $1 AND hash = md5('x')"
OK = "totp.totp_verify(login, $2)"
OF_USER = "totp.totp_verify(u.login, $2)"
OF_LOGIN = "totp.totp_verify(l.name, $2)"
JOIN = "users AS u JOIN logins AS l ON l.user_id = u.id"
STATEMENTS = {
    "after": f"SELECT id FROM users WHERE {MINE} AND {OK}",
    "before": f"SELECT id FROM users WHERE {OK} AND {MINE}",
    "attempt": "SELECT id FROM users WHERE (totp.totp_attempt(login, $2)).verified AND email = $1",
    "backup code": "SELECT id FROM users WHERE totp.backup_verify(login, $2) AND email = $1",
    "expression": f"SELECT id FROM users WHERE {OK} AND lower(email) = $1",
    "pattern": f"SELECT id FROM users WHERE {OK} AND email LIKE $1",
    "is true": f"SELECT id FROM users WHERE ({OK}) IS TRUE AND {MINE}",
    "coalesce": f"SELECT id FROM users WHERE coalesce({OK}, false) AND {MINE}",
    "not": f"SELECT id FROM users WHERE NOT ({OK}) AND {MINE}",
    "or": f"SELECT id FROM users WHERE (phone = 'none' OR {OK}) AND {MINE}",
    "two ways": f"SELECT id FROM users WHERE ({OK} AND {MINE}) OR ({OK} AND phone = 'none')",
    "case": f"SELECT CASE WHEN {MINE} THEN {OK} END FROM users",
    "sorted": f"SELECT id, {OK} FROM users WHERE {MINE} ORDER BY id LIMIT 1",
    "filter": f"SELECT count(*) FILTER (WHERE {MINE} AND {OK}) FROM users",
    "having": f"SELECT login FROM users WHERE {MINE} GROUP BY login HAVING {OK}",
    "exists": f"SELECT EXISTS (SELECT FROM users WHERE {OK} AND {MINE})",
    "in": f"SELECT id FROM users WHERE id IN (SELECT id FROM users WHERE {OK} AND {MINE})",
    "subquery": f"SELECT id FROM (SELECT * FROM users WHERE {OK}) AS u WHERE {MINE}",
    "with": f"WITH u AS (SELECT * FROM users WHERE {MINE}) SELECT id FROM u WHERE {OK}",
    "view": f"SELECT id FROM plain WHERE {OK} AND {MINE}",
    "security barrier": f"SELECT id FROM barrier WHERE {OK} AND {MINE}",
    "join": f"SELECT u.id FROM {JOIN} WHERE {OF_USER} AND u.email = $1",
    "exists in another": "SELECT u.id FROM users AS u WHERE u.email = $1 AND EXISTS"
    f" (SELECT FROM logins AS l WHERE {OF_LOGIN} AND l.user_id = u.id)",
    "update": f"UPDATE users SET active = true WHERE {OK} AND {MINE}",
    "update from": "UPDATE users AS u SET active = true FROM logins AS l"
    f" WHERE {OF_USER} AND l.user_id = u.id AND u.email = $1",
    "delete": f"DELETE FROM users WHERE {OK} AND {MINE}",
    "delete using": "DELETE FROM visits USING users AS u"
    f" WHERE {OF_USER} AND u.login = visits.login AND u.email = $1",
    "insert": f"INSERT INTO visits SELECT login, now() FROM users WHERE {OK} AND {MINE}",
    "merge": f"MERGE INTO users AS u USING (VALUES ($1)) AS s (e) ON {OF_USER} AND u.email = s.e"
    " WHEN MATCHED THEN UPDATE SET active = true",
    "merge when": "MERGE INTO users AS u USING (VALUES ($1)) AS s (e) ON u.email = s.e"
    f" WHEN MATCHED AND {OF_USER} THEN UPDATE SET active = true",
}
# The code belongs to another table than the condition: with an index on what joins them.
JOINS = {
    "join of another": f"SELECT u.id FROM {JOIN} WHERE {OF_LOGIN} AND u.email = $1",
    "update from another": "UPDATE users AS u SET active = true FROM logins AS l"
    f" WHERE {OF_LOGIN} AND l.user_id = u.id AND u.email = $1",
}
# Without such an index, or where the query itself asks for every row.
LIMITS = {
    "join without an index": "SELECT u.id FROM users AS u, logins AS l"
    f" WHERE l.user_id + 0 = u.id AND {OF_LOGIN} AND u.email = $1",
    "left join": "SELECT u.id FROM users AS u LEFT JOIN logins AS l"
    f" ON l.user_id + 0 = u.id AND {OF_LOGIN} WHERE u.email = $1",
    "with": f"WITH u AS (SELECT * FROM users WHERE {OK}) SELECT id FROM u WHERE {MINE}",
    "select list": f"SELECT {OK} FROM users WHERE email <> $1",
    "filter": f"SELECT count(*) FILTER (WHERE {OK}) FROM users WHERE email <> $1",
}
# What docs/application.md says to write.
ADVICE = """
SELECT 1 FROM totp.totp_attempt((SELECT l.name FROM users AS u JOIN logins AS l ON l.user_id = u.id
                                 WHERE u.email = $1), $2) WHERE verified
"""
CALLS = """
    SELECT coalesce(sum(calls), 0)::integer FROM pg_stat_xact_user_functions
    WHERE schemaname = 'totp'
"""


@pytest.fixture(scope="module", params=[3, 100, 10_000])
def users(request, cluster):
    name = cluster.new_database("cost")
    install(cluster, name)
    with closing(cluster.connect(dbname=name, prepare_threshold=None)) as connection:
        client = Client(connection)
        client.execute(TABLES)
        client.execute(ROWS.format(request.param))
        client.execute("SET track_functions = 'all'")
        yield client
        client.execute("DROP OWNED BY reader; DROP ROLE reader")
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module", params=["as made", "analysed", "with an index"])
def indexed(request, users):
    if request.param != "as made":
        users.execute("ANALYZE")
    if request.param == "with an index":
        users.execute("CREATE UNIQUE INDEX ON users (email); CREATE INDEX ON guarded (email)")
    return users


def attempts(client, statement, plan="auto"):
    """How many calls of our functions a prepared statement makes."""
    with client.connection.transaction(force_rollback=True):
        client.execute(
            f"SET LOCAL plan_cache_mode = {plan}; PREPARE login (text, text) AS {statement}"
        )
        before = client.value(CALLS)
        try:
            client.execute("EXECUTE login ('u2@x', '000000')")
            return client.value(CALLS) - before
        finally:
            client.execute("DEALLOCATE login")


@pytest.mark.parametrize("plan", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_a_login_counts_for_one_account(indexed, statement, plan):
    """With COST 1, one attempt counted a failure for everybody."""
    assert attempts(indexed, statement, plan) == 1


@pytest.mark.parametrize("statement", JOINS.values(), ids=JOINS.keys())
def test_a_login_that_joins_over_an_index_counts_for_one_account(indexed, statement):
    assert attempts(indexed, statement) == 1


@pytest.mark.parametrize("statement", LIMITS.values(), ids=LIMITS.keys())
def test_no_cost_helps_where_a_query_asks_for_more(cluster, statement):
    """The security model says so."""
    with cluster.database("limits") as name:
        install(cluster, name)
        with closing(cluster.connect(dbname=name, prepare_threshold=None)) as connection:
            client = Client(connection)
            client.execute("SET track_functions = 'all'")
            client.execute(TABLES.partition("CREATE TABLE guarded")[0])
            client.execute(ROWS.partition("INSERT INTO guarded")[0].format(3))
            assert attempts(client, statement) > 1


def test_what_the_readme_says_counts_for_one_account(indexed):
    assert attempts(indexed, ADVICE) == 1


def test_a_policy_counts_for_the_rows_that_are_looked_up(indexed):
    indexed.execute("SET my.code = '000000'; SET ROLE reader")
    try:
        assert attempts(indexed, "SELECT $2, id FROM guarded WHERE email = $1") == 1
    finally:
        indexed.execute("RESET ROLE")


def test_every_function_has_a_cost_that_fits_what_it_does(dba):
    rows = dba.rows("""
        SELECT oid::regprocedure::text AS name, provolatile AS kind, procost AS cost,
            prorows AS rows
        FROM pg_proc
        WHERE pronamespace IN ('totp'::regnamespace, 'totp_api'::regnamespace) AND prokind = 'f'
    """)
    costs = {"v": 10_000, "s": 1_000, "i": 100}
    assert len(rows) > 40
    for row in rows:
        assert row.cost == costs[row.kind] and row.rows in (0, 1), row
