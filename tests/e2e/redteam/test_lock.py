"""Attacks that hold something which a login needs."""

import time
from contextlib import contextmanager

import pytest
from psycopg import errors

from redteam.grant import LOGINS, VIEWS
from refusal import refused

BUSY = "55P03"
# As long as a login may take on a machine that is busy with other tests; a wait takes longer.
SOON = 10.0


@contextmanager
def soon():
    """The block does not wait for anybody."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < SOON


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
    with soon():
        assert app.verify(victim.account, victim.phone.take(app.now)) is True
        assert app.backup_verify(victim.account, victim.backup_codes[0]) is True
    attacker.execute("ROLLBACK")


@pytest.mark.parametrize("login", LOGINS)
def test_no_table_can_be_locked_by_a_role_of_ours(connect, login):
    """LOCK TABLE in the weakest mode and in the strongest; a reader of views gets their weakest."""
    attacker = connect(login)
    tables = ("accounts", "factors", "backup_codes", "tokens", "sessions", "audit_events")
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
        for statement in (
            "DROP TABLE totp.accounts",
            "ALTER TABLE totp.accounts ADD x text",
            "TRUNCATE totp.accounts",
            "CLUSTER totp.accounts",
            "REINDEX TABLE totp.accounts",
        ):
            with soon(), pytest.raises(errors.InsufficientPrivilege):
                connect("app").execute(statement)
        # These warn, and go on with other tables.
        with soon():
            connect("app").execute("VACUUM FULL totp.accounts")
            connect("app").execute("ANALYZE totp.accounts")
            assert app.verify(victim.account, victim.phone.take(app.now)) is True


def test_a_reader_of_views_who_idles_stops_no_login(connect, app, victim):
    """An auditor's long transaction."""
    auditor = connect("auditor")
    auditor.execute(
        "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE totp.audit_log IN ACCESS SHARE MODE"
    )
    auditor.rows("SELECT * FROM totp.account_status")
    with soon():
        assert app.verify(victim.account, victim.phone.take(app.now)) is True
    auditor.execute("ROLLBACK")


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
    with soon():
        assert app.verify(victim.account, victim.phone.take(app.now)) is True


def test_whoever_waits_for_a_held_row_waits_no_longer_than_the_setting(
    dba, connect, holder, victim
):
    """What does need it, a backup code say, is an error then, and not spent."""
    dba.execute("ALTER ROLE traveller SET totp.lock_timeout = '300ms'")
    client = connect("traveller")
    dba.execute("ALTER ROLE traveller RESET totp.lock_timeout")
    holder.create(victim.account, label="tablet")
    with soon(), refused(BUSY):
        client.call("backup_rotate", account=victim.account, code=victim.backup_codes[0])
    holder.execute("ROLLBACK; BEGIN")
    assert client.backup_verify(victim.account, victim.backup_codes[0]) is True


def test_a_held_row_stops_nobody_else(app, holder, victim):
    """One account's row is not another's."""
    with soon():
        other = app.enrol(f"{victim.account}-other")
        assert app.backup_verify(other.account, other.backup_codes[0]) is True


def test_guesses_that_give_up_at_once_are_counted(connect, app, holder, victim):
    """lock_timeout = 1ms beside a holder of the row: an error before anything is written."""
    attacker = connect("app")
    attacker.execute("SET lock_timeout = '1ms'")
    for _ in range(4):
        with refused(BUSY):
            attacker.verify(victim.account, victim.phone.wrong(app.now))
    # Five with that of the holder, who has not committed it.
    assert attacker.attempt(victim.account, victim.phone.wrong(app.now)).reason == "locked"


def test_guesses_that_are_timed_out_are_counted(connect, app, holder, victim):
    """The same by statement_timeout: PostgreSQL ends the call in the middle of its wait."""
    attacker = connect("app")
    attacker.execute("SET statement_timeout = '50ms'")
    for _ in range(4):
        with pytest.raises(errors.QueryCanceled):
            attacker.verify(victim.account, victim.phone.wrong(app.now))
    assert attacker.attempt(victim.account, victim.phone.wrong(app.now)).reason == "locked"


def test_a_person_behind_the_api_server_holds_nobody_s_row_but_their_own(
    cluster, app, victim, server
):
    """A request is a transaction that ends with it; a slow one holds the row of its own account."""
    token = cluster.token(victim.account)
    with soon():
        for _ in range(3):
            server.post("totp_verify", {"code": victim.phone.wrong(app.now)}, token)
        other = app.enrol(f"{victim.account}-other")
        assert app.backup_verify(other.account, other.backup_codes[0]) is True
    assert app.verify(victim.account, victim.phone.take(app.now)) is True
