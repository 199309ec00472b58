"""What can be done to a signed token, and with one: everything but its purpose is refused."""

import secrets
from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from authenticator import Authenticator
from client import Client
from concurrency import wrong_codes
from conftest import DATABASE, install
from signed_token import KINDS, SignedToken, decoded, encoded

CHARACTERS = 78
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def person(app, account):
    return app.enrol(account)


@pytest.fixture
def patient(cluster):
    """A client for whom no number of failures locks an account."""
    with cluster.connect(dbname=DATABASE, options="-c totp.max_failures=100") as connection:
        yield Client(connection)


def make(client, kind, account, **options):
    return client.call(f"{kind}_create", account=account, **options)[0]


def accepts(client, kind, person, token):
    """Whether a token does what its kind is for. All else that this needs is right."""
    if kind == "challenge":
        return client.answer(token, person.backup_codes[0]).verified
    if kind == "recovery":
        return client.recover(token)
    return client.is_trusted(person.account, token)


# The format


@each_kind
def test_a_token_is_what_python_computes_from_the_key_file(app, dba, key_file, person, kind):
    text = make(app, kind, person.account, ttl="90 s")
    token = SignedToken.read(text, key_file.keys[0])
    assert token.signed(key_file.keys[0]) == text
    assert (token.kind, len(text)) == (kind, CHARACTERS)
    row = dba.row("SELECT * FROM totp.tokens WHERE id = %s", UUID(bytes=token.id))
    assert (row.kind, row.account) == (kind, person.account)
    assert round(row.expires_at.timestamp() * 1_000_000) == token.expires_at
    assert (row.expires_at - row.created_at).total_seconds() == 90


def test_no_two_tokens_are_alike(app, account):
    tokens = {app.challenge(account) for _ in range(100)}
    assert len(tokens) == 100


# Changed tokens


@each_kind
def test_a_flipped_bit_in_any_byte_is_noticed(app, person, kind):
    token = make(app, kind, person.account)
    raw = decoded(token)
    for place in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[place] ^= 1 << bit
            assert not accepts(app, kind, person, encoded(changed)), (place, bit)
    assert app.status(person.account).failures == 0
    assert accepts(app, kind, person, token)


@each_kind
def test_bits_that_base64_does_not_need_must_be_as_they_were(app, person, kind):
    # 78 characters hold 4 bits more than 58 bytes do. A second spelling would be a second token.
    token = make(app, kind, person.account)
    spellings = [token[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop-_"]
    assert sum(decoded(text) == decoded(token) for text in spellings) > 1
    for text in spellings:
        if text != token:
            assert not accepts(app, kind, person, text), text[-1]
    assert accepts(app, kind, person, token)


@each_kind
def test_a_token_that_lacks_or_has_more_characters_is_none(app, person, kind):
    token = make(app, kind, person.account)
    shorter = [token[:length] for length in range(len(token))]
    shorter += [token[start:] for start in range(1, len(token))]
    longer = [token + more for more in ("=", "==", "A", " ", "\n", ".", token)]
    longer += [before + token for before in (" ", "\n", "A", "=")]
    for text in shorter + longer:
        assert not accepts(app, kind, person, text), text
    assert accepts(app, kind, person, token)


@each_kind
@pytest.mark.parametrize(
    "text",
    [None, "", " ", "x", "A" * CHARACTERS, "é" * (CHARACTERS // 2), "A" * 1_000_000],
    ids=["NULL", "empty", "blank", "letter", "78 letters", "78 bytes", "1 MB"],
)
def test_what_is_no_token_is_refused(app, person, kind, text):
    assert accepts(app, kind, person, text) is False
    assert app.call("challenge_account", token=text)[0] is None


# Tokens for something else


@each_kind
@pytest.mark.parametrize("use", KINDS)
def test_a_token_is_good_for_its_own_kind_only(app, person, kind, use):
    token = make(app, kind, person.account)
    assert accepts(app, use, person, token) is (kind == use)


@each_kind
@pytest.mark.parametrize("use", KINDS)
def test_even_a_signature_for_another_kind_finds_no_row(app, key_file, person, kind, use):
    key = key_file.keys[0]
    token = SignedToken.read(make(app, kind, person.account), key)
    assert accepts(app, use, person, replace(token, kind=use).signed(key)) is (kind == use)


@pytest.mark.parametrize(
    ("made", "used"), [("login", "transfer"), ("transfer", "login"), ("Login", "login")]
)
def test_another_purpose_is_refused(app, person, made, used):
    token = app.challenge(person.account, purpose=made)
    code = person.phone.take(app.now)
    refusal = app.answer(token, code, purpose=used)
    assert (refusal.verified, refusal.reason, refusal.account) == (False, "invalid", None)
    assert app.answer(token, code, purpose=made).verified


@pytest.mark.parametrize(
    ("made", "used"),
    [
        ({"binding": "transfer 7"}, {"binding": "transfer 8"}),
        ({"binding": "transfer 7"}, {"binding": "Transfer 7"}),
        ({"binding": "transfer 7"}, {"binding": "transfer 7 "}),
        ({"binding": "transfer 7"}, {"binding": ""}),
        ({"binding": "transfer 7"}, {"binding": None}),
        ({"binding": "transfer 7"}, {}),
        ({"binding": "transfer 7"}, {"binding": "x" * 1_000_000}),
        ({}, {"binding": "transfer 7"}),
        ({}, {"binding": ""}),
        ({}, {"binding": "\x01"}),
    ],
    ids=lambda options: f"{options.get('binding', 'none')!r:.14}",
)
def test_another_binding_is_refused(app, person, made, used):
    token = app.challenge(person.account, **made)
    code = person.phone.take(app.now)
    refusal = app.answer(token, code, **used)
    assert (refusal.verified, refusal.reason, refusal.account) == (False, "invalid", None)
    assert app.status(person.account).failures == 0, "nothing was compared"
    assert app.answer(token, code, **made).verified


def test_wrong_bindings_use_a_challenge_up(app, person):
    token = app.challenge(person.account, binding="this session")
    seen = [app.answer(token, "123456", binding=f"session {n}").reason for n in range(6)]
    assert seen == ["invalid"] * 5 + ["spent"]
    assert app.answer(token, person.backup_codes[0], binding="this session").reason == "spent"
    assert app.status(person.account).failures == 0


# Tokens of somewhere else


@each_kind
def test_a_token_of_another_server_s_key_is_forged(app, key_file, person, kind):
    token = SignedToken.read(make(app, kind, person.account), key_file.keys[0])
    elsewhere = token.signed(Fernet.generate_key().decode())
    assert not accepts(app, kind, person, elsewhere)
    if kind == "challenge":
        assert app.answer(elsewhere, person.backup_codes[0]).reason == "invalid"


@each_kind
def test_a_token_of_another_database_has_no_row(cluster, app, other_database, account, kind):
    """It is signed with the same key: databases of one server share the key file."""
    install(cluster, other_database)
    person = app.enrol(account)
    with cluster.connect(dbname=other_database) as connection:
        other = Client(connection)
        other.enrol(account)
        token = make(other, kind, account)
        assert not accepts(app, kind, person, token)
        if kind == "challenge":
            assert app.answer(token, person.backup_codes[0]).reason == "spent"
            assert other.call("challenge_account", token=token)[0] == account


def test_a_device_that_one_account_trusts_is_not_trusted_by_another(app, person):
    token = app.trust(person.account)
    other = app.enrol(f"{person.account}-other")
    assert app.is_trusted(other.account, token) is False
    assert app.is_trusted(person.account.upper(), token) is False
    assert app.is_trusted(person.account, token) is True


# Time


@each_kind
@pytest.mark.parametrize(
    ("seconds", "is_good"), [(59, True), (59.999999, True), (60, False), (61, False)]
)
def test_a_token_lives_until_its_end(traveller, account, kind, seconds, is_good):
    person = traveller.enrol(account)
    token = make(traveller, kind, account, ttl="60 s")
    traveller.wait(seconds)
    assert accepts(traveller, kind, person, token) is is_good


def test_an_expired_challenge_says_so_and_spends_no_code(traveller, account):
    person = traveller.enrol(account)
    token = traveller.challenge(account)
    traveller.wait(301)
    verdict = traveller.answer(token, person.backup_codes[0])
    assert (verdict.reason, verdict.account) == ("expired", None)
    assert traveller.backup_verify(account, person.backup_codes[0])


@pytest.mark.parametrize(
    ("kind", "seconds"), [("challenge", 300), ("recovery", 3_600), ("trust", 30 * 86_400)]
)
def test_a_token_lives_as_long_as_the_setting_says(traveller, key_file, account, kind, seconds):
    traveller.enrol(account)
    token = SignedToken.read(make(traveller, kind, account), key_file.keys[0])
    assert token.expires_at == (traveller.now + seconds) * 1_000_000


# Used tokens


def test_a_challenge_is_met_once(app, person):
    token = app.challenge(person.account)
    assert app.answer(token, person.phone.take(app.now)).verified
    again = app.answer(token, person.backup_codes[0])
    assert (again.verified, again.reason, again.account) == (False, "spent", None)
    assert app.call("challenge_account", token=token)[0] is None
    assert app.backup_verify(person.account, person.backup_codes[0]), "it was not looked at"


def test_a_recovery_works_once(app, person):
    token = app.recovery(person.account)
    assert app.recover(token) is True
    assert not app.is_enabled(person.account)
    again = app.enrol(person.account)
    assert app.recover(token) is False
    assert app.verify(again.account, again.phone.take(app.now))


def test_a_trusted_device_is_used_again_and_again(app, person):
    token = app.trust(person.account)
    assert [app.is_trusted(person.account, token) for _ in range(10)] == [True] * 10
    assert app.call("trust_revoke", account=person.account)[0] == 1
    assert app.is_trusted(person.account, token) is False


def test_a_device_is_not_trusted_before_a_code_was(traveller, account):
    traveller.create(account)
    for name in (account, f"{account}-unknown"):
        with pytest.raises(Exception) as caught:
            traveller.trust(name)
        assert caught.value.sqlstate == "42501"


def test_the_sixth_code_is_not_looked_at(patient, account):
    person = patient.enrol(account)
    token = patient.challenge(account)
    codes = wrong_codes(person, patient.now)
    seen = [patient.answer(token, next(codes)).reason for _ in range(5)]
    assert seen == ["invalid"] * 5
    right = person.phone.take(patient.now)
    verdict = patient.answer(token, right)
    assert (verdict.verified, verdict.reason) == (False, "spent")
    assert patient.status(account).failures == 5
    assert patient.verify(account, right), "the code was not spent"


def test_the_fifth_code_can_be_right(patient, account):
    person = patient.enrol(account)
    token = patient.challenge(account)
    codes = wrong_codes(person, patient.now)
    assert [patient.answer(token, next(codes)).verified for _ in range(4)] == [False] * 4
    assert patient.answer(token, person.phone.take(patient.now)).verified


# Accounts that changed


def disable(dba, person):
    assert dba.disable(person.account, person.backup_codes[1])


def remove(dba, person):
    arguments = {"label": "second", "code": person.backup_codes[1]}
    assert dba.call("totp_remove", account=person.account, **arguments)[0]


def add(dba, person):
    dba.enrol(person.account, label="third")


def replace_phone(dba, person):
    dba.enrol(person.account)


def reset(dba, person):
    assert dba.call("totp_reset", account=person.account, reason="a test")[0]


def import_factor(dba, person):
    secret = Authenticator("otpauth://totp/x?secret=" + "A" * 32).totp.secret
    options = {"uri": secret, "label": "imported", "reason": "a test"}
    assert dba.call("totp_import", account=person.account, **options)[0]


def rename(dba, person):
    new = {"new_account": f"{person.account}-new", "reason": "a test"}
    assert dba.call("totp_rename", account=person.account, **new)[0]


def rename_and_back(dba, person):
    rename(dba, person)
    back = {"new_account": person.account, "reason": "a test"}
    assert dba.call("totp_rename", account=f"{person.account}-new", **back)[0]


def forget(dba, person):
    assert dba.call("totp_forget", account=person.account, reason="a test")[0]


def forget_and_enrol(dba, person):
    forget(dba, person)
    person.backup_codes = dba.enrol(person.account).backup_codes


def recover(dba, person):
    assert dba.recover(dba.recovery(person.account))


CHANGES = [
    *(disable, remove, add, replace_phone, reset, import_factor, rename, rename_and_back),
    *(forget, forget_and_enrol, recover),
]


@each_kind
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_factors_revokes_a_token(dba, account, kind, change):
    person = dba.enrol(account)
    dba.enrol(account, label="second")
    token = make(dba, kind, account)
    change(dba, person)
    assert not accepts(dba, kind, person, token)
    person.account = f"{account}-new"
    assert not accepts(dba, kind, person, token), "nor for the new name"
    assert dba.call("challenge_account", token=token)[0] is None


@pytest.mark.parametrize("kind", ["challenge", "recovery"])
@pytest.mark.parametrize("change", ["enrolment", "rename"])
def test_a_token_from_before_there_was_such_an_account_stays_worthless(dba, account, kind, change):
    token = make(dba, kind, account)
    if change == "enrolment":
        person = dba.enrol(account)
    else:
        person = dba.enrol(f"{account}-old")
        new = {"new_account": account, "reason": "a test"}
        assert dba.call("totp_rename", account=person.account, **new)[0]
    assert dba.is_enabled(account)
    assert not accepts(dba, kind, person, token)


@each_kind
def test_a_change_of_one_account_leaves_the_tokens_of_others(dba, account, kind):
    one, other = dba.enrol(account), dba.enrol(f"{account}-other")
    token = make(dba, kind, other.account)
    reset(dba, one)
    assert accepts(dba, kind, other, token)


@each_kind
def test_new_backup_codes_leave_a_token_as_it_is(dba, account, kind):
    person = dba.enrol(account)
    token = make(dba, kind, account)
    person.backup_codes = dba.backup_rotate(account, person.backup_codes[0])
    assert accepts(dba, kind, person, token)


# Keys that changed


@each_kind
def test_a_token_from_before_a_rotation_works_until_its_key_is_removed(
    app, key_file, account, kind
):
    person = app.enrol(account)
    old, new = key_file.keys[0], Fernet.generate_key().decode()
    first, second = make(app, kind, account), make(app, kind, account)
    key_file.write(new, old)
    assert accepts(app, kind, person, first)
    key_file.write(new)
    assert not accepts(app, kind, person, second)
    if kind == "challenge":
        assert app.answer(second, person.backup_codes[1]).reason == "invalid"


@each_kind
def test_new_tokens_are_signed_with_the_first_key(app, key_file, person, kind):
    new = Fernet.generate_key().decode()
    key_file.write(new, *key_file.keys)
    text = make(app, kind, person.account)
    assert SignedToken.read(text, new).signed(new) == text


# What a forged token costs


# They hold what the session has not reported yet, also of its earlier transactions.
COUNTERS = """
    SELECT relname, seq_scan, idx_scan, n_tup_ins, n_tup_upd, n_tup_del
    FROM pg_stat_xact_all_tables WHERE schemaname = 'totp'
"""


def tables_touched(client, kind, person, token):
    """The tables of totp that one use of a token reads or writes."""
    with client.connection.transaction(force_rollback=True):
        before = client.rows(COUNTERS)
        accepts(client, kind, person, token)
        return {row.relname for row in set(client.rows(COUNTERS)) - set(before)}


@each_kind
def test_a_forged_token_costs_no_look_at_a_table(dba, key_file, account, kind):
    person = dba.enrol(account)
    token = SignedToken.read(make(dba, kind, account), key_file.keys[0])
    forged = [token.signed(Fernet.generate_key().decode()), "A" * CHARACTERS, None, "x"]
    forged += [make(dba, other, account) for other in KINDS if other != kind]
    for text in forged:
        assert tables_touched(dba, kind, person, text) == set(), text
    ended = replace(token, expires_at=1_000_000).signed(key_file.keys[0])
    assert tables_touched(dba, kind, person, ended) == set()
    # One that is signed is looked up: the statistics would have told.
    unknown = replace(token, id=secrets.token_bytes(16)).signed(key_file.keys[0])
    assert "tokens" in tables_touched(dba, kind, person, unknown)


def test_a_transaction_with_an_old_snapshot_does_not_see_a_revocation(cluster, app, dba, account):
    app.enrol(account)
    token = make(app, "trust", account)
    with cluster.connect("app", DATABASE, autocommit=False) as connection:
        client = Client(connection)
        client.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert client.is_trusted(account, token)
        dba.call("totp_reset", account=account, reason="a test")
        assert client.is_trusted(account, token)
        connection.rollback()
        assert not client.is_trusted(account, token)


def test_a_recovery_lifts_the_lock(app, account):
    """There is nothing left to guess, and the owner must be able to enrol again."""
    person = app.enrol(account)
    app.fail(person, 5)
    assert app.status(account).locked_until is not None
    assert app.recover(app.recovery(account))
    status = app.status(account)
    assert (status.failures, status.locked_until) == (0, None)
    assert app.enrol(account).backup_codes


def test_a_code_lets_any_device_of_the_account_be_trusted(cluster, app, account):
    """The backend knows whose request the code was in; the function does not."""
    app.enrol(account)
    with cluster.connect("app", DATABASE) as connection:
        other = Client(connection)
        assert app.is_trusted(account, other.trust(account))
