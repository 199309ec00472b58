"""Logical replication of all tables, and a switch-over to the subscriber."""

import json
import time
from contextlib import closing

import pytest
from psycopg.types.json import Jsonb

import figures
from client import Client
from cluster import Cluster, until
from conftest import install, new_account
from key_file import KeyFile

SETTINGS = {"wal_level": "logical"}
TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'totp'::regnamespace AND relkind = 'r'"
READY = """
    SELECT count(*) FILTER (WHERE srsubstate = 'r') = count(*) AND count(*) > 0
    FROM pg_subscription_rel
"""


@pytest.fixture(scope="module")
def publisher():
    with Cluster(settings=SETTINGS) as cluster:
        install(cluster, "postgres")
        yield cluster


@pytest.fixture(scope="module")
def subscriber(publisher):
    """It has the same keys, and its own extension."""
    with Cluster(settings=SETTINGS) as cluster:
        KeyFile(cluster).write(*KeyFile(publisher).keys)
        cluster.execute("CREATE EXTENSION totp")
        yield cluster


@pytest.fixture(scope="module")
def on_publisher(publisher):
    with closing(publisher.connect()) as connection:
        yield Client(connection)


@pytest.fixture(scope="module")
def on_subscriber(subscriber):
    with closing(subscriber.connect()) as connection:
        yield Client(connection)


@pytest.fixture(scope="module")
def people(publisher, subscriber, on_publisher, on_subscriber):
    """Accounts from before and after the subscription, which is up."""
    early = on_publisher.enrol(new_account())
    on_publisher.verify(new_account(), "000000")
    on_publisher.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    address = " ".join(f"{name}={value}" for name, value in publisher.address.items())
    on_subscriber.execute(
        f"CREATE SUBSCRIPTION everything CONNECTION '{address} user=postgres dbname=postgres'"
        " PUBLICATION everything"
    )
    until(lambda: on_subscriber.value(READY), what="a subscription that is ready")
    late = on_publisher.enrol(new_account())
    return early, late


def content(client):
    tables = [row.relname for row in client.rows(TABLES)]
    return {
        table: client.rows(f"SELECT t::text FROM totp.{table} AS t ORDER BY 1") for table in tables
    }


def caught_up(on_publisher, on_subscriber):
    """Waits until both sides have the same rows."""
    until(lambda: content(on_publisher) == content(on_subscriber), what="replication")


def test_all_that_is_done_reaches_the_subscriber(people, on_publisher, on_subscriber):
    early, late = people
    on_publisher.fail(early, 3)
    assert on_publisher.backup_verify(late.account, late.backup_codes[0])
    for _ in range(5):
        on_publisher.verify(new_account(), "000000")
    on_publisher.call("totp_rename", account=late.account, new_account="renamed", reason="a test")
    late.account = "renamed"
    gone = on_publisher.enrol(new_account())
    on_publisher.call("totp_forget", account=gone.account, reason="a test")
    on_publisher.call("totp_require", account=early.account, reason="a test")
    on_publisher.call("pass_issue", account=early.account, reason="a test")
    on_publisher.call("approval_request", action="a", payload=Jsonb({}), account=early.account)
    on_publisher.challenge(late.account)
    # A code verifies the session of its account.
    claims = json.dumps({"sub": late.account, "session_id": "1"})
    on_publisher.execute("SET totp.jwt_logins = 'postgres'")
    on_publisher.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
    assert on_publisher.backup_verify(late.account, late.backup_codes[1])
    on_publisher.execute("RESET totp.jwt_logins")
    on_publisher.execute(
        "SELECT totp.import_oath_csv('T1,0123456789abcdef0123456789abcdef,totp,6')"
    )
    on_publisher.value("SELECT totp.audit_seal()")
    caught_up(on_publisher, on_subscriber)
    assert {name for name, rows in content(on_subscriber).items() if not rows} == set()
    assert on_subscriber.status(early.account).failures == 3


def test_old_audit_entries_can_be_deleted(people, on_publisher, on_subscriber):
    """Without a replica identity, that was an error."""
    before = on_publisher.value("SELECT count(*) FROM totp.audit_events")
    on_publisher.execute("""
        DELETE FROM totp.audit_events WHERE id IN (
            SELECT id FROM totp.audit_events ORDER BY id LIMIT 2)
    """)
    assert on_publisher.value("SELECT count(*) FROM totp.audit_events") == before - 2
    caught_up(on_publisher, on_subscriber)


def test_after_a_switch_over_the_subscriber_verifies(
    people, publisher, subscriber, on_publisher, on_subscriber
):
    early, late = people
    caught_up(on_publisher, on_subscriber)
    spent = late.phone.code(time.time(), 1)
    assert on_publisher.verify(late.account, spent)
    caught_up(on_publisher, on_subscriber)
    newest = on_publisher.value("SELECT max(id) FROM totp.audit_events")
    position = on_publisher.rows("SELECT * FROM totp.events_read(0, 1000)")[-1].position
    caught_up(on_publisher, on_subscriber)
    publisher.stop()
    on_subscriber.execute("ALTER SUBSCRIPTION everything DISABLE")
    on_subscriber.execute("ALTER SUBSCRIPTION everything SET (slot_name = NONE)")
    on_subscriber.execute("DROP SUBSCRIPTION everything")
    sequence = "SELECT * FROM totp.preflight() WHERE check_name = 'audit_sequence'"
    assert on_subscriber.row(sequence).status == "warn"
    # Whoever forgets the sequence goes on verifying.
    assert not on_subscriber.verify(late.account, spent)
    events = on_subscriber.rows("SELECT * FROM totp.events_read(%s, 1000)", position)
    assert [(row.event, row.account) for row in events] == [("replayed", late.account)]
    on_subscriber.execute(on_subscriber.row(sequence).hint)
    assert on_subscriber.row(sequence).status == "ok"
    assert on_subscriber.backup_verify(early.account, early.backup_codes[0])
    query = "SELECT id FROM totp.audit_events WHERE id > %s"
    assert on_subscriber.rows(query, newest)
    assert not on_subscriber.backup_verify(late.account, late.backup_codes[0])
    figures.record(
        "Logical replication",
        does="a subscriber of FOR ALL TABLES, which takes over",
        ran="once",
        lost="nothing",
        again="pytest tests/e2e/test_replication.py",
    )
