"""Attacks over many accounts: one guess at each, or one account from many places."""

import os
from contextlib import closing

import psycopg
import pytest

from authenticator import Authenticator
from client import Client
from cluster import Cluster
from conftest import install, new_account
from refusal import DAMAGED, refused

ACCOUNTS = int(os.environ.get("TOTP_ATTACKED_ACCOUNTS", "2000"))
LIMIT = 100
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
ROLES = "CREATE ROLE app LOGIN IN ROLE totp_app; CREATE ROLE auditor LOGIN IN ROLE totp_auditor"


@pytest.fixture(scope="module")
def server():
    with Cluster() as cluster:
        install(cluster, "postgres")
        cluster.execute(ROLES)
        yield cluster


@pytest.fixture
def dba(server):
    with closing(server.connect()) as connection:
        yield Client(connection)


@pytest.fixture
def application(server):
    """A function that connects as the application, on behalf of a client."""
    connections = []

    def connect(client, limit=0):
        connection = server.connect("app")
        connections.append(connection)
        server.execute(f"ALTER ROLE app SET totp.max_client_failures = {limit}")
        connection.close()
        connection = server.connect("app")
        connections.append(connection)
        if client:
            connection.execute("SELECT set_config('totp.client', %s, false)", [client])
        return Client(connection)

    yield connect
    for connection in connections:
        connection.close()
    server.execute("ALTER ROLE app RESET totp.max_client_failures")


@pytest.fixture
def attacks(server):
    """A function that returns rows of the view."""

    def read(**condition):
        (name, value), *_ = condition.items()
        with closing(server.connect("auditor")) as connection:
            query = f"SELECT * FROM totp.attacks WHERE {name} = %s"
            return Client(connection).rows(query, value)

    return read


def guess(client, pattern, count):
    """One wrong code for each account; how often the verdict had each reason."""
    rows = client.rows(
        """
        SELECT reason, count(*) AS number
        FROM generate_series(1, %s) AS n, LATERAL totp.totp_attempt(format(%s, n), '12345678')
        GROUP BY reason
        """,
        count,
        pattern,
    )
    return {row.reason: row.number for row in rows}


@pytest.mark.timeout(240)
def test_one_guess_at_each_of_many_accounts_is_seen_and_slowed_and_their_owners_log_in(
    dba, application, attacks
):
    dba.rows(
        "SELECT totp.totp_import(format('victim-%%s', n), %s) FROM generate_series(1, %s) AS n",
        SECRET,
        ACCOUNTS,
    )
    phone = Authenticator(f"otpauth://totp/x?secret={SECRET}")
    # Without a limit, each account is guessed at once, and none is locked.
    assert guess(application("203.0.113.1"), "victim-%s", ACCOUNTS) == {"invalid": ACCOUNTS}
    (seen,) = attacks(client="203.0.113.1")
    assert (seen.kind, seen.failures, seen.accounts) == ("spray", ACCOUNTS, ACCOUNTS)
    # With a limit, the guesses stop.
    slowed = guess(application("203.0.113.2", LIMIT), "victim-%s", ACCOUNTS)
    assert slowed["invalid"] <= 3 * LIMIT and slowed["locked"] >= ACCOUNTS - 3 * LIMIT
    (seen,) = attacks(client="203.0.113.2")
    assert seen.kind == "spray" and seen.accounts == slowed["invalid"]
    assert dba.value("SELECT count(*) FROM totp.account_status WHERE locked_until IS NOT NULL") == 0
    # Meanwhile, owners log in from elsewhere.
    owner = application("198.51.100.7", LIMIT)
    for number in range(1, ACCOUNTS, ACCOUNTS // 50):
        assert owner.verify(f"victim-{number}", phone.code(owner.now))
    assert attacks(client="198.51.100.7") == []


def test_a_client_is_refused_for_unknown_accounts_too(application):
    """Or the limit would tell which accounts exist."""
    assert guess(application("203.0.113.3", 5), "nobody-%s", 20) == {
        "not_enrolled": 5,
        "locked": 15,
    }


def test_a_client_that_is_refused_learns_when_to_try_again(application, dba):
    person = dba.enrol(new_account())
    client = application("203.0.113.4", 3)
    guess(client, "nobody-%s", 3)
    verdict = client.attempt(person.account, person.phone.code(client.now, 1))
    assert (verdict.verified, verdict.reason) == (False, "locked")
    assert 0 < verdict.retry_after_seconds <= 60
    client.execute("SELECT set_config('totp.client', '203.0.113.5', false)")
    assert client.verify(person.account, person.phone.code(client.now, 1))


def test_failures_count_for_the_client_after_a_rollback(application, dba):
    people = [dba.enrol(new_account()) for _ in range(4)]
    client = application("203.0.113.6", 3)
    with client.connection.transaction(force_rollback=True):
        for person in people[:3]:
            client.attempt(person.account, person.phone.wrong(client.now))
    assert client.attempt(people[3].account, "123456").reason == "locked"


@pytest.mark.parametrize(("damaged", "code"), [("factors", None), ("backup_codes", "12345678")])
def test_a_guess_that_ends_with_an_error_counts_for_the_client(application, dba, damaged, code):
    """It may be right for what cannot be decrypted, which must not look like a wrong code."""
    client = application(f"203.0.113.7 {damaged}", 3)
    for _ in range(3):
        account = new_account()
        dba.enrol(account)
        dba.execute(f"UPDATE totp.{damaged} SET sealed = '' WHERE account = %s", account)
        good = dba.enrol(account, label="good")
        with refused(DAMAGED):
            client.attempt(account, code or good.phone.wrong(client.now))
    assert client.attempt(dba.enrol(new_account()).account, "123456").reason == "locked"


def test_right_codes_do_not_count(application, dba):
    people = [dba.enrol(new_account()) for _ in range(6)]
    client = application("203.0.113.8", 2)
    for person in people:
        assert client.verify(person.account, person.phone.code(client.now, 1))


def test_without_a_client_and_an_address_there_is_no_limit(application):
    assert guess(application(None, 2), "nowhere-%s", 5) == {"not_enrolled": 5}


def test_an_account_that_several_clients_attack_is_shown(application, attacks, dba):
    person = dba.enrol(new_account())
    for number in range(3):
        client = application(f"203.0.113.{100 + number}")
        client.fail(person, 1)
    (seen,) = attacks(account=person.account)
    assert (seen.kind, seen.failures, seen.clients) == ("account", 3, 3)
    assert seen.first_at < seen.last_at


def test_a_client_with_many_guesses_at_few_accounts_is_no_spray(application, attacks, dba):
    person = dba.enrol(new_account())
    application("203.0.113.200").fail(person, 4)
    (seen,) = attacks(client="203.0.113.200")
    assert (seen.kind, seen.failures, seen.accounts) == ("client", 4, 1)


def test_failures_are_counted_by_hour(attacks, application):
    before = sum(row.failures for row in attacks(kind="hour"))
    guess(application("203.0.113.201"), "hourly-%s", 3)
    assert sum(row.failures for row in attacks(kind="hour")) == before + 3


def test_old_failures_are_left_out(attacks, application, dba):
    dba.execute("UPDATE totp.audit_events SET at = at - interval '25 h'")
    assert attacks(kind="hour") == [] and attacks(kind="spray") == []


def test_the_application_says_who_the_client_is(application, dba):
    client = application("2001:db8::1, a browser ü")
    account = new_account()
    client.create(account)
    query = "SELECT client, detail FROM totp.audit_log WHERE account = %s"
    assert dba.row(query, account).client == "2001:db8::1, a browser ü"


def test_over_tcp_the_address_of_the_application_is_kept_too(server, dba):
    with closing(server.connect("app", host="127.0.0.1")) as connection:
        client = Client(connection)
        client.execute("SET totp.client = '203.0.113.9'")
        account = new_account()
        client.create(account)
    query = "SELECT client, detail FROM totp.audit_log WHERE account = %s"
    row = dba.row(query, account)
    assert row.client == "203.0.113.9" and row.detail["address"] == "127.0.0.1"


def test_a_long_client_is_cut_off_at_a_character(application, dba):
    client = application("ü" * 200)
    account = new_account()
    client.create(account)
    query = "SELECT client FROM totp.audit_log WHERE account = %s"
    assert dba.value(query, account) == "ü" * 127


def test_others_do_not_see_attacks(server):
    with (
        closing(server.connect("app")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT * FROM totp.attacks")
