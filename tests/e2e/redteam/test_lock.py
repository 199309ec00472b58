"""Attacks that hold something which a login needs, and transactions that stay open by accident."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from psycopg import errors

from client import Client, Traveller
from concurrency import wrong_codes
from conftest import DATABASE, new_account
from redteam.grant import LOGINS, VIEWS
from refusal import refused
from rollback import Stage
from timing import assert_takes, in_some_round, seconds

START = Traveller.START
BUSY = "55P03"
PATIENCE = 0.4


@contextmanager
def unhindered(*clients):
    """None of these clients waits for anybody: a wait would last longer, and end in an error."""
    for client in clients:
        client.execute("SET statement_timeout = '10s'")
    yield
    for client in clients:
        client.execute("RESET statement_timeout")


def test_advisory_locks_on_everything_that_has_a_number_stop_nobody(connect, app, dba, victim):
    """Any role takes any advisory lock: on numbers and hashes of tables, roles, accounts."""
    attacker = connect("stranger")
    attacker.execute("BEGIN")
    numbers = dba.rows(
        """
        SELECT oid::bigint AS key FROM pg_class WHERE relnamespace = 'totp'::regnamespace
        UNION SELECT oid::bigint FROM pg_proc WHERE pronamespace = 'totp'::regnamespace
        UNION SELECT hashtext(%s)::bigint UNION SELECT hashtextextended(%s, 0)
        UNION SELECT n FROM generate_series(-100, 1000) AS n
    """,
        victim.account,
        victim.account,
    )
    for (key,) in numbers:
        attacker.execute("SELECT pg_advisory_xact_lock(%s)", key)
        if abs(key) < 2**31:
            attacker.execute("SELECT pg_advisory_xact_lock(%s::integer, 0)", key)
    with unhindered(app):
        assert app.verify(victim.account, victim.phone.take(app.now)) is True
        assert app.backup_verify(victim.account, victim.backup_codes[0]) is True
    attacker.execute("ROLLBACK")


@pytest.mark.parametrize("login", LOGINS)
def test_no_table_can_be_locked_by_a_role_of_ours(connect, login):
    """LOCK TABLE in the weakest mode and in the strongest; a reader of views gets their weakest."""
    attacker = connect(login)
    tables = (
        *("accounts", "factors", "backup_codes", "tokens", "sessions"),
        *("audit_events", "audit_seals", "events"),
    )
    modes = [(table, mode) for table in tables for mode in ("ACCESS SHARE", "ACCESS EXCLUSIVE")]
    modes += [(view, "ROW SHARE") for view in VIEWS]
    for name, mode in modes:
        with pytest.raises(errors.InsufficientPrivilege), attacker.connection.transaction():
            attacker.execute(f"LOCK TABLE totp.{name} IN {mode} MODE")


def test_what_asks_for_a_table_without_a_right_does_not_queue_before_logins(
    connect, app, dba, victim
):
    """DROP, ALTER and VACUUM FULL by somebody without the right: behind a long transaction they
    would wait for the table, and every login behind them."""
    with dba.connection.transaction():
        dba.execute("SELECT FROM totp.accounts LIMIT 1")
        attacker = connect("app")
        for statement in (
            "DROP TABLE totp.accounts",
            "ALTER TABLE totp.accounts ADD x text",
            "TRUNCATE totp.accounts",
            "CLUSTER totp.accounts",
            "REINDEX TABLE totp.accounts",
        ):
            with unhindered(attacker), pytest.raises(errors.InsufficientPrivilege):
                attacker.execute(statement)
        # These warn, and go on with other tables.
        with unhindered(attacker, app):
            attacker.execute("VACUUM FULL totp.accounts")
            attacker.execute("ANALYZE totp.accounts")
            assert app.verify(victim.account, victim.phone.take(app.now)) is True


def test_a_reader_of_views_who_idles_stops_no_login(connect, app, victim):
    """An auditor's long transaction."""
    auditor = connect("auditor")
    auditor.execute(
        "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE totp.audit_log IN ACCESS SHARE MODE"
    )
    auditor.rows("SELECT * FROM totp.account_status")
    with unhindered(app):
        assert app.verify(victim.account, victim.phone.take(app.now)) is True
    auditor.execute("ROLLBACK")


# A row that is held by a transaction that stays open


@pytest.fixture
def holder(connect, victim):
    """Another session of the application that idles in a transaction, with the victim's row."""
    client = connect("app")
    client.execute("BEGIN")
    assert client.verify(victim.account, victim.phone.wrong(client.now)) is False
    yield client
    client.execute("ROLLBACK")


def test_a_guess_that_is_not_committed_does_not_stop_its_victim(app, holder, victim):
    """An attacker who guesses, and keeps the transaction open: a login does not need that row."""
    with unhindered(app):
        assert app.verify(victim.account, victim.phone.take(app.now)) is True


def test_whoever_waits_for_a_held_row_waits_no_longer_than_the_setting(
    dba, connect, holder, victim
):
    """What does need it, a backup code say, is an error then, and not spent."""
    dba.execute("ALTER ROLE traveller SET totp.lock_timeout = '300ms'")
    client = connect("traveller")
    dba.execute("ALTER ROLE traveller RESET totp.lock_timeout")
    holder.create(victim.account, label="tablet")
    with unhindered(client), refused(BUSY):
        client.call("backup_rotate", account=victim.account, code=victim.backup_codes[0])
    holder.execute("ROLLBACK; BEGIN")
    assert client.backup_verify(victim.account, victim.backup_codes[0]) is True


GIVING_UP = {
    "the application, lock_timeout": ("app", "lock_timeout", "1ms"),
    "a superuser, lock_timeout": ("postgres", "lock_timeout", "1ms"),
    "the application, statement_timeout": ("app", "statement_timeout", "50ms"),
}


@pytest.mark.parametrize("login, setting, limit", GIVING_UP.values(), ids=GIVING_UP.keys())
def test_guesses_that_give_up_are_counted(connect, app, holder, victim, login, setting, limit):
    """Beside a holder of the row: an error before anything is written. For statement_timeout
    PostgreSQL ends the call in the middle of its wait."""
    attacker = connect(login)
    attacker.execute(f"SET {setting} = '{limit}'")
    for _ in range(4):
        with refused(BUSY) if setting == "lock_timeout" else pytest.raises(errors.QueryCanceled):
            attacker.verify(victim.account, victim.phone.wrong(app.now))
    # Five with that of the holder, who has not committed it.
    for code in (victim.phone.wrong(app.now), victim.phone.code(app.now, 1)):
        assert attacker.attempt(victim.account, code).reason == "locked"


@pytest.fixture
def person(traveller):
    return traveller.enrol(new_account())


@pytest.fixture
def hurried(cluster):
    """A stage for callers that do not wait for long. Whoever waits forever fails."""
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


@pytest.mark.parametrize("held", ["holder", "idle"])
def test_a_held_row_stops_nobody_else(request, app, hurried, account, held):
    """One account's row is not another's."""
    request.getfixturevalue(held)
    with unhindered(app):
        other = app.enrol(f"{account}-other")
        assert app.backup_verify(other.account, other.backup_codes[0]) is True
        for client, now in ((app, app.now), (hurried.client, START + 30)):
            assert client.verify(other.account, next(wrong_codes(other, now))) is False
            assert client.verify(new_account(), "000000") is False
            assert client.verify(other.account, other.phone.code(now, 1)) is True


@pytest.mark.alone
def test_the_next_login_waits_for_an_idle_transaction_no_longer_than_set(hurried, idle, person):
    code = person.phone.code(START, 2)

    def wait():
        with refused(BUSY):
            hurried.client.verify(person.account, code)

    assert_takes(wait, below=1.5 * PATIENCE, at_least=PATIENCE)
    idle.execute("COMMIT")
    assert hurried.client.verify(person.account, code), "who was not answered has spent nothing"
    assert not hurried.client.verify(person.account, code)


def test_a_shorter_lock_timeout_of_the_caller_wins(hurried, idle, person):
    # The time limit of the statement comes before totp.lock_timeout and is another error.
    hurried.watcher.execute("SET totp.lock_timeout = '30s'; SET lock_timeout = '20ms'")
    with refused(BUSY):
        hurried.client.verify(person.account, person.phone.code(START, 2))


@pytest.mark.parametrize("ended_by", ["result", "error"])
def test_waits_of_the_caller_itself_are_not_limited(hurried, idle, person, ended_by):
    """Neither after a call nor after one that fails: totp.lock_timeout is for rows of totp."""
    if ended_by == "result":
        assert hurried.client.verify(new_account(), "000000") is False
    else:
        with refused(BUSY):
            hurried.client.verify(person.account, person.phone.code(START, 2))
    idle.execute("SELECT pg_advisory_xact_lock(424242)")
    hurried.client.execute(f"SET statement_timeout = '{3 * PATIENCE}s'")
    with pytest.raises(errors.QueryCanceled):
        hurried.client.execute("SELECT pg_advisory_lock(424242)")


def test_a_code_that_an_idle_transaction_spent_is_refused_without_a_wait(hurried, idle, person):
    """A wait would end in an error, since that transaction does not end."""
    assert hurried.client.verify(person.account, person.phone.code(START, 1)) is False


@pytest.mark.alone
def test_logins_that_queue_behind_the_next_one_wait_twice_as_long_at_most(hurried, person):
    code = person.backup_codes[0]

    def login(place):
        def wait():
            with refused(BUSY):
                Client(connection).backup_verify(person.account, code)

        with closing(hurried.connect()) as connection:
            time.sleep(place * PATIENCE / 4)
            return seconds(wait)

    def waits():
        with closing(hurried.connect()) as idle, ThreadPoolExecutor(4) as pool:
            idle.execute("BEGIN")
            idle.execute("SELECT totp.backup_verify(%s, %s)", [person.account, code])
            return list(pool.map(login, range(4)))

    in_some_round(waits, lambda taken: taken[0] < 1.5 * PATIENCE and max(taken) < 2.5 * PATIENCE)


# Requests


def test_a_person_behind_the_api_server_holds_nobody_s_row_but_their_own(
    cluster, app, victim, server
):
    """A request is a transaction that ends with it; a slow one holds the row of its own account."""
    token = cluster.token(victim.account)
    with unhindered(app, Client(server.connection)):
        for _ in range(3):
            server.post("totp_verify", {"code": victim.phone.wrong(app.now)}, token)
        other = app.enrol(f"{victim.account}-other")
        assert app.backup_verify(other.account, other.backup_codes[0]) is True
    assert app.verify(victim.account, victim.phone.take(app.now)) is True


def queue_for_a_lock(connect, table):
    """A lock that needs no privilege, and a command that waits behind it before it is refused."""
    holder, waiter = connect("stranger"), connect("stranger")
    holder.execute("BEGIN")
    holder.execute(f"PREPARE hold AS DELETE FROM totp.{table}")
    rule = f"CREATE RULE wait AS ON INSERT TO totp.{table} DO NOTHING"
    return holder, waiter, rule


@pytest.mark.parametrize("table", ["accounts", "factors", "backup_codes"])
def test_who_queues_for_a_lock_on_a_table_makes_nobody_wait_for_long(connect, dba, victim, table):
    dba.execute("ALTER ROLE app SET totp.lock_timeout = '300ms'")
    app = connect("app")
    dba.execute("ALTER ROLE app RESET totp.lock_timeout")
    holder, waiter, rule = queue_for_a_lock(connect, table)
    with ThreadPoolExecutor() as pool:
        refusal = pool.submit(waiter.execute, rule)
        time.sleep(0.3)
        calls = [
            lambda: app.verify(victim.account, "000000"),
            lambda: app.is_enabled(victim.account),
            lambda: app.status(victim.account),
            lambda: app.backup_remaining(victim.account),
        ]
        refused_calls = 0
        for call in calls:
            begin = time.monotonic()
            try:
                call()
            except errors.LockNotAvailable:
                refused_calls += 1
            assert time.monotonic() - begin < 5
        assert refused_calls
        holder.execute("ROLLBACK")
        with pytest.raises(errors.InsufficientPrivilege):
            refusal.result()


def test_without_usage_on_the_schema_a_stranger_queues_for_no_lock(connect, dba, app, victim):
    dba.execute("REVOKE USAGE ON SCHEMA totp FROM PUBLIC")
    try:
        client = connect("stranger")
        for statement in (
            "PREPARE hold AS DELETE FROM totp.accounts",
            "CREATE RULE wait AS ON INSERT TO totp.accounts DO NOTHING",
        ):
            with pytest.raises(errors.InsufficientPrivilege, match="schema totp"):
                client.execute(statement)
        assert app.verify(victim.account, victim.phone.take(app.now)) is True
        for login in ("administrator", "auditor", "self_service"):
            connect(login).execute("SELECT totp.current_account()")
    finally:
        dba.execute("GRANT USAGE ON SCHEMA totp TO PUBLIC")
