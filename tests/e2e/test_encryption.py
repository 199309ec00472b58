"""Stored secrets are Fernet tokens, bound to their row. Python's cryptography reads and writes them
too."""

import base64
import json
import time

import pyotp
import pytest
from cryptography.fernet import Fernet

from cluster import ROOT
from key_file import key_id
from refusal import DAMAGED, refused

FERNET_VECTORS = ROOT / "tests" / "vectors" / "fernet"
STORED = "SELECT sealed FROM totp.factors WHERE account = %s AND label = %s"
IDENTITY = """
SELECT (extract(epoch FROM created_at) * 1000000)::bigint::text FROM totp.factors
WHERE account = %s AND label = %s
"""
STORE = "UPDATE totp.factors SET sealed = %s, key_id = %s WHERE account = %s"


def payload_of(token, key_file):
    return json.loads(key_file.primary.decrypt(token))


def binding(dba, account, secret, label="default"):
    """The payload that belongs in a row."""
    identity = dba.value(IDENTITY, account, label)
    place = {"purpose": "totp", "account": account, "label": label, "identity": identity}
    return {**place, "secret": secret}


def assert_damaged(client, person):
    """Every function that needs the secret says XX001, whatever the code, and counts nothing."""
    for code in (person.phone.code(client.now, 1), person.phone.wrong(client.now)):
        for function in (client.verify, client.attempt, client.disable, client.backup_rotate):
            with refused(DAMAGED, without=[code, person.account]):
                function(person.account, code)
    status = client.status(person.account)
    assert (status.enabled, status.failures, status.backup_codes_left) == (True, 0, 10)


@pytest.mark.parametrize("label", ["default", 'Peter\'s "old" phone ☎'])
def test_cryptography_decrypts_a_stored_secret_and_finds_what_it_is_bound_to(
    app, dba, account, key_file, label
):
    account += '"\\ö\n'
    secret = app.create(account, label=label).secret
    token = dba.value(STORED, account, label)
    payload = payload_of(token, key_file)
    assert binding(dba, account, secret, label).items() <= payload.items()


def test_a_row_names_the_key_that_encrypted_it(app, dba, account, key_file):
    app.enrol(account)
    query = "SELECT DISTINCT key_id FROM totp.{} WHERE account = %s"
    for table in ("factors", "backup_codes"):
        assert dba.value(query.format(table), account) == key_id(key_file.keys[0])


def test_two_tokens_of_one_secret_would_differ(app, dba, account, key_file):
    app.create(account)
    token = dba.value(STORED, account, "default")
    raw = base64.urlsafe_b64decode(token)
    assert raw[0] == 0x80
    payload = key_file.primary.decrypt(token)
    assert key_file.primary.encrypt(payload) != token.encode()


@pytest.mark.parametrize("style", [{}, {"indent": 4}, {"ensure_ascii": False, "sort_keys": True}])
def test_the_server_decrypts_what_cryptography_encrypted(app, dba, account, key_file, style):
    account += "-ü"
    app.enrol(account)
    secret = pyotp.random_base32()
    payload = json.dumps(binding(dba, account, secret), **style)
    token = key_file.primary.encrypt(payload.encode()).decode()
    dba.execute(STORE, token, key_id(key_file.keys[0]), account)
    assert app.verify(account, pyotp.TOTP(secret).at(int(app.now), counter_offset=1))


def test_a_token_in_the_row_of_another_account_is_not_decrypted(app, dba, account):
    thief, victim = app.enrol(account), app.enrol(f"{account}-victim")
    dba.execute(
        "UPDATE totp.factors SET sealed = (SELECT sealed FROM totp.factors WHERE account = %s)"
        " WHERE account = %s",
        thief.account,
        victim.account,
    )
    code = thief.phone.take(app.now)
    with refused(DAMAGED):
        app.verify(victim.account, code)
    assert_damaged(app, victim)
    assert app.verify(thief.account, code)


def test_a_token_under_another_label_is_not_decrypted(app, dba, account):
    person = app.enrol(account)
    dba.execute("UPDATE totp.factors SET label = 'other' WHERE account = %s", account)
    assert_damaged(app, person)


def test_the_token_of_backup_codes_is_not_decrypted_as_a_factor(app, dba, account):
    person = app.enrol(account)
    dba.execute(
        "UPDATE totp.factors SET sealed = (SELECT sealed FROM totp.backup_codes AS code"
        " WHERE code.account = factors.account) WHERE account = %s",
        account,
    )
    assert_damaged(app, person)


def test_backup_codes_in_the_row_of_another_account_are_not_decrypted(app, dba, account):
    thief, victim = app.enrol(account), app.enrol(f"{account}-victim")
    dba.execute(
        "UPDATE totp.backup_codes AS theirs SET salt = mine.salt, sealed = mine.sealed"
        " FROM totp.backup_codes AS mine WHERE mine.account = %s AND theirs.account = %s",
        thief.account,
        victim.account,
    )
    for function in (app.backup_verify, app.attempt, app.disable):
        with refused(DAMAGED):
            function(victim.account, thief.backup_codes[0])
    assert app.status(victim.account).failures == 0


def test_two_tokens_that_changed_places_are_decrypted_in_neither_row(app, dba, account):
    one, other = app.enrol(account), app.enrol(f"{account}-other")
    dba.execute(
        "UPDATE totp.factors AS f SET sealed = g.sealed FROM totp.factors AS g"
        " WHERE f.account = ANY (%s) AND g.account = ANY (%s) AND f.account <> g.account",
        *[[one.account, other.account]] * 2,
    )
    assert_damaged(app, one)
    assert_damaged(app, other)


def test_an_older_token_of_the_same_row_is_not_decrypted_after_a_new_enrolment(app, dba, account):
    old = app.enrol(account)
    token = dba.value(STORED, account, "default")
    key = dba.value("SELECT key_id FROM totp.factors WHERE account = %s", account)
    new = app.enrol(account)
    dba.execute(STORE, token, key, account)
    assert_damaged(app, old)
    assert_damaged(app, new)


def test_an_older_set_of_backup_codes_of_the_same_account_is_not_decrypted(app, dba, account):
    person = app.enrol(account)
    old = dba.value("SELECT sealed FROM totp.backup_codes WHERE account = %s", account)
    app.backup_rotate(account, person.backup_codes[0])
    dba.execute("UPDATE totp.backup_codes SET sealed = %s WHERE account = %s", old, account)
    with refused(DAMAGED):
        app.backup_verify(account, person.backup_codes[1])


def test_damaged_backup_codes_are_an_error_that_says_so_and_new_ones_help(app, dba, account):
    person = app.enrol(account)
    dba.execute("UPDATE totp.backup_codes SET sealed = reverse(sealed) WHERE account = %s", account)
    with refused(DAMAGED) as caught:
        app.backup_verify(account, person.backup_codes[0])
    assert "all backup codes of the account" in caught.value.diag.message_detail
    assert "backup_reissue" in caught.value.diag.message_hint
    assert app.status(account).failures == 0
    assert app.verify(account, person.phone.take(app.now))
    codes = dba.call("backup_reissue", account=account, reason="damaged")[0]
    assert app.backup_verify(account, codes[0])


def test_a_pending_factor_s_token_is_not_decrypted_in_the_active_one_s_row(app, dba, account):
    person = app.enrol(account)
    app.create(account)
    dba.execute(
        "UPDATE totp.factors SET sealed = (SELECT sealed FROM totp.factors WHERE account = %s"
        " AND state = 'pending') WHERE account = %s AND state = 'active'",
        account,
        account,
    )
    assert_damaged(app, person)


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "backup"},
        {"purpose": None},
        {"account": "somebody else"},
        {"label": "Default"},
        {"identity": "1767225600000000"},
        {"identity": None},
        {"secret": None},
        {"secret": ""},
        {"secret": "not base32!"},
        {"secret": "GEZDGNBV"},
        {"secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"]},
    ],
    ids=str,
)
def test_a_payload_that_is_not_the_row_s_own_is_not_decrypted(app, dba, account, key_file, changes):
    person = app.enrol(account)
    payload = {**binding(dba, account, person.phone.totp.secret), **changes}
    token = key_file.primary.encrypt(json.dumps(payload).encode()).decode()
    dba.execute(STORE, token, key_id(key_file.keys[0]), account)
    assert_damaged(app, person)


@pytest.mark.parametrize("payload", [b"", b"hello", b"[]", b"\xff\xfe", b'{"purpose":'], ids=repr)
def test_a_payload_that_is_no_object_is_not_decrypted(app, dba, account, key_file, payload):
    person = app.enrol(account)
    token = key_file.primary.encrypt(payload).decode()
    dba.execute(STORE, token, key_id(key_file.keys[0]), account)
    assert_damaged(app, person)


# Where in the bytes of a Fernet token its parts begin; the HMAC takes the last 32.
PARTS = {"version": 0, "timestamp": 1, "IV": 9, "ciphertext": 25, "last block": -48, "HMAC": -32}


@pytest.mark.parametrize("place", PARTS.values(), ids=PARTS.keys())
def test_a_token_with_one_bit_flipped_is_not_decrypted(app, dba, account, key_file, place):
    person = app.enrol(account)
    token = bytearray(base64.urlsafe_b64decode(dba.value(STORED, account, "default")))
    token[place] ^= 1
    damaged = base64.urlsafe_b64encode(token).decode()
    dba.execute(STORE, damaged, key_id(key_file.keys[0]), account)
    assert_damaged(app, person)


def test_a_bit_flipped_in_any_place_is_not_decrypted_and_shuts_out_no_other_factor(
    app, dba, account, dice
):
    damaged, good = app.enrol(account), app.enrol(account, label="good")
    token = dba.value(STORED, account, "default")
    store = "UPDATE totp.factors SET sealed = %s WHERE account = %s AND label = 'default'"
    code = damaged.phone.take(app.now)
    for place, character in enumerate(token):
        # Of the bits of ASCII those that give a character that can be stored.
        bits = [bit for bit in range(7) if ord(character) ^ 1 << bit >= 32]
        flipped = chr(ord(character) ^ 1 << dice.choice(bits))
        dba.execute(store, token[:place] + flipped + token[place + 1 :], account)
        with refused(DAMAGED):
            app.verify(account, code)
        # It was compared with the good factor, which counts as a failure.
        dba.call("totp_unlock", account=account, reason="the next bit")
    assert app.verify(account, good.phone.take(app.now))


FORMS = {
    "empty": lambda token: "",
    "cut off": lambda token: token[:-4],
    "half of it": lambda token: token[: len(token) // 2],
    "trailing data": lambda token: token + "AAAA",
    "trailing text": lambda token: token + "trailingdata",
    "a character that is no base64": lambda token: token[:20] + "!" + token[20:],
    "a star in front": lambda token: "*" + token,
    "not ASCII": lambda token: "ä" + token,
    "a megabyte": lambda token: "A" * 1_000_000,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_token_of_another_form_is_not_decrypted(app, dba, account, key_file, form):
    person = app.enrol(account)
    token = form(dba.value(STORED, account, "default"))
    dba.execute(STORE, token, key_id(key_file.keys[0]), account)
    assert_damaged(app, person)


@pytest.mark.parametrize("path", sorted(FERNET_VECTORS.glob("fail_*.json")), ids=lambda p: p.stem)
def test_no_invalid_vector_of_the_specification_is_decrypted(app, dba, account, key_file, path):
    vector = json.loads(path.read_text())
    key_file.write(*key_file.keys, vector["secret"])
    person = app.enrol(account)
    dba.execute(STORE, vector["token"], key_id(vector["secret"]), account)
    assert_damaged(app, person)


@pytest.mark.parametrize("name", ["generate", "verify"])
def test_a_valid_vector_of_the_specification_is_bound_to_no_row(app, dba, account, key_file, name):
    (vector,) = json.loads((FERNET_VECTORS / f"{name}.json").read_text())
    assert Fernet(vector["secret"]).decrypt(vector["token"]) == vector["src"].encode()
    key_file.write(*key_file.keys, vector["secret"])
    person = app.enrol(account)
    dba.execute(STORE, vector["token"], key_id(vector["secret"]), account)
    assert_damaged(app, person)


def test_a_secret_encrypted_with_the_specification_s_key_is_decrypted(app, dba, account, key_file):
    (vector,) = json.loads((FERNET_VECTORS / "generate.json").read_text())
    key_file.write(*key_file.keys, vector["secret"])
    person = app.enrol(account)
    payload = json.dumps(binding(dba, account, person.phone.totp.secret)).encode()
    # The IV and the time of the vector; cryptography has no other way to choose them.
    token = Fernet(vector["secret"])._encrypt_from_parts(payload, 499162800, bytes(vector["iv"]))
    dba.execute(STORE, token.decode(), key_id(vector["secret"]), account)
    assert app.verify(account, person.phone.take(app.now))


def test_a_damaged_factor_does_not_shut_out_a_good_one(app, dba, account):
    damaged, good = app.enrol(account), app.enrol(account, label="good")
    dba.execute(
        "UPDATE totp.factors SET sealed = reverse(sealed) WHERE account = %s AND label = 'default'",
        account,
    )
    # Its right code must not look like a wrong one.
    with refused(DAMAGED):
        app.verify(account, damaged.phone.take(app.now))
    assert app.verify(account, good.phone.take(app.now))


@pytest.mark.parametrize("ahead", [-(10**9), 61, 86_400, 10**9])
def test_a_secret_is_decrypted_whatever_the_clock_showed_when_it_was_encrypted(
    app, dba, account, key_file, ahead
):
    """A clock that was ahead and is right again, or a promoted standby whose clock is behind."""
    person = app.enrol(account)
    payload = json.dumps(binding(dba, account, person.phone.totp.secret)).encode()
    token = key_file.primary.encrypt_at_time(payload, int(time.time()) + ahead).decode()
    dba.execute(STORE, token, key_id(key_file.keys[0]), account)
    assert app.verify(account, person.phone.take(app.now))
