"""Secrets imported from other systems and exported to them, checked with pyotp.

The URIs are in tests/vectors/uris.csv: as common apps and services write them, and odd ones.
"""

import base64
import csv
import hashlib
import re

import pyotp
import pytest

from client import Client
from cluster import ROOT
from conftest import DATABASE
from model import App
from refusal import BAD_ARGUMENT, refused
from test_uri import read_strictly

REASON = "moves here"
S80, S128 = "JBSWY3DPEHPK3PXP", "MNQHE2LDMUQGC3TEMJXWEYLMNE"
S160 = "HXDMVJECJJWSRB3HWIZR4IFUGFTMXBOZ"


def vectors():
    with (ROOT / "tests" / "vectors" / "uris.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def contents_of(row):
    """The secret, issuer, account name, algorithm, digits and period in a URI."""
    names = row["issuer"] or None, row["account_name"] or None
    return (row["secret"], *names, row["algorithm"], int(row["digits"]), int(row["period"]))


# Each URI with its contents.
URIS = {row["writer"]: (row["uri"], contents_of(row)) for row in vectors() if not row["refusal"]}
REFUSED = {
    **{row["writer"]: row["uri"] for row in vectors() if row["refusal"]},
    "two lines": f"otpauth://totp/A:b?secret={S160}\notpauth://totp/C:d?secret={S128}&digits=8",
    "five kilobytes": f"otpauth://totp/A:b?secret={S160}&image=" + "x" * 5000,
}


@pytest.fixture
def admin(cluster):
    with cluster.connect("administrator", DATABASE) as connection:
        yield Client(connection)


@pytest.fixture
def notices(admin):
    seen = []
    admin.connection.add_notice_handler(lambda notice: seen.append(notice.message_primary))
    return seen


def import_(admin, account, uri, **options):
    return admin.call("totp_import", account=account, uri=uri, reason=REASON, **options)[0]


def export(admin, account, label="default"):
    return admin.call("totp_export", account=account, label=label, reason=REASON)[0]


@pytest.mark.parametrize(("uri", "contents"), URIS.values(), ids=URIS.keys())
def test_a_uri_as_apps_write_it_is_imported_and_works_at_once(
    admin, traveller, account, uri, contents
):
    assert import_(admin, account, uri) is True
    for _ in range(2):
        code = code_of(contents, traveller.now)
        assert traveller.verify(account, code) is True
        assert traveller.verify(account, code) is False
        traveller.wait(contents[-1])


@pytest.mark.parametrize(("uri", "contents"), URIS.values(), ids=URIS.keys())
def test_the_export_is_an_equal_uri(admin, account, uri, contents):
    import_(admin, account, uri)
    secret, issuer, account_name, algorithm, digits, period = contents
    expected = (secret, issuer or DATABASE, account_name or account, algorithm, digits, period)
    exported = export(admin, account)
    assert read(exported) == expected
    import_(admin, f"{account}-again", exported)
    assert export(admin, f"{account}-again") == exported


@pytest.mark.parametrize("uri", REFUSED.values(), ids=REFUSED.keys())
def test_any_other_text_is_refused_and_not_repeated(admin, account, uri):
    with refused(BAD_ARGUMENT, without=re.findall("[A-Z2-7]{16,}", uri)):
        import_(admin, account, uri)
    assert admin.is_enabled(account) is False


@pytest.mark.parametrize(("name", "word"), [("Aegis: HOTP", "hotp"), ("Aegis: Steam", "steam")])
def test_kinds_that_are_not_totp_are_refused_by_name(admin, account, name, word):
    with refused(BAD_ARGUMENT) as caught:
        import_(admin, account, REFUSED[name])
    assert word in caught.value.diag.message_detail


@pytest.mark.parametrize("name", ["ten digits", "a period of an hour", "an unknown hash"])
def test_an_unsupported_uri_is_answered_with_advice_that_fits(admin, account, name):
    with refused(BAD_ARGUMENT) as caught:
        import_(admin, account, REFUSED[name])
    assert caught.value.diag.message_primary.startswith("uri ")
    assert "totp_create" in caught.value.diag.message_hint


@pytest.mark.parametrize(
    ("algorithm", "digits", "period"), [("SHA1", 6, 30), ("SHA256", 8, 60), ("SHA512", 7, 1)]
)
def test_the_export_of_a_created_factor_is_its_uri(
    admin, traveller, account, algorithm, digits, period
):
    options = {"algorithm": algorithm, "digits": digits, "period": period}
    created = traveller.create(account, issuer="Ünï & 100%", account_name="a:b+c d", **options)
    code = pyotp.parse_uri(created.uri).at(traveller.now)
    assert traveller.confirm(account, code).confirmed
    assert export(admin, account) == created.uri


def test_a_secret_below_128_bits_is_taken_with_a_notice(admin, notices, account):
    import_(admin, account, S80)
    assert notices == ["the imported secret has fewer than 128 bits"]
    import_(admin, f"{account}-strong", S128)
    assert len(notices) == 1


def test_an_import_takes_no_backup_codes_and_no_factor_away(admin, traveller, account):
    person = traveller.enrol(account)
    with refused("42710"):
        import_(admin, account, S160)
    assert import_(admin, account, S160, label="old phone") is True
    status = traveller.status(account)
    assert (status.factors, status.backup_codes_left) == (2, 10)
    traveller.wait(30)
    assert traveller.verify(account, person.phone.take(traveller.now))
    assert traveller.verify(account, pyotp.TOTP(S160).at(traveller.now))


def test_a_secret_under_two_labels_is_one_secret_whose_codes_count_once(admin, traveller, account):
    import_(admin, account, S160)
    try:
        import_(admin, account, S160, label="again")
    except Exception as error:
        assert error.sqlstate == "42710"
    code = pyotp.TOTP(S160).at(traveller.now)
    assert [traveller.verify(account, code) for _ in range(3)] == [True, False, False]


def test_a_secret_that_differs_in_padding_only_is_the_same(admin, account):
    """HMAC pads keys with zero bytes, so both have the same codes."""
    import_(admin, account, S160)
    padded = base64.b32encode(base64.b32decode(S160) + bytes(5)).decode()
    assert pyotp.TOTP(padded).at(0) == pyotp.TOTP(S160).at(0)
    with refused("42710"):
        import_(admin, account, padded, label="again")


def test_a_secret_that_waits_under_another_label_counts_once(admin, traveller, account):
    created = traveller.create(account)
    try:
        import_(admin, account, created.uri, label="again")
    except Exception as error:
        assert error.sqlstate == "42710"
    code = pyotp.parse_uri(created.uri).at(traveller.now)
    accepted = [traveller.verify(account, code)]
    try:
        accepted.append(traveller.confirm(account, code).confirmed)
    except Exception as error:
        assert error.sqlstate == "42704"
    accepted.append(traveller.verify(account, code))
    assert accepted.count(True) == 1


def test_an_export_is_told_of_in_the_audit_trail_without_the_secret(admin, account):
    import_(admin, account, S160)
    export(admin, account)
    rows = admin.rows(
        "SELECT event, actor, detail FROM totp.audit_log WHERE account = %s ORDER BY id", account
    )
    assert [(row.event, row.actor) for row in rows] == [
        ("import", "administrator"),
        ("export", "administrator"),
    ]
    assert all(row.detail["reason"] == REASON for row in rows)
    assert S160 not in str(rows)


def is_strong(secret):
    """Whether pyotp takes it. Apps do not mind."""
    return len(secret) * 5 >= 112


def code_of(contents, moment):
    """The code that an app shows."""
    secret, _, _, algorithm, digits, period = contents
    if is_strong(secret):
        digest = getattr(hashlib, algorithm.lower())
        return pyotp.TOTP(secret, digits=digits, digest=digest, interval=period).at(moment)
    app = App(secret, algorithm, digits, period)
    return app.code(app.step(int(moment)))


def read(uri):
    """What independent parsers read in a URI."""
    issuer, account_name, parameters = read_strictly(uri)
    secret, algorithm = parameters["secret"], parameters["algorithm"]
    digits, period = int(parameters["digits"]), int(parameters["period"])
    assert parameters["issuer"] == issuer
    if is_strong(secret):
        peer = pyotp.parse_uri(uri)
        assert (peer.secret, peer.issuer, peer.name) == (secret, issuer, account_name)
        assert peer.digest().name.upper() == algorithm
        assert (peer.digits, peer.interval) == (digits, period)
    return secret, issuer, account_name, algorithm, digits, period


def test_an_import_without_a_reason_names_its_actor(dba, account):
    assert dba.call("totp_import", account=account, uri="JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")[0]
    query = "SELECT actor, detail FROM totp.audit_log WHERE account = %s AND event = 'import'"
    assert dba.row(query, account) == ("postgres", {"label": "default", "weak": False})
