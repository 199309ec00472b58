"""Which codes count as right: the window, an app's drifted clock, a server's clock set back."""

import pytest

from client import Traveller
from concurrency import wrong_codes
from conftest import DATABASE, new_account

# Long after the enrolment, at the begin of a step.
NOW = Traveller.START + 3600
STEP = 30
REACH = 20


@pytest.fixture
def person(traveller):
    person = traveller.enrol(new_account())
    traveller.travel(NOW)
    return person


@pytest.fixture
def superuser(cluster):
    """A client whose clock stands and who may change every setting."""
    with cluster.connect(dbname=DATABASE) as connection:
        client = Traveller(connection)
        client.travel(NOW)
        yield client


@pytest.fixture
def drift_of(dba):
    query = "SELECT drift FROM totp.factors WHERE account = %s AND state = 'active'"
    return lambda person: dba.value(query, person.account)


def resync(client, person, first, second):
    """Follows the app's clock with its codes of two steps, counted from now."""
    codes = {"code1": person.phone.code(client.now, first)}
    codes |= {"code2": person.phone.code(client.now, second)}
    return client.call("totp_resync", account=person.account, **codes)[0]


def login(client, person, steps):
    return client.verify(person.account, person.phone.code(client.now, steps))


# The window


@pytest.mark.parametrize("window", [0, 1, 2, 10])
def test_the_window_is_as_wide_as_set(traveller, person, window):
    traveller.execute(f"SET totp.window_steps = {window}")
    assert not login(traveller, person, -window - 1)
    assert not login(traveller, person, window + 1)
    assert login(traveller, person, -window)
    if window:
        assert login(traveller, person, window)


# Drift


def test_drift_follows_a_clock_by_one_step_a_login(traveller, person, drift_of):
    for steps, drift in [(1, 1), (2, 2), (3, 3), (0, 2), (0, 1), (0, 0), (-1, -1), (-2, -2)]:
        assert not login(traveller, person, drift + 5)
        assert login(traveller, person, steps)
        assert drift_of(person) == drift
        traveller.wait(10 * STEP)


def test_a_wide_window_moves_drift_by_one_step_too(traveller, person, drift_of):
    traveller.execute("SET totp.window_steps = 5")
    assert login(traveller, person, 5)
    assert drift_of(person) == 1


@pytest.mark.parametrize("steps", [-2, 2, 3, 7, 8])
def test_with_drift_nothing_between_it_and_zero_is_accepted(traveller, person, steps):
    assert resync(traveller, person, 4, 5)
    traveller.wait(10 * STEP)
    assert not login(traveller, person, steps)


@pytest.mark.parametrize("steps", [-1, 0, 1, 4, 5, 6])
def test_with_drift_the_codes_around_it_and_around_zero_are_accepted(
    traveller, person, drift_of, steps
):
    assert resync(traveller, person, 4, 5)
    assert drift_of(person) == 5
    traveller.wait(10 * STEP)
    assert login(traveller, person, steps)
    assert drift_of(person) == 5 + (steps > 5) - (steps < 5)


@pytest.mark.parametrize("way", [1, -1], ids=["ahead", "behind"])
def test_logins_carry_drift_no_further_than_the_limit(superuser, person, drift_of, way):
    superuser.execute("SET totp.resync_steps = 3")
    for drift in (1, 2, 3):
        superuser.wait(10 * STEP)
        assert login(superuser, person, way * drift)
        assert drift_of(person) == way * drift
    superuser.wait(10 * STEP)
    assert login(superuser, person, way * 4)
    assert drift_of(person) == way * 3
    superuser.wait(10 * STEP)
    assert not login(superuser, person, way * 5)


# Resynchronisation


@pytest.mark.parametrize("steps", [-REACH, -7, -1, 0, 1, 7, REACH])
def test_two_consecutive_codes_set_the_drift(traveller, person, drift_of, steps):
    assert resync(traveller, person, steps - 1, steps)
    assert drift_of(person) == steps
    assert not login(traveller, person, steps - 1)
    assert not login(traveller, person, steps)
    traveller.wait(2 * STEP)
    assert login(traveller, person, steps)
    assert drift_of(person) == steps


@pytest.mark.parametrize(
    "first, second",
    [(5, 7), (6, 5), (5, 5), (REACH, REACH + 1), (-REACH - 2, -REACH - 1), (100, 101)],
)
def test_other_pairs_do_not_and_count_as_a_failure(traveller, person, drift_of, first, second):
    assert not resync(traveller, person, first, second)
    assert drift_of(person) == 0
    assert traveller.status(person.account).failures == 1


def test_one_right_code_and_a_wrong_one_count_as_a_failure(traveller, person, drift_of):
    wrong = next(wrong_codes(person, NOW))
    right = person.phone.code(NOW)
    for codes in [(right, wrong), (wrong, right)]:
        call = dict(zip(("code1", "code2"), codes, strict=True))
        assert traveller.call("totp_resync", account=person.account, **call)[0] is False
    assert drift_of(person) == 0
    assert traveller.status(person.account).failures == 2
    assert login(traveller, person, 0), "neither was spent"


@pytest.mark.parametrize("codes", [(None, None), ("123456", None), ("", "x")])
def test_what_cannot_be_a_pair_is_refused_and_not_counted(traveller, person, codes):
    call = dict(zip(("code1", "code2"), codes, strict=True))
    assert traveller.call("totp_resync", account=person.account, **call)[0] is False
    assert traveller.status(person.account).failures == 0


def test_a_pair_works_once(traveller, person, drift_of):
    assert resync(traveller, person, 4, 5)
    assert not resync(traveller, person, 4, 5)
    assert not resync(traveller, person, 3, 4)
    assert resync(traveller, person, 5, 6), "an app shows the next code"
    assert drift_of(person) == 6


def test_a_pair_does_not_open_a_lock(traveller, person):
    traveller.fail(person, 5)
    assert not resync(traveller, person, 4, 5)
    traveller.wait(STEP)
    assert resync(traveller, person, 3, 4)
    assert traveller.status(person.account).failures == 0


def test_guesses_at_a_pair_lock_the_account(traveller, person):
    wrong = next(wrong_codes(person, NOW))
    query = "SELECT totp.totp_resync(%s, %s, %s)"
    for _ in range(5):
        assert traveller.value(query, person.account, wrong, wrong) is False
    assert traveller.attempt(person.account, person.phone.code(NOW)).reason == "locked"


def test_an_unknown_account_or_label_is_no_error(traveller, person):
    codes = {"code1": person.phone.code(NOW, 4), "code2": person.phone.code(NOW, 5)}
    assert traveller.call("totp_resync", account=new_account(), **codes)[0] is False
    options = {"account": person.account, "label": "other"}
    assert traveller.call("totp_resync", **options, **codes)[0] is False


# A server's clock that is set back


def test_spent_steps_stay_spent_when_the_clock_goes_back(traveller, person):
    assert login(traveller, person, 0)
    traveller.wait(-2 * STEP)
    for steps in (-1, 0, 1, 2):
        assert not login(traveller, person, steps)
    traveller.wait(3 * STEP)
    assert login(traveller, person, 0)


def test_a_lock_does_not_end_when_the_clock_goes_back(traveller, person):
    ends = NOW + 30
    assert traveller.fail(person, 5).retry_after.total_seconds() == 30
    traveller.wait(-600)
    verdict = traveller.attempt(person.account, person.phone.code(traveller.now))
    assert (verdict.reason, verdict.retry_after.total_seconds()) == ("locked", 630)
    assert traveller.status(person.account).locked_until.timestamp() == ends
    traveller.travel(ends)
    assert login(traveller, person, 0)
