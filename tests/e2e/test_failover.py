"""Promotions under load: what a synchronous standby and what an asynchronous one takes over.

TOTP_FAILOVERS is the number of promotions of each kind.
"""

import os
import time
from collections import Counter
from queue import Queue
from threading import Thread

import pytest

import figures
import load
from client import session
from cluster import Cluster, until
from conftest import ROLES, install, new_account
from key_file import KeyFile
from ledger import Ledger
from load import Load
from period import roomy_period

FAILOVERS = int(os.environ.get("TOTP_FAILOVERS", "1"))
AGAIN = "TOTP_FAILOVERS=20 pytest tests/e2e/test_failover.py"
DOES = "the mixed load of the crashes, kill -9 of the primary, promotion of its {} standby"
pytestmark = pytest.mark.timeout(90 + 30 * FAILOVERS)


class Pair:
    """A primary and its hot standby. Both read the same key file."""

    def __init__(self):
        self.primary = Cluster(settings={**load.SETTINGS, "wal_retrieve_retry_interval": "100ms"})
        self.keys = self.primary.directory.with_name(f"{self.primary.directory.name}.keys")
        self.primary.settings["totp.key_file"] = str(self.keys)
        self.standby = None

    def __enter__(self):
        self.primary.__enter__()
        self.keys.touch(0o600)
        os.chown(self.keys, self.primary.owner, -1)
        self.keys.unlink()
        install(self.primary, "postgres")
        self.primary.execute(ROLES)
        return self

    def __exit__(self, *_):
        for cluster in (self.standby, self.primary):
            if cluster:
                cluster.destroy()
        self.keys.unlink(missing_ok=True)

    @property
    def key_file(self):
        return KeyFile(self.primary, self.keys)

    def attach(self, synchronous):
        """Makes a new standby of the primary."""
        if self.standby:
            self.standby.destroy()
            self.primary.configure(synchronous_standby_names=None)
        self.standby = self.primary.standby()
        names = "*" if synchronous else ""
        self.primary.configure(synchronous_standby_names=names)
        state = "sync" if synchronous else "async"
        query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = %s"
        with session(self.primary) as client:
            until(lambda: client.value(query, state) == 1, what=f"an {state} standby")

    def cut(self):
        """From now on, the standby receives nothing more."""
        self.standby.configure(primary_conninfo="")
        with session(self.standby) as client:
            receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
            until(lambda: client.value(receivers) == 0, what="end of replication")

    def fail_over(self):
        """The primary dies, and the standby takes over. It waits for no standby of its own."""
        self.primary.kill(all_at_once=True)
        self.standby.promote()
        self.primary.destroy()
        self.primary, self.standby = self.standby, None
        self.primary.configure(primary_conninfo=None, synchronous_standby_names=None)


@pytest.fixture(scope="module")
def pair():
    with Pair() as pair:
        yield pair


def test_a_synchronous_standby_takes_over_all_that_clients_were_told(pair, dice):
    ledger = Ledger()
    for _ in range(FAILOVERS):
        pair.attach(synchronous=True)
        with Load(pair.primary, ledger, pair.key_file, dice, falls=True):
            time.sleep(dice.uniform(0, 1))
            pair.fail_over()
        with session(pair.primary) as client:
            assert ledger.differences(client) == []
            assert ledger.half_enrolled(client) == []
            assert list(ledger.replays(pair.primary)) == []
            assert list(ledger.locked_out(pair.primary)) == []
            assert ledger.left_behind(client) == []
            assert ledger.unproven(client) == []
    figures.record(
        "Failover, synchronous",
        does=DOES.format("synchronous"),
        ran=f"{FAILOVERS} promotions, {sum(ledger.calls.values()):,} calls answered",
        lost="nothing",
        again=AGAIN,
    )


def test_an_asynchronous_standby_accepts_no_totp_code_again(pair, dice):
    """What did not reach it is lost: docs/backups.md says what this means."""
    lost, again, calls = Counter(), Counter(), 0
    for _ in range(FAILOVERS):
        ledger = Ledger()
        pair.attach(synchronous=False)
        with Load(pair.primary, ledger, pair.key_file, dice, falls=True):
            pair.cut()
            time.sleep(dice.uniform(0.2, 0.6))
            pair.fail_over()
        with session(pair.primary) as client:
            found = ledger.differences(client)
            assert ledger.half_enrolled(client) == []
            assert ledger.left_behind(client) == []
            assert ledger.unproven(client) == []
        # At once, as whoever saw the code would try.
        replayed = ledger.replays(pair.primary, "totp.cold_start=on", travels=False)
        kinds = Counter(kind for kind, _, _ in replayed)
        assert kinds["step"] == 0, "a code was accepted again"
        assert any(difference.kind == "step" for difference in found), "nothing was lost"
        lost.update(difference.kind for difference in found)
        again.update(kinds)
        calls += sum(ledger.calls.values())
    figures.record(
        "Failover, asynchronous",
        does=DOES.format("asynchronous") + ", which received nothing for the last 0.2 to 0.6 s",
        ran=f"{FAILOVERS} promotions, {calls:,} calls answered",
        lost=f"what the standby had not received ({count(lost)}). No TOTP code was accepted again."
        f" Accepted again: {count(again) or 'nothing'}",
        again=AGAIN,
    )


# What the ledger's kinds are called if there are several of them.
SEVERAL = {
    "approval": "approvals",
    "audit": "accounts' audit entries",
    "backup code": "backup codes",
    "backup codes": "accounts' backup codes",
    "challenge": "challenges",
    "factor": "factors",
    "failure": "failures",
    "step": "TOTP steps",
}


def count(kinds):
    return ", ".join(
        f"{number:,} {SEVERAL[kind]}" for kind, number in sorted(kinds.items()) if number
    )


# Phones that are ahead


def test_a_promoted_standby_refuses_what_a_phone_ahead_may_have_spent(pair):
    """Its step is after the promotion: the next one, or one to which logins have adjusted."""
    settings = ("totp.window_steps=1", "totp.cold_start=on")
    pair.attach(synchronous=False)
    with session(pair.primary, *settings) as client:
        period = roomy_period(time.time())
        fast, drifting = (client.enrol(new_account(), period=period) for _ in range(2))
        now = time.time()
        codes = {"code1": drifting.phone.code(now, 4), "code2": drifting.phone.code(now, 5)}
        assert client.call("totp_resync", account=drifting.account, **codes)[0]
        pair.standby.wait_for_replay(pair.primary)
        pair.cut()
        spent = [(fast, fast.phone.code(now, 1)), (drifting, drifting.phone.code(now, 6))]
        for person, code in spent:
            assert client.verify(person.account, code)
    pair.fail_over()
    with session(pair.primary, *settings) as client:
        for person, code in spent:
            assert not client.verify(person.account, code)
            assert client.last_outcome(person.account) == "cold_start"
    with session(pair.primary, *settings, "totp.cold_start=off") as client:
        for person, code in spent:
            assert client.verify(person.account, code), "nothing was lost: the test shows nothing"


# The commit of a caller that does not want to wait


@pytest.fixture(scope="module")
def waiting(pair):
    """A primary whose synchronous standby receives nothing, and people with backup codes."""
    pair.attach(synchronous=True)
    with session(pair.primary) as client:
        people = [client.enrol(new_account()) for _ in range(6)]
    pair.cut()
    return pair.primary, people


@pytest.mark.parametrize("level", ["off", "local"])
@pytest.mark.parametrize("when", ["before", "after", "after a rollback"])
def test_an_accepted_code_has_reached_the_synchronous_standby(level, when, waiting):
    """Whatever the caller sets, and when: the commit that spends a code waits for the standby."""
    primary, people = waiting
    person = people.pop()
    answers, backends = [], Queue()

    def log_in():
        setting = f"SET synchronous_commit = {level}"
        with session(primary) as client:
            if when == "after a rollback":
                with client.connection.transaction(force_rollback=True):
                    assert client.backup_verify(person.account, person.backup_codes[1])
            backends.put(client.connection.info.backend_pid)
            with client.connection.transaction():
                if when == "before":
                    client.execute(setting)
                accepted = client.backup_verify(person.account, person.backup_codes[0])
                accepted &= client.backup_verify(person.account, person.backup_codes[2])
                if when != "before":
                    client.execute(setting)
        answers.append(accepted)

    thread = Thread(target=log_in)
    thread.start()
    backend = backends.get(timeout=10)
    waits = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
    with session(primary) as client:
        until(lambda: client.rows(waits, backend) in ([], [("SyncRep",)]), what="commit")
        assert client.rows(waits, backend) == [("SyncRep",)] and answers == []
        client.execute("SELECT pg_cancel_backend(%s)", backend)
    thread.join()


def test_the_caller_of_anything_else_need_not_wait(waiting):
    primary, _ = waiting
    with session(primary, "synchronous_commit=local") as client:
        client.challenge("somebody")
