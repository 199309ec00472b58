"""Failures lock an account, for longer each time, and at last suspend its TOTP. One statement does
not outrun the limit, and a lock costs nobody but the attacker."""

import itertools
from itertools import islice

import pytest

from authenticator import Authenticator
from client import Traveller
from concurrency import wrong_codes
from conftest import DATABASE, new_account
from rollback import Stage

START = Traveller.START
LIMIT = 5
LOCKS = [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
LATER = 7200


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


def seconds(interval):
    return None if interval is None else interval.total_seconds()


def test_four_failures_do_not_lock(traveller, account):
    person = traveller.enrol(account)
    for failures in range(1, 5):
        verdict = traveller.fail(person, 1)
        assert (verdict.reason, verdict.retry_after) == ("invalid", None)
        assert traveller.status(account).failures == failures
    traveller.wait(60)
    assert traveller.verify(account, person.phone.code(traveller.now))


def test_the_fifth_failure_locks_for_thirty_seconds(traveller, account):
    person = traveller.enrol(account)
    traveller.fail(person, 4)
    fifth = traveller.fail(person, 1)
    assert (fifth.reason, seconds(fifth.retry_after)) == ("invalid", 30)
    assert traveller.status(account).locked_until.timestamp() == traveller.now + 30
    traveller.wait(12)
    verdict = traveller.attempt(account, person.phone.wrong(traveller.now))
    assert (verdict.verified, verdict.reason, seconds(verdict.retry_after)) == (False, "locked", 18)
    assert traveller.status(account).failures == 5


def test_a_right_code_during_the_lock_is_refused_and_not_spent(traveller, account):
    person = traveller.enrol(account)
    traveller.wait(300)
    traveller.fail(person, 5)
    code = person.phone.code(traveller.now)
    assert traveller.verify(account, code) is False
    assert traveller.attempt(account, code).reason == "locked"
    traveller.wait(29.999)
    assert traveller.verify(account, code) is False
    traveller.wait(0.001)
    assert traveller.verify(account, code) is True


def test_a_backup_code_during_the_lock_is_refused_and_not_spent(traveller, account):
    person = traveller.enrol(account)
    traveller.fail(person, 5)
    assert traveller.backup_verify(account, person.backup_codes[0]) is False
    assert traveller.attempt(account, person.backup_codes[0]).reason == "locked"
    assert traveller.backup_remaining(account) == 10
    traveller.wait(30)
    assert traveller.backup_verify(account, person.backup_codes[0]) is True


def test_a_lock_holds_for_every_function_that_takes_a_code(traveller, account):
    person = traveller.enrol(account)
    pending = Authenticator(traveller.create(account, label="second").uri)
    traveller.wait(300)
    traveller.fail(person, 5)
    code = person.phone.code(traveller.now)
    assert traveller.disable(account, code) is False
    assert traveller.backup_rotate(account, code) is None
    refusal = traveller.confirm(account, pending.code(traveller.now), label="second")
    assert (refusal.confirmed, refusal.reason) == (False, "locked")
    assert traveller.is_enabled(account)


def test_each_further_failure_doubles_the_lock_up_to_an_hour(traveller, account):
    person = traveller.enrol(account)
    traveller.fail(person, 4)
    for lock in LOCKS:
        verdict = traveller.fail(person, 1)
        assert seconds(verdict.retry_after) == lock
        traveller.wait(lock - 0.001)
        assert traveller.attempt(account, "000000").reason == "locked"
        traveller.wait(0.001)


def test_attempts_during_a_lock_do_not_prolong_it(traveller, account):
    person = traveller.enrol(account)
    traveller.fail(person, 5)
    until = traveller.status(account).locked_until
    for _ in range(20):
        assert traveller.attempt(account, person.phone.wrong(traveller.now)).reason == "locked"
    status = traveller.status(account)
    assert (status.failures, status.locked_until) == (5, until)


def test_a_success_clears_failures_and_lock(traveller, account):
    person = traveller.enrol(account)
    for _ in range(3):
        traveller.wait(300)
        traveller.fail(person, 4)
        assert traveller.verify(account, person.phone.code(traveller.now))
        status = traveller.status(account)
        assert (status.failures, status.locked_until, status.suspended) == (0, None, False)
    traveller.fail(person, 5)
    traveller.wait(30)
    assert traveller.verify(account, person.phone.code(traveller.now))
    assert seconds(traveller.fail(person, 5).retry_after) == 30


def test_a_backup_code_clears_failures_too(traveller, account):
    person = traveller.enrol(account)
    traveller.fail(person, 4)
    assert traveller.backup_verify(account, person.backup_codes[0])
    assert traveller.status(account).failures == 0


def test_failures_of_all_kinds_share_one_count(traveller, account):
    person = traveller.enrol(account)
    pending = Authenticator(traveller.create(account, label="second", digits=8).uri)
    wrong = person.phone.wrong(traveller.now)
    assert traveller.verify(account, wrong) is False
    assert traveller.backup_verify(account, "ZZZZ-ZZZZ-ZZZZ-ZZZZ") is False
    assert traveller.disable(account, wrong) is False
    assert traveller.backup_rotate(account, wrong) is None
    assert traveller.status(account).failures == 4
    refusal = traveller.confirm(account, pending.wrong(traveller.now), label="second")
    assert refusal.reason == "invalid"
    assert traveller.attempt(account, wrong).reason == "locked"


def test_a_locked_account_locks_nobody_else(traveller, account):
    person, other = traveller.enrol(account), traveller.enrol(f"{account}-other")
    traveller.fail(person, 5)
    traveller.wait(29)
    assert traveller.attempt(account, person.phone.code(traveller.now)).reason == "locked"
    assert traveller.verify(other.account, other.phone.code(traveller.now, 1))


def test_a_miss_on_one_device_is_no_miss_on_the_other(traveller, account):
    traveller.enrol(account)
    tablet = traveller.enrol(account, label="tablet").phone
    for _ in range(8):
        traveller.wait(60)
        assert traveller.verify(account, tablet.code(traveller.now))
    assert traveller.status(account).failures == 0


@pytest.fixture
def suspended(traveller, account):
    """A person after a hundred failures, as fast as the locks allow, and after the last lock."""
    person = traveller.enrol(account)
    for failures in range(1, 101):
        verdict = traveller.fail(person, 1)
        assert verdict.reason == "invalid"
        assert traveller.status(account).suspended is (failures == 100)
        traveller.wait(seconds(verdict.retry_after) or 0)
    return person


def test_a_hundred_failures_suspend_totp(traveller, suspended):
    account = suspended.account
    status = traveller.status(account)
    assert (status.failures, status.suspended, status.enabled) == (100, True, True)
    traveller.wait(LATER)
    code = suspended.phone.code(traveller.now)
    verdict = traveller.attempt(account, code)
    assert (verdict.verified, verdict.reason) == (False, "suspended")
    assert traveller.verify(account, code) is False
    assert traveller.disable(account, code) is False
    assert traveller.status(account).suspended


def test_a_backup_code_lifts_the_suspension(traveller, suspended):
    account = suspended.account
    traveller.wait(LATER)
    code = suspended.phone.code(traveller.now)
    assert traveller.verify(account, code) is False
    verdict = traveller.attempt(account, suspended.backup_codes[0])
    assert (verdict.verified, verdict.method) == (True, "backup")
    status = traveller.status(account)
    assert (status.failures, status.locked_until, status.suspended) == (0, None, False)
    assert traveller.verify(account, code) is True


def test_a_new_enrolment_does_not_lift_the_suspension(traveller, suspended):
    account = suspended.account
    traveller.wait(LATER)
    phone = Authenticator(traveller.create(account).uri)
    refusal = traveller.confirm(account, phone.code(traveller.now))
    assert (refusal.confirmed, refusal.reason) == (False, "suspended")
    assert traveller.status(account).suspended


def test_the_settings_of_the_lock_policy_are_followed(dba, account):
    person = dba.enrol(account)
    settings = {"max_failures": "2", "lockout": "10s", "max_lockout": "15s", "suspend_after": "4"}
    with dba.connection.transaction():
        for name, value in settings.items():
            dba.execute(f"SET LOCAL totp.{name} = '{value}'")
        clock = itertools.count(2_000_000_000, 1000)
        verdicts = []
        for _ in range(4):
            now = next(clock)
            dba.execute("SELECT set_config('totp.clock', to_timestamp(%s)::text, true)", now)
            verdicts.append(dba.attempt(account, person.phone.wrong(now)))
        assert [seconds(verdict.retry_after) for verdict in verdicts] == [None, 10, 15, 15]
        assert dba.status(account).suspended


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


# Failures that are rolled back


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


def test_an_attempt_on_a_locked_account_writes_nothing(stage, traveller, dba, person):
    client = stage.client
    codes = list(islice(wrong_codes(person, START), LIMIT))
    for code in codes:
        client.verify(person.account, code)
    right, backup = person.phone.code(START, 1), person.backup_codes[0]
    traveller.wait(30)
    row = "SELECT xmin::text, * FROM totp.accounts WHERE account = %s"
    before = dba.row(row, person.account)
    for _ in range(3):
        traveller.attempt(person.account, person.phone.wrong(traveller.now))
        traveller.attempt(person.account, person.phone.code(traveller.now))
    assert dba.row(row, person.account) == before
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
