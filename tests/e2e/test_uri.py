"""The otpauth URI, as independent parsers read it."""

import base64
import string
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest

from refusal import BAD_ARGUMENT, refused
from text import NAMES, by_name

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
URI_CHARACTERS = set(string.ascii_letters + string.digits + "-._~:/?&=%")


def read_strictly(uri):
    """Issuer, account name and parameters by RFC 3986, with a plus meaning a plus."""
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    issuer, colon, account_name = parts.path.removeprefix("/").partition(":")
    assert colon
    assert "+" not in parts.query
    parameters = parse_qs(parts.query, strict_parsing=True)
    assert all(len(values) == 1 for values in parameters.values())
    return unquote(issuer), unquote(account_name), {k: v for k, (v,) in parameters.items()}


@pytest.mark.parametrize("account_name", **by_name(NAMES))
@pytest.mark.parametrize("issuer", **by_name(NAMES))
def test_pyotp_reads_what_was_put_into_the_uri(stranger, issuer, account_name):
    uri = stranger.value("SELECT totp.totp_uri(%s, %s, %s)", SECRET, account_name, issuer)
    assert set(uri) <= URI_CHARACTERS, uri
    peer = pyotp.parse_uri(uri)
    assert (peer.secret, peer.issuer, peer.name) == (SECRET, issuer, account_name)
    strict = read_strictly(uri)
    assert strict[:2] == (issuer, account_name)
    assert strict[2]["issuer"] == issuer


@pytest.mark.parametrize("name", **by_name(NAMES))
def test_totp_create_puts_issuer_and_account_name_into_the_uri(app, account, name):
    created = app.create(account, issuer=name, account_name=f"{name}@")
    peer = pyotp.parse_uri(created.uri)
    assert (peer.secret, peer.issuer, peer.name) == (created.secret, name, f"{name}@")


def test_the_account_and_the_database_are_the_default_names(app, account):
    database = app.value("SELECT current_database()")
    issuer, account_name, _ = read_strictly(app.create(account).uri)
    assert (issuer, account_name) == (database, account)


def test_the_setting_totp_issuer_is_the_default_issuer(dba, account):
    with dba.connection.transaction():
        dba.execute("SET LOCAL totp.issuer = 'Acme & Co'")
        assert read_strictly(dba.create(account).uri)[0] == "Acme & Co"


def test_an_account_with_colons_is_no_part_of_the_issuer(app, account):
    name = f"urn:{account}:x"
    created = app.create(name, issuer="Acme")
    peer = pyotp.parse_uri(created.uri)
    assert (peer.issuer, peer.name) == ("Acme", name)


@pytest.mark.parametrize(
    ("algorithm", "digits", "period", "length"),
    [("SHA1", 6, 30, 20), ("SHA256", 7, 60, 32), ("SHA512", 8, 120, 64), ("SHA1", 8, 1, 20)],
)
def test_the_uri_spells_out_how_codes_are_made(app, account, algorithm, digits, period, length):
    created = app.create(account, algorithm=algorithm, digits=digits, period=period)
    peer = pyotp.parse_uri(created.uri)
    assert (peer.digest().name.upper(), peer.digits, peer.interval) == (algorithm, digits, period)
    parameters = read_strictly(created.uri)[2]
    expected = {"algorithm": algorithm, "digits": str(digits), "period": str(period)}
    assert expected.items() <= parameters.items()
    assert "=" not in created.secret
    assert len(base64.b32decode(created.secret + "=" * (-len(created.secret) % 8))) == length


def test_secrets_do_not_repeat(app, account):
    assert len({app.create(account).secret for _ in range(20)}) == 20


@pytest.mark.parametrize("issuer", ["Acme:Inc", ":", "a:"])
def test_an_issuer_with_a_colon_is_refused(app, stranger, account, issuer):
    with refused(BAD_ARGUMENT):
        app.create(account, issuer=issuer)
    with refused(BAD_ARGUMENT):
        stranger.value("SELECT totp.totp_uri(%s, %s, %s)", SECRET, account, issuer)
    assert not app.status(account).pending


def test_a_default_issuer_with_a_colon_is_refused(dba, account):
    with dba.connection.transaction(), refused(BAD_ARGUMENT):
        dba.execute("SET LOCAL totp.issuer = 'Acme: Inc'")
        dba.create(account)


def test_the_readable_forms_of_a_secret_give_one_uri(stranger):
    uri = "SELECT totp.totp_uri(%s, 'alice', 'Acme')"
    expected = stranger.value(uri, SECRET)
    for form in [SECRET.lower(), f" {SECRET} ", SECRET[:16] + "-" + SECRET[16:], SECRET + "===="]:
        assert stranger.value(uri, form) == expected
