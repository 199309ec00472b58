"""The weak points that were found in django-totp, tried here. docs/known-attacks.md lists them."""

import base64
from datetime import timedelta

import psycopg
import pytest
from cryptography.fernet import Fernet

from client import Client
from concurrency import wrong_codes
from conftest import DATABASE
from refusal import DAMAGED, NO_KEY, refused

LIMIT = 5
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
# How the functions that take a code are called; each refuses or accepts it.
CODE_FUNCTIONS = {
    "totp_verify": lambda client, account, code: client.verify(account, code),
    "totp_attempt": lambda client, account, code: client.attempt(account, code).verified,
    "backup_verify": lambda client, account, code: client.backup_verify(account, code),
    "backup_rotate": lambda client, account, code: client.backup_rotate(account, code) is not None,
    "totp_disable": lambda client, account, code: client.disable(account, code),
    "totp_remove": lambda client, account, code: remove(client, account, code),
}


def remove(client, account, code, label="default"):
    return client.call("totp_remove", account=account, label=label, code=code)[0]


def connect(cluster, role="app", **options):
    return cluster.connect(role, DATABASE, **options)


def two_devices(client, account):
    """An account that may remove one of its devices."""
    person = client.enrol(account)
    client.enrol(account, label="tablet")
    return person


# 1. A code was accepted any number of times in about 90 seconds.


def test_1_a_code_is_accepted_once_in_all_the_time_that_it_is_good(traveller, dba, account):
    person = traveller.enrol(account)
    traveller.wait(30)
    code = person.phone.code(traveller.now, 1)
    accepted = []
    for _ in range(90):
        accepted.append(traveller.verify(account, code))
        # A lock would refuse it, too, and prove nothing.
        dba.call("totp_unlock", account=account, reason="a test")
        traveller.wait(1)
    assert accepted == [True] + [False] * 89
    events = "SELECT outcome FROM totp.audit_log WHERE account = %s AND event = 'verify'"
    outcomes = [row.outcome for row in dba.rows(events, account)]
    assert outcomes.count("ok") == 1 and outcomes.count("replayed") >= 59


# 2. The code of the enrolment was good for the first login, too.


@pytest.mark.parametrize("function", ["totp_verify", "totp_attempt", "totp_disable"])
def test_2_the_code_of_the_enrolment_is_good_for_nothing_else(traveller, account, function):
    created = traveller.create(account)
    code = traveller.value("SELECT totp.totp_code(%s, %s)", created.secret, moment(traveller))
    assert traveller.confirm(account, code).confirmed
    for _ in range(3):
        assert CODE_FUNCTIONS[function](traveller, account, code) is False
        traveller.wait(29)
    assert traveller.is_enabled(account)


def moment(traveller):
    return traveller.value("SELECT current_setting('totp.clock')::timestamptz")


# 3. New backup codes for a pending enrolment switched it on, without any code.


def test_3_no_call_but_its_first_code_switches_a_pending_factor_on(app, dba, account):
    app.create(account)
    assert app.backup_rotate(account, "123456") is None
    assert app.backup_rotate(account, None) is None
    with refused("42704"):
        dba.call("backup_reissue", account=account, reason="a test")
    status = app.status(account)
    assert (status.enabled, status.pending, status.backup_codes_left) == (False, True, 0)
    assert app.attempt(account, "123456").reason == "not_enrolled"


# 5. The limit was one for each IP address, and all endpoints shared it; a forged header gave a
# fresh one.


def test_5_200_guesses_from_200_sessions_are_five(cluster, app, dba, account):
    person, other = app.enrol(account), app.enrol(f"{account}-other")
    codes = wrong_codes(person, app.now)
    reasons = []
    for n, code in zip(range(200), codes, strict=False):
        with connect(cluster, application_name=f"10.0.0.{n}") as connection:
            reasons.append(Client(connection).attempt(account, code).reason)
    assert reasons == ["invalid"] * LIMIT + ["locked"] * (200 - LIMIT)
    compared = "SELECT count(*) FROM totp.audit_log WHERE account = %s AND event = 'verify'"
    assert dba.value(compared, account) == LIMIT
    assert app.attempt(account, person.phone.take(app.now)).reason == "locked"
    assert app.verify(other.account, other.phone.take(app.now)) is True


# 6. Nothing limited or recorded what went past the web endpoints.


@pytest.mark.parametrize("function", CODE_FUNCTIONS)
def test_6_every_function_counts_and_records_each_guess_and_stops(traveller, account, function):
    two_devices(traveller, account)
    guess = "0000-0000-0000-0000" if function == "backup_verify" else "00000000"
    for failures in range(1, LIMIT + 1):
        assert CODE_FUNCTIONS[function](traveller, account, guess) is False
        assert traveller.status(account).failures == failures
    for _ in range(20):
        assert CODE_FUNCTIONS[function](traveller, account, guess) is False
    status = traveller.status(account)
    assert (status.failures, status.locked_until is not None) == (LIMIT, True)


def test_6_every_guess_is_in_the_audit_trail(traveller, dba, account):
    two_devices(traveller, account)
    for function in CODE_FUNCTIONS:
        guess = "0000-0000-0000-0000" if function == "backup_verify" else "00000000"
        CODE_FUNCTIONS[function](traveller, account, guess)
        traveller.wait(3600)
    query = (
        "SELECT event FROM totp.audit_log WHERE account = %s AND outcome = 'invalid' ORDER BY id"
    )
    events = [row.event for row in dba.rows(query, account)]
    assert events == ["verify", "verify", "verify", "rotate", "disable", "remove"]


# 7. A session alone could switch it off, or take new backup codes.


@pytest.mark.parametrize("code", [None, "", "000000", "0000-0000-0000-0000", "not a code"])
@pytest.mark.parametrize("function", ["totp_disable", "totp_remove", "backup_rotate"])
def test_7_nothing_is_taken_away_without_a_right_code(app, account, function, code):
    person = two_devices(app, account)
    assert CODE_FUNCTIONS[function](app, account, code) is False
    status = app.status(account)
    assert (status.enabled, status.factors, status.backup_codes_left) == (True, 2, 10)
    assert app.backup_verify(account, person.backup_codes[0]) is True


def test_7_what_an_application_may_call_takes_a_code_or_adds_or_only_reads(dba):
    """totp_create adds a pending factor, which changes nothing of what is active. Tokens are added
    and taken away; a recovery link stands for the code that its owner has lost. An approval is used
    only after a code has confirmed it."""
    rows = dba.rows("""
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'totp'::regnamespace AND provolatile = 'v' AND prosecdef
        AND has_function_privilege('totp_app', oid, 'EXECUTE')
        AND NOT coalesce(proargnames && ARRAY['code', 'code1'], false)
    """)
    adding = {"totp_create", "challenge_create", "recovery_create", "trust_create"}
    adding |= {"approval_request"}
    others = {"recovery_confirm", "recovery_attempt", "recovery_cancel", "trust_revoke"}
    others |= {"approval_use", "approval_cancel"}
    others |= {"require_totp", "require_approval", "require_other_approval"}
    assert {row.proname for row in rows} == adding | others


# 9. A backup code with a letter beyond ASCII was an error 500.


@pytest.mark.parametrize(
    "code", ["é000-0000-0000-0000", "０" * 16, "🔑" * 16, "\u2028" * 16, "ſ" * 16, "\x7f" * 16]
)
@pytest.mark.parametrize("function", CODE_FUNCTIONS)
def test_9_a_code_beyond_ascii_is_no_code(app, account, function, code):
    two_devices(app, account)
    assert CODE_FUNCTIONS[function](app, account, code) is False
    assert app.status(account).failures == 0


# 10. A wrong key looked like a wrong code, and a new key made all secrets unreadable.


@pytest.mark.parametrize("function", CODE_FUNCTIONS)
def test_10_a_wrong_key_is_an_error_and_no_wrong_code(app, account, key_file, function):
    person = two_devices(app, account)
    is_backup = function == "backup_verify"
    code = person.backup_codes[0] if is_backup else person.phone.take(app.now)
    key_file.write(Fernet.generate_key().decode())
    with refused(NO_KEY):
        CODE_FUNCTIONS[function](app, account, code)
    key_file.restore()
    assert app.status(account).failures == 0
    assert CODE_FUNCTIONS[function](app, account, code) is True


def test_10_a_damaged_secret_is_an_error_and_no_wrong_code(app, dba, account):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    damage = (
        "UPDATE totp.factors SET sealed = overlay(sealed PLACING %s FROM 50) WHERE account = %s"
    )
    sealed = dba.value("SELECT sealed FROM totp.factors WHERE account = %s", account)
    other = "B" if sealed[49] != "B" else "C"
    dba.execute(damage, other, account)
    with refused(DAMAGED):
        app.verify(account, code)
    assert app.status(account).failures == 0


def test_10_a_new_key_before_the_old_one_keeps_everything_readable(app, account, key_file):
    person = app.enrol(account)
    key_file.write(Fernet.generate_key().decode(), *key_file.keys)
    assert app.verify(account, person.phone.take(app.now)) is True
    assert app.backup_verify(account, person.backup_codes[0]) is True


# 11. With a maximum of 0 backup codes nobody could enrol, and SQL did not know the maximum.


@pytest.mark.parametrize("number", ["0", "-1", "51"])
def test_11_a_set_has_1_to_50_codes_and_no_other_setting_is_taken(dba, number):
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        dba.execute(f"SET totp.backup_codes = {number}")


@pytest.mark.parametrize("number", [1, 50])
def test_11_the_smallest_and_the_largest_set_work(dba, account, number):
    with dba.connection.transaction():
        dba.execute(f"SET LOCAL totp.backup_codes = {number}")
        codes = dba.enrol(account).backup_codes
    assert len(codes) == dba.backup_remaining(account) == number
    assert dba.backup_verify(account, codes[-1]) is True
    assert dba.is_enabled(account)


def test_11_the_table_holds_no_more_than_a_set(dba, account):
    dba.enrol(account)
    copy = "UPDATE totp.backup_codes SET used_at[51] = now() WHERE account = %s"
    with pytest.raises(psycopg.errors.CheckViolation):
        dba.execute(copy, account)


# 12. A blank inside of a code was refused; digits of other scripts were taken.


def test_12_blanks_are_dropped_and_digits_are_ascii(traveller, account):
    person = traveller.enrol(account)
    spelled = [
        lambda code: f" {code} ",
        lambda code: f"{code[:3]} {code[3:]}",
        lambda code: " ".join(code),
        lambda code: f"\t{code}\r\n",
    ]
    for spell in spelled:
        traveller.wait(30)
        assert traveller.verify(account, spell(person.phone.take(traveller.now))) is True
    traveller.wait(30)
    code = person.phone.take(traveller.now)
    for zero in "０٠०𝟎":
        other = "".join(chr(ord(zero) + int(digit)) for digit in code)
        assert traveller.verify(account, other) is False
    assert traveller.status(account).failures == 0
    assert traveller.verify(account, code) is True


# 14. One device; no import, no export, no drift, no count of codes, no secret to type in.


def test_14_devices_import_export_drift_and_the_rest(traveller, dba, account):
    created = traveller.create(account)
    assert created.secret in created.uri  # to be typed in by hand
    assert len(base64.b32decode(created.secret)) == 20
    traveller.call("totp_confirm", account=account, code=code_at(traveller, created.secret))
    assert dba.call("totp_import", account=account, uri=SECRET, label="other", reason="a test")[0]
    exported = dba.call("totp_export", account=account, label="default", reason="a test")[0]
    assert exported == created.uri
    assert traveller.status(account).factors == 2
    assert traveller.backup_remaining(account) == 10
    traveller.wait(600)
    far = [code_at(traveller, created.secret, seconds) for seconds in (300, 330)]
    assert traveller.verify(account, far[0]) is False
    assert traveller.call("totp_resync", account=account, code1=far[0], code2=far[1])[0] is True
    assert traveller.verify(account, code_at(traveller, created.secret, 360)) is True


def code_at(traveller, secret, seconds=0):
    at = moment(traveller) + timedelta(seconds=seconds)
    return traveller.value("SELECT totp.totp_code(%s, %s)", secret, at)


# 15. The answer told existing accounts from missing ones. test_timing.py measures its time.


@pytest.mark.parametrize("function", sorted(CODE_FUNCTIONS.keys() - {"totp_remove"}))
@pytest.mark.parametrize("code", ["00000000", "0000-0000-0000-0000", "not a code", "", None])
def test_15_an_unknown_account_is_refused_like_a_known_one(app, account, function, code):
    two_devices(app, account)
    assert CODE_FUNCTIONS[function](app, account, code) is False
    assert CODE_FUNCTIONS[function](app, f"{account}-unknown", code) is False
