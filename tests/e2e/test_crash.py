"""After a start, a crash and a kill -9: what was spent is spent, what failed is counted.

TOTP_CRASHES is the number of crashes under load.
"""

import os
import signal
import time
from itertools import islice

import psycopg
import pytest

import figures
import load
from authenticator import Authenticator
from client import Person, session
from cluster import Cluster, until
from concurrency import wrong_codes
from conftest import ROLES, install, new_account
from key_file import KeyFile
from ledger import Ledger
from load import Load
from period import roomy_period

CRASHES = int(os.environ.get("TOTP_CRASHES", "3"))

# Only commits bring WAL to the disk.
QUIET = {"autovacuum": "off", "wal_writer_delay": "10s"}
READY = "database system is ready to accept connections"


@pytest.fixture(scope="module")
def fragile():
    """A cluster to be killed."""
    with Cluster(settings=QUIET) as cluster:
        install(cluster, "postgres")
        yield cluster
        assert "PANIC" not in cluster.log
        assert "panicked" not in cluster.log


def restart(cluster):
    cluster.restart()


def crash(cluster):
    cluster.stop("immediate")
    cluster.start()


def kill_postmaster(cluster):
    cluster.kill()
    cluster.start()


def kill_backend(cluster, pid=None):
    """kill -9 of one server process, after which the postmaster starts all others again."""
    starts = cluster.log.count(READY)
    if pid is None:
        with session(cluster) as client:
            cluster.kill_backend(client.connection.info.backend_pid)
    else:
        cluster.kill_backend(pid)
    until(lambda: cluster.log.count(READY) > starts, what="recovery")


# What survives


class Past:
    """What a cluster had seen before it fell."""

    def __init__(self, client):
        self.committed = enrol(client)
        self.spent = self.committed.phone.code(time.time())
        assert client.verify(self.committed.account, self.spent)

        self.undone = enrol(client)
        client.execute("BEGIN")
        assert client.verify(self.undone.account, self.undone.phone.code(time.time()))
        client.execute("ROLLBACK")

        self.failing = enrol(client)
        for code in islice(wrong_codes(self.failing, time.time()), 3):
            assert not client.verify(self.failing.account, code)

        self.locked = enrol(client)
        for code in islice(wrong_codes(self.locked, time.time()), 5):
            assert not client.verify(self.locked.account, code)


def enrol(client):
    """A person who has spent the code of the last step, but not that of the current one."""
    account, period = new_account(), roomy_period(time.time())
    phone = Authenticator(client.create(account, period=period).uri)
    assert client.confirm(account, phone.code(time.time(), -1)).confirmed
    return Person(account, phone)


@pytest.fixture(
    scope="module",
    params=[restart, crash, kill_backend, kill_postmaster],
    ids=lambda fall: fall.__name__,
)
def past(fragile, request):
    with session(fragile, "totp.lockout = '1h'") as client:
        past = Past(client)
    request.param(fragile)
    return past


def last_step(client, account):
    return client.value("SELECT last_step FROM totp.factors WHERE account = %s", account)


def test_codes_of_the_steps_that_may_be_spent_are_refused_and_the_next_accepted(fragile, past):
    """A phone that is ahead by a step may have spent the code of the step after the start."""
    person = past.undone
    with session(fragile, "totp.lockout = '1s'") as client:
        for ahead in (0, 1):
            code = person.phone.code(time.time(), ahead)
            assert client.attempt(person.account, code).reason == "invalid"
            assert client.last_outcome(person.account) == "cold_start"
        later = time.time() + 2 * person.phone.totp.interval
        client.execute("SELECT set_config('totp.clock', to_timestamp(%s)::text, false)", later)
        assert client.verify(person.account, person.phone.code(later))


def test_a_committed_code_is_refused_whatever_the_age_of_the_server(fragile, past):
    person = past.committed
    with session(fragile, "totp.cold_start = off") as client:
        assert not client.verify(person.account, past.spent)
        assert client.last_outcome(person.account) == "replayed"
        assert client.verify(person.account, person.phone.code(time.time(), 1))


def test_committed_failures_are_still_counted(fragile, past):
    person = past.failing
    with session(fragile) as client:
        assert client.status(person.account).failures == 3
        codes = islice(wrong_codes(person, time.time()), 2)
        verdicts = [client.attempt(person.account, code) for code in codes]
        assert [bool(verdict.retry_after) for verdict in verdicts] == [False, True]


def test_a_lock_still_holds(fragile, past):
    person = past.locked
    with session(fragile) as client:
        code = person.phone.code(time.time(), 1)
        assert client.attempt(person.account, code).reason == "locked"
        assert client.status(person.account).locked_until.timestamp() > time.time() + 3000


def test_a_secret_that_is_younger_than_the_server_is_not_held_up(fragile, past):
    with session(fragile) as client:
        person = enrol(client)
        assert client.verify(person.account, person.phone.code(time.time()))


def test_without_cold_start_a_code_that_memory_forgot_is_accepted(fragile):
    with session(fragile) as client:
        past = Past(client)
    crash(fragile)
    person = past.undone
    with session(fragile, "totp.cold_start = off") as client:
        assert client.verify(person.account, person.phone.code(time.time()))


# Commits that do not wait for the disk


def replay_after_a_kill(cluster, *settings):
    """Whether the kill lost a commit that did not wait for the disk, and whether a code that was
    accepted just before is accepted once more."""
    settings = ["synchronous_commit = off", "totp.cold_start = off", *settings]
    with session(cluster) as client:
        client.execute("CREATE TABLE IF NOT EXISTS careless (n integer)")
        client.execute("TRUNCATE careless")
        person = enrol(client)
    code = person.phone.code(time.time())
    with session(cluster, *settings) as client:
        assert client.verify(person.account, code)
        client.execute("INSERT INTO careless VALUES (1)")
        cluster.kill()
    cluster.start()
    with session(cluster, *settings) as client:
        lost = client.value("SELECT count(*) FROM careless") == 0
        return lost, client.verify(person.account, code)


def test_a_code_is_spent_when_the_caller_does_not_wait_for_the_disk(fragile):
    kills = [replay_after_a_kill(fragile) for _ in range(2)]
    assert (True, False) in kills, "no kill lost anything"
    assert not any(replayed for _, replayed in kills)


def test_without_force_sync_commit_a_kill_can_make_a_replay(fragile):
    """So the test above would see that a flush is missing. Now and then the server happens to write its
    WAL between the commit and the kill."""
    kills = (replay_after_a_kill(fragile, "totp.force_sync_commit = off") for _ in range(5))
    assert (True, True) in kills


# In the middle of the work


def kill_all(cluster):
    cluster.kill(all_at_once=True)
    cluster.start()


@pytest.fixture(scope="module")
def busy():
    """A cluster with an application that does everything at once."""
    with Cluster(settings=load.SETTINGS | QUIET) as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)
        yield cluster
        assert "PANIC" not in cluster.log
        assert "panicked" not in cluster.log


# What would be a loss, and how the ledger calls it
LOSSES = {
    "factor": "DELETE FROM totp.factors",
    "step": "UPDATE totp.factors SET last_step = last_step - 1",
    "failure": "UPDATE totp.accounts SET failures = greatest(failures - 1, 0), locked_until = NULL",
    "backup codes": "UPDATE totp.backup_codes"
    " SET used_at = array_fill(NULL::timestamptz, ARRAY[10])",
    "challenge": "UPDATE totp.tokens SET used_at = NULL",
    "approval": "UPDATE totp.approvals SET used_at = NULL",
    "audit": "DELETE FROM totp.audit_events WHERE ctid IN (SELECT max(ctid) FROM totp.audit_events"
    " WHERE event = 'verify' AND outcome = 'ok' GROUP BY account)",
}


def test_the_ledger_sees_every_kind_of_loss(busy, dice):
    ledger = Ledger()
    with Load(busy, ledger, KeyFile(busy), dice) as running:
        until(lambda: min(member.number for member in running.members) > 60, what="calls")
    with session(busy) as client:
        assert ledger.differences(client) == []
        for kind, loss in LOSSES.items():
            client.execute("BEGIN")
            client.execute(loss)
            found = ledger.differences(client)
            client.execute("ROLLBACK")
            assert kind in {difference.kind for difference in found}


def test_a_crash_that_is_not_meant_is_noticed(dice):
    with (
        pytest.raises(AssertionError, match="signal 11"),
        Cluster(settings=load.SETTINGS) as cluster,
    ):
        install(cluster, "postgres")
        cluster.execute(ROLES)
        with (
            pytest.raises(psycopg.OperationalError, match=r"terminat|closed"),
            Load(cluster, Ledger(), KeyFile(cluster), dice) as running,
        ):
            os.kill(running.members[0].pid, signal.SIGSEGV)
            until(lambda: not running.members[0].is_alive(), what="end of the client")


@pytest.mark.timeout(60 + 20 * CRASHES)
def test_a_crash_under_load_takes_back_nothing_that_clients_were_told(busy, dice):
    ledger = Ledger()
    falls = [kill_all, kill_postmaster, kill_backend]
    for number in range(CRASHES):
        fall = falls[number % len(falls)]
        with Load(busy, ledger, KeyFile(busy), dice, falls=True) as running:
            time.sleep(dice.uniform(0, 1))
            if fall is kill_backend:
                kill_backend(busy, dice.choice(running.members).pid)
            else:
                fall(busy)
        with session(busy, "totp.cold_start = off") as client:
            assert ledger.differences(client) == [], fall
            assert ledger.half_enrolled(client) == []
            assert list(ledger.replays(busy)) == []
            if number == CRASHES - 1:
                ledger.fresh.update(ledger.owners)
            assert list(ledger.locked_out(busy)) == []
            assert ledger.left_behind(client) == []
            assert ledger.unproven(client) == []
    figures.record(
        "Crash",
        does="clients enrol, log in, fail, use backup codes, answer challenges and approve while"
        " keys are rotated; kill -9 of the whole server, of the postmaster, or of one process",
        ran=f"{CRASHES} crashes, {sum(ledger.calls.values()):,} calls answered",
        lost="nothing",
        again="TOTP_CRASHES=50 pytest tests/e2e/test_crash.py",
    )
