"""Random lives of accounts: after each step the database agrees with the model of model.py.

TOTP_SEQUENCES is the number of lives (make soak: 2,000), TEST_SEED repeats a run. A failing life is shrunk and printed
as the steps that it takes.
"""

import os
import secrets
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import pyotp
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st

from conftest import install
from model import BACKUP_CODES, SETTINGS, App, Model, Refused

SEQUENCES = int(os.environ.get("TOTP_SEQUENCES", "300"))
SEED = int(os.environ.get("TEST_SEED", secrets.randbits(32)))
START = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp())
# Each life has its own stretch of time: what memory keeps of an earlier one has expired.
STRETCH = 6 * 3600

LABELS = ["default", "phone", "tablet"]
APPS = [("SHA1", 6, 30), ("SHA1", 6, 30), ("SHA256", 8, 60), ("SHA512", 7, 45)]
WAITS = [1, 29, 30, 31, 60, 90, 300, 899, 900, 3600, -30]
REASON = "a test"

# Codes of an app by their distance from the server's clock, and what people type otherwise.
OFFSETS = {"now": 0, "next": 1, "previous": -1, "too early": 2, "too late": -2}
CODES = {
    "now": 5,
    "next": 3,
    "previous": 2,
    "too early": 1,
    "too late": 1,
    "spent": 3,
    "older": 1,
    "wrong": 4,
    "strange": 1,
    "other app": 1,
    "backup": 4,
    "some backup": 2,
    "wrong backup": 1,
}
NO_CODES = [
    None,
    "",
    "12345",
    "123456789",
    "abcdef",
    "１２３４５６",
    "+123456",
    "0" * 5000,
    "0-" * 15,
]

ACTIONS = {
    "create": 2,
    "confirm": 7,
    "attempt": 10,
    "verify": 3,
    "backup_verify": 4,
    "resync": 2,
    "rotate": 3,
    "remove": 3,
    "disable": 2,
    "reset": 1,
    "unlock": 2,
    "reissue": 1,
    "import_": 4,
    "export": 1,
    "rename": 3,
    "forget": 1,
    "prune": 1,
    "wait": 6,
}
TRANSACTION = {
    "begin": 4,
    "savepoint": 2,
    "rollback_to": 2,
    "release": 1,
    "rollback": 2,
    "commit": 3,
}
WEIGHTS = ACTIONS | TRANSACTION

# All that is to be seen of some accounts. A function keeps its plans through a rollback.
STATE = """
CREATE FUNCTION state(names text[], known text[], OUT status json, OUT accounts json,
    OUT factors json)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT json_agg(json_build_array(s.enabled, s.pending, s.factors, s.backup_codes_left,
        s.failures, extract(epoch FROM s.locked_until), s.suspended,
        extract(epoch FROM s.last_verified_at)))
    INTO status FROM unnest(names) AS name, totp.totp_status(name) AS s;

    SELECT json_agg(json_build_array(a.account, a.enabled, a.factors, a.pending,
        a.backup_codes_left, a.failures, extract(epoch FROM a.locked_until), a.suspended,
        extract(epoch FROM a.last_verified_at), floor(extract(epoch FROM a.changed_at)),
        extract(epoch FROM a.created_at)) ORDER BY a.account)
    INTO accounts FROM totp.account_status AS a WHERE a.account = ANY (known);

    SELECT json_agg(json_build_array(f.account, f.label, f.state, f.algorithm, f.digits, f.period,
        f.drift, extract(epoch FROM f.created_at), extract(epoch FROM f.confirmed_at),
        extract(epoch FROM f.last_used_at)) ORDER BY f.account, f.label, f.state)
    INTO factors FROM totp.factor_status AS f WHERE f.account = ANY (known);
END
$$
"""
EVENTS = "SELECT account, event, outcome FROM totp.audit_log WHERE account = ANY (%s) ORDER BY id"


@dataclass(frozen=True)
class Step:
    """One step of a life. An action takes what it needs."""

    action: str
    who: int
    label: str
    code: str
    number: int
    is_undone: bool = False


class Life:
    """A database and a model that do the same."""

    counter = 0

    def __init__(self, connection, burn):
        Life.counter += 1
        self.connection = connection
        self.names = [f"life {Life.counter} {letter}" for letter in "abcd"]
        self.model = Model(START + Life.counter * STRETCH, burn)
        # What people have in their hands, also when a rollback undid it.
        self.apps = []
        self.backup_codes = []
        self.set_clock()
        self.value("SELECT set_config('totp.burn_on_rollback', %s, false)", "on" if burn else "off")
        self.value("SELECT totp.totp_prune()")

    # The two sides

    def row(self, query, *parameters):
        return self.connection.execute(query, parameters).fetchone()

    def value(self, query, *parameters):
        return self.row(query, *parameters)[0]

    def ask(self, query, *parameters):
        """The row that a call gives, or the SQLSTATE of its error."""
        try:
            return self.row(query, *parameters)
        except psycopg.Error as error:
            return error.sqlstate

    def same(self, actual, predict, *arguments):
        """What the model says; the database must have said the same."""
        try:
            expected = predict(*arguments)
        except Refused as refusal:
            assert actual == refusal.sqlstate
            self.recover()
            return None
        assert not isinstance(actual, str), f"an error {actual}"
        return expected

    def same_value(self, actual, predict, *arguments):
        expected = self.same(actual, predict, *arguments)
        assert expected is None or actual == (expected,)
        return expected

    def recover(self):
        """An error has aborted the transaction, as far as the newest savepoint."""
        if len(self.model.marks) > 1:
            self.undo("ROLLBACK TO mark", self.model.undo)
        elif self.model.is_in_transaction:
            self.undo("ROLLBACK", self.model.rollback)

    def undo(self, statement, undo):
        self.connection.execute(statement)
        undo()
        self.set_clock()

    def set_clock(self):
        # A rollback undoes settings, too.
        text = datetime.fromtimestamp(self.model.now, UTC).isoformat()
        self.value("SELECT set_config('totp.clock', %s, false)", text)

    def enrol(self, who):
        """An account with an app, the first one with backup codes, made in the cheapest way."""
        step = Step("import_", who, "default", "now", 0)
        self.import_(step, self.names[who])
        if who == 0:
            self.reissue(step, self.names[who])
        self.model.commit()

    def take(self, step):
        """One step on both sides; then they must agree."""
        name = self.names[step.who]
        if step.is_undone and step.action not in TRANSACTION:
            self.undone(step, name)
        else:
            getattr(self, step.action)(step, name)
        if not self.model.is_in_transaction:
            self.model.commit()
        self.compare(name)

    def undone(self, step, name):
        """A step in a transaction, or a subtransaction, that is rolled back."""
        depth = len(self.model.marks)
        if depth == 0:
            self.begin(step, name)
        else:
            self.savepoint(step, name)
        getattr(self, step.action)(step, name)
        self.compare(name)
        if depth == 0:
            self.rollback(step, name)
        else:
            self.rollback_to(step, name)
            self.release(step, name)

    def compare(self, *names):
        """The status of some accounts, which need not be there, and the reports on all."""
        known = sorted(self.model.accounts.items())
        status, accounts, factors = self.row(
            "SELECT * FROM state(%s, %s)", list(names), [name for name, _ in known]
        )
        assert status == [self.status_of(name) for name in names]
        assert (accounts or []) == [self.account_row(*item) for item in known]
        assert (factors or []) == [row for item in known for row in self.factor_rows(*item)]

    def status_of(self, name):
        account, standing = self.model.accounts.get(name), self.model.shown_standing(name)
        if account is None:
            return [False, False, 0, 0, 0, None, False, None]
        active = len(account.active())
        lock = standing.locked_until
        return [
            active > 0,
            self.is_pending(account),
            active,
            len(account.unused()),
            standing.failures,
            lock if lock > self.model.now else None,
            standing.suspended,
            account.last_verified_at(),
        ]

    def is_pending(self, account):
        return any(
            state == "pending" and not factor.is_void and not self.model._is_expired(factor)
            for (_, state), factor in account.factors.items()
        )

    def account_row(self, name, account):
        active = len(account.active())
        lock = account.standing.locked_until
        return [
            name,
            active > 0,
            active,
            self.is_pending(account),
            len(account.unused()),
            account.standing.failures,
            lock if lock > self.model.now else None,
            account.standing.suspended,
            account.last_verified_at(),
            account.changed_at,
            account.created_at,
        ]

    def factor_rows(self, name, account):
        for (label, state), factor in sorted(account.factors.items(), key=lambda item: item[0]):
            app, times = factor.app, [factor.created_at, factor.confirmed_at, factor.last_used_at]
            yield [name, label, state, app.algorithm, app.digits, app.period, factor.drift, *times]

    def end(self):
        """Undoes what is open, and compares the audit trails."""
        if self.model.is_in_transaction:
            self.undo("ROLLBACK", self.model.rollback)
        self.compare(*self.names)
        query = "SELECT totp.totp_enabled(n), totp.backup_remaining(n) FROM unnest(%s::text[]) AS n"
        rows = self.connection.execute(query, [self.names]).fetchall()
        status = map(self.status_of, self.names)
        assert rows == [(enabled, left) for enabled, _, _, left, *_ in status]
        events = self.connection.execute(EVENTS, [self.names]).fetchall()
        assert [list(event) for event in events] == self.model.events

    # What a person types

    def code(self, step, name, state="active"):
        """The text of a code, which may be right."""
        if step.code == "strange":
            return NO_CODES[step.number % len(NO_CODES)]
        if step.code == "wrong":
            return f"{step.number:06}"
        if step.code == "wrong backup":
            return f"{step.number:016}"
        if step.code in ("backup", "some backup"):
            return self.backup_code(step, name)
        factor = self.factor(step, name, state)
        app = self.app(step) if step.code == "other app" or not factor else factor.app
        here = app.step(self.model.now)
        if factor and step.code in ("spent", "older"):
            spent = max(factor.last_step, self.model.steps.get((name, app.secret), -1))
            here = max(spent - (step.code == "older"), 0)
        return app.code(here + OFFSETS.get(step.code, 0))

    def backup_code(self, step, name):
        account = self.model.accounts.get(name)
        codes = account.unused() if account and step.code == "backup" else self.backup_codes
        return codes[step.number % len(codes)] if codes else "0000-0000-0000-0000"

    def factor(self, step, name, state):
        account = self.model.accounts.get(name)
        factors = account.factors if account else {}
        good = [factor for (_, other), factor in factors.items() if other == state]
        return factors.get((step.label, state)) or (good[0] if good else None)

    def app(self, step):
        """An app that somebody has, be it of another account or of one long gone."""
        return self.apps[step.number % len(self.apps)] if self.apps else App("A" * 32)

    # The actions

    def rest(self, step, name):
        """Nothing: what a needless step of a failing life shrinks to."""

    def create(self, step, name):
        algorithm, digits, period = APPS[step.number % len(APPS)]
        query = "SELECT * FROM totp.totp_create(%s, %s, NULL, NULL, %s, %s, %s)"
        secret, uri, svg = self.ask(query, name, step.label, algorithm, digits, period)
        app = App(secret, algorithm, digits, period)
        assert app_of(uri) == app and svg.startswith("<svg")
        self.apps.append(app)
        self.model.create(name, step.label, app)

    def confirm(self, step, name):
        code = self.code(step, name, "pending")
        actual = self.ask("SELECT * FROM totp.totp_confirm(%s, %s, %s)", name, code, step.label)
        offset = None if isinstance(actual, str) else actual[4]
        verdict = self.same(actual, self.model.confirm, name, step.label, code, offset)
        if verdict:
            confirmed, codes, reason, retry_after, _ = actual
            expected = (verdict.verified, verdict.reason, verdict.retry_after)
            assert (confirmed, reason, retry_after) == expected
            assert (reason == "clock_off") is (offset is not None)
            wanted = verdict.verified and self.model.wants_backup_codes(name)
            self.put_backup_codes(name, codes, wanted)

    def put_backup_codes(self, name, codes, wanted):
        if not wanted:
            assert codes is None
            return
        assert len(codes) == BACKUP_CODES and not set(map(bare, codes)) & set(self.backup_codes)
        self.model.put_backup_codes(name, map(bare, codes))
        self.backup_codes += map(bare, codes)

    def attempt(self, step, name):
        code = self.code(step, name)
        query = """SELECT verified, account, method, label, reason, extract(epoch FROM retry_after),
                   backup_codes_left FROM totp.totp_attempt(%s, %s)"""
        actual = self.ask(query, name, code)
        v = self.same(actual, self.model.attempt, name, code)
        left = len(self.model.accounts[name].unused()) if v.verified else None
        assert actual == (v.verified, name, v.method, v.label, v.reason, v.retry_after, left)

    def verify(self, step, name):
        self.attempt_with("totp_verify", "totp", self.code(step, name), name)

    def backup_verify(self, step, name):
        self.attempt_with("backup_verify", "backup", self.code(step, name), name)

    def attempt_with(self, function, kind, code, name):
        actual = self.ask(f"SELECT totp.{function}(%s, %s)", name, code)
        verdict = self.same(actual, self.model.attempt, name, code, "verify", [kind])
        assert actual == (verdict.verified,)

    def resync(self, step, name):
        factor = self.factor(step, name, "active")
        app = factor.app if factor else self.app(step)
        first = app.step(self.model.now) + step.number % 50 - 25
        codes = app.code(first), app.code(first + 1 + (step.code == "wrong"))
        actual = self.ask("SELECT totp.totp_resync(%s, %s, %s, %s)", name, *codes, step.label)
        self.same_value(actual, self.model.resync, name, step.label, *codes)

    def rotate(self, step, name):
        code = self.code(step, name)
        actual = self.ask("SELECT totp.backup_rotate(%s, %s)", name, code)
        wanted = self.same(actual, self.model.rotate, name, code)
        self.put_backup_codes(name, actual[0], wanted)

    def remove(self, step, name):
        code = self.code(step, name)
        actual = self.ask("SELECT totp.totp_remove(%s, %s, %s)", name, step.label, code)
        self.same_value(actual, self.model.remove, name, step.label, code)

    def disable(self, step, name):
        code = self.code(step, name)
        actual = self.ask("SELECT totp.totp_disable(%s, %s)", name, code)
        self.same_value(actual, self.model.disable, name, code)

    def reset(self, step, name):
        actual = self.ask("SELECT totp.totp_reset(%s, %s)", name, REASON)
        self.same_value(actual, self.model.reset, name)

    def unlock(self, step, name):
        actual = self.ask("SELECT totp.totp_unlock(%s, %s)", name, REASON)
        self.same_value(actual, self.model.unlock, name)

    def reissue(self, step, name):
        actual = self.ask("SELECT totp.backup_reissue(%s, %s)", name, REASON)
        self.same(actual, self.model.reissue, name)
        if not isinstance(actual, str):
            self.put_backup_codes(name, actual[0], True)

    def import_(self, step, name):
        app = self.app(step) if step.code == "other app" else new_app(step)
        uri = f"otpauth://totp/x?secret={app.secret}&algorithm={app.algorithm}"
        uri += f"&digits={app.digits}&period={app.period}"
        query = "SELECT totp.totp_import(%s, %s, %s, %s)"
        actual = self.ask(query, name, uri, step.label, REASON)
        self.same(actual, self.model.import_, name, step.label, app)
        assert isinstance(actual, str) or actual == (True,)
        self.apps.append(app)

    def export(self, step, name):
        actual = self.ask("SELECT totp.totp_export(%s, %s, %s)", name, step.label, REASON)
        app = self.same(actual, self.model.export, name, step.label)
        assert app is None or app_of(actual[0]) == app

    def rename(self, step, name):
        new = self.names[step.number % len(self.names)]
        actual = self.ask("SELECT totp.totp_rename(%s, %s, %s)", name, new, REASON)
        self.same(actual, self.model.rename, name, new)

    def forget(self, step, name):
        actual = self.ask("SELECT totp.totp_forget(%s, %s)", name, REASON)
        self.same_value(actual, self.model.forget, name)

    def prune(self, step, name):
        self.same_value(self.ask("SELECT totp.totp_prune()"), self.model.sweep)

    def wait(self, step, name):
        self.model.now += WAITS[step.number % len(WAITS)]
        self.set_clock()

    # Transactions

    def begin(self, step, name):
        if not self.model.is_in_transaction:
            self.connection.execute("BEGIN")
            self.model.mark()

    def savepoint(self, step, name):
        self.begin(step, name)
        self.connection.execute("SAVEPOINT mark")
        self.model.mark()

    def rollback_to(self, step, name):
        if len(self.model.marks) > 1:
            self.undo("ROLLBACK TO mark", self.model.undo)

    def release(self, step, name):
        if len(self.model.marks) > 1:
            self.connection.execute("RELEASE mark")
            self.model.release()

    def rollback(self, step, name):
        if self.model.is_in_transaction:
            self.undo("ROLLBACK", self.model.rollback)

    def commit(self, step, name):
        if self.model.is_in_transaction:
            self.connection.execute("COMMIT")
            self.model.commit()


def bare(code):
    return code.replace("-", "")


def app_of(uri):
    """What pyotp reads in a URI."""
    peer = pyotp.parse_uri(uri)
    return App(peer.secret, peer.digest().name.upper(), peer.digits, peer.interval)


def new_app(step):
    return App(pyotp.random_base32(), *APPS[step.number % len(APPS)])


def weighted(weights):
    return st.sampled_from([name for name, weight in weights.items() for _ in range(weight)])


@st.composite
def plans(draw):
    """The steps of a life. Each life has a few kinds of steps and codes of its own: of those that
    belong together, more come together than if each life had all kinds."""
    actions = draw(st.lists(weighted(WEIGHTS), min_size=4, max_size=8))
    codes = draw(st.lists(weighted(CODES), min_size=2, max_size=5))
    step = st.builds(
        Step,
        action=st.sampled_from(["rest", *actions * 2]),
        who=st.sampled_from([0, 0, 0, 0, 1, 1, 2]),
        label=st.sampled_from(["default", *LABELS]),
        code=st.sampled_from(codes),
        number=st.integers(0, 99),
        is_undone=st.sampled_from([False, False, False, True]),
    )
    return draw(st.lists(step, min_size=8, max_size=14))


def plan(*steps):
    """Steps in words: an action with its code or its seconds, then perhaps that the second account
    takes it, and that it is undone."""
    return [step_of(*step.split()) for step in steps]


def step_of(action, detail="now", *rest):
    number = WAITS.index(int(detail)) if action == "wait" else 1
    return Step(action, int("second" in rest), "default", detail, number, "undone" in rest)


GUESS, UNDONE_GUESS = ("attempt wrong", "wait 300"), ("attempt wrong undone", "wait 300")
TWO_LOGINS = ("attempt now", "attempt next")
NEW_AND_WRONG = ("savepoint", "create", "confirm wrong", "confirm wrong")
# Turns that random lives seldom take: whether a rolled-back code stays spent, how many accounts are
# enrolled at the start, and the steps.
RARE_LIVES = [
    (True, 0, plan("begin", "import_", "attempt wrong", "rollback", "import_", "attempt now")),
    (True, 0, plan(*NEW_AND_WRONG, "rollback_to", "create")),
    (True, 0, plan(*NEW_AND_WRONG, "wait 30", "confirm wrong", "rollback_to", "create")),
    (True, 0, plan(*NEW_AND_WRONG, "release", "rollback", "begin", "create", "confirm wrong")),
    (True, 1, plan("attempt wrong undone", "rename", "attempt wrong second")),
    (True, 1, plan("begin", "attempt wrong", "rename", "rollback", "attempt wrong")),
    (True, 1, plan("attempt now undone", "rename", "attempt now second")),
    (True, 1, plan(*GUESS * 5, "attempt now", "attempt backup", "attempt now")),
    (True, 1, plan(*UNDONE_GUESS * 5, "attempt now", "attempt backup", "attempt now")),
    (True, 1, plan(*UNDONE_GUESS * 2, "unlock now undone", "attempt wrong")),
    (True, 1, plan("attempt backup", "attempt backup", "create", "confirm now")),
    (True, 1, plan("create", "wait 899", "confirm now undone", "wait 1", "confirm now")),
    (False, 1, plan("begin", *TWO_LOGINS, "rollback", "attempt now")),
    (False, 1, plan("begin", "savepoint", *TWO_LOGINS, "rollback_to", "attempt now")),
    (True, 1, plan("begin", "savepoint", *TWO_LOGINS, "rollback_to", "attempt now")),
]


@pytest.fixture
def connection(cluster):
    """A superuser's session in a database that has nothing but the lives."""
    with cluster.database("lives"):
        install(cluster, "lives")
        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        with closing(cluster.connect(dbname="lives", options=options)) as connection:
            connection.row_factory = psycopg.rows.tuple_row
            connection.prepare_threshold = None
            connection.execute(
                "SET log_statement = 'none'; SET jit = off; SET enable_seqscan = off"
            )
            connection.execute(STATE)
            connection.execute("CREATE INDEX ON totp.audit_events (account)")
            yield connection


@pytest.mark.timeout(60 + SEQUENCES)
def test_the_database_agrees_with_the_model(connection):
    print(f"TEST_SEED={SEED}")

    def live(burn, enrolled, plan):
        connection.execute("ROLLBACK")
        life = Life(connection, burn)
        for who in range(enrolled):
            life.enrol(who)
        for step in plan:
            life.take(step)
        life.end()

    for rare in RARE_LIVES:
        live(*rare)
    search = settings(
        max_examples=SEQUENCES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    lives = given(st.booleans(), st.integers(0, 2), plans())
    with_seed(SEED)(search(lives(live)))()
    print(f"{Life.counter} lives")
