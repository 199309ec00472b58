"""Bad and strange arguments: they work, or are refused with 22023. Nothing crashes."""

import base64

import psycopg
import pyotp
import pytest

from authenticator import Authenticator
from function import OF_ACCOUNTS, OF_SECRETS, call_with_secret
from refusal import BAD_ARGUMENT, refused
from text import ACCOUNTS, by_name

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
TEN_MEGABYTES = "x" * 10_000_000


@pytest.mark.parametrize("function", OF_ACCOUNTS)
@pytest.mark.parametrize(
    "account",
    [None, "", "a" * 256, "🔑" * 256, TEN_MEGABYTES],
    ids=["NULL", "empty", "256 letters", "256 emoji", "10 MB"],
)
def test_an_account_that_is_none_is_refused(app, function, account):
    with refused(BAD_ARGUMENT, without=["aaaa", "🔑", "xxxx"]):
        app.call(function, account=account, **OF_ACCOUNTS[function])


def test_a_compressed_account_of_10_mb_is_refused_before_it_is_unpacked(dba):
    with dba.connection.transaction():
        dba.execute("CREATE TEMP TABLE stored ON COMMIT DROP AS SELECT repeat('x', 10000000) AS t")
        with refused(BAD_ARGUMENT):
            dba.execute("SELECT totp.totp_verify(t, '123456') FROM stored")


@pytest.mark.parametrize("name", **by_name(ACCOUNTS))
def test_an_account_of_any_other_text_does_the_whole_job(app, account, name):
    # The text alone may belong to another test.
    account = name if len(name) == 255 else f"{name}{account}"[:255]
    # 255 emoji, percent-encoded, do not fit into a QR code.
    person = app.enrol(account, account_name="someone")
    assert app.verify(account, person.phone.wrong(app.now)) is False
    assert app.verify(account, person.phone.take(app.now)) is True
    assert app.backup_verify(account, person.backup_codes[0]) is True
    assert app.status(account).backup_codes_left == 9
    verdict = app.attempt(account, person.backup_codes[1])
    assert (verdict.account, verdict.verified) == (account, True)
    assert app.disable(account, person.backup_codes[2]) is True
    assert app.is_enabled(account) is False


def test_accounts_that_look_alike_are_different(app, account):
    composed, decomposed = f"{account}\u00e9", f"{account}e\u0301"
    person = app.enrol(composed)
    code = person.phone.take(app.now)
    for other in (
        decomposed,
        f" {composed}",
        f"{composed} ",
        composed.upper(),
        f"{composed}\u200b",
    ):
        assert app.is_enabled(other) is False
        assert app.verify(other, code) is False
    assert app.verify(composed, code) is True


def test_an_account_cannot_hold_nul(app):
    with pytest.raises(psycopg.DataError):
        app.verify("a\0b", "123456")
    with pytest.raises(psycopg.Error) as caught:
        app.execute(r"SELECT totp.totp_verify(E'a\x00b', '123456')")
    assert caught.value.sqlstate == "22021"


def test_an_account_that_is_not_utf8_is_refused_by_the_server(app):
    with pytest.raises(psycopg.Error) as caught:
        app.execute(r"SELECT totp.totp_verify(E'a\xff\xfeb', '123456')")
    assert caught.value.sqlstate == "22021"


# What cannot be a code. The braces stand for the right one.
NO_CODES = {
    "NULL": None,
    "empty": "",
    "blanks": "   ",
    "letters": "abcdef",
    "5 digits": "12345",
    "9 digits": "123456789",
    "100,000 digits": "1" * 100_000,
    "10 MB of blanks": " " * 10_000_000,
    "leading plus": "+{}",
    "negative": "-{}",
    "hexadecimal": "0x{}",
    "exponent": "1e5",
    "fraction": "{}.0",
    "trailing letter": "{}a",
    "trailing dash": "{}-",
    "minus sign": "\u2212{}",
    "keycap": "{}\u20e3",
    "comma": "{},",
    "quote": "{}'",
    "twice": "{}{}",
    "100,000 digits after the code": "{}" + "1" * 100_000,
}


def full_width(code):
    return "".join(chr(ord("０") + int(digit)) for digit in code)


def arabic(code):
    return "".join(chr(ord("٠") + int(digit)) for digit in code)


def mathematical(code):
    return "".join(chr(ord("𝟎") + int(digit)) for digit in code)


@pytest.mark.parametrize("shape", NO_CODES.values(), ids=NO_CODES.keys())
def test_what_cannot_be_a_code_is_refused_and_neither_counted_nor_audited(app, dba, account, shape):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    assert_no_code(app, dba, account, shape and shape.replace("{}", code))
    assert app.verify(account, code) is True


@pytest.mark.parametrize("spell", [full_width, arabic, mathematical], ids=lambda f: f.__name__)
def test_digits_of_other_scripts_are_no_code(app, dba, account, spell):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    assert_no_code(app, dba, account, spell(code))
    assert app.verify(account, code) is True


def assert_no_code(app, dba, account, text):
    events = "SELECT count(*) FROM totp.audit_events WHERE account = %s"
    before = dba.value(events, account)
    assert app.verify(account, text) is False
    assert app.backup_verify(account, text) is False
    assert app.disable(account, text) is False
    assert app.backup_rotate(account, text) is None
    assert app.attempt(account, text)[:6] == (False, account, None, None, "invalid", None)
    assert app.status(account).failures == 0
    assert dba.value(events, account) == before


@pytest.mark.parametrize("text", [None, "", "abcdef", "12345", "+123456", "１２３４５６"], ids=repr)
def test_what_cannot_be_a_code_confirms_nothing_and_is_not_counted(app, account, text):
    phone = Authenticator(app.create(account).uri)
    refusal = app.confirm(account, text)
    assert (refusal.confirmed, refusal.backup_codes, refusal.reason) == (False, None, "invalid")
    assert app.status(account).failures == 0
    assert app.confirm(account, phone.take(app.now)).confirmed


@pytest.mark.parametrize("text", [None, "", "abcdef", "123456"], ids=repr)
def test_what_cannot_be_a_code_is_no_code_of_an_unknown_account(app, account, text):
    assert app.verify(account, text) is False
    assert app.attempt(account, text).reason == "not_enrolled"
    assert app.backup_verify(account, text) is False
    assert app.disable(account, text) is False


def test_a_code_of_another_length_is_a_wrong_code(app, account):
    person = app.enrol(account)
    code = person.phone.take(app.now)
    for wrong in (code + "0", "00" + code):
        assert app.verify(account, wrong) is False
    assert app.status(account).failures == 2


def test_digits_without_letters_can_be_a_backup_code(app, account):
    app.enrol(account)
    assert app.attempt(account, "1234567890123456").reason == "invalid"
    assert app.status(account).failures == 1


BAD_PARAMETERS = [
    *({"algorithm": name} for name in ("", "MD5", "SHA", "SHA-1", "SHA224", "SHAKE128", "SHA1\n")),
    {"algorithm": TEN_MEGABYTES},
    *({"digits": digits} for digits in (5, 9, 0, -6, 10, 2_147_483_647, -2_147_483_648)),
    *({"period": period} for period in (0, 121, -1, -30, 2_147_483_647, -2_147_483_648)),
]


def short(parameters):
    return ",".join(f"{name}={value!r:.20}" for name, value in parameters.items())


@pytest.mark.parametrize("parameters", BAD_PARAMETERS, ids=short)
def test_bad_parameters_of_codes_are_refused_everywhere(app, stranger, account, parameters):
    with refused(BAD_ARGUMENT, without=["xxxx"]):
        app.create(account, **parameters)
    assert not app.status(account).pending
    at = stranger.value("SELECT now()")
    for function, arguments in [
        ("totp_code", {"at": at}),
        ("totp_check", {"at": at, "code": "123456"}),
        ("totp_uri", {"account_name": "alice", "issuer": "Acme"}),
    ]:
        with refused(BAD_ARGUMENT, without=["xxxx"]):
            stranger.call(function, secret=SECRET, **arguments, **parameters)


@pytest.mark.parametrize(
    "label", ["", "l" * 65, "🔑" * 65, TEN_MEGABYTES], ids=lambda text: text[:3]
)
def test_a_label_that_is_none_is_refused(app, account, label):
    with refused(BAD_ARGUMENT, without=["llll", "xxxx"]):
        app.create(account, label=label)
    with refused(BAD_ARGUMENT, without=["llll", "xxxx"]):
        app.confirm(account, "123456", label=label)


@pytest.mark.parametrize("name", ["issuer", "account_name"])
@pytest.mark.parametrize("text", ["", TEN_MEGABYTES], ids=["empty", "10 MB"])
def test_an_issuer_or_account_name_that_is_none_is_refused(app, account, name, text):
    with refused(BAD_ARGUMENT, without=["xxxx"]):
        app.create(account, **{name: text})
    assert not app.status(account).pending


def test_null_for_an_optional_argument_means_its_default(app, account):
    created = app.create(
        account,
        label=None,
        issuer=None,
        account_name=None,
        algorithm=None,
        digits=None,
        period=None,
    )
    assert created.uri.endswith("&algorithm=SHA1&digits=6&period=30")
    phone = Authenticator(created.uri)
    assert app.confirm(account, phone.take(app.now), label="default").confirmed


# Base32 as people copy it, and what is none.
READABLE = {
    "lower case": SECRET.lower(),
    "mixed case": "".join(c.lower() if n % 2 else c for n, c in enumerate(SECRET)),
    "blanks": " ".join(SECRET[n : n + 4] for n in range(0, 32, 4)),
    "dashes": "-".join(SECRET[n : n + 8] for n in range(0, 32, 8)),
    "padding": SECRET + "======",
    "line ends": f"\n{SECRET[:16]}\r\n\t{SECRET[16:]}\n",
}
UNREADABLE = {
    "0 for O": "0" + SECRET[1:],
    "1 for L": "1" + SECRET[1:],
    "8 for B": "8" + SECRET[1:],
    "9": SECRET[:-1] + "9",
    "umlaut": "Ä" + SECRET[1:],
    "full width": full_width("2") + SECRET[1:],
    "plus": "+" + SECRET[1:],
    "URI": f"otpauth://totp/x?secret={SECRET}",
    "NULL": None,
    "empty": "",
    "padding alone": "========",
    "10 MB": "A" * 10_000_000,
}


@pytest.mark.parametrize("form", READABLE.values(), ids=READABLE.keys())
@pytest.mark.parametrize("function", OF_SECRETS)
def test_base32_is_read_as_people_copy_it(stranger, function, form):
    assert call_with_secret(stranger, function, form) == call_with_secret(
        stranger, function, SECRET
    )


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.parametrize("function", OF_SECRETS)
def test_what_is_not_base32_is_refused(stranger, function, text):
    with refused(BAD_ARGUMENT, without=[SECRET[1:], "AAAAAA"]):
        call_with_secret(stranger, function, text)


@pytest.mark.parametrize("length", [0, 1, 9, 129, 1000])
@pytest.mark.parametrize("function", OF_SECRETS)
def test_a_secret_too_short_or_too_long_is_refused(stranger, dice, function, length):
    secret = base64.b32encode(dice.randbytes(length)).decode()
    with refused(BAD_ARGUMENT):
        call_with_secret(stranger, function, secret)


@pytest.mark.parametrize("length", [10, 16, 20, 32, 64, 127, 128])
def test_a_secret_of_any_other_length_is_used_whole(stranger, dice, length):
    raw = dice.randbytes(length - 2) + b"\0\xff"
    secret = base64.b32encode(raw).decode()
    code = call_with_secret(stranger, "totp_code", secret)
    peer = pyotp.HOTP(base64.b32encode(raw.ljust(20, b"\0")).decode())
    # HMAC pads short keys with zeros (RFC 2104), so a padded secret gives the same codes.
    assert code == peer.at(1111111109 // 30)


@pytest.mark.parametrize(
    "moment", ["-infinity", "infinity", "1969-12-31 23:59:59.999999+00", "4713-01-01 BC", None]
)
@pytest.mark.parametrize("function", ["totp_code", "totp_check"])
def test_a_time_without_steps_is_refused(stranger, function, moment):
    code = {"totp_code": "", "totp_check": "'123456', "}[function]
    with refused(BAD_ARGUMENT):
        stranger.value(f"SELECT totp.{function}(%s, {code}%s::timestamptz)", SECRET, moment)


def test_the_first_and_the_last_times_have_codes(stranger):
    query = "SELECT totp.totp_code(%s, %s::timestamptz), extract(epoch FROM %s::timestamptz)"
    for moment in ("1970-01-01 00:00:00+00", "294246-12-31 23:59:59+00"):
        code, seconds = stranger.row(query, SECRET, moment, moment)
        assert code == pyotp.TOTP(SECRET).generate_otp(int(seconds) // 30)


@pytest.mark.parametrize("drift_steps", [-1, -2_147_483_648, 2_147_483_647])
def test_a_drift_that_is_none_is_refused(stranger, drift_steps):
    query = "SELECT totp.totp_check(%s, '123456', now(), drift_steps => %s)"
    with refused(BAD_ARGUMENT):
        stranger.value(query, SECRET, drift_steps)


@pytest.mark.parametrize(
    "code", [None, "", "12345", "abcdef", "1" * 100_000], ids=lambda c: repr(c)[:9]
)
def test_totp_check_is_false_for_what_cannot_be_a_code(stranger, code):
    assert stranger.value("SELECT totp.totp_check(%s, %s, now())", SECRET, code) is False
