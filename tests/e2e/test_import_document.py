"""Moving from documents: exports of services and apps, files, QR codes; and the way back."""

import base64
import json
import secrets
import subprocess
import time

import pyotp
import pytest

import transfer
from cluster import ROOT
from mover import assert_app_works, place_to_move_to
from refusal import BAD_ARGUMENT, refused

VECTORS = ROOT / "tests" / "vectors" / "import"


@pytest.fixture(scope="module")
def place(cluster):
    with place_to_move_to(cluster) as (name, mover):
        yield name, mover


@pytest.fixture
def mover(place):
    _, mover = place
    for (account,) in mover.rows("SELECT account FROM totp.account_status"):
        mover.execute("SELECT totp.totp_forget(%s, 'the next test')", account)
    mover.travel(mover.START)
    return mover


def uri_of(secret, **parameters):
    return pyotp.TOTP(secret, **parameters).provisioning_uri(name="x")


# Auth0


@pytest.mark.parametrize("form", ["an array", "lines"])
def test_users_of_auth0(mover, form):
    document = (VECTORS / "auth0-users.json").read_text()
    if form == "lines":
        document = "\n".join(json.dumps(user) for user in json.loads(document))
    assert mover.import_("auth0", document=document, dry_run=True).keys() == {
        "auth0|0001",
        "auth0|0003",
        "bob@example.org",
    }
    assert mover.stored() == []
    rows = mover.import_("auth0", document=document)
    assert rows["auth0|0001"][1:] == rows["bob@example.org"][1:] == (1, 0, None)
    assert rows["auth0|0003"].problem == "secret is not valid base32"
    assert_app_works(mover, "auth0|0001", uri_of("JBTWY3DPEHPK3PNPJBTWY3DPEHPK3PNP"))
    assert_app_works(mover, "bob@example.org", uri_of("NB2W45DFOIZAU3TPORUGC3DMNFZW45BA"))


# FusionAuth


def test_users_of_fusionauth(mover):
    document = (VECTORS / "fusionauth-users.json").read_text()
    rows = mover.import_("fusionauth", document=document)
    alice = "00000000-0000-4000-8000-000000000001"
    assert rows[alice][1:] == (1, 2, None)
    assert rows["bob@example.org"][1:] == (0, 0, "secret is not valid")
    assert len(rows) == 2
    secret = base64.b32encode(b"Twenty bytes of A1!").decode().rstrip("=")
    assert_app_works(mover, alice, uri_of(secret))
    for code in ("VK3TJ-8KD2M", "QX7PN4HB9C"):
        assert mover.backup_verify(alice, code) is True
        assert mover.backup_verify(alice, code) is False
    with refused(BAD_ARGUMENT):
        mover.import_("fusionauth", document="[]")


# privacyIDEA


UNASSIGNED = "the token belongs to nobody; import it with import_oath_csv"


def test_users_of_privacyidea_as_csv(mover):
    document = (VECTORS / "privacyidea.csv").read_text()
    dry = mover.import_("privacyidea", document=document, dry_run=True)
    assert mover.stored() == []
    rows = mover.import_("privacyidea", document=document)
    assert rows == dry
    assert {account: row[1:] for account, row in rows.items()} == {
        "alice@office": (1, 0, "the codes are counter-based (HOTP)"),
        "bob@office": (1, 0, None),
        "n/a": (0, 0, UNASSIGNED),
    }
    assert [row.label for row in mover.stored()] == ["TOTP0001A2B3", "TOTP0001A2B5"]
    secret = base64.b32encode(b"Twenty bytes of P1..").decode()
    assert_app_works(mover, "alice@office", uri_of(secret))
    secret = base64.b32encode(b"Thirty-two bytes of a token P3..").decode().rstrip("=")
    uri = f"otpauth://totp/x?secret={secret}&algorithm=SHA256&digits=8&period=60"
    assert_app_works(mover, "bob@office", uri)
    # Without their first column, the lines are an OATH CSV file.
    lines = [line.partition(", ")[2] for line in document.splitlines() if line.startswith("n/a")]
    rows = mover.import_("oath_csv", document="\n".join(lines))
    assert rows["TOTP0001A2B6"].factors == 1
    mover.execute("SELECT totp.token_remove('TOTP0001A2B6', 'the next test')")


def test_users_of_privacyidea_as_json(mover):
    """With the last code that was accepted, and the drift."""
    mover.travel(63_115_200 * 30)
    rows = mover.import_("privacyidea", document=(VECTORS / "privacyidea.json").read_text())
    assert rows["alice@office"][1:] == (1, 0, None)
    assert rows["n/a"][1:] == (0, 0, UNASSIGNED)
    app = pyotp.TOTP(base64.b32encode(b"Twenty bytes of P1..").decode())
    spent = app.generate_otp(63_115_199)
    assert_app_works(mover, "alice@office", app.provisioning_uri(name="x"), spent, drift=2)
    for document in ("{}", "no, export", "gAAAAABn"):
        with refused(BAD_ARGUMENT):
            mover.import_("privacyidea", document=document)


# google-authenticator-libpam


def test_the_file_that_google_authenticator_writes(mover, tmp_path):
    """Debian's program writes it."""
    file = tmp_path / ".google_authenticator"
    command = ["google-authenticator", "-t", "-d", "-f", "-r", "3", "-R", "30", "-W", "-C"]
    command += ["-Q", "NONE", "-e", "5", "-l", "x", "-i", "y", "-s", file]
    subprocess.run(command, check=True, capture_output=True)
    lines = file.read_text().splitlines()
    mover.travel(time.time())
    row = mover.import_("libpam", account="alice", document=file.read_text())["alice"]
    assert row[1:] == (1, 5, None)
    assert_app_works(mover, "alice", uri_of(lines[0]))
    for code in lines[-5:]:
        assert mover.backup_verify("alice", code) is True
        assert mover.backup_verify("alice", code) is False


def test_a_code_that_was_used_at_another_server_is_refused(mover):
    step = int(mover.now // 30)
    secret = pyotp.random_base32()
    document = f'{secret}\n" DISALLOW_REUSE {step - 1} {step}\n" TOTP_AUTH\n12345678\n'
    assert mover.import_("libpam", account="alice", document=document)["alice"].factors == 1
    app = pyotp.TOTP(secret)
    assert mover.verify("alice", app.at(mover.now)) is False
    assert mover.verify("alice", app.at(mover.now + 30)) is True


def test_backup_codes_that_were_used_or_replaced_here_do_not_come_back(mover):
    """Neither by the same import again, nor with another device."""
    mover.execute(
        "CREATE TEMPORARY TABLE d (user_id int, name text, confirmed bool, key text,"
        " step int, t0 int, digits int, drift int, last_t int)"
    )
    mover.execute("CREATE TEMPORARY TABLE c (user_id int, token text)")
    device = "INSERT INTO d VALUES (1, 'phone', true, %s, 30, 0, 6, 0, -1)"
    mover.execute(device, "aa" * 20)
    mover.execute("INSERT INTO c VALUES (1, 'aaaaaaaa'), (1, 'bbbbbbbb')")
    tables = {"totp_table": "d", "static_token_table": "c"}
    assert mover.import_("django_otp", **tables)["1"][1:] == (1, 2, None)
    assert mover.backup_verify("1", "aaaaaaaa")
    assert mover.import_("django_otp", **tables)["1"][1:] == (0, 0, None)
    mover.execute(device, "bb" * 20)
    assert mover.import_("django_otp", **tables)["1"][1:] == (1, 0, None)
    assert mover.backup_remaining("1") == 1
    assert mover.backup_verify("1", "aaaaaaaa") is False
    assert len(mover.backup_rotate("1", "bbbbbbbb")) == 10
    mover.execute(device, "cc" * 20)
    assert mover.import_("django_otp", **tables)["1"][1:] == (1, 0, None)
    assert mover.backup_verify("1", "bbbbbbbb") is False
    assert mover.backup_remaining("1") == 10
    mover.execute("DROP TABLE c, d")


def test_a_set_that_was_imported_is_one_row_whose_codes_count_as_backup_codes(mover):
    """Also those of eight digits, which could be of an app."""
    query = """
        SELECT labels ->> 'outcome' AS outcome, value FROM totp.metrics
        WHERE name = 'totp_verifications_total' AND labels ->> 'method' = 'backup'
    """
    document = f'{pyotp.random_base32()}\n" TOTP_AUTH\n12345678\n87654321\n'
    assert mover.import_("libpam", account="alice", document=document)["alice"].backup_codes == 2
    before = dict(mover.rows(query))
    assert mover.attempt("alice", "12345678").backup_codes_left == 1
    assert mover.attempt("alice", "12345678").verified is False
    assert mover.backup_verify("alice", "11111111") is False
    assert mover.attempt("alice", "8765-4321").verified is True
    after = dict(mover.rows(query))
    changed = {outcome: after[outcome] - before[outcome] for outcome in after}
    assert {outcome: count for outcome, count in changed.items() if count} == {
        "ok": 2,
        "replayed": 1,
        "invalid": 1,
    }
    assert mover.backup_remaining("alice") == 0


# Google Authenticator


def factor(name="Acme:alice", **changes):
    usual = {
        "secret": secrets.token_bytes(20),
        "name": name,
        "issuer": "Acme",
        "algorithm": transfer.SHA1,
        "digits": transfer.SIX,
        "type": transfer.TOTP,
    }
    return {**usual, **changes}


def app_of(factor):
    secret = base64.b32encode(factor["secret"]).decode().rstrip("=")
    digits = 8 if factor["digits"] == transfer.EIGHT else 6
    return uri_of(secret, digits=digits)


def test_the_qr_codes_of_a_transfer(mover):
    first = [factor(), factor("Acme:other", digits=transfer.EIGHT)]
    second = [factor("token", type=transfer.HOTP), factor("last")]
    uris = [transfer.uri_of(second, 2, 1), transfer.uri_of(first, 2, 0)]
    row = mover.import_("migration", account="alice", uris=uris)["alice"]
    assert row[1:] == (3, 0, "the codes are counter-based (HOTP)")
    assert {row.label for row in mover.stored()} == {"Acme:alice", "Acme:other", "last"}
    for moved in (*first, second[1]):
        mover.wait(120)
        assert_app_works(mover, "alice", app_of(moved))


BAD_URIS = {
    "none": [],
    "one missing": [transfer.uri_of([factor()], 2, 0)],
    "of two transfers": [transfer.uri_of([factor()]), transfer.uri_of([factor()], batch_id=8)],
    "another scheme": [f"otpauth://totp/x?secret={'A' * 32}"],
    "cut off": [transfer.uri_of([factor()])[:-20]],
    "no base64": ["otpauth-migration://offline?data=!!!"],
    "no protobuf": ["otpauth-migration://offline?data=/////w=="],
    "null": [None],
}


@pytest.mark.parametrize("uris", BAD_URIS.values(), ids=BAD_URIS)
def test_a_transfer_that_is_not_whole_is_refused(mover, uris):
    with refused(BAD_ARGUMENT, without=[uri[33:] for uri in uris if uri]):
        mover.import_("migration", account="alice", uris=uris)
    assert mover.stored() == []


def test_the_way_back_to_google_authenticator(mover):
    moved = [factor(f"app {n}") for n in range(12)]
    mover.import_("migration", account="alice", uris=[transfer.uri_of(moved)])
    mover.execute(
        "SELECT totp.totp_import('bob', %s)", f"otpauth://totp/B:bob?secret={'A' * 32}&period=60"
    )
    query = "SELECT * FROM totp.totp_export_migration(ARRAY['alice', 'bob', 'nobody'], 'leaving')"
    rows = mover.rows(query)
    assert [row.account for row in rows] == ["alice", "alice"]
    payloads = [transfer.read(row.uri) for row in rows]
    assert [payload.batch_index for payload in payloads] == [0, 1]
    assert {payload.batch_size for payload in payloads} == {2}
    assert len({payload.batch_id for payload in payloads}) == 1
    back = [parameters for payload in payloads for parameters in payload.otp_parameters]
    assert {parameters.secret for parameters in back} == {it["secret"] for it in moved}
    assert {parameters.type for parameters in back} == {transfer.TOTP}
    events = mover.rows("SELECT account, event FROM totp.audit_log WHERE event = 'export'")
    assert [row.account for row in events] == ["alice"] * 12
    again = mover.import_("migration", account="carol", uris=[row.uri for row in rows])
    assert again["carol"].factors == 12


# Apps


AEGIS = {
    "version": 1,
    "header": {"slots": None, "params": None},
    "db": {
        "version": 3,
        "entries": [
            {
                "type": "totp",
                "uuid": "1",
                "name": "alice",
                "issuer": "Acme",
                "info": {"secret": "A" * 32, "algo": "SHA1", "digits": 8, "period": 30},
            }
        ],
    },
}


def test_the_export_of_an_app(mover):
    row = mover.import_("app", account="alice", document=json.dumps(AEGIS))["alice"]
    assert row[1:] == (1, 0, None)
    assert_app_works(mover, "alice", uri_of("A" * 32, digits=8))
    with refused(BAD_ARGUMENT):
        mover.import_("app", account="bob", document=json.dumps({**AEGIS, "db": "encrypted"}))


# The way out


def test_what_is_exported_is_imported_elsewhere(cluster, mover):
    """Both systems refuse what was spent in the first."""
    person = mover.enrol("alice", issuer="Acme", account_name="Alice")
    spent = person.phone.take(mover.now)
    assert mover.verify("alice", spent)
    mover.execute(
        "CREATE TEMPORARY TABLE out AS SELECT * FROM totp.totp_export_all(ARRAY(SELECT"
        " account FROM totp.account_status), 'leaving')"
    )
    rows = mover.rows("SELECT account, label, uri, last_step FROM out")
    with place_to_move_to(cluster) as (_, there):
        there.travel(mover.now)
        there.execute(
            "CREATE TEMPORARY TABLE came (account text, label text, uri text, last_step bigint)"
        )
        for row in rows:
            there.execute("INSERT INTO came VALUES (%s, %s, %s, %s)", *row)
        assert there.import_("rows", source="came")["alice"].factors == 1
        assert there.verify("alice", spent) is False
        there.wait(60)
        assert there.verify("alice", person.phone.take(there.now)) is True
    mover.execute("DROP TABLE out")


def test_every_export_is_logged_though_it_is_rolled_back(cluster, mover):
    mover.execute("SELECT totp.totp_import('logged 1', %s)", "A" * 32)
    mover.execute("SELECT totp.totp_import('logged 2', %s)", "B" * 32)
    for function in ("totp_export_all", "totp_export_migration"):
        with mover.connection.transaction(force_rollback=True):
            reason = f"rolled back {secrets.token_hex(4)}"
            mover.rows(f"SELECT totp.{function}(ARRAY['logged 1', 'logged 2'], %s)", reason)
        lines = [line for line in cluster.log.splitlines() if reason in line]
        assert len(lines) == 2
        assert "A" * 32 not in cluster.log
    mover.verify("logged 1", "000000")
    query = "SELECT detail FROM totp.audit_log WHERE account = 'logged 1' ORDER BY id DESC LIMIT 1"
    assert mover.value(query)["rolled_back_exports"] == 2
