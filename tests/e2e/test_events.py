"""Events: an outbox in the order of commits, and NOTIFY."""

import os
import random
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from client import Client, Traveller
from cluster import Cluster, until
from conftest import install, new_account
from refusal import refused

# How long the load runs.
SECONDS = float(os.environ.get("TOTP_LOAD_SECONDS", "8"))
SETTINGS = {"totp.notify": "on", "deadlock_timeout": "10s"}
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
ROLES = """
CREATE ROLE app LOGIN IN ROLE totp_app;
CREATE ROLE traveller LOGIN IN ROLE totp_app;
CREATE ROLE auditor LOGIN IN ROLE totp_auditor;
GRANT SET ON PARAMETER totp.clock, totp.lock_timeout TO traveller;
"""


@pytest.fixture(scope="module")
def server():
    with Cluster(settings=SETTINGS) as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)
        yield cluster


@pytest.fixture
def dba(server):
    with closing(server.connect()) as connection:
        yield Client(connection)


@pytest.fixture
def app(server):
    """A client whose clock can be moved."""
    with closing(server.connect("traveller")) as connection:
        yield Traveller(connection)


@pytest.fixture
def reader(server):
    """A function that returns what is new since its last call."""
    with closing(server.connect("auditor")) as connection:
        client = Client(connection)
        state = {"after": newest(client)}

        def read():
            rows = client.rows("SELECT * FROM totp.events_read(%s, 10000)", state["after"])
            state["after"] = rows[-1].position if rows else state["after"]
            return rows

        yield read


def newest(client):
    """The position of the newest event."""
    after = 0
    while rows := client.rows("SELECT position FROM totp.events_read(%s, 10000)", after):
        after = rows[-1].position
    return after


def names(events):
    return [event.event for event in events]


def test_a_user_hears_of_each_change(app, dba, reader):
    account = new_account()
    person = app.enrol(account, label="phone")
    app.wait(60)
    tablet = app.enrol(account, label="tablet").phone
    app.wait(60)
    assert app.backup_rotate(account, tablet.take(app.now))
    app.wait(60)
    app.attempt(account, person.phone.take(app.now))
    token = app.trust(account)
    assert app.is_trusted(account, token)
    app.call("trust_revoke", account=account)
    app.wait(60)
    codes = [person.phone.code(app.now, ahead) for ahead in (0, 1)]
    assert app.call("totp_resync", account=account, code1=codes[0], code2=codes[1], label="phone")[
        0
    ]
    app.wait(90)
    assert app.call(
        "totp_remove", account=account, label="tablet", code=person.phone.take(app.now)
    )[0]
    app.wait(60)
    assert app.disable(account, person.phone.take(app.now))
    events = reader()
    assert names(events) == [
        "enrolled",
        "device_added",
        "backup_replaced",
        "trusted",
        "trust_revoked",
        "resynced",
        "device_removed",
        "disabled",
    ]
    assert {event.account for event in events} == {account}
    assert events[1].detail == {"label": "tablet"}


def test_a_recovery_is_announced_when_it_is_asked_for_and_used(app, reader):
    account = new_account()
    app.enrol(account)
    assert app.recover(app.recovery(account))
    assert names(reader()) == ["enrolled", "recovery_asked", "recovered"]


def test_what_administrators_do_is_announced(app, dba, reader):
    account = new_account()
    app.enrol(account)
    dba.call("totp_export", account=account, label="default", reason="a test")
    dba.call("backup_reissue", account=account, reason="a test")
    dba.call("totp_unlock", account=account, reason="a test")
    dba.call("totp_rename", account=account, new_account=f"{account}-2", reason="married")
    dba.call("totp_reset", account=f"{account}-2", reason="lost the phone")
    uri = f"otpauth://totp/x?secret={SECRET}"
    dba.call("totp_import", account=f"{account}-2", uri=uri, label="old")
    name = f"{account}-2"
    dba.call("totp_require", account=name, reason="staff")
    dba.call("totp_exempt", account=name, until="infinity", reason="on leave")
    dba.call("totp_release", account=name, reason="left")
    dba.call("pass_issue", account=name, reason="lost the phone")
    dba.call("pass_revoke", account=name, reason="found it")
    dba.call("approval_request", action="transfer", payload="{}", account="x", approver=name)
    events = reader()
    assert names(events) == [
        *("enrolled", "exported", "backup_replaced", "unlocked", "renamed", "reset", "imported"),
        *("required", "exempted", "released", "pass_issued", "pass_revoked", "approval_asked"),
    ]
    assert {event.account for event in events} == {f"{account}-2"}
    assert events[-8].detail == {"reason": "lost the phone"}
    assert events[-6].detail == {"reason": "staff", "grace_seconds": 14 * 86_400}
    assert events[-1].detail.keys() == {"approval", "action"}
    assert SECRET not in str(events)


def test_locks_replays_and_many_failures_are_announced(app, dba, reader):
    person = app.enrol(new_account())
    app.wait(60)
    code = person.phone.take(app.now)
    assert app.verify(person.account, code)
    assert not app.verify(person.account, code)
    for failure in range(2, 12):
        app.wait(7200)
        app.fail(person, 1)
        assert failure
    events = reader()
    assert [event.event for event in events][:4] == ["enrolled", "replayed", "locked", "locked"]
    assert names(events).count("locked") == 7
    assert [event.detail for event in events if event.event == "many_failures"] == [
        {"failures": 10}
    ]
    first = next(event for event in events if event.event == "locked")
    assert first.detail == {"failures": 5, "locked_seconds": 30}
    dba.execute("UPDATE totp.accounts SET failures = 99 WHERE account = %s", person.account)
    app.wait(7200)
    app.fail(person, 1)
    assert names(reader()) == ["locked", "suspended"]


def test_the_last_backup_codes_are_announced(app, reader):
    person = app.enrol(new_account())
    for code in person.backup_codes[:8]:
        assert app.backup_verify(person.account, code)
    events = reader()
    assert names(events) == ["enrolled", "backup_low", "backup_low"]
    assert [event.detail for event in events[1:]] == [
        {"backup_codes_left": 3},
        {"backup_codes_left": 2},
    ]


def test_plain_logins_and_failures_are_no_events(app, reader):
    person = app.enrol(new_account())
    app.wait(60)
    assert app.verify(person.account, person.phone.take(app.now))
    app.fail(person, 2)
    app.verify(new_account(), "000000")
    assert names(reader()) == ["enrolled"]


def test_events_are_written_unless_they_are_off(server, app, reader):
    with closing(server.connect()) as connection:
        client = Client(connection)
        client.execute("SET totp.events = off")
        client.enrol(new_account())
    assert reader() == []
    app.enrol(new_account())
    assert names(reader()) == ["enrolled"]


def test_what_is_rolled_back_is_no_event(app, reader):
    account = new_account()
    with app.connection.transaction(force_rollback=True):
        app.enrol(account)
    assert reader() == []


def test_an_event_that_is_committed_late_comes_late_and_is_not_missed(server, app, reader):
    """Its ID is lower than that of an event that was read before."""
    with closing(server.connect("app", autocommit=False)) as connection:
        slow = Client(connection)
        slow.call("recovery_create", account="slow")
        app.recovery("fast")
        (fast,) = reader()
        assert (fast.account, fast.event) == ("fast", "recovery_asked")
        assert reader() == []
        connection.commit()
    (late,) = reader()
    assert late.account == "slow" and late.id < fast.id and late.position > fast.position


def test_a_reader_that_was_away_misses_nothing(app, reader):
    """Whatever happened in the meantime, and however many events it takes at a time."""
    accounts = [new_account() for _ in range(25)]
    for account in accounts:
        app.recovery(account)
        app.wait(144)  # An hour in all.
    assert [event.account for event in reader()] == accounts


def test_events_are_read_again_from_any_position_and_in_parts(dba, app, reader):
    before = newest(dba)
    accounts = [new_account() for _ in range(7)]
    for account in accounts:
        app.recovery(account)
    read = "SELECT account, position FROM totp.events_read(%s, %s)"
    found, after = [], before
    while rows := dba.rows(read, after, 3):
        assert len(rows) <= 3
        found += [row.account for row in rows]
        after = rows[-1].position
    assert found == accounts
    assert [row.account for row in dba.rows(read, before, 100)] == accounts
    assert dba.rows("SELECT FROM totp.events_read(NULL, NULL)")
    assert dba.rows("SELECT FROM totp.events_read(9223372036854775807)") == []


@pytest.mark.parametrize("rows", [0, -1])
def test_the_number_of_rows_is_at_least_one(dba, rows):
    with refused("22023"):
        dba.rows("SELECT * FROM totp.events_read(0, %s)", rows)


def test_one_call_returns_at_most_10_000_events(dba):
    after = newest(dba)
    with dba.connection.transaction(force_rollback=True):
        dba.execute("""INSERT INTO totp.events (at, account, event)
            SELECT now(), 'alice', 'locked' FROM generate_series(1, 10001)""")
        assert dba.value("SELECT count(*) FROM totp.events_read(%s, 2147483647)", after) == 10_000


def test_positions_go_on_after_those_that_were_replicated(server):
    """Logical replication copies rows, but leaves the sequence as it was created."""
    with server.database("replicated"):
        install(server, "replicated")
        with closing(server.connect(dbname="replicated")) as connection:
            client = Client(connection)
            client.recovery("one")
            assert newest(client) == 1
            client.execute("ALTER SEQUENCE totp.events_position_seq RESTART")
            client.recovery("two")
            assert newest(client) == 2


def test_a_position_of_a_reader_that_was_rolled_back_is_not_used_again(dba, app, server):
    """A reader may have kept it, and would miss the event that has it then."""
    before = newest(dba)
    app.recovery("one")
    with dba.connection.transaction(force_rollback=True):
        (one,) = dba.rows("SELECT * FROM totp.events_read(%s)", before)
    app.recovery("two")
    rows = dba.rows("SELECT * FROM totp.events_read(%s)", one.position)
    assert [row.account for row in rows] == ["one", "two"]


def test_readers_wait_for_each_other_but_no_login_does(server, app, dba):
    person = app.enrol(new_account())
    with closing(server.connect("auditor", autocommit=False)) as connection:
        Client(connection).rows("SELECT * FROM totp.events_read()")
        dba.execute("SET totp.lock_timeout = '50ms'")
        with refused("55P03"):
            dba.rows("SELECT * FROM totp.events_read()")
        app.recovery(person.account)
        assert app.recover(app.recovery(person.account))
    assert dba.rows("SELECT * FROM totp.events_read()")


def test_readers_do_not_keep_vacuum_away(server, dba):
    """They may follow each other without a gap."""
    with closing(server.connect("auditor", autocommit=False)) as connection:
        Client(connection).rows("SELECT * FROM totp.events_read()")
        # Autovacuum may be at work on the table.
        dba.execute("SET lock_timeout = '30s'")
        dba.execute("VACUUM (ANALYZE) totp.events")
        dba.execute("RESET lock_timeout")


def test_a_reader_that_waits_for_a_new_installation_locks_what_it_reads(server, dba):
    with server.database("replaced") as name:
        install(server, name)
        with (
            closing(server.connect("postgres", name, autocommit=False)) as owner,
            closing(server.connect("postgres", name, autocommit=False)) as reader,
            ThreadPoolExecutor() as pool,
        ):
            Client(reader).rows("SELECT * FROM totp.events_read()")
            reader.commit()
            owner.execute("DROP EXTENSION totp")
            owner.execute("CREATE EXTENSION totp")
            reading = pool.submit(Client(reader).rows, "SELECT * FROM totp.events_read()")
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"
            pid = reader.info.backend_pid
            until(lambda: dba.value(waiting, pid), what="a reader that waits")
            owner.commit()
            assert reading.result() == []
            locked = """
                SELECT relation::regclass::text FROM pg_locks
                WHERE mode = 'ShareUpdateExclusiveLock' AND pid = pg_backend_pid()
            """
            assert [row.relation for row in Client(reader).rows(locked)] == [
                "totp.events_position_seq"
            ]


def test_a_read_only_transaction_reads_what_others_have_read(dba, app):
    before = newest(dba)
    app.recovery("seen")
    newest(dba)
    app.recovery("unseen")
    with dba.connection.transaction():
        dba.execute("SET TRANSACTION READ ONLY")
        rows = dba.rows("SELECT * FROM totp.events_read(%s)", before)
    assert [row.account for row in rows] == ["seen"]


def test_an_account_that_is_erased_leaves_no_event(app, dba):
    before = newest(dba)
    account = new_account()
    app.enrol(account)
    dba.call("totp_forget", account=account, reason="asked for it")
    assert dba.rows("SELECT * FROM totp.events_read(%s)", before) == []


def test_old_events_go_read_or_not(dba, app):
    age = "UPDATE totp.events SET at = now() - interval '2 h'"
    left = "SELECT count(*) FROM totp.events"
    dba.execute("SET totp.events_ttl = '1h'")
    dba.execute(age)
    old = dba.value(left)
    assert old > 20
    dba.recovery("new")
    assert dba.value(left) == max(old - 100, 0) + 1
    dba.execute(age)
    assert dba.value("SELECT totp.totp_prune()") > 0
    assert dba.value(left) == 0


@pytest.mark.parametrize("role", ["app", "traveller"])
def test_an_application_cannot_list_accounts(server, role):
    with closing(server.connect(role)) as connection:
        for statement in ("SELECT totp.events_read()", "SELECT * FROM totp.events"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def notified(connection, seconds=1.0):
    return [int(notice.payload) for notice in connection.notifies(timeout=seconds)]


def test_listen_gets_exactly_the_committed_events(server, app, dba):
    with closing(server.connect("app")) as listener:
        listener.execute("LISTEN totp")
        before = newest(dba)
        account = new_account()
        person = app.enrol(account)
        with app.connection.transaction(force_rollback=True):
            app.recovery(account)
        with app.connection.transaction():
            app.recovery(account)
            app.recovery(account)
        app.wait(60)
        assert app.verify(account, person.phone.take(app.now))
        app.fail(person, 1)
        events = dba.rows("SELECT * FROM totp.events_read(%s)", before)
        assert names(events) == ["enrolled", "recovery_asked", "recovery_asked"]
        assert notified(listener) == [event.id for event in events]


def test_without_the_setting_nothing_is_notified(server, app):
    with closing(server.connect()) as connection, closing(server.connect("app")) as listener:
        listener.execute("LISTEN totp")
        quiet = Client(connection)
        quiet.execute("SET totp.notify = off")
        quiet.recovery("quiet")
        assert notified(listener) == []


def write_events(server, seed, stop, committed, lock):
    """Transactions of several events that take their time, and are committed or not."""
    dice = random.Random(seed)
    with closing(server.connect(autocommit=False)) as connection:
        client = Client(connection)
        while not stop.is_set():
            accounts = [f"load-{secrets.token_hex(6)}" for _ in range(dice.randint(1, 3))]
            for account in accounts:
                client.recovery(account)
                time.sleep(dice.choice([0, 0, 0.001, 0.02]))
            if dice.random() < 0.7:
                connection.commit()
                with lock:
                    committed.extend(accounts)
            else:
                connection.rollback()


@pytest.mark.timeout(10 * SECONDS + 60)
def test_under_load_no_event_is_missed_doubled_or_made_up(server, dba, dice):
    """Two readers with cursors of their own, while transactions end in another order than they
    began; and seals and verifications in between, which find nothing."""
    stop, lock, committed = threading.Event(), threading.Lock(), []
    start = newest(dba)
    writers = [
        threading.Thread(target=write_events, args=(server, dice.random(), stop, committed, lock))
        for _ in range(6)
    ]
    found = {0: [], 1: []}

    def read(number):
        after = start
        with closing(server.connect("auditor")) as connection:
            client = Client(connection)
            is_over = False
            while True:
                rows = client.rows("SELECT position, account FROM totp.events_read(%s, 7)", after)
                found[number] += [row.account for row in rows]
                after = rows[-1].position if rows else after
                if not rows and is_over:
                    return
                is_over = stop.is_set() and all(not writer.is_alive() for writer in writers)

    problems = []

    def seal():
        with closing(server.connect("auditor")) as connection:
            client = Client(connection)
            while not stop.is_set():
                client.value("SELECT totp.audit_seal()")
                problems.extend(
                    client.rows("SELECT * FROM totp.audit_verify() WHERE problem <> 'unsealed'")
                )

    others = [threading.Thread(target=read, args=(number,)) for number in found]
    others.append(threading.Thread(target=seal))
    for thread in [*writers, *others]:
        thread.start()
    time.sleep(SECONDS)
    stop.set()
    for thread in [*writers, *others]:
        thread.join()
    print(f"{len(committed)} events in {SECONDS} s")
    assert len(committed) > 20
    for accounts in found.values():
        assert sorted(accounts) == sorted(committed)
    assert found[0] == found[1]
    dba.value("SELECT totp.audit_seal()")
    rows = dba.rows("SELECT * FROM totp.audit_verify()")
    assert problems == [] and [row.problem for row in rows] == [None]
    trail = "SELECT count(*) FROM totp.audit_log WHERE account LIKE 'load-%'"
    assert dba.value(trail) == len(committed)
    sealed = dba.value("SELECT sum(entries) FROM totp.seal_log")
    assert sealed == dba.value("SELECT count(*) FROM totp.audit_log")
