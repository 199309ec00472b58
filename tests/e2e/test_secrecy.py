"""No plaintext secret reaches a table, the WAL or the log. Raw files are searched for it."""

import base64
import hashlib

import pytest
from cryptography.fernet import Fernet

from authenticator import Authenticator
from client import Traveller
from cluster import Cluster
from conftest import ROLES, install, new_account
from key_file import KeyFile
from leak import backup_code_forms, forms, found, key_forms, secret_forms

# All that a careful, or a careless, DBA can have logged: statements, parameters, inner queries.
TALKATIVE = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_error_verbosity": "verbose",
    "log_min_messages": "debug2",
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_verbose": "on",
}
ACCOUNTS = 4
PAGE = 8192


class Life:
    """What accounts lived through, and every secret that came of it."""

    def __init__(self, client):
        self.client = client
        self.accounts = []
        self.secrets, self.codes_kept, self.codes_used = set(), set(), set()

    def live(self):
        """Every function once, for a new account."""
        client, account = self.client, new_account()
        self.accounts.append(account)
        self._create(account)
        person = self._enrol(account)
        self._enrol(account, label="tablet")
        client.wait(60)
        assert client.verify(account, person.phone.code(client.now))
        client.fail(person, 2)
        for code in person.backup_codes[:2]:
            assert client.backup_verify(account, code)
        self.codes_used |= set(person.backup_codes[:2])
        self.codes_kept |= set(person.backup_codes[2:])
        replacement = self._create(account)
        client.wait(60)
        assert client.confirm(account, replacement.code(client.now)).confirmed
        client.wait(60)
        self.codes_kept |= set(client.backup_rotate(account, replacement.code(client.now)))
        client.status(account)
        if len(self.accounts) % 2:
            client.wait(60)
            assert client.disable(account, replacement.code(client.now))

    def _create(self, account):
        phone = Authenticator(self.client.create(account).uri)
        self.secrets.add(phone.totp.secret)
        return phone

    def _enrol(self, account, **options):
        person = self.client.enrol(account, **options)
        self.secrets.add(person.phone.totp.secret)
        return person

    @property
    def codes(self):
        return self.codes_kept | self.codes_used


@pytest.fixture(scope="module")
def talker():
    """A cluster of its own, that logs all it can."""
    with Cluster(settings=TALKATIVE) as talker:
        install(talker, "postgres")
        talker.execute(ROLES)
        yield talker


@pytest.fixture(scope="module")
def life(talker):
    with talker.connect("traveller") as connection:
        life = Life(Traveller(connection))
        for _ in range(ACCOUNTS):
            life.live()
    file = KeyFile(talker)
    file.write(Fernet.generate_key().decode(), *file.keys)
    talker.execute("CALL totp.key_rotate(7)")
    talker.execute("ANALYZE", "CHECKPOINT")
    return life


def joined(path, files):
    """All files in one, each of their pages once: databases are copies of one another."""
    pages = {}
    for file in files:
        content = file.read_bytes()
        pages.update((content[at : at + PAGE], None) for at in range(0, len(content), PAGE))
    path.write_bytes(b"".join(pages))
    return path


@pytest.fixture(scope="module")
def data(talker, life, tmp_path_factory):
    """What is in the data directory, but in the WAL and the key file."""
    files = [file for file in talker.data_dir.rglob("*") if file.is_file()]
    files = [file for file in files if file.name != "totp.keys" and file.parent.name != "pg_wal"]
    return joined(tmp_path_factory.mktemp("data") / "all", files)


@pytest.fixture(scope="module")
def wal(talker, life, tmp_path_factory):
    files = [file for file in (talker.data_dir / "pg_wal").iterdir() if file.is_file()]
    return joined(tmp_path_factory.mktemp("wal") / "all", files)


@pytest.fixture(scope="module")
def log(talker, life):
    return talker.log_file


@pytest.fixture(params=["data", "wal", "log"])
def place(request):
    """Each place where a secret could end up."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def dba(talker):
    with talker.connect() as connection:
        yield Traveller(connection)


def all_forms(kind, values):
    return {form for value in values for form in kind(value)}


def test_what_is_meant_to_be_there_is_found(life, place):
    names = {account.encode() for account in life.accounts}
    assert found(names, place) == names


def test_stored_tokens_are_found_in_tables_and_wal(dba, life, data, wal):
    rows = dba.rows(
        "SELECT sealed FROM totp.factors UNION ALL SELECT sealed FROM totp.backup_codes"
    )
    tokens = {row.sealed.encode() for row in rows}
    assert len(tokens) == len(rows) > 5
    assert found(tokens, data) == tokens
    # A WAL record may be cut in two by a page's header.
    assert len(found(tokens, wal)) > len(tokens) / 2


def test_inner_queries_are_found_in_the_log(life, log):
    assert found({b"totp.factors", b"Query Parameters: ", b"Query Text: "}, log)


def test_no_secret_is_anywhere(life, place):
    assert len(life.secrets) == 4 * ACCOUNTS
    assert not found(all_forms(secret_forms, life.secrets), place)


def test_no_backup_code_is_in_tables_or_wal(life, data, wal):
    assert len(life.codes) == 20 * ACCOUNTS
    needles = all_forms(backup_code_forms, life.codes)
    assert not found(needles, data)
    assert not found(needles, wal)


def test_no_backup_code_is_in_the_log_before_somebody_types_it(life, log):
    assert not found(all_forms(backup_code_forms, life.codes_kept), log)
    assert found({code.encode() for code in life.codes_used}, log)


def test_no_hash_of_a_backup_code_is_anywhere(life, dba, place):
    query = "SELECT DISTINCT salt FROM totp.backup_codes WHERE account = %s"
    salt = bytes(dba.value(query, life.accounts[-1]))
    typed = [code.replace("-", "").encode() for code in life.codes]
    hashes = [hashlib.pbkdf2_hmac("sha256", code, salt, 1000) for code in typed]
    assert not found(all_forms(forms, hashes), place)


def test_the_key_is_nowhere_but_in_its_file(talker, dba, life, place):
    printed = dba.value("SELECT totp.key_generate()")
    keys = [*KeyFile(talker).keys, printed]
    assert not found(all_forms(key_forms, keys), place)
    # A Fernet key is two keys, for HMAC and for AES.
    raw = [base64.urlsafe_b64decode(key) for key in keys]
    halves = [half for key in raw for half in (key[:16], key[16:])]
    assert not found({*halves, *(half.hex().encode() for half in halves)}, place)


def test_pg_stat_activity_shows_no_parameter(talker, dba, account):
    with talker.connect("traveller") as connection:
        client = Traveller(connection)
        person = client.enrol(account)
        client.verify(account, person.phone.wrong(client.now))
        query = "SELECT query FROM pg_stat_activity WHERE pid = %s"
        shown = dba.value(query, connection.info.backend_pid)
    assert "$1" in shown and account not in shown
