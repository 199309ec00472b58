"""Clients that do everything at once.

They enrol, log in, fail, use backup codes, answer challenges and approve. A ledger keeps what they
are told. Meanwhile, keys are rotated and the audit trail is sealed.
"""

import json
import time
from contextlib import closing
from random import Random
from threading import Event, Thread

import psycopg
from cryptography.fernet import Fernet
from psycopg.types.json import Jsonb

from authenticator import Authenticator
from client import Client
from conftest import new_account

# A step a second and a window of ten: an account can log in often. Eight digits: none by chance.
WINDOW = 10
SETTINGS = {
    "totp.window_steps": str(WINDOW),
    "totp.max_failures": "100",
    "totp.cold_start": "off",
    "totp.challenge_ttl": "1d",
    "totp.approval_ttl": "1d",
    "totp.jwt_logins": "app",
}
CLIENTS = 4
MAX_FAILURES = 90
WRONG = "00000000"
# What the server says when it stops, or has no room left.
STOPS = ("57P01", "57P02", "57P03", "53100", None)


class Worker(Thread):
    """A thread with one connection, which works until it is told to stop or the server falls."""

    def __init__(self, connect, seed, pause=0):
        super().__init__()
        self.connect, self.dice, self.pause = connect, Random(seed), pause
        self.stopped, self.warm = Event(), Event()
        self.error = self.lost = self.pid = None
        # How long an act took at most, and how many were done.
        self.slowest, self.number = 0.0, 0

    def run(self):
        try:
            with closing(self.connect()) as connection:
                self.pid = connection.info.backend_pid
                self.work(Client(connection))
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if getattr(error, "sqlstate", None) in STOPS:
                self.lost = error
            else:
                self.error = error
        except BaseException as error:
            self.error = error
        finally:
            self.warm.set()

    def work(self, client):
        while not self.stopped.wait(self.pause):
            began = time.monotonic()
            if self.act(client):
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.number += 1


class Member(Worker):
    """One that acts for some accounts, which nobody else acts for."""

    def __init__(self, connect, ledger, seed, accounts):
        super().__init__(connect, seed)
        self.ledger, self.accounts = ledger, accounts
        self.owners = []
        # One that only fails: its failures are never forgiven.
        self.failing = None
        self.acts = {
            self.log_in: 6,
            self.fail: 2,
            self.use_backup_code: 1,
            self.answer_challenge: 2,
            self.approve: 1,
        }

    def act(self, client):
        if self.failing is None or self.failing.failures >= MAX_FAILURES:
            self.failing = self.enrol(client)
            return True
        if len(self.owners) < self.accounts:
            self.owners.append(self.enrol(client))
            return True
        self.warm.set()
        owner = self.dice.choice(self.owners)
        (act,) = self.dice.choices(list(self.acts), self.acts.values())
        # What spends something waits for the disk, whatever the caller wants; nothing else does.
        spends = act in (self.log_in, self.use_backup_code)
        commit = self.dice.choice(["on", "off"]) if spends else "on"
        client.execute(f"SET synchronous_commit = {commit}")
        return act(client, owner)

    def enrol(self, client):
        account, ledger = new_account(), self.ledger
        # A login may have left it off.
        client.execute("SET synchronous_commit = on")
        with ledger.change("factor", account, "default", "pending"):
            uri = client.create(account, period=1, digits=8).uri
        owner = ledger.open(account, Authenticator(uri))
        step = self.step(owner)
        code = owner.person.phone.code(step)
        with ledger.change("factor", account, "default", "active"), ledger.log_in(account, step):
            confirmed = client.confirm(account, code)
            assert confirmed.confirmed, confirmed
        owner.person.backup_codes = list(confirmed.backup_codes)
        return owner

    def step(self, owner):
        """A step that was never tried and is in the window, or None."""
        now = int(time.time())
        step = max(now, owner.tried + 1)
        return step if step < now + WINDOW else None

    def log_in(self, client, owner):
        step = self.step(owner)
        if step is None:
            return False
        account = owner.person.account
        with self.ledger.log_in(account, step):
            assert client.verify(account, owner.person.phone.code(step)), "right code refused"
        return True

    def fail(self, client, owner):
        account = owner.person.account
        assert client.attempt(account, WRONG).reason == "invalid"
        failing = self.failing
        failing.failures += 1
        account = failing.person.account
        with self.ledger.change("failure", account, failing.failures, "counted"):
            assert client.attempt(account, WRONG).reason == "invalid"
        return True

    def use_backup_code(self, client, owner):
        if not owner.person.backup_codes:
            self.owners.remove(owner)
            return False
        account, code = owner.person.account, owner.person.backup_codes.pop()
        with self.ledger.change("backup code", account, code, "spent"):
            assert client.backup_verify(account, code), "right backup code refused"
        owner.accepted += 1
        return True

    def answer_challenge(self, client, owner):
        step = self.step(owner)
        if step is None:
            return False
        account = owner.person.account
        token = client.challenge(account)
        with self.ledger.change("challenge", account, token, "open"):
            pass
        if self.dice.random() < 0.2:
            return True
        with (
            self.ledger.change("challenge", account, token, "spent"),
            self.ledger.log_in(account, step),
        ):
            verdict = client.answer(token, owner.person.phone.code(step))
            assert verdict.verified, verdict
        return True

    def approve(self, client, owner):
        step = self.step(owner)
        if step is None:
            return False
        account, ledger = owner.person.account, self.ledger
        action = {"action": "transfer", "payload": Jsonb({"amount": self.dice.randrange(10**9)})}
        asked = client.call("approval_request", account=account, **action)
        name = str(asked.id)
        with ledger.change("approval", account, name, "pending"):
            pass
        with ledger.change("approval", account, name, "confirmed"), ledger.log_in(account, step):
            verdict = client.call("approval_confirm", id=name, code=owner.person.phone.code(step))
            assert verdict.verified, verdict
        claims = json.dumps({"sub": account, "session_id": account})
        client.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
        with ledger.change("approval", account, name, "used"):
            assert client.call("approval_use", **action)[0]
        owner.accepted += 1
        client.execute("SELECT set_config('request.jwt.claims', '', false)")
        return True


class Rotator(Worker):
    """Puts a new key before the others, and re-encrypts all rows with it."""

    def __init__(self, connect, ledger, key_file, seed, pause):
        super().__init__(connect, seed, pause)
        self.ledger, self.key_file = ledger, key_file

    def act(self, client):
        self.key_file.write(Fernet.generate_key().decode(), *self.key_file.keys)
        client.execute("CALL totp.key_rotate()")
        self.ledger.calls["key", "rotated"] += 1
        return True


class Sealer(Worker):
    """Seals the audit trail."""

    def act(self, client):
        client.value("SELECT totp.audit_seal()")
        return True


class Load:
    """All of them, until the end of the block. Only if the server is meant to fall may it end before."""

    def __init__(
        self,
        cluster,
        ledger,
        key_file,
        dice,
        kind=Member,
        accounts=3,
        rotate_every=0.2,
        falls=False,
    ):
        self.falls = falls

        def app():
            return cluster.connect("app")

        seeds = iter(lambda: dice.randbytes(8), None)
        self.members = [kind(app, ledger, next(seeds), accounts) for _ in range(CLIENTS)]
        self.others = [
            Rotator(cluster.connect, ledger, key_file, next(seeds), rotate_every),
            Sealer(cluster.connect, next(seeds), pause=0.1),
        ]

    @property
    def workers(self):
        return [*self.members, *self.others]

    def __enter__(self):
        try:
            for worker in self.workers:
                worker.start()
            for worker in self.members:
                assert worker.warm.wait(60), f"{worker} takes long to enrol"
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        errors = [worker.error or worker.lost for worker in self.workers]
        if self.falls:
            errors = [worker.error for worker in self.workers]
        for error in filter(None, errors):
            raise error

    def stop(self):
        for worker in self.workers:
            worker.stopped.set()
        for worker in filter(Thread.is_alive, self.workers):
            worker.join(30)
            assert not worker.is_alive(), f"{worker} hangs"
