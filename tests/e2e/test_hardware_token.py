"""Hardware tokens: from a vendor's file to the account of whoever holds one in their hand."""

import base64
import json
import secrets
import subprocess
import time

import psycopg
import pyotp
import pytest

from client import Client
from cluster import ROOT
from concurrency import at_once
from leak import found, secret_forms
from mover import place_to_move_to
from refusal import BAD_ARGUMENT, DAMAGED, NOT_THERE, denied, refused

VECTORS = ROOT / "tests" / "vectors" / "import"
PYTHON = ROOT / "target" / "peers" / "python-pskc" / "bin" / "python"
WRITER = ROOT / "tests" / "peers" / "python-pskc" / "write.py"
# The key and the password of the documents in VECTORS.
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
PASSWORD = "correct horse"
ASSIGNED = "55006"
SUITES = {"SHA1": None, "SHA256": "HMAC-SHA256", "SHA512": "HMAC-SHA512"}
BYTES = {"SHA1": 20, "SHA256": 32, "SHA512": 64}


class Token:
    """A token with a display and a button, by pyotp. Its clock can be off, by a number of steps."""

    def __init__(self, algorithm="SHA1", digits=6, period=30, off=0):
        self.serial = f"T{secrets.token_hex(5)}"
        self.secret = secrets.token_bytes(BYTES[algorithm])
        self.algorithm, self.digits, self.period, self.off = algorithm, digits, period, off
        base32 = base64.b32encode(self.secret).decode().rstrip("=")
        self.otp = pyotp.parse_uri(
            f"otpauth://totp/x?secret={base32}&algorithm={algorithm}&digits={digits}&period={period}"
        )

    def code(self, moment, steps=0):
        return self.otp.generate_otp(int(moment // self.period) + self.off + steps)

    def pair(self, moment):
        """The codes of now and of the next step, as a user waits for it."""
        return self.code(moment), self.code(moment, 1)

    @property
    def line(self):
        """A line of an OATH CSV file."""
        return f"{self.serial},{self.secret.hex()},totp,{self.digits},{self.period}"


def csv_of(*tokens):
    return "\n".join(["serial,secret,type,digits,step", *(token.line for token in tokens)])


def pskc_of(tokens, form="plain", *arguments):
    """A document that python-pskc writes."""
    described = [
        {
            "serial": token.serial,
            "secret": token.secret.hex(),
            "algorithm": "totp",
            "suite": SUITES[token.algorithm],
            "digits": token.digits,
            "period": token.period,
        }
        for token in tokens
    ]
    command = [PYTHON, WRITER, form, *arguments]
    done = subprocess.run(
        command, input=json.dumps(described), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(cluster):
    with place_to_move_to(cluster) as (name, mover):
        yield name, mover


@pytest.fixture
def dbname(place):
    return place[0]


@pytest.fixture
def mover(place):
    _, mover = place
    for (account,) in mover.rows("SELECT account FROM totp.account_status"):
        mover.execute("SELECT totp.totp_forget(%s, 'the next test')", account)
    for (serial,) in mover.rows("SELECT serial FROM totp.hardware_token_status"):
        mover.execute("SELECT totp.token_remove(%s, 'the next test')", serial)
    mover.travel(mover.START)
    return mover


def tokens_of(mover):
    return mover.rows("SELECT * FROM totp.hardware_token_status ORDER BY serial")


def assign(mover, account, token, codes=None):
    code1, code2 = codes or token.pair(mover.now)
    return mover.call(
        "token_assign", account=account, serial=token.serial, code1=code1, code2=code2
    )


def imported(mover, *tokens):
    """Imports tokens, and returns the first."""
    rows = mover.import_("oath_csv", document=csv_of(*tokens))
    assert [row.factors for row in rows.values()] == [1] * len(tokens)
    return tokens[0]


# Import


FORMS = {
    "plain": (),
    "AES-128 and HMAC-SHA-1": ("key", "aes128-cbc", "hmac-sha1", KEY),
    "AES-192 and HMAC-SHA-256": ("key", "aes192-cbc", "hmac-sha256", KEY + KEY[:16]),
    "AES-256 and HMAC-SHA-512": ("key", "aes256-cbc", "hmac-sha512", KEY * 2),
    "a password": ("password", "aes128-cbc", "", PASSWORD),
    "a password and HMAC-SHA-256": ("password", "aes256-cbc", "hmac-sha256", "pässwörd "),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_tokens_that_python_pskc_writes_are_imported(mover, import_directory, form):
    tokens = [Token(), Token("SHA256", 8, 60), Token("SHA512", 7)]
    document = pskc_of(tokens, *form)
    key_file = None
    if form:
        key_file = "pskc.key"
        import_directory(key_file, f"{form[-1]}\n")
    rows = mover.import_("pskc", document=document, key_file=key_file)
    assert {row[1:] for row in rows.values()} == {(1, 0, None)}
    stored = {row.serial: row[1:5] for row in tokens_of(mover)}
    assert stored == {it.serial: (it.algorithm, it.digits, it.period, None) for it in tokens}
    for token in tokens:
        assert assign(mover, f"holder of {token.serial}", token).assigned
        mover.wait(2 * token.period)
        assert mover.verify(f"holder of {token.serial}", token.code(mover.now))


def test_the_tokens_of_the_vectors_are_imported(mover, import_directory):
    import_directory("pskc.key", KEY)
    rows = mover.import_(
        "pskc", document=(VECTORS / "pskc-key.xml").read_text(), key_file="pskc.key"
    )
    assert [row[1:] for row in rows.values()] == [
        (1, 0, None),
        (1, 0, None),
        (0, 0, "the codes are counter-based (HOTP)"),
    ]
    rows = mover.import_("oath_csv", document=(VECTORS / "oath.csv").read_text())
    assert [row.factors for row in rows.values()] == [1, 1, 0]
    assert [(row.serial, row.algorithm) for row in tokens_of(mover)] == [
        ("A1000001", "SHA1"),
        ("A1000002", "SHA256"),
        ("B2000001", "SHA1"),
        ("B2000002", "SHA256"),
    ]


@pytest.mark.parametrize("function", ["oath_csv", "pskc"])
def test_an_import_can_be_tried_and_repeated(mover, function):
    tokens = [Token() for _ in range(3)]
    document = csv_of(*tokens) if function == "oath_csv" else pskc_of(tokens)
    dry = mover.import_(function, document=document, dry_run=True)
    assert tokens_of(mover) == []
    assert mover.import_(function, document=document) == dry
    before = tokens_of(mover)
    again = mover.import_(function, document=document)
    assert {row[1:] for row in again.values()} == {(0, 0, None)}
    assert tokens_of(mover) == before


def test_a_broken_line_is_reported_and_the_others_are_imported(mover):
    good, stored, other = Token(), Token(), Token()
    imported(mover, stored)
    other.serial = stored.serial
    twice = Token()
    document = (
        csv_of(good, other, twice) + f"\n{twice.serial},{'ab' * 20},totp\nX1,zz,totp\nX2,31,totp"
    )
    rows = mover.import_("oath_csv", document=f"{document}\nX3,{'ab' * 20},ocra\n,{'ab' * 20},totp")
    problems = {serial: (row.factors, row.problem) for serial, row in rows.items()}
    assert problems == {
        good.serial: (1, None),
        stored.serial: (
            0,
            "another token with this serial number is stored, or its secret could not be decrypted",
        ),
        twice.serial: (0, "the serial number occurs more than once, with different tokens"),
        "X1": (0, "secret is not valid"),
        "X2": (0, "secret must be 10 to 128 bytes long, not 1"),
        "X3": (0, "the codes are not time-based (TOTP)"),
        None: (0, "serial must not be null or empty"),
    }
    assert {row.serial for row in tokens_of(mover)} == {good.serial, stored.serial}


def test_every_token_is_in_the_audit_trail(mover):
    token = imported(mover, Token())
    query = "SELECT account, outcome, detail FROM totp.audit_log ORDER BY id DESC LIMIT 1"
    account, outcome, detail = mover.row(query)
    assert (account, outcome) == ("", "ok")
    assert detail["serial"] == token.serial and detail["function"] == "import_oath_csv"
    assert (detail["reason"], detail["weak"]) == ("moved from elsewhere", False)
    assert assign(mover, "alice", token).assigned
    account, outcome, detail = mover.row(query.replace("account,", "account || ' ' || event,"))
    assert (account, detail["label"]) == ("alice assign", token.serial)


BOMB = (
    "<!DOCTYPE k [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(
        f"<!ENTITY {name} '{f'&{before};' * 10}'>"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]><KeyContainer><KeyPackage><Key Id='&i;'/></KeyPackage></KeyContainer>"
)
FILE = "<!DOCTYPE k [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><KeyContainer>&a;</KeyContainer>"
BAD_DOCUMENTS = {
    "empty": "",
    "no XML": "serial,secret",
    "another element": "<Tokens/>",
    "no token": "<KeyContainer/>",
    "cut off": (VECTORS / "pskc-plain.xml").read_text()[:-40],
    "an entity bomb": BOMB,
    "a file": FILE,
    "a million levels": "<a>" * 1_000_000 + "</a>" * 1_000_000,
    "encrypted, without a key": (VECTORS / "pskc-key.xml").read_text(),
    "an unknown cipher": (VECTORS / "pskc-key.xml").read_text().replace("128-cbc", "128-gcm"),
}


@pytest.mark.parametrize("document", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_a_document_that_cannot_be_read_is_refused(mover, import_directory, document):
    import_directory("pskc.key", KEY)
    key_file = "pskc.key" if "gcm" in document else None
    began = time.monotonic()
    with refused(BAD_ARGUMENT, without=["A1000001", "root:", "aaaaaaaaaa"]):
        mover.import_("pskc", document=document, key_file=key_file)
    assert time.monotonic() - began < 10
    assert tokens_of(mover) == []


@pytest.mark.parametrize(
    ("function", "text"),
    [("pskc", "<KeyContainer>"), ("oath_csv", "x,y\n"), ("privacyidea", "a,b,c,d\n")],
)
def test_a_document_of_100_megabytes_is_refused(mover, function, text):
    began = time.monotonic()
    with refused(BAD_ARGUMENT):
        query = f"SELECT * FROM totp.import_{function}(document => repeat(%s, %s))"
        mover.rows(query, text, 100_000_000 // len(text))
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("vector", "key"),
    [
        ("pskc-key.xml", KEY[::2] * 2),
        ("pskc-key.xml", KEY * 2),
        ("pskc-key.xml", "no key"),
        ("pskc-key-256.xml", KEY),
        ("pskc-password.xml", "Correct horse"),
        ("pskc-password-256.xml", KEY),
    ],
)
def test_with_a_wrong_key_or_password_nothing_is_imported(mover, import_directory, vector, key):
    import_directory("wrong.key", key)
    with refused(BAD_ARGUMENT, without=[key]):
        mover.import_("pskc", document=(VECTORS / vector).read_text(), key_file="wrong.key")
    assert tokens_of(mover) == []


def test_a_document_that_was_changed_is_refused_as_a_whole(mover, import_directory):
    import_directory("pskc.key", KEY)
    tokens = [Token() for _ in range(3)]
    document = pskc_of(tokens, "key", "aes128-cbc", "hmac-sha1", KEY)
    start = document.rindex("<pskc:ValueMAC>") + len("<pskc:ValueMAC>")
    changed = document[:start] + ("A" if document[start] != "A" else "B") + document[start + 1 :]
    with refused(BAD_ARGUMENT):
        mover.import_("pskc", document=changed, key_file="pskc.key")
    assert tokens_of(mover) == []


# Assignment


def test_a_token_is_assigned_with_two_codes_in_a_row_which_are_then_spent(mover):
    token = imported(mover, Token())
    done = assign(mover, "alice", token)
    assert (done.assigned, done.reason, done.retry_after_seconds) == (True, "ok", None)
    assert len(done.backup_codes) == 10
    assert mover.is_enabled("alice")
    (row,) = tokens_of(mover)
    assert (row.account, row.assigned_at.timestamp()) == ("alice", mover.now)
    for code in token.pair(mover.now):
        assert mover.verify("alice", code) is False
    mover.execute("SELECT totp.totp_unlock('alice', 'the test goes on')")
    mover.wait(60)
    assert mover.verify("alice", token.code(mover.now)) is True
    assert mover.verify("alice", token.code(mover.now)) is False
    assert mover.backup_verify("alice", done.backup_codes[0])


@pytest.mark.parametrize("off", [-998, -40, -1, 0, 1, 40, 998])
def test_a_token_whose_clock_is_off_works_and_keeps_working(mover, off):
    token = imported(mover, Token(off=off))
    assert assign(mover, "alice", token).assigned
    for _ in range(5):
        mover.wait(90)
        assert mover.verify("alice", token.code(mover.now)), off
        assert not mover.verify("alice", token.code(mover.now))
        mover.execute("SELECT totp.totp_unlock('alice', 'the test goes on')")


@pytest.mark.parametrize("off", [-1100, 1100])
def test_a_token_whose_clock_is_too_far_off_is_refused(mover, off):
    token = imported(mover, Token(off=off))
    assert assign(mover, "alice", token).reason == "invalid"


@pytest.mark.parametrize(
    "wrong", ["the same twice", "the wrong order", "one left out", "a wrong one"]
)
def test_codes_that_do_not_follow_each_other_are_refused(mover, wrong):
    token = imported(mover, Token())
    now, code = mover.now, token.code
    codes = {
        "the same twice": (code(now), code(now)),
        "the wrong order": (code(now, 1), code(now)),
        "one left out": (code(now), code(now, 2)),
        "a wrong one": (code(now), f"{(int(code(now, 1)) + 1) % 10**6:06}"),
    }
    done = assign(mover, "alice", token, codes[wrong])
    assert (done.assigned, done.backup_codes, done.reason) == (False, None, "invalid")
    assert mover.status("alice").failures == 1 and not mover.is_enabled("alice")
    assert assign(mover, "alice", token).assigned


@pytest.mark.parametrize("codes", [(None, None), ("123456", None), ("123456", "x"), ("", "123456")])
def test_text_that_cannot_be_a_code_is_refused_and_not_counted(mover, codes):
    token = imported(mover, Token())
    assert assign(mover, "alice", token, codes).reason == "invalid"
    assert mover.status("alice").failures == 0


def test_wrong_codes_count_as_failures_of_the_account(mover):
    person = mover.enrol("alice")
    token = imported(mover, Token())
    for _ in range(4):
        assert assign(mover, "alice", token, ("000000", "000001")).reason == "invalid"
    verdict = mover.attempt("alice", person.phone.wrong(mover.now))
    assert verdict.retry_after_seconds > 0
    locked = assign(mover, "alice", token)
    assert (locked.assigned, locked.reason) == (False, "locked")
    assert locked.retry_after_seconds == verdict.retry_after_seconds
    mover.wait(locked.retry_after_seconds + 1)
    assert assign(mover, "alice", token).assigned
    assert mover.status("alice").failures == 0


def test_what_a_rollback_undoes_leaves_failures_and_spent_codes(mover):
    token = imported(mover, Token())
    mover.enrol("alice")
    with mover.connection.transaction(force_rollback=True):
        assert assign(mover, "alice", token).assigned
    assert tokens_of(mover)[0].account is None
    assert assign(mover, "alice", token).reason == "invalid"
    mover.execute("SELECT totp.totp_unlock('alice', 'the test goes on')")
    for _ in range(5):
        with mover.connection.transaction(force_rollback=True):
            assign(mover, "alice", token, ("000000", "000001"))
    assert assign(mover, "alice", token).reason == "locked"


def test_a_token_has_one_account_at_a_time(mover):
    token = imported(mover, Token())
    spent = token.pair(mover.now)
    assert assign(mover, "alice", token, spent).assigned
    mover.wait(90)
    for account in ("alice", "bob"):
        with refused(ASSIGNED):
            assign(mover, account, token)
    assert mover.status("bob").failures == 0
    # As the account is renamed, the token stays with it.
    mover.execute("SELECT totp.totp_rename('alice', 'carol', 'married')")
    assert tokens_of(mover)[0].account == "carol"
    with refused(ASSIGNED):
        assign(mover, "bob", token)
    assert mover.verify("carol", token.code(mover.now))
    # Who gives it back makes it free.
    mover.execute("SELECT totp.totp_reset('carol', 'gave the token back')")
    assert tokens_of(mover)[0].account is None
    assert assign(mover, "bob", token, spent).reason == "invalid"
    mover.wait(90)
    assert assign(mover, "bob", token).assigned
    mover.execute("SELECT totp.totp_forget('bob', 'left')")
    mover.wait(90)
    assert assign(mover, "alice", token).assigned


@pytest.mark.parametrize("account", ["alice", "bob"])
def test_a_token_is_free_once_a_recovery_has_taken_effect(cluster, mover, account):
    token = imported(mover, Token())
    assert assign(mover, "alice", token).assigned
    cluster.configure(totp__recovery_delay="1h")
    try:
        mover.recover(mover.recovery("alice"))
    finally:
        cluster.configure(totp__recovery_delay=None)
    mover.wait(3599)
    assert tokens_of(mover)[0].account == "alice"
    with refused(ASSIGNED):
        assign(mover, account, token)
    mover.wait(1)
    assert tokens_of(mover)[0].account is None
    assert assign(mover, account, token).assigned
    assert tokens_of(mover)[0].account == account


def test_a_second_token_of_an_account_needs_no_new_backup_codes(mover):
    first, second = Token(), Token()
    imported(mover, first, second)
    assert len(assign(mover, "alice", first).backup_codes) == 10
    assert assign(mover, "alice", second).backup_codes is None
    mover.wait(90)
    for token in (first, second):
        assert mover.verify("alice", token.code(mover.now))


def test_a_secret_or_label_that_the_account_has_is_refused(mover):
    token, twin = Token(), Token()
    twin.secret, twin.otp = token.secret, token.otp
    imported(mover, token, twin)
    assert assign(mover, "alice", token).assigned
    mover.wait(90)
    with refused("42710"):
        assign(mover, "alice", twin)
    mover.enrol("bob", label=twin.serial)
    with refused("42710"):
        assign(mover, "bob", twin)
    for number in range(20):
        mover.execute(
            "SELECT totp.totp_import('carol', %s, %s)", pyotp.random_base32(), str(number)
        )
    with refused("54000"):
        assign(mover, "carol", twin)


def test_an_unknown_serial_number_is_an_error_and_creates_no_account(mover):
    for serial in ("X1", "ü" * 64):
        with refused(NOT_THERE, without=[serial]):
            mover.call(
                "token_assign", account="alice", serial=serial, code1="123456", code2="123456"
            )
    for serial in ("", None, "x" * 65, "x" * 5000):
        with refused(BAD_ARGUMENT):
            mover.call(
                "token_assign", account="alice", serial=serial, code1="123456", code2="123456"
            )
    assert mover.rows("SELECT * FROM totp.account_status") == []


def test_one_of_many_at_once_gets_the_token(cluster, dbname, mover):
    token = Token()
    mover.import_("oath_csv", document=csv_of(token))

    def act(client, ready, place):
        now = time.time()
        codes = token.pair(now)
        ready()
        query = "SELECT assigned FROM totp.token_assign(%s, %s, %s, %s)"
        return client.value(query, f"racer {place}", token.serial, *codes)

    results = at_once(lambda: cluster.connect("mover", dbname), 8, act)
    errors = [it for it in results if it is not True]
    assert results.count(True) == 1, results
    assert {getattr(error, "sqlstate", error) for error in errors} == {ASSIGNED}
    assert len(mover.rows("SELECT FROM totp.factor_status")) == 1


# What other features do with tokens


def test_a_token_is_removed(mover):
    token = imported(mover, Token())
    assert assign(mover, "alice", token).assigned
    remove = "SELECT totp.token_remove(%s, 'lost')"
    assert mover.value(remove, token.serial) is True
    assert mover.value(remove, token.serial) is False
    assert mover.row("SELECT account, event FROM totp.audit_log ORDER BY id DESC LIMIT 1") == (
        "",
        "token_remove",
    )
    mover.wait(90)
    assert mover.verify("alice", token.code(mover.now))
    with refused(NOT_THERE):
        assign(mover, "bob", token)


def test_events_tell_that_a_token_was_assigned(cluster, dbname, mover):
    first, second = Token(), Token()
    imported(mover, first, second)
    cluster.configure(totp__events="on")
    try:
        with cluster.connect("mover", dbname) as connection:
            client = type(mover)(connection)
            assert assign(client, "alice", first).assigned
            assert assign(client, "alice", second).assigned
            rows = client.rows("SELECT account, event, detail FROM totp.events_read(0)")
    finally:
        cluster.configure(totp__events=None)
    assert [tuple(row) for row in rows[-2:]] == [
        ("alice", "enrolled", {"label": first.serial}),
        ("alice", "device_added", {"label": second.serial}),
    ]


def test_keys_of_tokens_are_rotated(cluster, dbname, mover, key_file):
    token = imported(mover, Token(), *(Token() for _ in range(2000)))
    (old,) = mover.rows("SELECT key_id, hardware_tokens, is_primary FROM totp.key_status")
    assert tuple(old)[1:] == (2001, True)
    new = mover_key()
    key_file.write(new, *key_file.keys)
    mover.execute("CALL totp.key_rotate()")
    rows = mover.rows(
        "SELECT key_id, hardware_tokens FROM totp.key_status WHERE factors + hardware_tokens > 0"
    )
    assert [row.hardware_tokens for row in rows] == [2001] and rows[0].key_id != old.key_id
    key_file.write(new)
    assert assign(mover, "alice", token).assigned


def mover_key():
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def test_a_token_in_the_row_of_another_is_not_decrypted(cluster, dbname, mover):
    token, other = Token(), Token()
    imported(mover, token, other)
    cluster.execute(
        "UPDATE totp.hardware_tokens SET sealed ="
        f" (SELECT sealed FROM totp.hardware_tokens WHERE serial = '{other.serial}')"
        f" WHERE serial = '{token.serial}'",
        dbname=dbname,
    )
    for codes in (token.pair(mover.now), other.pair(mover.now)):
        with refused(DAMAGED):
            assign(mover, "alice", token, codes)
    assert mover.status("alice").failures == 0


def test_a_dump_takes_tokens_along_and_shows_no_secret(cluster, dbname, mover, tmp_path):
    token, other = Token(), Token()
    imported(mover, token, other)
    assert assign(mover, "alice", other).assigned
    dump = tmp_path / "dump"
    dump.write_text(cluster.run("pg_dump", dbname))
    assert found({token.serial.encode()}, dump)
    for secret in (token.secret, other.secret):
        assert not found(secret_forms(base64.b32encode(secret).decode()), dump)
        assert not found({secret.hex().encode(), base64.b64encode(secret)}, dump)
    with cluster.database(f"copy_{secrets.token_hex(4)}") as copy:
        cluster.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", copy, text=dump.read_text())
        with cluster.connect("mover", copy) as connection:
            there = type(mover)(connection)
            there.travel(mover.now + 90)
            assert assign(there, "bob", token).assigned
            assert there.verify("alice", other.code(there.now))
            assert there.rows(
                "SELECT serial FROM totp.hardware_token_status WHERE account = 'alice'"
            )


def test_only_administrators_import_and_remove_tokens(cluster, dbname, mover):
    token = imported(mover, Token())
    with cluster.connect("app", dbname) as connection:
        app = Client(connection)
        for call in (
            "SELECT totp.import_oath_csv('x,y')",
            "SELECT totp.import_pskc('<a/>')",
            "SELECT totp.token_remove('x', 'lost')",
            "SELECT * FROM totp.hardware_token_status",
            "SELECT * FROM totp.hardware_tokens",
        ):
            with denied():
                app.execute(call)
        code1, code2 = token.pair(time.time())
        done = app.call(
            "token_assign", account="alice", serial=token.serial, code1=code1, code2=code2
        )
        assert done.assigned
    with cluster.connect("self_service", dbname) as connection, denied():
        Client(connection).execute("SELECT totp.token_assign('a', 'b', '1', '2')")


def test_no_secret_of_a_token_reaches_the_log(cluster, mover, import_directory):
    import_directory("pskc.key", KEY)
    tokens = [Token() for _ in range(3)]
    mover.import_("pskc", document=pskc_of(tokens))
    with pytest.raises(psycopg.Error):
        mover.import_("pskc", document=pskc_of(tokens)[:-9])
    log = cluster.log.encode()
    for token in tokens:
        assert not any(form in log for form in secret_forms(token.otp.secret))
        assert token.secret.hex() not in cluster.log
