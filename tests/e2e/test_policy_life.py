"""Random lives under requirements, passes and approvals: after each step the database agrees with the
model of policy_model.py.

TOTP_SEQUENCES is the number of lives (make soak: 2,000), TEST_SEED repeats a run. A failing life is
shrunk and printed as the steps that it takes.
"""

import json
import os
import secrets
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pyotp
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st

from conftest import install
from model import App
from policy_model import APPROVAL_TTL, GRACE, Model

SEQUENCES = int(os.environ.get("TOTP_SEQUENCES", "200"))
SEED = int(os.environ.get("TEST_SEED", secrets.randbits(32)))
START = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp())
# Nothing locks an account, and what is rolled back may be used again.
SETTINGS = {
    "totp.max_failures": "100",
    "totp.burn_on_rollback": "off",
    "totp.jwt_logins": "postgres",
    "totp.audit": "changes",
}
# How long an approval that has expired is there at least.
KEPT = 86_400
SPANS = [0, 30, 600, 3600, 86_400]
# The amounts of one line are one amount.
AMOUNTS = [["10", "10.00", "1e1"], ["10.01", "1001e-2"]]
WEIGHTS = {
    "enrol": 4,
    "login": 3,
    "backup": 3,
    "disable": 3,
    "reset": 1,
    "recover": 1,
    "forget": 1,
    "rename": 2,
    "require": 4,
    "exempt": 3,
    "release": 1,
    "issue": 4,
    "use_pass": 6,
    "revoke": 1,
    "request": 6,
    "confirm": 8,
    "use": 8,
    "cancel": 2,
    "wait": 5,
    "begin": 3,
    "rollback": 2,
    "commit": 2,
}
STATE = """
SELECT json_agg(json_build_array(r.state, extract(epoch FROM r.deadline)::bigint, r.reason,
                                 totp.totp_enabled(name), p.uses_left) ORDER BY place),
       (SELECT json_object_agg(id, (SELECT a.state FROM totp.approval_status(id) AS a))
        FROM unnest(%s::uuid[]) AS id)
FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, place)
CROSS JOIN LATERAL totp.totp_requirement(name) AS r
LEFT JOIN totp.passes AS p ON p.account = name
"""


@dataclass(frozen=True)
class Step:
    action: str
    who: int
    number: int
    flag: bool


class Life:
    counter = 0

    def __init__(self, connection):
        Life.counter += 1
        self.connection = connection
        self.names = [f"life {Life.counter} {letter}" for letter in "abc"]
        self.model = Model(START + Life.counter * 86_400)
        self.approvals, self.passes, self.codes = [], [], []
        self.set_clock()

    def set_clock(self):
        text = datetime.fromtimestamp(self.model.now, UTC).isoformat()
        self.ask("SELECT set_config('totp.clock', %s, false)", text)

    def ask(self, query, *parameters):
        """The row of a query, or the SQLSTATE of its error, which changes nothing."""
        try:
            with self.connection.transaction():
                return self.connection.execute(query, parameters).fetchone()
        except psycopg.Error as error:
            return error.sqlstate

    def same(self, query, parameters, expected):
        assert self.ask(query, *parameters) == (expected,), query

    def take(self, step):
        name = self.names[step.who]
        getattr(self, step.action)(step, name)
        self.compare()

    def compare(self):
        # A day after it expires, any request may remove an approval.
        removable = {
            number
            for number, approval in self.model.approvals.items()
            if approval.expires_at <= self.model.now - 86_400
        }
        self.approvals = [number for number in self.approvals if number not in removable]
        rows, states = self.ask(STATE, self.approvals, self.names)
        expected = []
        for name in self.names:
            a_pass = self.model.passes.get(name)
            uses = a_pass.uses if a_pass else None
            row = [*self.model.requirement(name), self.model.is_enrolled(name), uses]
            expected.append(row)
        # A pass that has ended may still be there.
        assert rows == expected
        now = self.model.now
        # Requests remove some of those that expired a day ago, also of other lives.
        for number, state in (states or {}).items():
            if state is None and number in self.model.approvals:
                assert now - self.model.approvals[number].expires_at >= KEPT
                del self.model.approvals[number]
        known = {
            number: self.model.state(self.model.approvals[number])
            if number in self.model.approvals
            else None
            for number in self.approvals
        }
        assert (states or {}) == known

    def pick(self, things, step, otherwise="0000-0000-0000-0000"):
        return things[step.number % len(things)] if things else otherwise

    def code(self, step, name):
        """A backup code that may be right, or somebody's pass."""
        account = self.model.accounts.get(name)
        own = account.codes if account else []
        if step.flag and self.passes:
            return self.pick(self.passes[::-1], step)
        return self.pick(own if step.number % 5 else self.codes, step)

    # Accounts

    def enrol(self, step, name):
        secret = self.ask("SELECT secret FROM totp.totp_create(%s)", name)[0]
        app = App(secret)
        here = app.step(self.model.now)
        query = "SELECT confirmed, backup_codes FROM totp.totp_confirm(%s, %s)"
        confirmed, codes = self.ask(query, name, app.code(here))
        assert confirmed
        self.codes += codes or []
        self.model.enrol(name, app, here, codes or [])

    def login(self, step, name):
        account = self.model.accounts.get(name)
        app = account.app if account and account.app else App(pyotp.random_base32())
        here = app.step(self.model.now) + step.number % 2
        expected = self.model.login(name, here)
        self.same("SELECT totp.totp_verify(%s, %s)", [name, app.code(here)], expected)

    def backup(self, step, name):
        code = self.code(step, name)
        expected = self.model.backup(name, code)
        self.same("SELECT totp.backup_verify(%s, %s)", [name, code], expected)

    def disable(self, step, name):
        code = self.code(step, name)
        expected = self.model.disable(name, code)
        self.same("SELECT totp.totp_disable(%s, %s)", [name, code], expected)

    def reset(self, step, name):
        expected = self.model.reset(name)
        self.same("SELECT totp.totp_reset(%s, 'a test')", [name], expected)

    def recover(self, step, name):
        query = "SELECT totp.recovery_create(%s)"
        token = self.ask(query, name)[0]
        expected = self.model.reset(name)
        self.same("SELECT totp.recovery_confirm(%s)", [token], expected)

    def forget(self, step, name):
        expected = self.model.forget(name)
        self.same("SELECT totp.totp_forget(%s, 'a test')", [name], expected)

    def rename(self, step, name):
        new = self.names[step.number % 3]
        actual = self.ask("SELECT totp.totp_rename(%s, %s, 'a test')", name, new)
        assert actual == (self.model.rename(name, new) or (True,))

    # Requirements

    def require(self, step, name):
        grace = [None, *SPANS][step.number % 6]
        reason = f"reason {step.number}"
        query = """SELECT extract(epoch FROM totp.totp_require(%s, %s, make_interval(secs => %s),
                   %s))::bigint"""
        seconds = GRACE if grace is None else grace
        expected = self.model.require(name, reason, seconds, step.flag)
        self.same(query, [name, reason, grace, step.flag], expected)

    def exempt(self, step, name):
        until = self.model.now + SPANS[step.number % 5]
        reason = f"exempt {step.number}"
        expected = self.model.exempt(name, until, reason)
        query = "SELECT totp.totp_exempt(%s, to_timestamp(%s), %s)"
        self.same(query, [name, until, reason], expected)

    def release(self, step, name):
        expected = self.model.release(name)
        self.same("SELECT totp.totp_release(%s, 'a test')", [name], expected)

    # Passes

    def issue(self, step, name):
        ttl, uses = SPANS[1 + step.number % 4], 1 + step.number % 3
        query = "SELECT totp.pass_issue(%s, 'a test', make_interval(secs => %s), %s)"
        code = self.ask(query, name, ttl, uses)[0]
        self.passes.append(code)
        self.model.issue(name, code, ttl, uses)

    def use_pass(self, step, name):
        code = self.pick(self.passes[::-1], step)
        if step.flag:
            expected = self.model.backup(name, code)
            self.same("SELECT totp.backup_verify(%s, %s)", [name, code], expected)
        else:
            assert not self.model.backup(name, code, is_pass_good=False)
            self.same("SELECT totp.backup_rotate(%s, %s)", [name, code], None)

    def revoke(self, step, name):
        expected = self.model.revoke(name)
        self.same("SELECT totp.pass_revoke(%s, 'a test')", [name], expected)

    # Approvals

    def request(self, step, name):
        line = step.number % 2
        amount = self.pick(AMOUNTS[line], step)
        approver = self.names[(step.who + 1) % 3] if step.flag else None
        ttl = [None, *SPANS[1:]][step.number % 5]
        query = """SELECT id::text, summary FROM totp.approval_request('transfer', %s, %s, %s,
                   make_interval(secs => %s))"""
        actual = self.ask(query, f'{{"amount": {amount}}}', name, approver, ttl)
        if self.model.is_overdue(name):
            assert actual == "42501"
            return
        number, summary = actual
        shown = json.loads(summary.partition(" ")[2], parse_float=Decimal, parse_int=Decimal)
        assert shown == {"amount": Decimal(amount)}
        self.approvals.append(number)
        self.model.request(number, name, approver, line, ttl or APPROVAL_TTL)

    def confirm(self, step, name):
        number = self.pick(self.approvals[::-1], step, "00000000-0000-4000-8000-000000000000")
        approval = self.model.approvals.get(number)
        code = self.code(step, approval.confirmer if approval else name)
        expected = self.model.confirm(number, code)
        query = "SELECT reason FROM totp.approval_confirm(%s, %s)"
        self.same(query, [number, code], expected)

    def use(self, step, name):
        line = step.number % 2
        self.ask("SELECT set_config('request.jwt.claims', %s, false)", json.dumps({"sub": name}))
        amount = self.pick(AMOUNTS[line], step)
        query = "SELECT totp.approval_use('transfer', %s)"
        if self.model.is_overdue(name):
            assert self.ask(query, f'{{"amount": {amount}}}') == "42501"
        else:
            self.same(query, [f'{{"amount": {amount}}}'], self.model.use(name, line))
        self.ask("SELECT set_config('request.jwt.claims', '', false)")

    def cancel(self, step, name):
        number = self.pick(self.approvals[::-1], step, "00000000-0000-4000-8000-000000000000")
        expected = self.model.cancel(number)
        self.same("SELECT totp.approval_cancel(%s)", [number], expected)

    # Time and transactions

    def wait(self, step, name):
        self.model.now += [1, 30, 60, 600, 3600, 86_400, -30][step.number % 7]
        self.set_clock()

    def begin(self, step, name):
        if self.model.saved is None:
            self.connection.execute("BEGIN")
            self.model.begin()

    def rollback(self, step, name):
        if self.model.saved is not None:
            self.connection.execute("ROLLBACK")
            self.model.rollback()
            self.set_clock()

    def commit(self, step, name):
        if self.model.saved is not None:
            self.connection.execute("COMMIT")
            self.model.commit()


@st.composite
def plans(draw):
    """The steps of a life, of a few kinds: those that belong together come together."""
    weighted = [name for name, weight in WEIGHTS.items() for _ in range(weight)]
    actions = draw(st.lists(st.sampled_from(weighted), min_size=4, max_size=9))
    step = st.builds(
        Step,
        action=st.sampled_from(actions),
        who=st.sampled_from([0, 0, 0, 1, 1, 2]),
        number=st.integers(0, 59),
        flag=st.booleans(),
    )
    return draw(st.lists(step, min_size=8, max_size=16))


@pytest.fixture
def connection(cluster):
    """A superuser's session in a database that has nothing but the lives."""
    with cluster.database("policies"):
        install(cluster, "policies")
        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        with closing(cluster.connect(dbname="policies", options=options)) as connection:
            connection.row_factory = psycopg.rows.tuple_row
            connection.execute("SET log_statement = 'none'; SET jit = off")
            yield connection


@pytest.mark.timeout(120 + SEQUENCES)
def test_the_database_agrees_with_the_model(connection):
    print(f"TEST_SEED={SEED}")

    def live(enrolled, plan):
        connection.execute("ROLLBACK")
        life = Life(connection)
        for who in range(enrolled):
            life.take(Step("enrol", who, 0, False))
        life.model.now += 60
        life.set_clock()
        for step in plan:
            life.take(step)
        life.rollback(None, None)
        life.compare()

    search = settings(
        max_examples=SEQUENCES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    with_seed(SEED)(search(given(st.integers(0, 2), plans())(live)))()
    print(f"{Life.counter} lives")
