"""Which codes are accepted, how often, and what the verdict says."""

import time

import pytest

from conftest import DATABASE


def test_a_code_is_accepted_once(app, account):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    assert app.verify(account, code) is True
    assert app.verify(account, code) is False


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_a_code_of_the_window_is_accepted(traveller, account, steps):
    person = traveller.enrol(account)
    traveller.wait(300)
    assert traveller.verify(account, person.phone.code(traveller.now, steps))


@pytest.mark.parametrize("steps", [-2, 2, -3, 3, 100, -9])
def test_a_code_beyond_the_window_is_refused(traveller, account, steps):
    person = traveller.enrol(account)
    traveller.wait(300)
    assert not traveller.verify(account, person.phone.code(traveller.now, steps))


def test_a_window_of_zero_takes_the_current_step_only(traveller, account):
    person = traveller.enrol(account)
    traveller.execute("SET totp.window_steps = 0")
    traveller.wait(300)
    assert not traveller.verify(account, person.phone.code(traveller.now, -1))
    assert not traveller.verify(account, person.phone.code(traveller.now, 1))
    assert traveller.verify(account, person.phone.code(traveller.now))


def test_a_step_begins_and_ends_on_the_dot(traveller, account):
    person = traveller.enrol(account)
    begin = traveller.START + 600
    code = person.phone.code(begin)
    for moment, is_right in [(begin - 30.001, False), (begin + 60, False), (begin + 59.999, True)]:
        traveller.travel(moment)
        assert traveller.verify(account, code) is is_right
    traveller.travel(begin + 270)
    assert traveller.verify(account, person.phone.code(begin + 300))


def test_an_older_step_is_refused_after_a_newer_one(traveller, account):
    person = traveller.enrol(account)
    traveller.wait(300)
    assert traveller.verify(account, person.phone.code(traveller.now, 0))
    assert not traveller.verify(account, person.phone.code(traveller.now, -1))
    assert traveller.verify(account, person.phone.code(traveller.now, 1))
    assert not traveller.verify(account, person.phone.code(traveller.now, 0))


def test_a_clock_that_is_set_back_brings_no_spent_code_back(traveller, account):
    person = traveller.enrol(account)
    traveller.wait(600)
    assert traveller.verify(account, person.phone.code(traveller.now))
    traveller.wait(-120)
    for steps in (-1, 0, 1):
        assert not traveller.verify(account, person.phone.code(traveller.now, steps))


def test_every_function_refuses_a_code_that_another_one_spent(traveller, account):
    person = traveller.enrol(account)
    traveller.wait(300)
    code = person.phone.code(traveller.now)
    assert traveller.verify(account, code)
    assert traveller.disable(account, code) is False
    assert traveller.backup_rotate(account, code) is None
    assert traveller.attempt(account, code).verified is False
    traveller.wait(300)
    code = person.phone.code(traveller.now)
    assert len(traveller.backup_rotate(account, code)) == 10
    assert traveller.verify(account, code) is False


def test_a_code_of_another_account_is_refused(app, account):
    one, other = app.enrol(account), app.enrol(f"{account}-other")
    code = one.phone.take(app.now)
    assert not app.verify(other.account, code)
    assert app.verify(one.account, code)


def test_the_age_of_the_transaction_is_no_age_of_the_code(cluster, traveller, account):
    # A period of one second: time passes quickly. now() stands still in a transaction.
    traveller.travel(time.time())
    phone = traveller.enrol(account, period=1).phone
    with cluster.connect("app", DATABASE, autocommit=False) as connection:
        (begin,) = connection.execute("SELECT extract(epoch FROM now())::float8").fetchone()
        time.sleep(3.1)
        verify = "SELECT totp.totp_verify(%s, %s)"
        stale, fresh = phone.code(begin, 1), phone.code(time.time(), 1)
        assert connection.execute(verify, [account, stale]).fetchone() == (False,)
        assert connection.execute(verify, [account, fresh]).fetchone() == (True,)


def test_the_verdict_on_a_right_code_names_factor_and_backup_codes(app, account):
    person = app.enrol(account, label="phone")
    verdict = app.attempt(account, person.phone.take(app.now))
    assert verdict == (True, account, "totp", "phone", "ok", None, 10, None)


def test_the_verdict_on_a_backup_code_says_how_many_are_left(app, account):
    person = app.enrol(account)
    verdict = app.attempt(account, person.backup_codes[3])
    assert verdict == (True, account, "backup", None, "ok", None, 9, None)


def test_the_verdict_on_a_wrong_code_is_invalid(app, account):
    person = app.enrol(account)
    verdict = app.attempt(account, person.phone.wrong(app.now))
    assert verdict[:6] == (False, account, None, None, "invalid", None)
    assert app.attempt(account, "0000-0000-0000-0000").reason == "invalid"
    assert app.status(account).failures == 2


def test_a_replay_looks_like_a_wrong_code_but_for_the_audit_trail(app, dba, account):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    assert app.verify(account, code)
    wrong = app.attempt(account, person.phone.wrong(app.now))
    assert app.attempt(account, code) == wrong
    query = "SELECT outcome FROM totp.audit_events WHERE account = %s ORDER BY id"
    outcomes = [row.outcome for row in dba.rows(query, account)]
    assert outcomes == ["ok", "ok", "ok", "invalid", "replayed"]


def test_a_replay_counts_as_a_failure(app, account):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    assert app.verify(account, code)
    assert not app.verify(account, code)
    assert app.status(account).failures == 1


def test_the_verdict_on_an_unknown_account_is_not_enrolled(app, account):
    verdict = app.attempt(account, "123456")
    assert verdict[:6] == (False, account, None, None, "not_enrolled", None)
    assert app.verify(account, "123456") is False
    assert app.backup_verify(account, "0000-0000-0000-0000") is False
    assert app.disable(account, "123456") is False
    assert app.backup_rotate(account, "123456") is None


def test_an_attempt_on_an_unknown_account_leaves_no_account_behind(app, dba, account):
    app.attempt(account, "123456")
    assert dba.value("SELECT count(*) FROM totp.accounts WHERE account = %s", account) == 0
    assert app.status(account).failures == 0


@pytest.mark.parametrize("shape", ["{} {}", " {}{} ", "\t{}{}\n", "{}   {}\r\n"])
def test_blanks_in_a_code_do_not_matter(app, account, shape):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    assert app.verify(account, shape.format(code[:3], code[3:])) is True
    assert app.verify(account, code) is False


def test_a_code_with_a_leading_zero_wants_all_its_digits(traveller, account):
    person = traveller.enrol(account)
    traveller.wait(300)
    while not person.phone.code(traveller.now).startswith("0"):
        traveller.wait(30)
    code = person.phone.code(traveller.now)
    assert not traveller.verify(account, code.lstrip("0"))
    assert traveller.verify(account, code)


def test_a_row_that_is_spread_in_the_select_list_is_called_once_per_column(app, account):
    app.enrol(account)
    row = app.row("SELECT (totp.totp_attempt(%s, '00000000')).*", account)
    assert app.status(account).failures == min(len(row), 5) > 1
