"""Read-only transactions, rolled-back ones, and other settings of the session."""

import pytest

from client import Client
from conftest import DATABASE
from function import WRITERS
from refusal import READ_ONLY, refused


@pytest.fixture
def reader(cluster):
    """A client of the application whose transactions are read-only."""
    with cluster.connect("app", DATABASE) as connection:
        connection.execute("SET default_transaction_read_only = on")
        yield Client(connection)


@pytest.mark.parametrize("function", WRITERS)
def test_a_function_that_may_write_refuses_a_read_only_transaction(app, reader, account, function):
    app.enrol(account)
    for name in (account, f"{account}-unknown"):
        with refused(READ_ONLY):
            reader.call(function, account=name, **WRITERS[function])
    assert app.status(account).failures == 0


@pytest.mark.parametrize("code", [None, "", "abcdef"], ids=repr)
def test_a_read_only_transaction_is_refused_whatever_the_code(reader, account, code):
    for function in (reader.verify, reader.attempt, reader.backup_verify, reader.disable):
        with refused(READ_ONLY):
            function(account, code)


def test_a_right_code_is_not_spent_by_a_read_only_transaction(app, reader, account):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    with refused(READ_ONLY):
        reader.verify(account, code)
    with refused(READ_ONLY):
        reader.backup_verify(account, person.backup_codes[0])
    assert app.verify(account, code)
    assert app.backup_verify(account, person.backup_codes[0])


def test_a_read_only_transaction_spends_no_token(app, reader, account):
    person = app.enrol(account)
    challenge, recovery = app.challenge(account), app.recovery(account)
    for token in (challenge, recovery, "x", None):
        with refused(READ_ONLY):
            reader.answer(token, person.backup_codes[0])
        with refused(READ_ONLY):
            reader.recover(token)
    assert app.answer(challenge, person.backup_codes[0]).verified
    assert app.recover(recovery)


def test_functions_that_only_look_work_in_a_read_only_transaction(app, reader, account):
    app.enrol(account)
    challenge, device = app.challenge(account), app.trust(account)
    assert reader.call("challenge_account", token=challenge)[0] == account
    assert reader.is_trusted(account, device) is True
    assert reader.is_enabled(account) is True
    assert reader.status(account).enabled is True
    assert reader.backup_remaining(account) == 10


def test_an_enrolment_that_is_rolled_back_leaves_nothing(app, account):
    with app.connection.transaction(force_rollback=True):
        person = app.enrol(account)
    assert app.status(account)[:4] == (False, False, 0, 0)
    assert app.verify(account, person.phone.code(app.now, 1)) is False
    again = app.enrol(account)
    assert app.verify(account, again.phone.take(app.now)) is True


def test_one_transaction_can_hold_the_whole_job(app, account):
    with app.connection.transaction():
        person = app.enrol(account)
        assert not app.verify(account, person.phone.wrong(app.now))
        assert app.verify(account, person.phone.take(app.now))
        assert app.backup_verify(account, person.backup_codes[0])
    assert app.status(account)[:5] == (True, False, 1, 9, 0)


@pytest.mark.parametrize(
    "setting",
    [
        "search_path = ''",
        "datestyle = 'German, DMY'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'Pacific/Chatham'",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
        "extra_float_digits = 0",
        "row_security = off",
        "enable_seqscan = off",
        "plan_cache_mode = force_generic_plan",
        "default_transaction_isolation = 'serializable'",
        "client_encoding = 'LATIN1'",
        "lock_timeout = '1s'",
        "jit_above_cost = 0",
    ],
)
def test_settings_of_the_session_change_nothing(cluster, account, setting):
    with cluster.connect("app", DATABASE) as connection:
        connection.execute(f"SET {setting}")
        client = Client(connection)
        person = client.enrol(f"{account}-ü")
        code = person.phone.take(client.now)
        assert client.verify(person.account, code) is True
        assert client.verify(person.account, code) is False
        assert client.backup_verify(person.account, person.backup_codes[0]) is True
        for _ in range(5):
            assert client.verify(person.account, person.phone.wrong(client.now)) is False
        # Compared by the server: the client cannot read every style of dates and intervals.
        locked = "SELECT locked_until - clock_timestamp() BETWEEN '25 s' AND '30 s'"
        assert client.value(f"{locked} FROM totp.totp_status(%s)", person.account) is True


def test_discard_all_is_survived(app, account):
    person = app.enrol(account)
    app.execute("DISCARD ALL")
    assert app.verify(account, person.phone.take(app.now))
    app.execute("DISCARD PLANS")
    assert app.backup_verify(account, person.backup_codes[0])
