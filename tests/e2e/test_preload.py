"""Without shared_preload_libraries: row locks and committed counters alone, and the log says so."""

from contextlib import closing
from itertools import islice

import psycopg
import pytest
from psycopg.errors import SerializationFailure

from client import Client, Traveller
from cluster import Cluster
from concurrency import at_once, wrong_codes
from conftest import install, new_account

LIMIT = 5
CROWD = 50
DATABASE = "postgres"
START = Traveller.START
WARNING = "totp is not in shared_preload_libraries"


@pytest.fixture(scope="module")
def bare():
    """A cluster that loads the library when a session calls one of its functions."""
    with Cluster(preload=False) as cluster:
        install(cluster, DATABASE)
        yield cluster
        assert "PANIC" not in cluster.log
        assert "terminated by signal" not in cluster.log


@pytest.fixture
def connect(bare):
    """Sessions that load the library first: its settings are not known before."""

    def connect():
        connection = bare.connect(dbname=DATABASE)
        connection.execute("LOAD 'totp'")
        return connection

    return connect


@pytest.fixture
def client(connect):
    with closing(connect()) as connection:
        yield Client(connection)


@pytest.fixture
def traveller(connect):
    with closing(connect()) as connection:
        yield Traveller(connection)


def outcomes(client, account):
    query = """
        SELECT outcome, count(*) FROM totp.audit_events
        WHERE account = %s AND event = 'verify' GROUP BY outcome
    """
    return dict(client.rows(query, account))


def test_the_whole_job_runs(traveller, account):
    person = traveller.enrol(account)
    code = person.phone.take(traveller.now)
    assert traveller.verify(account, code)
    assert not traveller.verify(account, code)
    assert traveller.backup_verify(account, person.backup_codes[0])
    assert not traveller.backup_verify(account, person.backup_codes[0])
    traveller.wait(600)
    codes = {"code1": person.phone.code(traveller.now, 4)}
    codes |= {"code2": person.phone.code(traveller.now, 5)}
    assert traveller.call("totp_resync", account=account, **codes)[0]
    assert len(traveller.backup_rotate(account, person.phone.code(traveller.now, 6))) == 10
    traveller.wait(600)
    assert traveller.disable(account, person.phone.code(traveller.now))
    assert not traveller.is_enabled(account)


def test_there_is_no_memory_to_look_at(client):
    assert client.rows("SELECT * FROM totp.guard_status") == []


def test_the_log_says_it_once_a_session(bare, connect, account):
    before = bare.log.count(WARNING)
    with closing(bare.connect(dbname=DATABASE)) as connection:
        client = Client(connection)
        assert bare.log.count(WARNING) == before, "only who calls it loads it"
        for _ in range(5):
            client.verify(account, "000000")
            client.status(account)
    assert bare.log.count(WARNING) == before + 1


def test_one_right_code_on_many_connections_is_accepted_once(connect, client, account):
    person = client.enrol(account)
    code = person.phone.take(client.now)

    def verify(each, ready, _):
        ready()
        return each.verify(account, code)

    assert sorted(at_once(connect, CROWD, verify)) == [False] * (CROWD - 1) + [True]
    assert outcomes(client, account)["ok"] == 1


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_one_right_code_at_stricter_levels_is_accepted_once(connect, client, account, level):
    person = client.enrol(account)
    code = person.phone.take(client.now)

    def verify(each, ready, _):
        with each.connection.transaction():
            each.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            each.value("SELECT count(*) FROM pg_class")
            ready()
            return each.verify(account, code)

    results = at_once(connect, CROWD, verify)
    assert results.count(True) == 1
    errors = [result for result in results if not isinstance(result, bool)]
    assert all(isinstance(error, SerializationFailure) for error in errors), errors


def test_one_backup_code_on_many_connections_is_accepted_once(connect, client, account):
    person = client.enrol(account)

    def verify(each, ready, _):
        ready()
        return each.backup_verify(account, person.backup_codes[0])

    assert sorted(at_once(connect, CROWD, verify)) == [False] * (CROWD - 1) + [True]


def test_a_burst_of_wrong_codes_gets_no_more_comparisons_than_the_limit(connect, client, account):
    person = client.enrol(account)
    codes = list(islice(wrong_codes(person, client.now), CROWD))

    def guess(each, ready, place):
        ready()
        return each.attempt(account, codes[place]).reason

    reasons = at_once(connect, CROWD, guess)
    assert (reasons.count("invalid"), reasons.count("locked")) == (LIMIT, CROWD - LIMIT)
    assert outcomes(client, account) == {"invalid": LIMIT}
    assert client.status(account).failures == LIMIT


def test_one_statement_gets_no_more_guesses(client, account):
    person = client.enrol(account)
    codes = list(islice(wrong_codes(person, client.now), 100))
    query = """
        SELECT verdict.reason, count(*)
        FROM unnest(%s::text[]) AS code, LATERAL totp.totp_attempt(%s, code) AS verdict
        GROUP BY verdict.reason
    """
    counted = dict(client.rows(query, codes, account))
    assert counted == {"invalid": LIMIT, "locked": 100 - LIMIT}


def test_a_rollback_undoes_failures_and_spent_codes(client, account):
    """What the log warns of, and memory is for."""
    person = client.enrol(account)
    code = person.phone.take(client.now)
    client.execute("BEGIN")
    client.fail(person, LIMIT)
    client.execute("ROLLBACK")
    assert client.status(account).failures == 0
    for end in ("ROLLBACK", "COMMIT"):
        client.execute("BEGIN")
        assert client.verify(account, code)
        client.execute(end)
    assert not client.verify(account, code)


def test_settings_of_the_memory_are_not_there(client):
    with pytest.raises(psycopg.errors.UndefinedObject):
        client.execute("SHOW totp.guard_slots")


def test_a_lock_of_a_committed_failure_holds_and_writes_nothing(traveller, account):
    person = traveller.enrol(account)
    traveller.fail(person, LIMIT)
    events = outcomes(traveller, account)
    for _ in range(10):
        code = person.phone.code(traveller.now, 1)
        assert traveller.attempt(account, code).reason == "locked"
    assert outcomes(traveller, account) == events
    traveller.wait(30)
    assert traveller.verify(account, person.phone.code(traveller.now))


def test_a_prepared_transaction_keeps_its_code_to_itself(bare, connect, client):
    person = client.enrol(new_account())
    code = person.phone.take(client.now)
    client.execute("SET totp.lock_timeout = '50ms'")
    with closing(connect()) as connection:
        connection.execute("BEGIN")
        assert Client(connection).verify(person.account, code)
        connection.execute(f"PREPARE TRANSACTION '{person.account}'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        client.verify(person.account, code)
    client.execute(f"COMMIT PREPARED '{person.account}'")
    assert not client.verify(person.account, code)
