"""A server with nothing prepared: no preloaded library, and keys in its environment only."""

import pytest
from cryptography.fernet import Fernet

from client import Client
from cluster import Cluster
from conftest import assert_never_crashed, new_account
from key_file import KeyFile, key_id
from refusal import NO_KEY, refused

KEY, OLDER_KEY = (Fernet.generate_key().decode() for _ in range(2))
VARIABLE = "TOTP_ENCRYPTION_KEY"
SEALED = "SELECT key_id FROM totp.factors WHERE account = %s"


@pytest.fixture(scope="module")
def server():
    keys = f"{KEY}\n{OLDER_KEY}\n"
    with Cluster(preload=False, environment={VARIABLE: keys}) as server:
        server.execute("CREATE EXTENSION totp", "CREATE ROLE app LOGIN IN ROLE totp_app")
        yield server
        assert_never_crashed(server)


@pytest.fixture
def client(server):
    with server.connect("app") as connection:
        yield Client(connection)


@pytest.fixture
def superuser(server):
    with server.connect() as connection:
        yield Client(connection)


def test_the_whole_job_runs(client, superuser, account):
    person = client.enrol(account)
    code = person.phone.take(client.now)
    assert client.verify(account, code)
    assert not client.verify(account, code)
    assert client.attempt(account, person.backup_codes[0]).backup_codes_left == 9
    assert client.fail(person, 5).retry_after.total_seconds() == 30
    assert client.attempt(account, person.backup_codes[1]).reason == "locked"
    assert superuser.value(SEALED, account) == key_id(KEY)


def test_no_key_file_is_made(server, superuser):
    Fernet(superuser.value("SELECT totp.key_generate()"))
    assert not (server.data_dir / "totp.keys").exists()


def test_rows_of_the_second_key_in_the_variable_open(client, superuser, account):
    person = client.enrol(account)
    token = superuser.value("SELECT sealed FROM totp.factors WHERE account = %s", account)
    resealed = Fernet(OLDER_KEY).encrypt(Fernet(KEY).decrypt(token)).decode()
    update = "UPDATE totp.factors SET sealed = %s, key_id = %s WHERE account = %s"
    superuser.execute(update, resealed, key_id(OLDER_KEY), account)
    assert client.verify(account, person.phone.take(client.now))


def test_the_application_cannot_move_its_clock_before_the_library_is_loaded(server, account):
    with server.connect("app") as connection:
        client = Client(connection)
        # A name that nobody knows yet is anybody's; the loaded library takes it back.
        client.execute("SET totp.clock = '2030-01-01 00:00:00+00'")
        client.execute("SET totp.max_failures = 100")
        person = client.enrol(account)
        assert client.status(account).last_verified_at.year != 2030
        assert client.fail(person, 5).retry_after is not None


def test_what_is_spent_stays_spent_over_a_restart(server):
    account = new_account()
    with server.connect("app") as connection:
        client = Client(connection)
        person = client.enrol(account)
        client.fail(person, 2)
        assert client.backup_verify(account, person.backup_codes[0])
        code = person.phone.take(client.now)
        assert client.verify(account, code)
    server.restart()
    with server.connect("app") as connection:
        client = Client(connection)
        assert not client.verify(account, code)
        assert not client.backup_verify(account, person.backup_codes[0])
        assert client.backup_verify(account, person.backup_codes[1])
        assert client.status(account).backup_codes_left == 8


@pytest.mark.parametrize("text", ["", "no key", KEY[:-1]], ids=["empty", "words", "cut short"])
def test_a_variable_without_a_key_is_an_error(server, account, text):
    with server.connect("app") as connection:
        person = Client(connection).enrol(account)
    keys = server.environment[VARIABLE]
    server.environment[VARIABLE] = text
    server.restart()
    with server.connect("app") as connection, refused(NO_KEY):
        Client(connection).verify(account, person.phone.wrong(Client(connection).now))
    server.environment[VARIABLE] = keys
    server.restart()


def test_the_key_file_goes_before_the_variable(server, client, superuser, account):
    person = client.enrol(account)
    file = KeyFile(server)
    file.write(OLDER_KEY)
    client.create(f"{account}-new")
    assert superuser.value(SEALED, f"{account}-new") == key_id(OLDER_KEY)
    with refused(NO_KEY):
        client.verify(account, person.phone.wrong(client.now))
    file.restore()
    assert client.verify(account, person.phone.take(client.now))
