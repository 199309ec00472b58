"""The limit on failures: one statement does not outrun it, and it costs nobody but the attacker."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice

import psycopg
import pytest

from authenticator import Authenticator
from client import Client, Traveller
from conftest import DATABASE, new_account
from crowd import wrong_codes
from refusal import refused
from undo import Stage

START = Traveller.START
LIMIT = 5
BUSY = "55P03"
PATIENCE = 0.4


@pytest.fixture
def person(traveller):
    return traveller.enrol(new_account())


@pytest.fixture
def stage(cluster):
    with Stage(cluster, DATABASE, START + 30) as stage:
        yield stage


@pytest.fixture
def superuser(cluster):
    """A client whose clock stands at the start of 2030 and who may change every setting."""
    with cluster.connect(dbname=DATABASE) as connection:
        yield Traveller(connection)


# Within one statement


@pytest.mark.timeout(300)
def test_a_million_guesses_in_one_statement_are_five(dba, superuser, person):
    # All codes there are, from the one behind the last that is right now round to that.
    right = sorted(int(person.phone.code(START, steps)) for steps in range(-3, 4))
    query = """
        SELECT count(*) AS guesses,
               count(*) FILTER (WHERE totp.totp_verify(%s, lpad(code::text, 6, '0'))) AS hits
        FROM (SELECT (n + %s) %% 1000000 AS code FROM generate_series(1, 1000000) AS n) AS guess
    """
    for first in right:
        gap = min((other - first) % 1_000_000 for other in right if other != first)
        if gap > LIMIT:
            break
    assert superuser.row(query, person.account, first) == (1_000_000, 0)
    assert superuser.status(person.account).failures == LIMIT
    events = "SELECT count(*) FROM totp.audit_events WHERE account = %s AND event = 'verify'"
    assert dba.value(events, person.account) == LIMIT


# Suspension


def test_a_hundred_failures_that_are_rolled_back_suspend_totp_too(superuser, person):
    codes = wrong_codes(person, START)
    superuser.execute("SET totp.max_failures = 100")
    for count in (99, 1):
        assert not superuser.status(person.account).suspended
        superuser.execute("BEGIN")
        for code in islice(codes, count):
            assert superuser.attempt(person.account, code).reason == "invalid"
        superuser.execute("ROLLBACK")
    for _ in range(2):
        superuser.wait(86_400)
        code = person.phone.take(superuser.now)
        assert superuser.attempt(person.account, code).reason == "suspended"
    assert superuser.backup_verify(person.account, person.backup_codes[0])
    assert superuser.verify(person.account, code)


# What a lock costs


def test_an_attempt_on_a_locked_account_writes_nothing(stage, person):
    client = stage.client
    codes = list(islice(wrong_codes(person, START), LIMIT))
    for code in codes:
        client.verify(person.account, code)
    right, backup = person.phone.code(START, 1), person.backup_codes[0]
    second = Authenticator(client.create(person.account, label="second").uri)
    calls = {
        "totp_verify": {"code": codes[0]},
        "totp_attempt": {"code": right},
        "backup_verify": {"code": backup},
        "totp_disable": {"code": right},
        "backup_rotate": {"code": backup},
        "totp_resync": {"code1": right, "code2": person.phone.code(START, 2)},
        "totp_confirm": {"code": second.code(START, 1), "label": "second"},
    }
    written = {name: wal_of(client, name, person, arguments) for name, arguments in calls.items()}
    assert written == dict.fromkeys(calls, (0, None))
    events = "SELECT count(*) FROM totp.audit_events WHERE account = %s AND event <> 'create'"
    assert client.value(events, person.account) == LIMIT + 1


def wal_of(client, function, person, arguments):
    """Bytes of WAL that 100 calls write, and the transaction id they are given."""
    named = ", ".join(f"{name} => %({name})s" for name in arguments)
    calls = f"SELECT totp.{function}(account => %(account)s, {named}) FROM generate_series(1, 100)"
    position = "SELECT pg_current_wal_insert_lsn() - '0/0'"
    readings = []
    # The server writes WAL of its own now and then.
    for _ in range(5):
        with client.connection.transaction():
            before = client.value(position)
            client.connection.execute(calls, {"account": person.account, **arguments})
            xid = client.value("SELECT pg_current_xact_id_if_assigned()")
            readings.append((int(client.value(position) - before), xid))
    return min(readings, key=lambda reading: reading[0])


# Transactions that do not end


@pytest.fixture
def hurried(cluster):
    """As the stage, for callers that do not wait for long."""
    # Whoever waits for ever fails.
    settings = {"totp.lock_timeout": f"{PATIENCE}s", "statement_timeout": "20s"}
    with Stage(cluster, DATABASE, START + 30, **settings) as stage:
        yield stage


@pytest.fixture
def idle(hurried, person):
    """A session that has verified the account and ends its transaction no sooner than the test."""
    with closing(hurried.connect()) as connection:
        connection.execute("BEGIN")
        code = person.phone.code(START, 1)
        query = "SELECT totp.totp_verify(%s, %s)"
        assert connection.execute(query, [person.account, code]).fetchone()[0]
        yield connection


def timed_login(client, account, code):
    """The outcome of a login, and the seconds it took."""
    begin = time.monotonic()
    try:
        outcome = client.verify(account, code)
    except psycopg.errors.LockNotAvailable:
        outcome = "busy"
    return outcome, time.monotonic() - begin


def test_the_next_login_waits_for_an_idle_transaction_no_longer_than_set(hurried, idle, person):
    code = person.phone.code(START, 2)
    outcome, seconds = timed_login(hurried.client, person.account, code)
    assert outcome == "busy"
    assert PATIENCE <= seconds < 1.5 * PATIENCE
    idle.execute("COMMIT")
    assert hurried.client.verify(person.account, code), "who was not answered has spent nothing"
    assert not hurried.client.verify(person.account, code)


def test_a_shorter_lock_timeout_of_the_caller_wins(hurried, idle, person):
    hurried.watcher.execute("SET lock_timeout = '20ms'")
    code = person.phone.code(START, 2)
    outcome, seconds = timed_login(hurried.client, person.account, code)
    assert outcome == "busy"
    assert seconds < PATIENCE


def test_a_code_that_an_idle_transaction_spent_is_refused_without_a_wait(hurried, idle, person):
    outcome, seconds = timed_login(hurried.client, person.account, person.phone.code(START, 1))
    assert outcome is False
    assert seconds < PATIENCE


def test_an_idle_transaction_holds_up_no_other_account(hurried, idle, traveller):
    other = traveller.enrol(new_account())
    for outcome, seconds in [
        timed_login(hurried.client, other.account, other.phone.code(START, 1)),
        timed_login(hurried.client, other.account, next(wrong_codes(other, START))),
        timed_login(hurried.client, new_account(), "000000"),
    ]:
        assert outcome != "busy"
        assert seconds < PATIENCE


def test_logins_that_queue_behind_the_next_one_wait_twice_as_long_at_most(hurried, person):
    code = person.backup_codes[0]

    def login(place):
        with closing(hurried.connect()) as connection:
            time.sleep(place * PATIENCE / 4)
            begin = time.monotonic()
            with refused(BUSY):
                Client(connection).backup_verify(person.account, code)
            return time.monotonic() - begin

    with closing(hurried.connect()) as idle, ThreadPoolExecutor(4) as pool:
        idle.execute("BEGIN")
        idle.execute("SELECT totp.backup_verify(%s, %s)", [person.account, code])
        waits = list(pool.map(login, range(4)))
    assert waits[0] < 1.5 * PATIENCE
    assert all(seconds < 2.5 * PATIENCE for seconds in waits), waits


def test_waits_cut_short_by_the_caller_give_no_more_guesses(hurried, person):
    codes = wrong_codes(person, START)
    with closing(hurried.connect()) as idle:
        idle.execute("BEGIN")
        idle.execute("SELECT totp.totp_verify(%s, %s)", [person.account, next(codes)])
        hurried.watcher.execute("SET lock_timeout = '1ms'")
        for code in islice(codes, LIMIT - 1):
            with refused(BUSY):
                hurried.client.verify(person.account, code)
        verdict = hurried.client.attempt(person.account, person.phone.code(START, 1))
        assert verdict.reason == "locked"
