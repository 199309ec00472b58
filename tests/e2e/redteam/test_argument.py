"""Attacks by the size, the number and the bytes of what is passed in."""

import json
import re
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from refusal import refused
from timing import assert_takes

MEGABYTE = 1 << 20
HUGE = 32 * MEGABYTE
# What a call may take beside what its value takes.
LITTLE = 12 * MEGABYTE
FACTORS_LIMIT = 20


def peak(client):
    """The most memory that the server process of a client ever had, shared memory included."""
    status = Path(f"/proc/{client.connection.info.backend_pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.fixture(scope="module")
def bomb(cluster, dba):
    """Values of 32 MB that take less than one in the table."""
    dba.execute("CREATE TABLE public.bomb (big text, claims jsonb); GRANT SELECT ON bomb TO PUBLIC")
    dba.execute(
        "INSERT INTO bomb SELECT big, jsonb_build_object('a', big) FROM repeat('1', %s) AS big",
        HUGE,
    )
    yield
    dba.execute("DROP TABLE public.bomb")


BOMBED = [
    "totp.totp_verify('x', big)",
    "totp.totp_attempt(big, '123456')",
    "totp.backup_verify('x', big)",
    "totp.totp_create(big)",
    "totp.totp_create('x', big)",
    "totp.totp_create('x', issuer => big)",
    "totp.totp_confirm('x', big)",
    "totp.totp_remove('x', big, '1')",
    "totp.totp_resync('x', big, big)",
    "totp.challenge_verify(big, big, big, big)",
    "totp.challenge_create('x', binding => big)",
    "totp.challenge_create('x', claims => claims)",
    "totp.challenge_account(big)",
    "totp.recovery_confirm(big)",
    "totp.recovery_attempt(big)",
    "totp.recovery_cancel(big)",
    "totp.trust_verify('x', big)",
    "totp.totp_code(big, now())",
    "totp.totp_check(big, big, now())",
    "totp.totp_uri(big, 'x', 'y')",
    "totp.qr_svg(big)",
    "totp.qr_text(big)",
]


def test_the_bomb_goes_off_in_a_function_that_reads_it(connect, bomb):
    """The attack on PostgreSQL's own: to look at a value is to unpack it."""
    client = connect("app")
    before = peak(client)
    client.execute("SELECT reverse(big) IS NULL FROM bomb")
    assert peak(client) - before > HUGE


@pytest.mark.parametrize("call", BOMBED)
def test_a_value_that_unpacks_to_more_than_any_is_long_is_not_unpacked(connect, bomb, call):
    """Its size is known before that."""
    client = connect("app")
    client.execute("SELECT totp.totp_enabled('x')")
    before = peak(client)
    try:
        client.execute(f"SELECT {call} FROM bomb")
    except errors.Error as error:
        assert error.sqlstate in ("22023", "42704"), error
    assert peak(client) - before < LITTLE


def test_claims_of_great_depth_are_an_error(connect):
    """Recursion over "[[[[..." ends where the stack does."""
    client = connect("app")
    for depth, sqlstate in ((200, "22023"), (2000, "22023")):
        claims = '{"a": ' + "[" * depth + "]" * depth + "}"
        with refused(sqlstate):
            client.call("challenge_create", account="x", claims=claims)
    login = connect("authenticator")
    for claims in ("[" * 100_000, '{"sub": ' * 100_000, '{"sub": "x", "a": ' + "[" * 5000):
        login.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
        login.execute("SET ROLE authenticated")
        assert login.value("SELECT totp.current_account()") is None
        login.execute("RESET ROLE")


def test_enrolments_of_one_person_without_end_are_twenty(dba, app, account):
    """Each call adds a secret, until the account has twenty; each one after that is an error, and
    leaves nothing. What a person can store is bounded by the account, not by its calls."""
    for number in range(FACTORS_LIMIT):
        app.create(account, label=f"device {number}")
    stored = """
        SELECT (SELECT count(*) FROM totp.factors WHERE account = a.account) AS factors,
            (SELECT count(*) FROM totp.audit_events AS e WHERE e.account = a.account) AS events
        FROM totp.accounts AS a WHERE a.account = %s
    """
    assert dba.row(stored, account) == (FACTORS_LIMIT, FACTORS_LIMIT)
    for number in range(20):
        with refused("54000"):
            app.create(account, label=f"more {number}")
    assert dba.row(stored, account) == (FACTORS_LIMIT, FACTORS_LIMIT)


PENDING = """
INSERT INTO totp.accounts (account, changed_at, created_at)
SELECT %(account)s || n, now(), now() - interval '1 day' FROM generate_series(1, 100000) AS n
"""
FACTORS = """
INSERT INTO totp.factors (account, label, state, algorithm, digits, period, sealed, key_id,
    created_at)
SELECT %(account)s || n, label, state, algorithm, digits, period, sealed, key_id,
    now() - interval '1 day'
FROM totp.factors, generate_series(1, 100000) AS n WHERE account = %(account)s
"""


def test_a_hundred_thousand_pending_enrolments_slow_nobody_down(dba, app, account):
    """Of as many accounts, by somebody who may register. Those that have expired go as others
    come, a few with each call."""
    app.create(account)
    for statement in (PENDING, FACTORS):
        dba.connection.execute(statement, {"account": account})
    left = "SELECT count(*) FROM totp.factors WHERE account LIKE %s"

    def enrol_and_verify():
        person = app.enrol(account)
        assert app.verify(account, person.phone.take(app.now)) is True

    assert_takes(enrol_and_verify, below=2)
    few = dba.value(left, f"{account}%")
    assert 100_000 - 1000 < few < 100_000
    assert dba.call("totp_prune")[0] >= few - 1
    assert dba.value(left, f"{account}%") == 1
    dba.execute("DELETE FROM totp.accounts WHERE account LIKE %s", f"{account}%")


def test_guesses_by_the_thousand_in_one_statement_are_five(app, victim):
    """A statement that calls the function for every code there is."""
    wrong = victim.phone.wrong(app.now)
    query = """
        SELECT verdict.reason, count(*) FROM generate_series(1, 5000) AS n,
        LATERAL totp.totp_attempt(%s, left(%s, 6 + 0 * n)) AS verdict GROUP BY 1
    """
    assert dict(app.rows(query, victim.account, wrong)) == {"invalid": 5, "locked": 4995}


NUL = [
    "SELECT totp.totp_verify('x', E'12\\0003456')",
    "SELECT totp.totp_create(E'victim\\000x')",
    "SELECT totp.challenge_verify(chr(0), '123456')",
    "SELECT totp.challenge_create('x', claims => '{\"a\": \"\\u0000\"}')",
    "SELECT totp.totp_create(convert_from('\\x7600', 'UTF8'))",
]


@pytest.mark.parametrize("statement", NUL)
def test_a_nul_is_refused_before_it_reaches_us(connect, statement):
    """A text of SQL cannot hold it: PostgreSQL refuses each way in. Claims are another: see
    test_identity.py."""
    with pytest.raises(errors.Error) as caught:
        connect("app").execute(statement)
    assert caught.value.sqlstate in ("22021", "22P05", "54000"), caught.value


def test_a_nul_in_a_parameter_is_refused(connect):
    """As a parameter of the protocol, in text and in binary."""
    pgconn = connect("app").connection.pgconn
    for value, form in ((b"12\x003456", 1), (b"\xff\xfe", 0), (b"\xc3\x28", 1)):
        result = pgconn.exec_params(
            b"SELECT totp.totp_verify('x', $1::text)", [value], None, [form]
        )
        sqlstate = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
        assert sqlstate == b"22021", (value, result.error_message)


def test_a_body_of_great_size_is_no_account_and_no_code(cluster, server):
    """What an API server lets through: megabytes in each field, and numbers where texts are."""
    token = cluster.token("x" * 200)
    million = "9" * MEGABYTE
    assert server.post("totp_verify", {"code": million}, token).body["verified"] is False
    assert server.post("totp_create", {"label": million}, token).status == 400
    answer = server.post(
        "challenge_verify", {"token": million, "code": million, "binding": million}
    )
    assert (answer.status, answer.body["reason"]) == (200, "invalid")
    for code in (123456, 1e300, True, [], {"a": 1}, None):
        body = json.dumps({"code": code})
        assert server.post("totp_verify", body, token).body["verified"] is False
