"""Backup codes: their form, one use each, and what the server keeps of them."""

import base64
import hashlib
import json
import re

import pytest

SHOWN = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}")
BACKUP_CODES = "SELECT * FROM totp.backup_codes WHERE account = %s"


def look_alikes(code):
    """Ways in which people write down and type a code."""
    return {
        "lower case": code.lower(),
        "without dashes": code.replace("-", ""),
        "blanks for dashes": code.replace("-", " "),
        "dashes elsewhere": "-".join(code.replace("-", "")),
        "O for zero": code.replace("0", "O"),
        "o for zero": code.replace("0", "o").lower(),
        "I for one": code.replace("1", "I"),
        "l for one": code.replace("1", "l"),
        "L for one": code.replace("1", "L"),
        "blanks around": f"  {code}\n",
    }


def test_ten_different_codes_of_sixteen_crockford_characters(app, account):
    codes = app.enrol(account).backup_codes
    assert len(set(codes)) == 10
    assert all(SHOWN.fullmatch(code) for code in codes), codes


def test_no_code_is_given_out_twice(app, account):
    codes = [code for n in range(10) for code in app.enrol(f"{account}-{n}").backup_codes]
    assert len(set(codes)) == 100


def test_a_code_is_accepted_once_and_the_others_stay_good(app, account):
    codes = app.enrol(account).backup_codes
    assert app.backup_verify(account, codes[4]) is True
    assert app.backup_verify(account, codes[4]) is False
    assert app.backup_remaining(account) == 9
    for left, code in zip(range(8, -1, -1), [*codes[:4], *codes[5:]], strict=True):
        assert app.backup_verify(account, code) is True
        assert app.backup_remaining(account) == app.status(account).backup_codes_left == left


def test_a_spent_code_counts_as_a_failure_and_is_a_replay_in_the_audit_trail(app, dba, account):
    code = app.enrol(account).backup_codes[0]
    assert app.backup_verify(account, code)
    assert app.attempt(account, code).reason == "invalid"
    assert app.status(account).failures == 1
    assert dba.last_outcome(account) == "replayed"


@pytest.mark.parametrize("form", look_alikes("0").keys())
def test_a_code_is_read_in_every_form_that_people_give_it(app, account, form):
    codes = app.enrol(account).backup_codes
    # Every code of a set, so that look-alike characters do occur.
    for code in codes:
        assert app.backup_verify(account, look_alikes(code)[form]) is True, code
        assert app.backup_verify(account, code) is False


def test_a_spent_code_stays_spent_in_every_form(traveller, account):
    code = traveller.enrol(account).backup_codes[0]
    assert traveller.backup_verify(account, code)
    for form in look_alikes(code).values():
        assert traveller.backup_verify(account, form) is False
        traveller.wait(3600)


@pytest.mark.parametrize(
    "code",
    [
        None,
        "",
        " ",
        "----",
        "0000-0000-0000-000",
        "0000-0000-0000-00000",
        "U000-0000-0000-0000",
        "é000-0000-0000-0000",
        "０000-0000-0000-0000",
        "0000_0000_0000_0000",
        "0" * 100_000,
        "123456",
    ],
    ids=lambda code: repr(code)[:24],
)
def test_what_cannot_be_a_code_is_refused_and_not_counted(app, account, code):
    app.enrol(account)
    assert app.backup_verify(account, code) is False
    assert app.status(account).failures == 0
    assert app.backup_remaining(account) == 10


def test_a_code_of_another_account_is_refused(app, account):
    one, other = app.enrol(account), app.enrol(f"{account}-other")
    assert app.backup_verify(account, other.backup_codes[0]) is False
    assert app.backup_verify(other.account, other.backup_codes[0]) is True
    assert app.backup_verify(account, one.backup_codes[0]) is True


def test_each_verify_function_takes_its_own_kind_only(app, account):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    assert app.verify(account, person.backup_codes[0]) is False
    assert app.backup_verify(account, code) is False
    assert app.backup_verify(account, person.backup_codes[0]) is True
    assert app.verify(account, code) is True


def test_rotation_brings_a_new_set_and_kills_the_old_one(traveller, account):
    person = traveller.enrol(account)
    assert traveller.backup_verify(account, person.backup_codes[0])
    traveller.wait(60)
    codes = traveller.backup_rotate(account, person.phone.code(traveller.now))
    assert len(set(codes)) == 10 and not set(codes) & set(person.backup_codes)
    assert all(SHOWN.fullmatch(code) for code in codes)
    assert traveller.backup_remaining(account) == 10
    for code in person.backup_codes:
        assert traveller.backup_verify(account, code) is False
        traveller.wait(3600)
    assert traveller.backup_verify(account, codes[0]) is True


def test_a_backup_code_can_rotate_the_set(app, account):
    person = app.enrol(account)
    codes = app.backup_rotate(account, person.backup_codes[0])
    assert len(codes) == 10
    assert app.backup_remaining(account) == 10
    assert app.backup_verify(account, person.backup_codes[1]) is False
    assert app.backup_verify(account, codes[1]) is True


def test_a_wrong_code_rotates_nothing(app, account):
    person = app.enrol(account)
    assert app.backup_rotate(account, person.phone.wrong(app.now)) is None
    assert app.backup_rotate(account, "not a code") is None
    assert app.backup_rotate(account, None) is None
    assert app.status(account).failures == 1
    assert app.backup_verify(account, person.backup_codes[0]) is True


def test_codes_of_a_pending_factor_rotate_nothing(app, account):
    app.create(account)
    assert app.backup_rotate(account, "123456") is None
    assert app.backup_remaining(account) == 0


def test_the_setting_totp_backup_codes_is_the_size_of_a_set(dba, account):
    with dba.connection.transaction():
        dba.execute("SET LOCAL totp.backup_codes = 3")
        assert len(dba.enrol(account).backup_codes) == 3
    assert dba.backup_remaining(account) == 3


def test_the_server_keeps_encrypted_pbkdf2_hashes_of_the_codes(app, dba, account, key_file):
    codes = app.enrol(account).backup_codes
    row = dba.row(BACKUP_CODES, account)
    payload = json.loads(key_file.primary.decrypt(row.sealed))
    assert payload.keys() == {"purpose", "account", "label", "identity", "secret"}
    assert (payload["purpose"], payload["account"], payload["label"]) == ("backup", account, "")
    assert payload["identity"] == row.salt.hex()
    hashes = base64.b32decode(payload["secret"] + "=" * (-len(payload["secret"]) % 8))
    typed = [code.replace("-", "").encode() for code in codes]
    expected = [hashlib.pbkdf2_hmac("sha256", code, row.salt, 1000)[:16] for code in typed]
    assert hashes == b"".join(expected)


def test_the_server_keeps_when_each_code_was_used(app, dba, account):
    codes = app.enrol(account).backup_codes
    assert dba.row(BACKUP_CODES, account).used_at == [None] * 10
    for position in (9, 0, 4):
        assert app.backup_verify(account, codes[position])
    used_at = dba.row(BACKUP_CODES, account).used_at
    assert [place for place, time in enumerate(used_at) if time] == [0, 4, 9]
    assert used_at[9] < used_at[0] < used_at[4]
    assert app.status(account).last_verified_at == used_at[4]


def test_two_accounts_have_different_salts(app, dba, account):
    salts = set()
    for name in (account, f"{account}-other"):
        app.enrol(name)
        salts.add(dba.row(BACKUP_CODES, name).salt)
    assert len(salts) == 2
