"""Floods of shared memory: what an account does by rollbacks takes no room from others."""

from contextlib import closing, suppress

import psycopg
import pytest

from authenticator import Authenticator
from client import Client, Traveller
from cluster import Cluster
from conftest import install, new_account
from forge import forge

SLOTS = 1024
OTHERS = 200
# So many filled this memory when each secret had entries of its own.
ROUNDS = 800
DATABASES = ("one", "two")
HOUR = 3600


@pytest.fixture(scope="module")
def small():
    settings = {"totp.guard_slots": str(SLOTS), "max_prepared_transactions": "100"}
    with Cluster(settings=settings) as cluster:
        for name in DATABASES:
            install(cluster, cluster.new_database(name))
        yield cluster


class Others:
    """Accounts in both databases, each with failures that were rolled back."""

    def __init__(self, cluster):
        self.cluster, self.names = cluster, [new_account() for _ in range(OTHERS)]
        self.phones = {name: forge(cluster, name, self.names) for name in DATABASES}
        self.now = Traveller.START

    def clients(self):
        for dbname, phone in self.phones.items():
            with closing(self.cluster.connect(dbname=dbname)) as connection:
                client = Traveller(connection)
                client.travel(self.now)
                yield client, phone

    def fail(self):
        """Two wrong codes for each, rolled back. What shared memory held before may go by then."""
        self.now += 2 * HOUR
        for client, _ in self.clients():
            client.execute("BEGIN")
            for name in self.names:
                for code in ("0000000", "00000000"):
                    assert not client.verify(name, code)
            client.execute("ROLLBACK")

    def log_in(self):
        """What became of these failures, and of right codes."""
        for client, phone in self.clients():
            failures = {client.status(name).failures for name in self.names}
            yield failures, {client.verify(name, phone.code(self.now)) for name in self.names}


@pytest.fixture(scope="module")
def others(small):
    return Others(small)


def enrolment(client):
    """An account that is enrolled by the running transaction."""
    name = new_account()
    phone = Authenticator(client.create(name, qr=False).uri)
    assert client.confirm(name, phone.code(client.now)).confirmed


def by_rollback(client):
    for _ in range(ROUNDS):
        client.execute("BEGIN")
        enrolment(client)
        client.execute("ROLLBACK")


def by_savepoint(client):
    client.execute("BEGIN")
    for _ in range(ROUNDS // 4):
        client.execute("SAVEPOINT before")
        enrolment(client)
        client.execute("ROLLBACK TO before")
    client.execute("ROLLBACK")


def by_new_secrets_of_one_account(client):
    """Each secret is committed, its confirmation is not."""
    name = new_account()
    for _ in range(ROUNDS):
        phone = Authenticator(client.create(name, qr=False).uri)
        client.execute("BEGIN")
        assert client.confirm(name, phone.code(client.now)).confirmed
        client.execute("ROLLBACK")


def by_failures_of_accounts_that_are_rolled_back(client):
    for _ in range(ROUNDS // 5):
        client.execute("BEGIN")
        name = new_account()
        client.create(name, qr=False)
        for _ in range(5):
            client.confirm(name, "0000000")
        client.execute("ROLLBACK")


def by_prepared_transactions(client):
    names = [f"flood-{n}" for n in range(60)]
    for name in names:
        client.execute("BEGIN")
        enrolment(client)
        client.execute(f"PREPARE TRANSACTION '{name}'")
    for name in names:
        client.execute(f"ROLLBACK PREPARED '{name}'")


@pytest.mark.parametrize(
    "flood",
    [
        by_rollback,
        by_savepoint,
        by_new_secrets_of_one_account,
        by_failures_of_accounts_that_are_rolled_back,
        by_prepared_transactions,
    ],
    ids=lambda flood: flood.__name__,
)
@pytest.mark.timeout(300)
def test_no_flood_of_one_client_concerns_other_accounts(small, others, flood):
    others.fail()
    with closing(small.connect(dbname="one")) as connection:
        client = Traveller(connection)
        client.travel(others.now)
        client.execute("SET totp.resync_steps = 1000")
        before = client.row("SELECT * FROM totp.guard_status")
        flood(client)
        after = client.row("SELECT * FROM totp.guard_status")
    assert after.evictions == before.evictions
    for failures, accepted in others.log_in():
        assert failures == {2}
        assert accepted == {True}


def test_a_full_memory_counts_against_nobody(small, others):
    """Who cannot be counted is told to wait, and nothing is written or spent."""
    names = [new_account() for _ in range(3 * SLOTS)]
    phone = forge(small, "one", names)
    with closing(small.connect(dbname="one")) as connection:
        client = Traveller(connection)
        client.travel(others.now + 2 * HOUR)
        client.execute("SET totp.max_failures = 1")
        reasons = {name: client.attempt(name, "0000000").reason for name in names}
        throttled = [name for name, reason in reasons.items() if reason == "locked"]
        assert 0 < len(throttled) < len(names)
        for name in throttled[:20]:
            verdict = client.attempt(name, phone.code(client.now))
            assert (verdict.verified, verdict.reason) == (False, "locked")
            assert 0 < verdict.retry_after.total_seconds() <= 30
            assert client.status(name).failures == 0
        client.wait(31)
        for name in throttled[:20]:
            assert client.verify(name, phone.code(client.now))


# The audit trail


@pytest.fixture
def client(small, others):
    with closing(small.connect(dbname="one")) as connection:
        client = Traveller(connection)
        others.now += 100 * HOUR
        client.travel(others.now)
        yield client


def events(client, account):
    query = "SELECT event, outcome, detail FROM totp.audit_log WHERE account = %s ORDER BY id"
    return client.rows(query, account)


def test_the_next_entry_of_any_kind_tells_what_was_rolled_back(client):
    person = client.enrol(new_account())
    client.execute("BEGIN")
    client.fail(person, 2)
    client.execute("ROLLBACK")
    client.wait(60)
    client.execute("BEGIN")
    assert client.verify(person.account, person.phone.take(client.now))
    client.execute("ROLLBACK")
    client.wait(60)
    assert client.verify(person.account, person.phone.take(client.now))
    detail = events(client, person.account)[-1].detail
    assert (detail["rolled_back"], detail["rolled_back_successes"]) == (2, 1)
    client.wait(60)
    assert client.verify(person.account, person.phone.take(client.now))
    assert "rolled_back" not in events(client, person.account)[-1].detail


def test_an_entry_that_is_rolled_back_leaves_what_it_told_to_the_next(client):
    person = client.enrol(new_account())
    client.execute("BEGIN")
    client.fail(person, 1)
    client.execute("ROLLBACK")
    client.execute("BEGIN")
    client.call("totp_unlock", account=person.account, reason="to be undone")
    client.execute("ROLLBACK")
    client.call("totp_unlock", account=person.account, reason="told at last")
    assert events(client, person.account)[-1].detail["rolled_back"] == 1


UNDONE = {
    "rollback": "BEGIN; SELECT totp.totp_export('{0}', 'default', 'curious'); ROLLBACK",
    "savepoint": "BEGIN; SAVEPOINT a; SELECT totp.totp_export('{0}', 'default', 'curious');"
    " ROLLBACK TO a; COMMIT",
    "error": "DO $$ BEGIN RAISE NOTICE '%', totp.totp_export('{0}', 'default', 'curious');"
    " RAISE division_by_zero; END $$",
}


@pytest.mark.parametrize("undone", UNDONE.values(), ids=UNDONE)
def test_an_export_that_is_undone_is_logged_and_told(small, client, undone):
    person = client.enrol(new_account())
    with suppress(psycopg.errors.DivisionByZero):
        client.execute(undone.format(person.account))
    logged = [line for line in small.log.splitlines() if person.account in line]
    (line,) = [line for line in logged if "disclosed" in line and "LOG:" in line]
    detail = small.log.splitlines()[small.log.splitlines().index(line) + 1]
    assert '"default"' in line and "curious" in detail and "postgres" in detail
    client.wait(60)
    assert client.verify(person.account, person.phone.take(client.now))
    assert events(client, person.account)[-1].detail["rolled_back_exports"] == 1


@pytest.mark.parametrize("code", ["123456", "0123-4567-89AB-CDEF"], ids=["totp", "backup"])
def test_strangers_write_a_bounded_number_of_entries_and_all_are_told(client, code):
    count = "SELECT count(*) FROM totp.audit_events WHERE outcome = 'not_enrolled'"
    before = client.value(count)
    for _ in range(500):
        assert client.attempt(new_account(), code).reason == "not_enrolled"
    assert client.value(count) - before == 60
    client.wait(61)
    account = new_account()
    client.attempt(account, code)
    (event,) = events(client, account)
    assert event.detail["unrecorded"] == 440


def test_an_account_without_a_factor_writes_a_bounded_number_of_entries(client):
    account = new_account()
    for _ in range(100):
        client.create(account)
    assert len(events(client, account)) == 20
    client.wait(61)
    client.create(account)
    assert events(client, account)[-1].detail["unrecorded"] == 80


def test_removing_the_last_device_again_and_again_writes_a_bounded_number_of_entries(client):
    person = client.enrol(new_account())
    before = len(events(client, person.account))
    for _ in range(100):
        assert not client.call("totp_remove", account=person.account, label="default", code="1")[0]
    assert len(events(client, person.account)) - before <= 20


def test_without_shared_memory_a_connection_is_bounded():
    with Cluster(preload=False) as cluster:
        install(cluster, "postgres")
        with closing(cluster.connect()) as connection:
            client = Client(connection)
            for _ in range(100):
                client.attempt(new_account(), "123456")
            assert (
                client.value(
                    "SELECT count(*) FROM totp.audit_events WHERE outcome = 'not_enrolled'"
                )
                == 60
            )
