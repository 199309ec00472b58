"""What a ROLLBACK cannot undo: a counted failure, a lock, a spent code."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from random import Random

import psycopg
import pytest
from psycopg import sql

from client import Traveller
from concurrency import wrong_codes
from conftest import DATABASE, new_account
from rollback import WAYS, Stage, finish, pull_the_plug, send, value_of

LIMIT = 5
TRIALS = 200
WORKERS = 4
START = Traveller.START


def attempt(person, code):
    """A call that gives the reason of a verdict."""
    call = sql.SQL("(totp.totp_attempt({}, {})).reason")
    return call.format(sql.Literal(person.account), sql.Literal(code))


def name(way):
    return way.__name__


@pytest.fixture
def person(traveller):
    return traveller.enrol(new_account())


# Wrong codes


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_wrong_codes_that_are_undone_lock_the_account(cluster, person, way):
    with Stage(cluster, DATABASE, START + 30) as stage:
        codes = wrong_codes(person, START)
        for count, code in enumerate(islice(codes, LIMIT), start=1):
            assert stage.undo(way, attempt(person, code)) in (None, "invalid")
            assert stage.client.status(person.account).failures == count
        right = person.phone.take(START + 30)
        refused = stage.client.attempt(person.account, right)
        assert (refused.reason, refused.retry_after.total_seconds()) == ("locked", 30)
    with Stage(cluster, DATABASE, START + 59.999999) as stage:
        assert not stage.client.verify(person.account, right)
    with Stage(cluster, DATABASE, START + 60) as stage:
        assert stage.client.verify(person.account, right), "a lock spends no right code"
        assert stage.client.status(person.account).failures == 0


def test_savepoints_in_one_transaction_give_no_more_guesses(cluster, person):
    with Stage(cluster, DATABASE, START + 30) as stage:
        seen = []
        with stage.connect() as connection:
            connection.execute("BEGIN")
            for code in islice(wrong_codes(person, START), 3 * LIMIT):
                connection.execute("SAVEPOINT mark")
                seen.append(
                    connection.execute(
                        sql.SQL("SELECT {}").format(attempt(person, code))
                    ).fetchone()[0]
                )
                connection.execute("ROLLBACK TO mark")
            connection.execute("ROLLBACK")
        assert seen == ["invalid"] * LIMIT + ["locked"] * 2 * LIMIT


def test_an_exception_block_per_guess_gives_no_more_guesses(cluster, person):
    loop = """
    DO $$
    DECLARE
        reason text;
        seen text[];
    BEGIN
        FOREACH reason IN ARRAY {codes}::text[] LOOP
            BEGIN
                reason := (totp.totp_attempt({account}, reason)).reason;
                RAISE EXCEPTION USING message = reason;
            EXCEPTION WHEN raise_exception THEN
                seen := seen || sqlerrm;
            END;
        END LOOP;
        PERFORM set_config('e2e.seen', array_to_string(seen, ' '), false);
    END
    $$
    """
    codes = list(islice(wrong_codes(person, START), 2 * LIMIT))
    with Stage(cluster, DATABASE, START + 30) as stage:
        statement = sql.SQL(loop).format(
            codes=sql.Literal(codes), account=sql.Literal(person.account)
        )
        stage.watcher.execute(statement)
        seen = stage.client.value("SELECT current_setting('e2e.seen')").split()
    assert seen == ["invalid"] * LIMIT + ["locked"] * LIMIT


def test_the_next_committed_failure_brings_the_table_level(cluster, dba, person):
    table = "SELECT failures, locked_until FROM totp.accounts WHERE account = %s"
    codes = wrong_codes(person, START)
    with Stage(cluster, DATABASE, START + 30) as stage:
        for code in islice(codes, LIMIT - 1):
            stage.undo(WAYS[0], attempt(person, code))
        assert dba.row(table, person.account) == (0, None)
        last = stage.client.attempt(person.account, next(codes))
        assert (last.reason, last.retry_after.total_seconds()) == ("invalid", 30)
        failures, locked_until = dba.row(table, person.account)
        assert (failures, locked_until.timestamp()) == (LIMIT, START + 60)
    events = dba.rows(
        "SELECT outcome, detail FROM totp.audit_events"
        " WHERE account = %s AND event = 'verify' ORDER BY id",
        person.account,
    )
    assert events == [("invalid", {"rolled_back": LIMIT - 1, "locked_seconds": 30})]


# Random moments


def send_between_sleeps(dice, connection, call):
    before, after = dice.uniform(0, 0.002), dice.uniform(0, 0.002)
    connection.execute(dice.choice(["BEGIN", "SELECT 1"]))
    send(connection, call, before, after)
    time.sleep(dice.uniform(0, 0.004))


def cancel_sometime(dice):
    def way(stage, connection, call):
        send_between_sleeps(dice, connection, call)
        stage.client.execute("SELECT pg_cancel_backend(%s)", connection.info.backend_pid)
        return finish(connection)

    return way


def terminate_sometime(dice):
    def way(stage, connection, call):
        send_between_sleeps(dice, connection, call)
        stage.client.execute("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
        return finish(connection)

    return way


def disconnect_sometime(dice):
    def way(_, connection, call):
        send_between_sleeps(dice, connection, call)
        pull_the_plug(connection)

    return way


def time_out_sometime(dice):
    def way(_, connection, call):
        connection.execute(f"SET statement_timeout = {dice.randint(1, 4)}")
        with suppress(psycopg.errors.QueryCanceled):
            send_between_sleeps(dice, connection, call)
        return finish(connection)

    return way


def commit(_, connection, call):
    return value_of(connection, call)


AT_RANDOM = [cancel_sometime, terminate_sometime, disconnect_sometime, time_out_sometime]


def guess_until_locked(stage, dice, person):
    """Guesses that end in all ways, until the account is locked."""
    right = person.phone.code(stage.moment, 1)
    assert stage.client.verify(person.account, person.phone.code(stage.moment)), "the lock is over"
    codes = wrong_codes(person, stage.moment)
    counted = 0
    while counted < LIMIT:
        way = dice.choice([commit, *WAYS, *(way(dice) for way in 2 * AT_RANDOM)])
        saw = stage.undo(way, attempt(person, next(codes)))
        now = stage.client.status(person.account).failures
        # An attempt is counted, or was never made; who saw its verdict has made it.
        assert now - counted in ((1,) if saw else (0, 1)), (way, saw, counted, now)
        assert saw in (None, "invalid"), way
        counted = now
    verdict = stage.client.attempt(person.account, right)
    assert (verdict.reason, verdict.retry_after.total_seconds()) == ("locked", 30)


@pytest.mark.timeout(300)
def test_200_trials_of_guesses_that_end_at_random_lock_the_account(cluster, traveller, dice):
    people = [traveller.enrol(new_account()) for _ in range(WORKERS)]
    seeds = [dice.randbytes(8) for _ in people]

    def work(person, seed):
        own = Random(seed)
        for trial in range(TRIALS // WORKERS):
            with Stage(cluster, DATABASE, START + 60 * (trial + 1)) as stage:
                guess_until_locked(stage, own, person)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, people, seeds))


# Right codes

BURN, GIVE_BACK = {}, {"totp.burn_on_rollback": "off"}


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_a_right_code_that_is_undone_stays_spent(cluster, dba, person, way):
    code = person.phone.code(START, 1)
    with Stage(cluster, DATABASE, START + 30, **BURN) as stage:
        assert stage.undo(way, attempt(person, code)) in (None, "ok")
        assert stage.client.attempt(person.account, code).reason == "invalid"
        assert stage.client.verify(person.account, person.phone.code(START, 2))
    events = "SELECT outcome FROM totp.audit_events WHERE account = %s ORDER BY id DESC LIMIT 2"
    assert dba.rows(events, person.account) == [("ok",), ("replayed",)]


@pytest.mark.parametrize("way", WAYS, ids=name)
def test_a_right_code_that_is_undone_is_given_back_once_when_so_set(cluster, person, way):
    code = person.phone.code(START, 1)
    with Stage(cluster, DATABASE, START + 30, **GIVE_BACK) as stage:
        assert stage.undo(way, attempt(person, code)) in (None, "ok")
        assert stage.client.attempt(person.account, code).reason == "ok"
        assert stage.client.attempt(person.account, code).reason == "invalid"


def test_a_right_code_that_is_undone_clears_no_committed_failure(cluster, person):
    codes = wrong_codes(person, START)
    with Stage(cluster, DATABASE, START + 30) as stage:
        for code in islice(codes, LIMIT - 1):
            stage.client.attempt(person.account, code)
        stage.undo(WAYS[0], attempt(person, person.phone.code(START, 1)))
        assert stage.client.status(person.account).failures == LIMIT - 1
        assert stage.client.attempt(person.account, next(codes)).retry_after


def test_a_code_that_is_given_back_revives_no_burnt_one(cluster, person):
    older, newer = person.phone.code(START, 1), person.phone.code(START, 2)
    with Stage(cluster, DATABASE, START + 30, **BURN) as stage:
        stage.undo(WAYS[0], attempt(person, older))
    with Stage(cluster, DATABASE, START + 30, **GIVE_BACK) as stage:
        stage.undo(WAYS[0], attempt(person, newer))
        assert not stage.client.verify(person.account, older)
        assert stage.client.verify(person.account, newer)


# What administrators do

PARDONS = {
    "unlock": "SELECT totp.totp_unlock({account}, 'a mistake')",
    "reset": "SELECT totp.totp_reset({account}, 'a mistake')",
    "forget": "SELECT totp.totp_forget({account}, 'a mistake')",
    "rename": "SELECT totp.totp_rename({account}, {account} || '-new', 'a mistake')",
    "delete the user": "DELETE FROM pg_temp.users WHERE id = {account}",
}


@pytest.mark.parametrize("pardon", PARDONS)
def test_a_pardon_that_is_rolled_back_is_none(cluster, person, pardon):
    with Stage(cluster, DATABASE, START + 30) as stage:
        client = stage.client
        client.execute("CREATE TEMP TABLE users (id text)")
        client.execute("INSERT INTO users VALUES (%s)", person.account)
        client.execute(
            "CREATE TRIGGER forget AFTER DELETE ON users"
            " FOR EACH ROW EXECUTE FUNCTION totp.forget_account('id')"
        )
        client.execute("BEGIN")
        client.fail(person, LIMIT)
        client.execute("ROLLBACK")
        client.execute("BEGIN")
        client.execute(sql.SQL(PARDONS[pardon]).format(account=sql.Literal(person.account)))
        client.execute("ROLLBACK")
        right = person.phone.code(START, 1)
        assert client.attempt(person.account, right).reason == "locked"
        assert client.status(person.account).failures == LIMIT


@pytest.mark.parametrize("pardon", ["unlock", "rename"])
def test_a_spent_code_stays_spent_through_a_pardon(cluster, person, pardon):
    code = person.phone.code(START, 1)
    with Stage(cluster, DATABASE, START + 30) as stage:
        stage.undo(WAYS[0], attempt(person, code))
        pardoned = sql.SQL(PARDONS[pardon]).format(account=sql.Literal(person.account))
        stage.watcher.execute(pardoned)
        account = f"{person.account}-new" if pardon == "rename" else person.account
        assert not stage.client.verify(account, code)
        assert stage.client.verify(account, person.phone.code(START, 2))
