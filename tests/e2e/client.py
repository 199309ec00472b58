"""A client of the functions of totp, as an application's backend is one."""

import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from psycopg import sql

from authenticator import Authenticator


@dataclass
class Person:
    """An account with a confirmed factor, the app on its phone, and its codes on paper."""

    account: str
    phone: Authenticator
    backup_codes: list[str] = field(default_factory=list)


class Client:
    """Calls functions of schema totp over one connection, with bind parameters."""

    def __init__(self, connection):
        self.connection = connection

    def execute(self, statement, *parameters):
        return self.connection.execute(statement, parameters or None)

    def rows(self, query, *parameters):
        return self.execute(query, *parameters).fetchall()

    def row(self, query, *parameters):
        (row,) = self.rows(query, *parameters)
        return row

    def value(self, query, *parameters):
        (value,) = self.row(query, *parameters)
        return value

    def call(self, function, schema="totp", **arguments):
        """The row that a function gives for named arguments."""
        named = [
            sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name))
            for name in arguments
        ]
        query = sql.SQL("SELECT * FROM {}({})")
        query = query.format(sql.Identifier(schema, function), sql.SQL(", ").join(named))
        (row,) = self.connection.execute(query, arguments).fetchall()
        return row

    # The functions

    def create(self, account, **options):
        return self.call("totp_create", account=account, **options)

    def confirm(self, account, code, **options):
        return self.call("totp_confirm", account=account, code=code, **options)

    def verify(self, account, code):
        return self.call("totp_verify", account=account, code=code)[0]

    def attempt(self, account, code):
        return self.call("totp_attempt", account=account, code=code)

    def disable(self, account, code):
        return self.call("totp_disable", account=account, code=code)[0]

    def is_enabled(self, account):
        return self.call("totp_enabled", account=account)[0]

    def status(self, account):
        return self.call("totp_status", account=account)

    def backup_verify(self, account, code):
        return self.call("backup_verify", account=account, code=code)[0]

    def backup_rotate(self, account, code):
        return self.call("backup_rotate", account=account, code=code)[0]

    def backup_remaining(self, account):
        return self.call("backup_remaining", account=account)[0]

    def challenge(self, account, **options):
        return self.call("challenge_create", account=account, **options)[0]

    def answer(self, token, code, **options):
        return self.call("challenge_verify", token=token, code=code, **options)

    def recovery(self, account, **options):
        return self.call("recovery_create", account=account, **options)[0]

    def recover(self, token):
        return self.call("recovery_confirm", token=token)[0]

    def trust(self, account, **options):
        return self.call("trust_create", account=account, **options)[0]

    def is_trusted(self, account, token):
        return self.call("trust_verify", account=account, token=token)[0]

    def last_outcome(self, account):
        """What the audit trail says of the last call for an account. The client must be allowed to read it."""
        query = "SELECT outcome FROM totp.audit_events WHERE account = %s ORDER BY id DESC LIMIT 1"
        return self.value(query, account)

    # What people do

    @property
    def now(self):
        """The time in seconds since 1970 that the server goes by."""
        return time.time()

    def enrol(self, account, **options):
        """Creates a factor and confirms it with the code that the app shows now."""
        phone = Authenticator(self.create(account, **options).uri)
        label = {"label": options["label"]} if "label" in options else {}
        confirmed = self.confirm(account, phone.take(self.now), **label)
        assert confirmed.confirmed and confirmed.reason == "ok", confirmed
        return Person(account, phone, confirmed.backup_codes)

    def fail(self, person, times):
        """Tries wrong codes; the last verdict."""
        for _ in range(times):
            verdict = self.attempt(person.account, person.phone.wrong(self.now))
            assert not verdict.verified, verdict
        return verdict


class Traveller(Client):
    """A client for whom the server's clock stands still until it is moved."""

    START = datetime(2030, 1, 1, tzinfo=UTC).timestamp()

    def __init__(self, connection):
        super().__init__(connection)
        self.travel(self.START)

    def travel(self, moment):
        """Sets the clock to seconds since 1970."""
        self._now = moment
        text = datetime.fromtimestamp(moment, UTC).isoformat()
        self.execute("SELECT set_config('totp.clock', %s, false)", text)

    def wait(self, seconds):
        """Moves the clock."""
        self.travel(self._now + seconds)

    @property
    def now(self):
        return self._now

    @property
    def clock(self):
        """The setting that has another session go by the same time."""
        return self.value("SELECT current_setting('totp.clock')")


@contextmanager
def session(cluster, *settings, **options):
    """A client of a cluster for a while, with settings of its own."""
    with closing(cluster.connect(**options)) as connection:
        client = Client(connection)
        for setting in settings:
            client.execute(f"SET {setting}")
        yield client
