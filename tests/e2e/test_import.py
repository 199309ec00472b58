"""Secrets that come from other systems and go back to them, with pyotp as the judge.

The URIs are of the kinds that the usual apps and services write or export.
"""

import hashlib

import pyotp
import pytest

from client import Client
from conftest import DATABASE
from model import App
from refusal import BAD_ARGUMENT, refused
from test_uri import read_strictly

REASON = "moves here"
S80, S128, S130 = "JBSWY3DPEHPK3PXP", "MNQHE2LDMUQGC3TEMJXWEYLMNE", "4SJHB4GSD43FZBAI7C2HLRJGPQ"
S160, S256 = "HXDMVJECJJWSRB3HWIZR4IFUGFTMXBOZ", "GEZDGNBVGY3TQOJQ" * 3 + "GEZA"

# The URI; secret, issuer, account name, algorithm, digits and period that are in it.
URIS = {
    "Google Authenticator": (
        f"otpauth://totp/Google:alice%40gmail.com?secret={S160.lower()}&issuer=Google",
        (S160, "Google", "alice@gmail.com", "SHA1", 6, 30),
    ),
    "Google Authenticator, as its format is documented": (
        f"otpauth://totp/Big%20Corporation%3A%20alice%40bigco.com?secret={S80}",
        (S80, "Big Corporation", "alice@bigco.com", "SHA1", 6, 30),
    ),
    "Google Authenticator, all parameters": (
        f"otpauth://totp/ACME%20Co:john.doe@email.com?secret={S160}&issuer=ACME%20Co"
        "&algorithm=SHA1&digits=6&period=30",
        (S160, "ACME Co", "john.doe@email.com", "SHA1", 6, 30),
    ),
    "Microsoft Authenticator, work account": (
        f"otpauth://totp/Contoso+Services+Ltd.%3abob%40contoso.com?secret={S80.lower()}"
        "&issuer=Microsoft",
        (S80, "Microsoft", "bob@contoso.com", "SHA1", 6, 30),
    ),
    "Microsoft Authenticator, personal account": (
        f"otpauth://totp/Microsoft:bob@outlook.com?secret={S80}&issuer=Microsoft",
        (S80, "Microsoft", "bob@outlook.com", "SHA1", 6, 30),
    ),
    "ASP.NET Core Identity": (
        f"otpauth://totp/Web.Shop:bob%40example.com?secret={S160}&issuer=Web.Shop&digits=6",
        (S160, "Web.Shop", "bob@example.com", "SHA1", 6, 30),
    ),
    "Aegis": (
        f"otpauth://totp/Deno%3AMason?period=30&digits=6&algorithm=SHA1&secret={S130}&issuer=Deno",
        (S130, "Deno", "Mason", "SHA1", 6, 30),
    ),
    "Aegis, 7 digits of SHA256 in 20 seconds": (
        f"otpauth://totp/SPDX%3AJames?period=20&digits=7&algorithm=SHA256&secret={S130}"
        "&issuer=SPDX",
        (S130, "SPDX", "James", "SHA256", 7, 20),
    ),
    "Aegis, 8 digits of SHA512 in 50 seconds": (
        f"otpauth://totp/Airbnb%3AElijah?period=50&digits=8&algorithm=SHA512&secret={S130}"
        "&issuer=Airbnb",
        (S130, "Airbnb", "Elijah", "SHA512", 8, 50),
    ),
    "Aegis, no issuer": (
        f"otpauth://totp/Mason?period=30&digits=6&algorithm=SHA1&secret={S130}",
        (S130, None, "Mason", "SHA1", 6, 30),
    ),
    "FreeOTP": (
        f"otpauth://totp/Red%20Hat:carol%40redhat.com?secret={S256}&algorithm=SHA256&digits=6"
        "&period=30&lock=false",
        (S256, "Red Hat", "carol@redhat.com", "SHA256", 6, 30),
    ),
    "FreeOTP+": (
        "otpauth://totp/Fedora%3Acarol?secret=" + S160 + "&algorithm=SHA1&digits=6&period=30"
        "&issuer=Fedora&image=https%3A%2F%2Fexample.com%2Flogo.png",
        (S160, "Fedora", "carol", "SHA1", 6, 30),
    ),
    "1Password": (
        f"otpauth://totp/GitHub:dave?secret={S80.lower()}&issuer=GitHub",
        (S80, "GitHub", "dave", "SHA1", 6, 30),
    ),
    "1Password, blanks as plus": (
        f"otpauth://totp/Epic%20Notes:dave%40example.com?secret={S160}&issuer=Epic+Notes"
        "&algorithm=SHA1&digits=6&period=30",
        (S160, "Epic Notes", "dave@example.com", "SHA1", 6, 30),
    ),
    "1Password, the secret in groups": (
        "hxdm vjec jjws rb3h wizr 4ifu gftm xboz",
        (S160, None, None, "SHA1", 6, 30),
    ),
    "Bitwarden": (
        f"otpauth://totp/Example%3Aerin%40example.com?secret={S160}&issuer=Example"
        "&algorithm=SHA1&digits=6&period=30",
        (S160, "Example", "erin@example.com", "SHA1", 6, 30),
    ),
    "Bitwarden, no label": (
        f"otpauth://totp/?secret={S128}&issuer=",
        (S128, None, None, "SHA1", 6, 30),
    ),
    "Bitwarden, the bare secret": (S128.lower(), (S128, None, None, "SHA1", 6, 30)),
    "padding, escaped": (
        f"otpauth://totp/A:b?secret={S128}%3D%3D%3D%3D%3D%3D&issuer=A",
        (S128, "A", "b", "SHA1", 6, 30),
    ),
    "Java names of the hash": (
        f"otpauth://totp/A:b?algorithm=HmacSHA512&secret={S256}",
        (S256, "A", "b", "SHA512", 6, 30),
    ),
    "upper case": (
        f"OTPAUTH://TOTP/A:b?SECRET={S160}&ISSUER=A&ALGORITHM=sha1",
        (S160, "A", "b", "SHA1", 6, 30),
    ),
}

REFUSED = {
    "HOTP": f"otpauth://hotp/Issuu%3AJames?secret={S130}&issuer=Issuu&counter=1",
    "Steam, as Aegis writes it": f"otpauth://steam/Boeing%3ASophia?secret={S130}&issuer=Boeing",
    "Steam, as others write it": f"otpauth://totp/Steam:sophia?secret={S130}&encoder=steam",
    "Steam, as Bitwarden writes it": f"steam://{S130}",
    "an export of many accounts": "otpauth-migration://offline?data=CjEKCkhlbGxvId6tvu8SGEV4YW1",
    "Yandex": f"otpauth://yaotp/user?secret={S130}&pin=1234",
    "Motp": f"otpauth://motp/user?secret={S130}",
    "a web page": f"https://example.com/?secret={S130}",
    "no secret": "otpauth://totp/A:b?issuer=A",
    "an empty secret": "otpauth://totp/A:b?secret=&issuer=A",
    "letters that are not base32": "otpauth://totp/A:b?secret=JBSWY3DPEHPK3PX1&issuer=A",
    "a secret of 75 bits": "otpauth://totp/A:b?secret=JBSWY3DPEHPK3PX",
    "two secrets": f"otpauth://totp/A:b?secret={S130}&secret={S160}",
    "an unknown hash": f"otpauth://totp/A:b?secret={S130}&algorithm=MD5",
    "ten digits": f"otpauth://totp/A:b?secret={S130}&digits=10",
    "no period": f"otpauth://totp/A:b?secret={S130}&period=0",
    "a negative period": f"otpauth://totp/A:b?secret={S130}&period=-30",
    "a period of an hour": f"otpauth://totp/A:b?secret={S130}&period=3600",
    "a broken escape": f"otpauth://totp/A:b?secret={S130}&issuer=%4",
    "bytes that are not UTF-8": f"otpauth://totp/A:b?secret={S130}&issuer=%ff",
    "five kilobytes": f"otpauth://totp/A:b?secret={S130}&image=" + "x" * 5000,
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
    with refused(BAD_ARGUMENT, without=[S130, S160, "JBSWY3DPEHPK3PX"]):
        import_(admin, account, uri)
    assert admin.is_enabled(account) is False


@pytest.mark.parametrize(
    ("name", "word"), [("HOTP", "hotp"), ("Steam, as Aegis writes it", "steam")]
)
def test_kinds_that_are_not_totp_are_refused_by_name(admin, account, name, word):
    with refused(BAD_ARGUMENT) as caught:
        import_(admin, account, REFUSED[name])
    assert word in caught.value.diag.message_detail


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
