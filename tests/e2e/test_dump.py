"""pg_dump and pg_restore take everything along, and no secret in the clear."""

import secrets
from dataclasses import dataclass

import pytest
from cryptography.fernet import Fernet

import figures
from authenticator import Authenticator
from client import Client, Person, Traveller
from conftest import DATABASE, new_account
from key_file import KeyFile
from leak import backup_code_forms, found, key_forms, secret_forms
from refusal import NO_KEY, refused

LATER = 120
TOKEN = """
    INSERT INTO totp.hardware_tokens (serial, algorithm, digits, period, sealed, key_id, created_at)
    SELECT 'A1', algorithm, digits, period, sealed, key_id, created_at FROM totp.factors LIMIT 1
"""


@dataclass
class Source:
    """A database with accounts in every state."""

    dbname: str
    logged_in: Person
    locked: Person
    pending: Authenticator
    disabled: str
    now: float


def travel(cluster, dbname, moment):
    traveller = Traveller(cluster.connect("traveller", dbname))
    traveller.travel(moment)
    return traveller


@pytest.fixture(scope="module")
def source(cluster):
    name = f"source_{secrets.token_hex(4)}"
    with cluster.database(name):
        cluster.execute("CREATE EXTENSION totp", dbname=name)
        client = travel(cluster, name, Traveller.START)
        with client.connection:
            filled = fill(client, name)
            cluster.execute(TOKEN, dbname=name)
            yield filled


def fill(client, name):
    logged_in, locked, gone = (client.enrol(f"{new_account()} '\\ü\n") for _ in range(3))
    client.enrol(logged_in.account, label="tablet")
    pending = Authenticator(client.create(f"pending-{logged_in.account}").uri)
    client.wait(LATER)
    assert client.verify(logged_in.account, logged_in.phone.code(client.now))
    assert client.backup_verify(logged_in.account, logged_in.backup_codes[0])
    client.fail(locked, 6)
    client.wait(30)
    client.fail(locked, 1)
    assert client.disable(gone.account, gone.backup_codes[0])
    return Source(name, logged_in, locked, pending, gone.account, client.now)


def restore_custom(cluster, source, target, dump):
    cluster.run("pg_dump", "-Fc", "-f", dump, source)
    cluster.run("pg_restore", "--exit-on-error", "-d", target, dump)


def restore_plain(cluster, source, target, _=None):
    dump = cluster.run("pg_dump", source)
    cluster.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target, text=dump)


def restore_parallel(cluster, source, target, dump):
    # The tables of an extension have their foreign keys before their data, and parallel workers
    # keep no order.
    no_triggers = "-c session_replication_role=replica"
    cluster.run("pg_dump", "-Fd", "-j2", "-f", dump, source)
    restore = ["pg_restore", "--exit-on-error", "-j2", "-d", target, dump]
    cluster.run(*restore, PGOPTIONS=no_triggers)


def restore_tar(cluster, source, target, dump):
    cluster.run("pg_dump", "-Ft", "-f", dump, source)
    cluster.run("pg_restore", "--exit-on-error", "-d", target, dump)


def restore_of_backup_role(cluster, source, target, dump):
    """The dump is made by a role that may read all data, and nothing else."""
    cluster.execute(
        "DROP ROLE IF EXISTS backup",
        "CREATE ROLE backup LOGIN IN ROLE pg_read_all_data",
    )
    cluster.run("pg_dump", "-Fc", "-U", "backup", "-f", dump, source)
    cluster.run("pg_restore", "--exit-on-error", "-d", target, dump)


WAYS = [restore_custom, restore_plain, restore_parallel, restore_tar, restore_of_backup_role]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.__name__)
def target(request, cluster, source):
    """The name of a database that was restored from a dump, in each way."""
    name = f"target_{secrets.token_hex(4)}"
    with cluster.database(name):
        request.param(cluster, source.dbname, name, cluster.data_dir / f"dump_of_{name}")
        yield name


@pytest.fixture
def restored(cluster, source, target):
    """A client of the restored database, at the time of the dump."""
    traveller = travel(cluster, target, source.now)
    with traveller.connection:
        yield traveller


@pytest.fixture
def rows(cluster, source, target):
    """A function that gives a table's rows in the source and in the target."""

    def read(table):
        query = f"SELECT t::text FROM totp.{table} AS t ORDER BY 1"
        for dbname in (source.dbname, target):
            with cluster.connect(dbname=dbname) as connection:
                yield connection.execute(query).fetchall()

    return read


# The tests below change the restored database, in this order.


@pytest.mark.parametrize(
    "table", ["accounts", "factors", "backup_codes", "hardware_tokens", "audit_events"]
)
def test_every_row_is_restored(rows, table):
    before, after = rows(table)
    assert before and before == after


def test_spent_codes_stay_spent(restored, source):
    person = source.logged_in
    for steps in (-1, 0):
        assert restored.verify(person.account, person.phone.code(restored.now - 30, steps)) is False
    assert restored.backup_verify(person.account, person.backup_codes[0]) is False


def test_old_factors_and_backup_codes_verify(restored, source):
    person = source.logged_in
    assert restored.verify(person.account, person.phone.code(restored.now, 1)) is True
    assert restored.backup_verify(person.account, person.backup_codes[1]) is True
    status = restored.status(person.account)
    assert (status.factors, status.backup_codes_left, status.failures) == (2, 8, 0)


def test_a_lock_stays_and_grows_on(restored, source):
    person = source.locked
    assert restored.attempt(person.account, person.phone.code(restored.now)).reason == "locked"
    restored.wait(3600)
    assert restored.status(person.account).failures == 6
    assert restored.fail(person, 1).retry_after.total_seconds() == 120


def test_a_pending_enrolment_can_be_confirmed(restored, source):
    account = f"pending-{source.logged_in.account}"
    assert restored.confirm(account, source.pending.code(restored.now)).confirmed


def test_what_was_switched_off_stays_off(restored, source):
    assert restored.is_enabled(source.disabled) is False


def test_new_audit_events_come_after_the_old_ones(cluster, restored, target):
    query = "SELECT count(*) AS n, count(DISTINCT id) AS ids, max(id) FROM totp.audit_events"
    with cluster.connect(dbname=target) as connection:
        client = Client(connection)
        before = client.row(query)
        restored.enrol(new_account())
        after = client.row(query)
    assert after[0] == after[1] == before[0] + 2
    assert after[2] > before[2]


def test_the_restored_database_can_be_dumped_again(cluster, restored, target, source):
    with cluster.database(f"again_{secrets.token_hex(4)}") as again:
        restore_plain(cluster, target, again)
        client = travel(cluster, again, source.now + LATER)
        with client.connection:
            person = source.logged_in
            assert client.verify(person.account, person.phone.code(client.now)) is True


def test_a_dump_shows_no_secret(cluster, source, tmp_path):
    dump = tmp_path / "dump"
    dump.write_text(cluster.run("pg_dump", source.dbname))
    people = [source.logged_in, source.locked]
    assert found({person.account[:20].encode() for person in people}, dump)
    for phone in (*(person.phone for person in people), source.pending):
        assert not found(secret_forms(phone.totp.secret), dump)
    for code in (code for person in people for code in person.backup_codes):
        assert not found(backup_code_forms(code), dump)
    for key in KeyFile(cluster).keys:
        assert not found(key_forms(key), dump)


def test_with_another_key_file_the_restored_secrets_do_not_open(restored, source, key_file):
    key_file.write(Fernet.generate_key().decode())
    person = source.logged_in
    with refused(NO_KEY):
        restored.verify(person.account, person.phone.code(restored.now, 1))
    key_file.restore()


def test_the_shared_database_can_be_dumped_after_all_its_tests(cluster, other_database):
    restore_plain(cluster, DATABASE, other_database)
    figures.record(
        "Dump and restore",
        does="pg_dump and pg_restore as custom, plain, tar and directory with two jobs, by a "
        "superuser and by a role with pg_read_all_data",
        ran=f"{len(WAYS)} ways",
        lost="nothing",
        again="pytest tests/e2e/test_dump.py",
    )
