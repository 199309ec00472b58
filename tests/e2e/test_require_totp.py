"""The trigger require_totp: whatever the statement, no change without a second factor."""

import json
from contextlib import closing

import psycopg
import pytest

from client import Client
from conftest import DATABASE, new_account
from refusal import BAD_ARGUMENT, NOT_ALLOWED, refused

# A login that is believed, and may change the tables. One table is partitioned.
BANK = """
CREATE ROLE teller LOGIN IN ROLE totp_app;
ALTER ROLE teller SET totp.jwt_logins = 'teller';
GRANT SET ON PARAMETER totp.clock TO teller;
CREATE SCHEMA bank;
CREATE TABLE bank.transfers (id integer PRIMARY KEY, amount integer);
CREATE TABLE bank.postings (id integer, amount integer) PARTITION BY RANGE (id);
CREATE TABLE bank.small PARTITION OF bank.postings FOR VALUES FROM (0) TO (100);
CREATE TABLE bank.audit (transfer integer REFERENCES bank.transfers ON DELETE CASCADE);
CREATE VIEW bank.view AS SELECT * FROM bank.transfers;
CREATE TRIGGER verified BEFORE INSERT OR UPDATE OR DELETE ON bank.transfers
    FOR EACH ROW EXECUTE FUNCTION totp.require_totp('5 min');
CREATE TRIGGER verified BEFORE INSERT OR UPDATE OR DELETE ON bank.postings
    FOR EACH ROW EXECUTE FUNCTION totp.require_totp('5 min');
CREATE TRIGGER verified_truncate BEFORE TRUNCATE ON bank.transfers
    FOR EACH STATEMENT EXECUTE FUNCTION totp.require_totp('5 min');
CREATE TABLE bank.large PARTITION OF bank.postings FOR VALUES FROM (100) TO (1000);
CREATE TABLE bank.huge (id integer, amount integer);
ALTER TABLE bank.postings ATTACH PARTITION bank.huge FOR VALUES FROM (1000) TO (10000);
CREATE FUNCTION bank.definer() RETURNS void LANGUAGE sql SECURITY DEFINER
    AS 'INSERT INTO bank.transfers VALUES (5, 1)';
GRANT USAGE ON SCHEMA bank TO teller;
GRANT ALL ON ALL TABLES IN SCHEMA bank TO teller;
SET session_replication_role = replica;
INSERT INTO bank.transfers VALUES (1, 10), (2, 20);
INSERT INTO bank.postings VALUES (1, 10), (101, 20), (1001, 30);
INSERT INTO bank.audit VALUES (1);
"""
ROWS = """
SELECT 'transfers', id, amount FROM bank.transfers UNION ALL
SELECT 'postings', id, amount FROM bank.postings UNION ALL
SELECT 'audit', transfer, 0 FROM bank.audit ORDER BY 1, 2
"""


@pytest.fixture(scope="module")
def bank(cluster):
    cluster.execute(BANK, dbname=DATABASE)
    yield
    drop = "DROP SCHEMA bank CASCADE; DROP OWNED BY teller; DROP ROLE teller"
    cluster.execute(f"SET client_min_messages = warning; {drop}", dbname=DATABASE)


@pytest.fixture
def teller(cluster, bank):
    """Somebody enrolled, in a session that has proved nothing yet. What it does is undone."""
    with closing(cluster.connect("teller", DATABASE)) as connection:
        client = Client(connection)
        client.person = client.enrol(new_account())
        claims = json.dumps({"sub": client.person.account, "session_id": "at the counter"})
        client.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
        yield client


STATEMENTS = {
    "INSERT": "INSERT INTO bank.transfers VALUES (3, 1)",
    "INSERT of many rows": "INSERT INTO bank.transfers VALUES (3, 1), (4, 1), (5, 1)",
    "INSERT SELECT": "INSERT INTO bank.transfers SELECT n, n FROM generate_series(3, 1000) AS n",
    "INSERT ON CONFLICT": "INSERT INTO bank.transfers VALUES (1, 1)"
    " ON CONFLICT (id) DO UPDATE SET amount = excluded.amount",
    "INSERT into a view": "INSERT INTO bank.view VALUES (3, 1)",
    "INSERT in WITH": "WITH new AS (INSERT INTO bank.transfers VALUES (3, 1)) SELECT 1",
    "INSERT in DO": "DO $$ BEGIN INSERT INTO bank.transfers VALUES (3, 1); END $$",
    "INSERT prepared": "PREPARE new AS INSERT INTO bank.transfers VALUES (3, 1); EXECUTE new",
    "INSERT by a definer": "SELECT bank.definer()",
    "UPDATE": "UPDATE bank.transfers SET amount = 0",
    "UPDATE of a key": "UPDATE bank.transfers SET id = 7 WHERE id = 2",
    "DELETE": "DELETE FROM bank.transfers WHERE id = 2",
    "DELETE with a cascade": "DELETE FROM bank.transfers WHERE id = 1",
    "TRUNCATE": "TRUNCATE bank.transfers CASCADE",
    "MERGE that inserts": "MERGE INTO bank.transfers AS t USING (VALUES (9, 9)) AS s(id, amount)"
    " ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.amount)",
    "MERGE that updates": "MERGE INTO bank.transfers AS t USING (VALUES (2, 9)) AS s(id, amount)"
    " ON t.id = s.id WHEN MATCHED THEN UPDATE SET amount = s.amount",
    "MERGE that deletes": "MERGE INTO bank.transfers AS t USING (VALUES (2, 9)) AS s(id, amount)"
    " ON t.id = s.id WHEN MATCHED THEN DELETE",
    "INSERT into a partitioned table": "INSERT INTO bank.postings VALUES (3, 1)",
    "INSERT into a partition": "INSERT INTO bank.small VALUES (3, 1)",
    "INSERT into a younger partition": "INSERT INTO bank.large VALUES (103, 1)",
    "INSERT into an attached partition": "INSERT INTO bank.huge VALUES (1003, 1)",
    "UPDATE that moves a row": "UPDATE bank.postings SET id = 300 WHERE id = 1",
    "UPDATE of a partition": "UPDATE bank.huge SET amount = 0",
    "DELETE from a partition": "DELETE FROM bank.large",
    "MERGE into a partitioned table": "MERGE INTO bank.postings AS t"
    " USING (VALUES (1), (500)) AS s(id) ON t.id = s.id"
    " WHEN MATCHED THEN UPDATE SET amount = 0 WHEN NOT MATCHED THEN INSERT VALUES (s.id, 0)",
}
COPIES = ["bank.transfers", "bank.postings", "bank.large"]
each_statement = pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)


def prove(client):
    assert client.backup_verify(client.person.account, client.person.backup_codes.pop())


def assert_changes(client, act, expected):
    """What the act does to the tables, in a transaction that is undone."""
    before = client.rows(ROWS)
    with client.connection.transaction(force_rollback=True):
        act()
        assert (client.rows(ROWS) != before) is expected
    assert client.rows(ROWS) == before


@each_statement
def test_no_statement_changes_a_row_before_the_second_factor(teller, statement):
    before = teller.rows(ROWS)
    with refused(NOT_ALLOWED):
        teller.execute(statement)
    assert teller.rows(ROWS) == before


@each_statement
def test_every_statement_works_after_it(teller, statement):
    prove(teller)
    assert_changes(teller, lambda: teller.execute(statement), expected=True)


def copy_into(client, table):
    with client.connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        for n in range(110, 120):
            copy.write_row((n, n))


@pytest.mark.parametrize("table", COPIES)
def test_copy_is_refused_before_the_second_factor_and_works_after_it(teller, table):
    before = teller.rows(ROWS)
    with refused(NOT_ALLOWED):
        copy_into(teller, table)
    assert teller.rows(ROWS) == before
    prove(teller)
    assert_changes(teller, lambda: copy_into(teller, table), expected=True)


def test_a_proof_lasts_for_so_many_minutes_and_no_longer(teller):
    insert = "INSERT INTO bank.transfers VALUES (3, 1)"
    teller.execute("SET totp.clock = '2030-01-01 00:00:00+00'")
    prove(teller)
    teller.execute("SET totp.clock = '2030-01-01 00:05:00+00'")
    assert_changes(teller, lambda: teller.execute(insert), expected=True)
    teller.execute("SET totp.clock = '2030-01-01 00:05:00.000001+00'")
    with refused(NOT_ALLOWED):
        teller.execute(insert)


def test_the_code_and_the_transfer_can_share_a_transaction(teller):
    with teller.connection.transaction():
        prove(teller)
        teller.execute("INSERT INTO bank.transfers VALUES (3, 1)")
        teller.execute("DELETE FROM bank.transfers WHERE id = 3")
    with teller.connection.transaction(force_rollback=True):
        teller.disable(teller.person.account, teller.person.backup_codes.pop())
        with refused(NOT_ALLOWED), teller.connection.transaction():
            teller.execute("INSERT INTO bank.transfers VALUES (3, 1)")


def test_a_proof_that_is_rolled_back_permits_nothing(teller):
    with teller.connection.transaction(force_rollback=True):
        prove(teller)
    with refused(NOT_ALLOWED):
        teller.execute("INSERT INTO bank.transfers VALUES (3, 1)")


def test_a_statement_that_touches_no_row_needs_no_proof(teller):
    teller.execute("UPDATE bank.transfers SET amount = 0 WHERE id = 999")


def test_not_even_a_superuser_s_statement_passes(dba, bank):
    with refused(NOT_ALLOWED):
        dba.execute("INSERT INTO bank.transfers VALUES (3, 1)")


@pytest.mark.parametrize(
    "trigger",
    [
        "AFTER INSERT ON bank.audit FOR EACH ROW EXECUTE FUNCTION totp.require_totp()",
        "BEFORE INSERT ON bank.audit FOR EACH ROW EXECUTE FUNCTION totp.require_totp('1', '2')",
        "INSTEAD OF INSERT ON bank.view FOR EACH ROW EXECUTE FUNCTION totp.require_totp()",
    ],
    ids=["AFTER", "two arguments", "INSTEAD OF"],
)
def test_a_trigger_that_cannot_protect_refuses_everything(dba, bank, trigger):
    with dba.connection.transaction(force_rollback=True):
        dba.execute(f"CREATE TRIGGER wrong {trigger}")
        table = "bank.view" if "bank.view" in trigger else "bank.audit"
        with refused(BAD_ARGUMENT):
            dba.execute(f"INSERT INTO {table} VALUES (2)")


def test_an_age_that_is_none_refuses_everything(dba, teller):
    prove(teller)
    with dba.connection.transaction(force_rollback=True):
        dba.execute("""
            CREATE TRIGGER wrong BEFORE INSERT ON bank.audit
            FOR EACH ROW EXECUTE FUNCTION totp.require_totp('soon')
        """)
        with pytest.raises(psycopg.errors.InvalidDatetimeFormat):
            dba.execute("INSERT INTO bank.audit VALUES (2)")
