"""Code in an index expression or a materialized view runs when somebody else maintains it: the owner
of the database with ANALYZE, a superuser with REFRESH, autovacuum by itself."""

import pytest

from conftest import DATABASE, new_account

TRAP = """
CREATE SCHEMA trap;
CREATE TABLE trap.log (text text);
CREATE TABLE trap.bait (i integer) WITH (autovacuum_enabled = false);
CREATE FUNCTION trap.act() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    new record;
BEGIN
    INSERT INTO trap.log SELECT 'account ' || coalesce(totp.current_account(), 'none');
    BEGIN
        INSERT INTO trap.log SELECT 'verified ' || totp.totp_verified();
    EXCEPTION WHEN OTHERS THEN
        INSERT INTO trap.log VALUES (SQLSTATE);
    END;
    BEGIN
        SELECT * INTO new FROM {create};
        INSERT INTO trap.log VALUES ('created');
    EXCEPTION WHEN OTHERS THEN
        INSERT INTO trap.log VALUES (SQLSTATE);
    END;
END $$;
CREATE FUNCTION trap.wrapper(i integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    IF session_user <> 'mallory' AND i = 1 THEN
        PERFORM trap.act();
    END IF;
    RETURN i;
END $$;
CREATE INDEX ON trap.bait ((trap.wrapper(i)));
INSERT INTO trap.bait SELECT generate_series(1, 50);
"""


@pytest.fixture
def mallory(cluster, dba):
    dba.execute("CREATE ROLE mallory LOGIN IN ROLE totp_user, totp_app")
    dba.execute(f"GRANT CREATE ON DATABASE {DATABASE} TO mallory")
    yield cluster.connect("mallory", DATABASE)
    dba.execute("DROP OWNED BY mallory; DROP ROLE mallory")


@pytest.mark.parametrize("command", ["ANALYZE trap.bait", "REINDEX TABLE trap.bait"])
@pytest.mark.parametrize("function", ["self-service", "application"])
def test_nobody_s_session_is_used(dba, mallory, command, function):
    account = new_account()
    create = {
        "self-service": "totp_api.totp_create()",
        "application": f"totp.totp_create('{account}')",
    }
    with mallory:
        mallory.execute(TRAP.format(create=create[function]))
        dba.execute("SET totp.identity = 'role'")
        dba.execute(command)
        dba.execute("RESET totp.identity")
        log = [row.text for row in mallory.execute("SELECT text FROM trap.log").fetchall()]
    assert log == ["account none", "verified false", "42501"]
    query = "SELECT count(*) FROM totp.accounts WHERE account IN (%s, 'postgres')"
    assert dba.value(query, account) == 0


def test_a_materialized_view_makes_no_attempt(dba, mallory, account):
    dba.enrol(account)
    with mallory:
        mallory.execute(f"""
            CREATE SCHEMA trap;
            CREATE MATERIALIZED VIEW trap.guess AS
            SELECT totp.totp_verify('{account}', '000000') WITH NO DATA
        """)
        with pytest.raises(Exception, match="security-restricted operation") as caught:
            dba.execute("REFRESH MATERIALIZED VIEW trap.guess")
    assert caught.value.sqlstate == "42501"
    assert dba.status(account).failures == 0
