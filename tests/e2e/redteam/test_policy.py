"""Attacks on row-level security that asks totp_verified, and on the trigger that does."""

import json

import pytest
from psycopg import errors

from refusal import NOT_ALLOWED, refused

SETUP = """
CREATE TABLE public.secrets (owner text, word text);
INSERT INTO secrets SELECT 'victim', 'sesame-' || n FROM generate_series(1, 1000) AS n;
CREATE INDEX ON secrets (word);
ANALYZE secrets;
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY verified ON secrets USING (
    owner = (SELECT totp.current_account()) AND (SELECT totp.totp_verified('15 min')));
CREATE VIEW public.naive AS SELECT * FROM secrets WHERE owner = totp.current_account();
GRANT SELECT, UPDATE, DELETE ON secrets TO authenticated;
GRANT SELECT ON naive TO authenticated;
GRANT CREATE ON SCHEMA public TO authenticated
"""
LEAK = """
CREATE FUNCTION public.leak(word text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
    $$ BEGIN RAISE NOTICE '%', word; RETURN true; END $$
"""


def claim(client, account):
    claims = json.dumps({"sub": account, "session_id": "spy"})
    client.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)


CLEANUP = """
SET client_min_messages = warning;
DROP TABLE secrets CASCADE;
DROP FUNCTION public.leak(text) CASCADE;
REVOKE CREATE ON SCHEMA public FROM authenticated;
"""


@pytest.fixture
def spy(connect, dba):
    """A session that claims to be the victim, with the password only, and a function that tells."""
    dba.execute(SETUP)
    client = connect("authenticator")
    client.heard = []
    client.connection.add_notice_handler(lambda notice: client.heard.append(notice.message_primary))
    client.execute("SET ROLE authenticated")
    claim(client, "victim")
    client.execute(LEAK)
    yield client
    client.connection.close()
    dba.execute(CLEANUP)


def test_a_cheap_function_sees_no_row_before_the_policy_does(spy):
    """A function in WHERE that is cheaper than the condition runs first: in a view that only shows
    rows of their owner, to somebody who has none."""
    claim(spy, "somebody else")
    assert spy.rows("SELECT * FROM naive WHERE leak(word)") == []
    assert any("sesame" in word for word in spy.heard)
    spy.heard.clear()
    claim(spy, "victim")
    assert spy.rows("SELECT * FROM secrets WHERE leak(word)") == []
    assert spy.heard == []


def test_an_operator_that_tells_sees_no_row_either(spy):
    """The same by an operator of one's own, by a cast, by an aggregate and in ORDER BY."""
    spy.execute("CREATE OPERATOR public.~~> (FUNCTION = public.leak, RIGHTARG = text)")
    for query in (
        "SELECT * FROM secrets WHERE ~~> word",
        "SELECT * FROM secrets ORDER BY leak(word)",
        "SELECT count(*) FILTER (WHERE leak(word)) FROM secrets",
        "UPDATE secrets SET word = word WHERE leak(word)",
        "DELETE FROM secrets WHERE leak(word)",
        "SELECT a.word FROM secrets AS a JOIN secrets AS b ON leak(a.word || b.word)",
    ):
        spy.execute(query)
    assert spy.heard == []


def test_errors_do_not_tell_what_is_in_a_row(spy):
    """A division by zero where the guess is right, a cast that quotes what it cannot read."""
    for query in (
        "SELECT 1 / (CASE WHEN word = 'sesame-1' THEN 0 ELSE 1 END) FROM secrets",
        "SELECT word::integer FROM secrets",
    ):
        assert spy.rows(query) == []


def test_explain_tells_how_many_rows_a_policy_hides_and_nothing_else(spy):
    """EXPLAIN ANALYZE counts what a filter removed. So it is with every policy of PostgreSQL; the
    security model says so."""
    plan = "\n".join(
        row[0] for row in spy.rows("EXPLAIN ANALYZE SELECT FROM secrets WHERE leak(word)")
    )
    assert "Rows Removed by Filter: 1000" in plan
    assert spy.heard == [] and "sesame" not in plan


def test_row_security_off_is_an_error_and_no_way_around(spy):
    """It asks PostgreSQL to fail where a policy would apply."""
    spy.execute("SET row_security = off")
    with pytest.raises(errors.InsufficientPrivilege):
        spy.rows("SELECT * FROM secrets")


def test_a_plan_from_before_does_not_keep_the_answer(spy, app, dba):
    """A prepared statement, planned and run while the session was verified."""
    dba.call("totp_forget", account="victim", reason="a fresh start")
    person = app.enrol("victim")
    spy.execute(
        "PREPARE look AS SELECT count(*) FROM secrets; SET plan_cache_mode = force_generic_plan"
    )
    assert spy.value("EXECUTE look") == 0
    code = person.backup_codes[0]
    assert spy.value("SELECT verified FROM totp_api.totp_verify(%s)", code) is True
    assert spy.value("EXECUTE look") == 1000
    dba.call("totp_reset", account="victim", reason="lost the phone")
    assert spy.value("EXECUTE look") == 0


def test_an_open_cursor_goes_on_until_its_transaction_ends(spy, app, dba):
    """As with every policy: what was allowed when a query began is shown to its end."""
    dba.call("totp_forget", account="victim", reason="a fresh start")
    person = app.enrol("victim")
    code = person.backup_codes[0]
    assert spy.value("SELECT verified FROM totp_api.totp_verify(%s)", code) is True
    with spy.connection.transaction():
        spy.execute("DECLARE look CURSOR FOR SELECT * FROM secrets")
        assert len(spy.rows("FETCH 1 FROM look")) == 1
        dba.call("totp_reset", account="victim", reason="lost the phone")
        assert len(spy.rows("FETCH 1 FROM look")) == 1
        assert spy.rows("SELECT * FROM secrets") == []


def test_the_trigger_that_asks_is_not_talked_round(spy, dba):
    """Its argument is how old a proof may be: no value of it stands for "any age"."""
    dba.execute(
        "CREATE TABLE public.transfers (n integer);"
        "GRANT ALL ON transfers TO authenticated;"
        "CREATE TRIGGER verified BEFORE INSERT OR UPDATE OR DELETE ON transfers FOR EACH ROW"
        " EXECUTE FUNCTION totp.require_totp('1000 years')"
    )
    with refused(NOT_ALLOWED):
        spy.execute("INSERT INTO transfers VALUES (1)")
    with refused(NOT_ALLOWED):
        spy.execute(
            "MERGE INTO transfers USING (SELECT 1 AS n) AS s ON false"
            " WHEN NOT MATCHED THEN INSERT VALUES (s.n)"
        )
    with refused(NOT_ALLOWED), spy.connection.cursor().copy("COPY transfers FROM STDIN") as copy:
        copy.write_row((1,))
    for statement in (
        "ALTER TABLE transfers DISABLE TRIGGER verified",
        "DROP TRIGGER verified ON transfers",
        "ALTER TABLE transfers RENAME TO gone",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            spy.execute(statement)
    dba.execute("DROP TABLE transfers")
