"""Statements that a session keeps prepared: whatever happens to the tables, it goes on."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from client import Client
from conftest import DATABASE, install, new_account
from pooler import Pooler

# What a DBA, a framework or a pooler does to a session or to the tables.
EVENTS = {
    "discard all": ["DISCARD ALL"],
    "discard plans": ["DISCARD PLANS"],
    "deallocate": ["DEALLOCATE ALL"],
    "column added": ["ALTER TABLE totp.accounts ADD COLUMN note text DEFAULT 'x'"],
    "column dropped": ["ALTER TABLE totp.accounts DROP COLUMN note"],
    "columns added": [
        "ALTER TABLE totp.factors ADD COLUMN note text",
        "ALTER TABLE totp.backup_codes ADD COLUMN note text",
        "ALTER TABLE totp.audit_events ADD COLUMN note text",
    ],
    "columns dropped": [
        "ALTER TABLE totp.factors DROP COLUMN note",
        "ALTER TABLE totp.backup_codes DROP COLUMN note",
        "ALTER TABLE totp.audit_events DROP COLUMN note",
    ],
    "index made": ["CREATE INDEX extra ON totp.factors (key_id)"],
    "index dropped": ["DROP INDEX totp.extra"],
    "reindex": ["REINDEX TABLE totp.accounts", "REINDEX TABLE totp.factors"],
    "rewrite": ["VACUUM FULL totp.accounts", "VACUUM FULL totp.factors"],
    "analyse": ["ANALYZE totp.accounts", "ANALYZE totp.factors", "ANALYZE totp.backup_codes"],
    "search path": ["CREATE SCHEMA hostile", "SET search_path = hostile, pg_temp, totp"],
    "upgrade": ["ALTER EXTENSION totp UPDATE"],
    "new extension": ["DROP EXTENSION totp", "CREATE EXTENSION totp"],
}

# How often a session keeps the plan of each statement.
PLANS = """
    SELECT ident, count(*) FROM pg_backend_memory_contexts
    WHERE name = 'CachedPlanSource' AND ident LIKE '%totp.%' GROUP BY ident
"""


@pytest.fixture(scope="module")
def place(cluster):
    """A database of this module's own, whose tables may be changed."""
    name = cluster.new_database("plans")
    install(cluster, name)
    yield name
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def session(cluster, place):
    """A session in which every statement of the extension has been prepared."""
    with closing(cluster.connect(dbname=place)) as connection:
        client = Client(connection)
        whole_job(client)
        yield client


def whole_job(client):
    """Calls every function of the application once, and some twice."""
    account = new_account()
    person = client.enrol(account)
    code = person.phone.take(client.now)
    assert client.verify(account, code)
    assert not client.verify(account, code)
    assert client.attempt(account, person.backup_codes[0]).method == "backup"
    assert not client.backup_verify(account, person.backup_codes[0])
    assert client.backup_verify(account, person.backup_codes[1])
    assert not client.call("totp_resync", account=account, code1=code, code2=code)[0]
    status = client.status(account)
    assert (status.factors, status.failures, status.backup_codes_left) == (1, 1, 8)
    codes = client.backup_rotate(account, person.backup_codes[2])
    assert client.backup_remaining(account) == len(codes)
    client.create(account, label="second")
    assert client.disable(account, codes[0])
    assert not client.is_enabled(account)


@pytest.mark.parametrize("event", EVENTS)
def test_a_session_goes_on_after_it(session, cluster, place, event):
    for statement in EVENTS[event]:
        session.execute(statement)
    whole_job(session)


@pytest.mark.parametrize("event", [event for event in EVENTS if event != "search path"])
def test_a_session_goes_on_after_another_has_done_it(session, cluster, place, event):
    cluster.execute(*EVENTS[event], dbname=place)
    whole_job(session)


def test_a_first_call_that_is_rolled_back_leaves_nothing_half_prepared(cluster, place):
    with closing(cluster.connect(dbname=place)) as connection:
        client = Client(connection)
        client.execute("BEGIN")
        whole_job(client)
        client.execute("ROLLBACK")
        whole_job(client)


def test_a_first_call_that_fails_leaves_nothing_half_prepared(cluster, place):
    with closing(cluster.connect(dbname=place)) as connection:
        client = Client(connection)
        with closing(cluster.connect(dbname=place)) as other:
            other.execute("BEGIN")
            other.execute("LOCK TABLE totp.accounts, totp.factors IN ACCESS EXCLUSIVE MODE")
            client.execute("SET lock_timeout = '10ms'")
            for call in (
                lambda: client.create(new_account()),
                lambda: client.verify(new_account(), "000000"),
                lambda: client.backup_verify(new_account(), "0000-0000-0000-0000"),
            ):
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    call()
        client.execute("RESET lock_timeout")
        whole_job(client)


def test_a_plan_that_is_replaced_is_freed(cluster, place):
    """Statements are planned again after 256 uses, 1,024 and so on."""
    with closing(cluster.connect(dbname=place)) as connection:
        client = Client(connection)
        for number in range(1100):
            client.verify(f"nobody-{number}", "000000")
        found = dict(client.rows(PLANS))
    assert len(found) > 3 and set(found.values()) == {1}


def test_a_plan_that_is_replaced_while_it_runs_is_freed_afterwards(cluster, place):
    """A call in a trigger is every other use of the statement that fires it, so also the 256th."""
    trigger = """
        CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM totp.totp_create(NEW.account || '-again');
            RETURN NULL;
        END $$;
        CREATE TRIGGER again AFTER INSERT ON totp.audit_events FOR EACH ROW
        WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION again();
    """
    with closing(cluster.connect(dbname=place)) as connection:
        client = Client(connection)
        client.execute(trigger)
        try:
            for number in range(600):
                client.create(f"somebody-{number}")
            (row,) = client.rows(PLANS + " HAVING ident LIKE '%INSERT INTO totp.audit_events%'")
        finally:
            client.execute("DROP FUNCTION again CASCADE")
        assert (
            client.value("SELECT count(*) FROM totp.accounts WHERE account LIKE '%-again'") == 600
        )
    assert row.count == 1


def test_a_session_goes_on_when_the_extension_is_made_in_its_own_transaction(cluster):
    with cluster.database("unborn") as name, closing(cluster.connect(dbname=name)) as connection:
        client = Client(connection)
        for _ in range(2):
            client.execute("BEGIN")
            client.execute("CREATE EXTENSION totp")
            whole_job(client)
            client.execute("ROLLBACK")
        client.execute("CREATE EXTENSION totp")
        whole_job(client)


# A pooler in transaction mode


@pytest.fixture
def pool(cluster):
    """Connects through pgbouncer: many clients share two sessions of the server."""
    with Pooler(cluster, DATABASE) as pooler:
        yield pooler.connect


def test_many_clients_share_two_sessions_through_a_pooler(pool, dba, account):
    def use(place):
        with closing(pool()) as connection:
            client = Client(connection)
            person = client.enrol(f"{account}-{place}")
            pids = {client.value("SELECT pg_backend_pid()")}
            code = person.phone.take(client.now)
            with connection.transaction():
                assert client.verify(person.account, code)
                pids.add(client.value("SELECT pg_backend_pid()"))
            assert not client.verify(person.account, code)
            with connection.transaction(force_rollback=True):
                assert not client.verify(person.account, person.phone.wrong(client.now))
            for backup_code in person.backup_codes[:3]:
                assert client.status(person.account).failures < 3
                assert client.backup_verify(person.account, backup_code)
                pids.add(client.value("SELECT pg_backend_pid()"))
            assert client.status(person.account).backup_codes_left == 7
            return pids

    with ThreadPoolExecutor(20) as workers:
        pids = set().union(*workers.map(use, range(20)))
    assert len(pids) == 2
    events = "SELECT count(*) FROM totp.audit_events WHERE account LIKE %s AND outcome = 'ok'"
    assert dba.value(f"{events} AND event = 'verify'", f"{account}-%") == 20 * 4
